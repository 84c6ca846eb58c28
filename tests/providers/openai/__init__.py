"""Tests of the OpenAI provider."""
