"""Tests of app/db/duckdb."""
