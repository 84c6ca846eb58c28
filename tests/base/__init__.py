"""Tests of app.base."""
