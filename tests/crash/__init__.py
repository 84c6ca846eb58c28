"""Tests that kill the server at every crash point (`app.base.crash_points`) and check that nothing is lost."""
