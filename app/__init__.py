"""Atelier, a self-hosted AI studio: one async process, one folder a noun (see the README for the two paths through it)."""

from typing import Final

VERSION: Final = "0.1.0"
