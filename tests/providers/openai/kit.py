"""An OpenAI provider for a scripted server, and forms as that server reads them."""

import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from app.providers.client import Client
from app.providers.openai import OpenAI
from tests.providers.fake_upstream import Recorded, Reply, Upstream, js
from tests.providers.openrouter.kit import KEY, PATIENT


class Part(msgspec.Struct, frozen=True):
    """One part of a form."""

    content: bytes
    filename: str | None = None
    media_type: str | None = None


@asynccontextmanager
async def provider(upstream: Upstream, key: str | None = KEY, **settings: Any) -> AsyncIterator[OpenAI]:
    client = Client([upstream.base_url])
    named: dict[str, Any] = {
        "max_image_bytes": 1_000_000,
        "max_video_bytes": 1_000_000,
        "is_openai": True,
        "timeouts": PATIENT,
        **settings,
    }
    try:
        yield OpenAI(client, upstream.base_url, key, **named)
    finally:
        await client.aclose()


def refusal(status: int, code: str | None, type: str = "invalid_request_error", message: str = "no") -> Reply:
    """An error in OpenAI's envelope."""
    return js({"error": {"message": message, "type": type, "param": None, "code": code}}, status)


def form(request: Recorded) -> dict[str, list[Part]]:
    """The parts of a form by name."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    found: dict[str, list[Part]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(name, str)
        assert isinstance(content, bytes)
        media_type = part.get_content_type() if "content-type" in part else None
        found.setdefault(name, []).append(Part(content, part.get_filename(), media_type))
    return found


def fields(request: Recorded) -> dict[str, str]:
    """The fields of a form that are no files."""
    return {name: parts[0].content.decode() for name, parts in form(request).items() if parts[0].filename is None}
