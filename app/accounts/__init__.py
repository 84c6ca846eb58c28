"""User accounts: authentication, sessions, tokens, API keys and roles."""
