"""Who is asking: people, their sessions, tokens and roles."""
