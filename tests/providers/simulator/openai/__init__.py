"""Tests of the simulated OpenAI, and of a server compatible with it."""
