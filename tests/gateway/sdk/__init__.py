"""Atelier as OpenAI's own Python package sees it: unmodified, in an environment of its own, over real HTTP."""
