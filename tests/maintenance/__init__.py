"""Tests of app.maintenance."""
