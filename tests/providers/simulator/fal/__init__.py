"""Tests of the simulated fal, in its wire format."""
