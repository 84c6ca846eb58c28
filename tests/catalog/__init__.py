"""Tests of app.catalog."""
