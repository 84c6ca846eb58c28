"""Transactions over an embedded or a remote database."""
