"""This server as an origin of its own and as another one, which must never receive a key."""

import time
from typing import Any

from app.providers.simulator.openai_format.admission import PlainRequest
from app.providers.simulator.runtime import Runtime


def own_origin(request: PlainRequest) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def other_origin(request: PlainRequest) -> str:
    """This server under another host name, which makes it a different origin."""
    host, port = request.url.hostname or "", request.url.port
    other = "127.0.0.1" if host == "localhost" else "localhost"
    return f"{request.url.scheme}://{other}{f':{port}' if port else ''}"


async def log_visit(request: PlainRequest, runtime: Runtime, job_id: str) -> None:
    visit: dict[str, Any] = {
        "time": time.time(),
        "id": job_id,
        "host": request.url.netloc,
        "path": request.url.path,
        "authorization": "authorization" in request.headers,
    }
    await runtime.run_io(runtime.store.log_visit, visit)
