"""How much was spent, and how much is promised: the ledger."""
