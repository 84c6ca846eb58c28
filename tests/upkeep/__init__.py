"""Tests of app.upkeep."""
