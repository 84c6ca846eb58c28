"""Tests of app.generation."""
