"""OpenRouter as of late 2026 under `/api/v1`: chat, images, videos, embeddings, audio, catalogue and accounting.

Moderation, which it lacks, is OpenAI's.
"""

from litestar import Router
from litestar.di import Provide

from app.providers.simulator.openai_format import embeddings, moderations, speech, transcriptions
from app.providers.simulator.openrouter import account, chat, images, listing, videos
from app.providers.simulator.openrouter.errors import HANDLERS
from app.providers.simulator.openrouter.persona import OPENROUTER

BASE = "/api/v1"


def routes() -> list[Router]:
    """All routes of the service, including its signed URLs and the other origin."""
    features = (account, chat, embeddings, images, listing, moderations, speech, transcriptions, videos)
    handlers = [handler for feature in features for handler in feature.HANDLERS]
    return [
        Router(
            BASE,
            route_handlers=handlers,
            dependencies={"persona": Provide(lambda: OPENROUTER, sync_to_thread=False)},
            exception_handlers=HANDLERS,
        ),
        Router("/simulator/openrouter", route_handlers=videos.OTHER_ORIGIN_HANDLERS, exception_handlers=HANDLERS),
    ]
