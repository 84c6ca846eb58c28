"""OpenAI's Responses API under `/v1/responses`, for every text model: requests become chat completions, and their answers become
responses that are kept for 30 days.

A feature of its own beside the gateway, because it has a table. It stands above the gateway, whose chat requests it writes.
Formats follow OpenAI's API reference of November 2026.
"""
