"""Promises of accounts."""
