"""OpenAI as of late 2026 under `/openai/v1`, and under `/compatible/v1` a server that speaks its format as it was: image links,
`response_format`, videos."""

from typing import Any

from litestar import Router
from litestar.di import Provide

from app.providers.simulator.openai import chat, images, listing, videos
from app.providers.simulator.openai.errors import HANDLERS
from app.providers.simulator.openai.personas import COMPATIBLE, OPENAI
from app.providers.simulator.openai_format import embeddings, moderations, speech, transcriptions
from app.providers.simulator.openai_format.persona import Persona

BASE = "/openai/v1"
COMPATIBLE_BASE = "/compatible/v1"


def routes() -> list[Router]:
    """All routes of both services, including the other origin."""
    shared = (chat, images, listing, embeddings, moderations, speech, transcriptions)
    handlers = [handler for feature in shared for handler in feature.HANDLERS]
    return [
        _router(BASE, [*handlers, *videos.CLOSED_HANDLERS], OPENAI),
        _router(COMPATIBLE_BASE, [*handlers, *videos.HANDLERS], COMPATIBLE),
        Router("/simulator/openai", route_handlers=images.OTHER_ORIGIN_HANDLERS, exception_handlers=HANDLERS),
    ]


def _router(base: str, handlers: list[Any], persona: Persona) -> Router:
    def provide() -> Persona:
        return persona

    return Router(
        base,
        route_handlers=handlers,
        dependencies={"persona": Provide(provide, sync_to_thread=False)},
        exception_handlers=HANDLERS,
    )
