"""The embedded engine, and the only place that names DuckDB.

DuckDB is synchronous, rejects two concurrent writers of one row, and a connection may not be shared between threads. So one
thread does all the writing (`writer`), and each reader thread has its own cursor (`connection`). Rows that are only inserted need
not wait for a commit (`append_log`).
"""
