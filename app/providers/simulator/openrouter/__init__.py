"""OpenRouter as of late 2026: chat, pictures, clips, catalogue and accounting under `/api/v1`."""

from litestar import Router

from app.providers.simulator.openrouter import account, chat, images, listing, videos

BASE = "/api/v1"


def routes() -> list[Router]:
    """Everything this persona answers, the address of its signed links and the other origin included."""
    handlers = [*account.HANDLERS, *chat.HANDLERS, *images.HANDLERS, *listing.HANDLERS, *videos.HANDLERS]
    return [Router(BASE, route_handlers=handlers), Router("/simulator/openrouter", route_handlers=videos.ELSEWHERE)]
