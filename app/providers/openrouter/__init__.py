"""OpenRouter, and compatible servers: text, image and video models of many vendors behind one API key.

Known details of the API are documented where the code relies on them; everything else is parsed leniently. A malformed
response fails one job and never the process.
"""

from app.providers.openai_format.api import Timeouts
from app.providers.openrouter.provider import OpenRouter
from app.providers.openrouter.webhooks import Webhooks

__all__ = ["OpenRouter", "Timeouts", "Webhooks"]
