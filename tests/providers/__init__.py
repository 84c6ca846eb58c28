"""Tests of the HTTP client and of the providers that use it."""
