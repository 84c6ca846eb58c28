"""fal as of late 2026: its queue under `/fal/queue`, its REST service under `/fal/rest`, and the hosts of its files.

Every model that is described in `app.providers.fal` can be called.
"""

from litestar import Router

from app.providers.simulator.fal import files, prices, queue, storage, webhooks
from app.providers.simulator.fal.errors import HANDLERS

QUEUE = "/fal/queue"
REST = "/fal/rest"


def routes() -> list[Router]:
    """All routes of the service, including those that stand for other origins."""
    return [
        Router(QUEUE, route_handlers=queue.HANDLERS, exception_handlers=HANDLERS),
        Router(
            REST, route_handlers=[*storage.HANDLERS, *webhooks.HANDLERS, *prices.HANDLERS], exception_handlers=HANDLERS
        ),
        Router(
            "/simulator/fal",
            route_handlers=[*files.OTHER_ORIGIN_HANDLERS, *storage.OTHER_ORIGIN_HANDLERS],
            exception_handlers=HANDLERS,
        ),
    ]
