"""The templates, each in every state it can be in."""
