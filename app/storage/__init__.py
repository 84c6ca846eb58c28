"""Bytes at rest: `files` keeps them under names of its own making, `media` finds out what they really are."""
