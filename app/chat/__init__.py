"""Conversations with models: kept per person, answered word by word."""
