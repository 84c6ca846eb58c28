"""Requests for text, pictures and clips. It has no tables: it makes jobs."""
