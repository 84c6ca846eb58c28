"""Tests of app.home."""
