"""The architecture rules, each kept by a test."""
