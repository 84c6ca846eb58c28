"""The laws of the architecture, each kept by a test."""
