"""Tests of the simulator, which other tests rely on."""
