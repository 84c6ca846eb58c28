"""fal: image and video models of many vendors behind one queue and one API key.

What is relied on is documented where the code relies on it; everything else is parsed leniently. A malformed response fails
one job and never the process.
"""

from app.providers.fal.api import FalTimeouts
from app.providers.fal.provider import Fal
from app.providers.fal.webhooks import FalWebhooks

__all__ = ["Fal", "FalTimeouts", "FalWebhooks"]
