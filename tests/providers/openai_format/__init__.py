"""Tests of what servers with OpenAI's format share. What depends on a provider is tested with it."""
