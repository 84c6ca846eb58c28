"""The simulator as an ASGI application. Atelier serves it in its own process, `__main__` as a separate one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Router, get
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp

from app.base import struct_warmup
from app.providers.simulator import fal, openai, openrouter, responses
from app.providers.simulator.fal.webhooks import FalWebhookSender
from app.providers.simulator.openrouter.errors import HANDLERS
from app.providers.simulator.openrouter.webhooks import WebhookSender
from app.providers.simulator.runtime import Runtime, SimulatorClock

MAX_BODY = 100 * 1024 * 1024


@get("/health")
async def health() -> dict[str, str]:
    """Health check."""
    return {"status": "ok"}


@get("/submits")
async def submits(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """All paid requests ever accepted, oldest first. Tests about money rely on it."""
    return responses.StreamedResponse(responses.json_list(runtime, runtime.store.submits()), responses.JSON)


@get("/redirects")
async def redirects(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """All requests to the URLs that stand for another origin, and whether they carried a key."""
    return responses.StreamedResponse(responses.json_list(runtime, runtime.store.visits()), responses.JSON)


@get("/webhooks")
async def webhooks(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """All delivery attempts of webhooks, with the status of the response (0 if there was none)."""
    return responses.StreamedResponse(responses.json_list(runtime, runtime.store.webhook_attempts()), responses.JSON)


def build(
    folder: Path,
    speed: float = 1.0,
    key: str | None = None,
    *,
    webhook_to: str | None = None,
    webhook_secret: str | None = None,
    clock: SimulatorClock | None = None,
) -> Litestar:
    """Create the application. Jobs and logs are stored in `folder`.

    `speed` is a factor for all delays; 0 means no delays. With `key` only that key is accepted, otherwise any. Webhooks
    are sent to the origin `webhook_to`, whatever host the callback URL names, and OpenRouter's signed with `webhook_secret`;
    without `webhook_to` none are sent. `clock` replaces the system clock.
    """
    struct_warmup.warm_up()
    application = litestar_app()
    runtime = Runtime(folder, speed, key, clock)
    application.state.update(
        {
            "runtime": runtime,
            "webhooks": WebhookSender(runtime, webhook_to, webhook_secret) if webhook_to else None,
            "fal_webhooks": FalWebhookSender(runtime, webhook_to) if webhook_to else None,
        }
    )
    return application


def litestar_app() -> Litestar:
    """Every route of the simulated services, without the state that `build` adds. After its end an application can be built
    on them again."""

    def provide() -> Any:
        return app.state.runtime

    app = Litestar(
        route_handlers=[
            *openrouter.routes(),
            *openai.routes(),
            *fal.routes(),
            Router("/simulator", route_handlers=[health, submits, redirects, webhooks]),
        ],
        dependencies={"runtime": Provide(provide, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        middleware=[responses.AbortableRequests()],
        lifespan=[_lifespan],
        request_max_body_size=MAX_BODY,
        openapi_config=None,
        logging_config=None,
    )
    return app


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    async with app.state.runtime.open():
        try:
            yield
        finally:
            for sender in (app.state.webhooks, app.state.fal_webhooks):
                if sender is not None:
                    await sender.aclose()
