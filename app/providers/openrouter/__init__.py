"""OpenRouter, and any server that speaks like it: text, pictures and clips of many makers behind one key.

What is known of the wire is written down at the place that relies on it; what is not known is read loosely. An answer
that makes no sense ends a job, and never this program.
"""

from app.providers.openrouter.api import Timeouts
from app.providers.openrouter.provider import OpenRouter
from app.providers.openrouter.webhooks import Webhooks

__all__ = ["OpenRouter", "Timeouts", "Webhooks"]
