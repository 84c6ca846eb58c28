"""Tests of the fal provider, against a scripted server and against the simulator."""
