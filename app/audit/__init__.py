"""The audit log: which admin changed what."""
