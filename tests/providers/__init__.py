"""Tests of what speaks to the services upstream."""
