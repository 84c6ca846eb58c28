"""Tests of what a hostile user, browser, website or server may try."""
