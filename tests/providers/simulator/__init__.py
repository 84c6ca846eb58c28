"""Tests of the simulator: tests of everything else rely on it."""
