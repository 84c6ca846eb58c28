"""The accounts at AI providers: those of the environment, and those that admins add, test, change and remove on a page."""
