"""The embedded engine: the only place that imports duckdb."""
