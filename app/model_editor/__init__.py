"""Models for admins: which are enabled, which a form begins with, and their descriptions as data."""
