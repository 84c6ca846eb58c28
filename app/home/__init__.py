"""The dashboard, the health check, and the pages that explain. It has no tables."""
