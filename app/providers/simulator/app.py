"""The simulator as one ASGI program: Atelier serves it inside its own process, `__main__` alone, tests from a thread."""

from pathlib import Path
from typing import Any

from litestar import Litestar, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp

from app.base import struct_warmup
from app.providers.simulator import openrouter, responses
from app.providers.simulator.openrouter.errors import HANDLERS
from app.providers.simulator.openrouter.webhooks import Caller
from app.providers.simulator.stage import Clock, Stage

MAX_BODY = 100 * 1024 * 1024


@get("/health")
async def health() -> dict[str, str]:
    """Whether it is up."""
    return {"status": "ok"}


@get("/submits")
async def submits(stage: NamedDependency[Stage]) -> ASGIApp:
    """Every paid request that was ever taken on, oldest first: what promises about money are judged by."""
    return responses.Streamed(responses.listed(stage, stage.memory.submits()), responses.JSON)


@get("/redirects")
async def redirects(stage: NamedDependency[Stage]) -> ASGIApp:
    """Every arrival at the addresses that play another origin, and whether it brought a key."""
    return responses.Streamed(responses.listed(stage, stage.memory.visits()), responses.JSON)


@get("/webhooks")
async def webhooks(stage: NamedDependency[Stage]) -> ASGIApp:
    """Every try to say that a clip has ended, and what was answered (0 is nothing)."""
    return responses.Streamed(responses.listed(stage, stage.memory.calls()), responses.JSON)


def build(
    folder: Path,
    speed: float = 1.0,
    key: str | None = None,
    *,
    webhook_to: str | None = None,
    webhook_secret: str | None = None,
    clock: Clock | None = None,
) -> Litestar:
    """The program. Jobs and logs are kept in `folder`.

    `speed` is a factor on every delay, 0 is none. With `key` only that bearer is accepted, without it any. Webhooks go to
    the origin `webhook_to`, whatever address was left, signed with `webhook_secret`; without it there are none. `clock`
    stands in for the system's.
    """
    struct_warmup.warm_up()
    stage = Stage(folder, speed, key, clock)
    caller = Caller(stage, webhook_to, webhook_secret) if webhook_to else None

    def provide() -> Any:
        return stage

    return Litestar(
        route_handlers=[
            *openrouter.routes(),
            Router("/simulator", route_handlers=[health, submits, redirects, webhooks]),
        ],
        dependencies={"stage": Provide(provide, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        middleware=[responses.Interruptible(stage)],
        lifespan=[stage.open],
        on_shutdown=[caller.aclose] if caller else [],
        state=State({"stage": stage, "caller": caller}),
        request_max_body_size=MAX_BODY,
        openapi_config=None,
        logging_config=None,
    )
