"""OpenRouter as of late 2026: chat, images, videos, catalogue and accounting under `/api/v1`."""

from litestar import Router

from app.providers.simulator.openrouter import account, chat, images, listing, videos

BASE = "/api/v1"


def routes() -> list[Router]:
    """All routes of the service, including its signed URLs and the other origin."""
    handlers = [*account.HANDLERS, *chat.HANDLERS, *images.HANDLERS, *listing.HANDLERS, *videos.HANDLERS]
    return [
        Router(BASE, route_handlers=handlers),
        Router("/simulator/openrouter", route_handlers=videos.OTHER_ORIGIN_HANDLERS),
    ]
