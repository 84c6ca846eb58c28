"""Tests of the OpenRouter provider, against a scripted server and against the simulator."""
