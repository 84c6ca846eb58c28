"""Tests of what simulated services with OpenAI's format share."""
