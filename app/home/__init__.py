"""The dashboard, the health check, spending, and the help pages. It has no tables."""
