"""A provider connected to a scripted server, and requests and answers in fal's format."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.providers.client import Client
from app.providers.contract import InputImage, Kind, Outcome, Request, UpstreamJob
from app.providers.fal import Fal, FalTimeouts
from tests.providers.fake_upstream import Recorded, Reply, Upstream, js
from tests.providers.openrouter.kit import SECONDS

KEY = "key-id:very-secret-0123456789abcdef"
AUTHORIZATION = f"Key {KEY}"
PATIENT = FalTimeouts(submit=SECONDS, poll=SECONDS, result=SECONDS, upload=SECONDS, download=SECONDS)

MODEL = "fal-ai/flux/dev"
ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
SUBMIT = f"/queue/{MODEL}"
REQUEST = f"/queue/fal-ai/flux/requests/{ID}"  # the rest of the model's id is not part of it
STATUS = f"{REQUEST}/status"
CANCEL = f"{REQUEST}/cancel"
INITIATE = "/rest/storage/upload/initiate"
JWKS = "/rest/.well-known/jwks.json"


def queue_url(upstream: Upstream) -> str:
    return f"{upstream.origin}/queue"


def rest_url(upstream: Upstream) -> str:
    return f"{upstream.origin}/rest"


@asynccontextmanager
async def provider(
    upstream: Upstream, rest: Upstream | None = None, key: str = KEY, **settings: Any
) -> AsyncIterator[Fal]:
    """The provider; `rest` is the server of the REST service if it is another one."""
    urls = queue_url(upstream), rest_url(rest or upstream)
    site_url: str | None = settings.get("site_url")
    client = Client([*urls, site_url] if site_url else urls)
    named: dict[str, Any] = {
        "max_image_bytes": 1_000_000,
        "max_video_bytes": 2_000_000,
        "timeouts": PATIENT,
        **settings,
    }
    try:
        yield Fal(client, *urls, key, **named)
    finally:
        await client.aclose()


def image_request(**more: Any) -> Request:
    return Request(**{"job_id": "j", "kind": Kind.IMAGE, "model": MODEL, "prompt": "A lighthouse", **more})


def video_request(**more: Any) -> Request:
    settings = {"job_id": "j", "kind": Kind.VIDEO, "model": "fal-ai/veo3.1", "prompt": "Waves", **more}
    return Request(**settings)


def image(path: Path, content: bytes, role: str = "image") -> InputImage:
    path.write_bytes(content)
    return InputImage(path, "image/png", role)


def urls(upstream: Upstream, request: str = REQUEST) -> dict[str, str]:
    """The URLs in every answer about a request."""
    base = f"{upstream.origin}{request}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def accepted(upstream: Upstream, **more: Any) -> Reply:
    return js({"request_id": ID, **urls(upstream), "status": "IN_QUEUE", "queue_position": 3, **more})


def queued(upstream: Upstream, position: int = 0) -> Reply:
    body = {"status": "IN_QUEUE", "queue_position": position, "request_id": ID, **urls(upstream)}
    return js(body, 202)


def running(upstream: Upstream, *messages: str, **more: Any) -> Reply:
    logs = [
        {"message": text, "level": "INFO", "source": "USER", "timestamp": "2026-11-20T10:00:00Z"} for text in messages
    ]
    return js({"status": "IN_PROGRESS", "logs": logs, "request_id": ID, **urls(upstream), **more}, 202)


def completed(upstream: Upstream, **more: Any) -> Reply:
    body = {"status": "COMPLETED", "logs": [], "metrics": {"inference_time": 1.5}, "request_id": ID, **urls(upstream)}
    return js({**body, **more})


def upstream_job(upstream: Upstream) -> UpstreamJob:
    return UpstreamJob(ID, f"{upstream.origin}{STATUS}")


def on_result(upstream: Upstream, result: Reply, **state: Any) -> None:
    """The job has ended with this result."""
    upstream.on("GET", STATUS, completed(upstream, **state))
    upstream.on("GET", REQUEST, result)


async def polled(upstream: Upstream, folder: Path, **settings: Any) -> Outcome:
    async with provider(upstream, **settings) as fal:
        return await fal.poll(upstream_job(upstream), folder)


def wrong(status: int, detail: Any = "no", **headers: str) -> Reply:
    """An error in fal's format."""
    return js({"detail": detail}, status, **headers)


def invalid(kind: str, field: str = "image_url", message: str = "Wrong.") -> list[dict[str, Any]]:
    """The `detail` of an error of the model."""
    return [{"loc": ["body", field], "msg": message, "type": kind, "url": f"https://docs.fal.ai/errors#{kind}"}]


def with_keys(requests: list[Recorded]) -> list[str]:
    """The paths of the requests that carried the key."""
    return [request.path for request in requests if KEY in str(request.headers)]
