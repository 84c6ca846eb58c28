"""Many jobs of one request: a series of prompts, seeds or other settings, or one prompt for several models.

A feature above `generation`, which checks every job exactly like a single request.
"""
