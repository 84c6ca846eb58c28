"""Tests of the simulator, over real HTTP against a real server: it must be trusted before it may judge others."""
