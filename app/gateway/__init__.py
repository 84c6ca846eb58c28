"""The OpenAI-compatible API under `/v1`: OpenAI clients work with Atelier once their base URL is changed.

It has no tables of its own: results are stored in the ledger, jobs and library of the user. These modules only translate;
`chat.validation`, `catalog` and `generation` validate. `web.errors` renders errors in OpenAI's format. Formats follow
OpenAI's API reference of November 2026.
"""
