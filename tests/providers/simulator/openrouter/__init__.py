"""Tests of the simulated OpenRouter API, over real HTTP."""
