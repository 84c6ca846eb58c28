"""The embedded engine: what only DuckDB needs."""
