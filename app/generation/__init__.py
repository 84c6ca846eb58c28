"""Requests to generate text, images and videos. Each becomes a job; the feature has no tables."""
