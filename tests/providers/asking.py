"""What the tests ask of the provider, and the small pictures they send and receive."""

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from app.providers.client import Client
from app.providers.contract import Again, Done, Kind, Later, Never, Outcome, Request
from app.providers.openrouter import OpenRouter, Patience
from tests.providers.fake_upstream import Upstream

KEY = "sk-or-v1-very-secret-0123456789abcdef"
CALM = Patience(
    text_idle=20, text=20, stream=20, image=20, video=20, poll=20, catalogue=20, download=20, between_downloads=0.01
)
# For an upstream that stays silent: short, and so never for one that should answer.
HASTY = Patience(text_idle=0.3, text=20, stream=20, image=1, video=1, poll=1, catalogue=1, download=1)


def png(colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


PNG = png()
B64 = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{B64}"
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"clip" * 100


@asynccontextmanager
async def provider(upstream: Upstream, key: str = KEY, **settings: Any) -> AsyncIterator[OpenRouter]:
    client = Client([upstream.base_url])
    named: dict[str, Any] = {
        "max_image_bytes": 1_000_000,
        "max_video_bytes": 1_000_000,
        "is_openrouter": True,
        "patience": CALM,
        **settings,
    }
    yield OpenRouter(client, upstream.base_url, key, **named)
    await client.aclose()


def a_text(**more: Any) -> Request:
    return Request(
        **{"job_id": "j", "kind": Kind.TEXT, "model": "a/writer", "prompt": "Hello", "route": "chat", **more}
    )


def an_image(**more: Any) -> Request:
    settings = {"job_id": "j", "kind": Kind.IMAGE, "model": "a/painter", "prompt": "A lighthouse", "route": "images"}
    return Request(**{**settings, **more})


def a_video(**more: Any) -> Request:
    settings = {"job_id": "j", "kind": Kind.VIDEO, "model": "a/film", "prompt": "Waves", "route": "videos"}
    return Request(**{**settings, **more})


T = TypeVar("T", Done, Later, Again, Never)


def the(kind: type[T], outcome: Outcome) -> T:
    """The outcome, which must be of this kind."""
    assert isinstance(outcome, kind), outcome
    return outcome


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
