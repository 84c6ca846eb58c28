"""Transactions, migrations and the query cache."""
