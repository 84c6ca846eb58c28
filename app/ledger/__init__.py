"""The ledger: what was spent, and what is held for unfinished work."""
