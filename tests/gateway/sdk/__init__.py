"""Tests with the official `openai` package: unmodified, in its own virtual environment, over real HTTP."""
