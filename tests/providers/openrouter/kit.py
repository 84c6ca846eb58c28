"""Requests and small sample files for the OpenRouter tests."""

import base64
import io
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from app.providers.client import Client
from app.providers.contract import Completed, Failed, Failure, Kind, Outcome, Pending, Request, Retryable
from app.providers.openrouter import OpenRouter, Timeouts
from tests.providers.fake_upstream import Upstream

KEY = "sk-or-v1-very-secret-0123456789abcdef"
SECONDS = 300.0  # only a broken product takes this long
PATIENT = Timeouts(
    text_idle=SECONDS,
    text=SECONDS,
    stream=SECONDS,
    image=SECONDS,
    video=SECONDS,
    poll=SECONDS,
    catalog=SECONDS,
    download=SECONDS,
    between_downloads=0.01,
)
LONGER_THAN_ANY_TIMEOUT = 3600.0  # seconds, for tests in manual time
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 7, 2**31, -(2**63), 10**30, 0.5, -2.5, 1e-300, 1e308, float("inf"), float("-inf")),
    *("", " ", "x", "é", "\x00", "日本", "1", "-1", "1.5", "NaN", "true", "a/b", "data:,"),
)


def png(colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


PNG = png()
B64 = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{B64}"
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"data" * 100


@asynccontextmanager
async def provider(upstream: Upstream, key: str = KEY, **settings: Any) -> AsyncIterator[OpenRouter]:
    client = Client([upstream.base_url])
    named: dict[str, Any] = {
        "max_image_bytes": 1_000_000,
        "max_video_bytes": 1_000_000,
        "is_openrouter": True,
        "timeouts": PATIENT,
        **settings,
    }
    try:
        yield OpenRouter(client, upstream.base_url, key, **named)
    finally:
        await client.aclose()


def text_request(**more: Any) -> Request:
    return Request(
        **{"job_id": "j", "kind": Kind.TEXT, "model": "a/writer", "prompt": "Hello", "route": "chat", **more}
    )


def image_request(**more: Any) -> Request:
    settings = {"job_id": "j", "kind": Kind.IMAGE, "model": "a/painter", "prompt": "A lighthouse", "route": "images"}
    return Request(**{**settings, **more})


def video_request(**more: Any) -> Request:
    settings = {"job_id": "j", "kind": Kind.VIDEO, "model": "a/film", "prompt": "Waves", "route": "videos"}
    return Request(**{**settings, **more})


T = TypeVar("T", Completed, Pending, Retryable, Failed)


def expect(kind: type[T], outcome: Outcome) -> T:
    """Assert the outcome's type and return it."""
    assert isinstance(outcome, kind), outcome
    return outcome


def expect_failed(failure: Failure) -> Failed:
    """The final outcome that an exception stands for."""
    assert isinstance(failure.outcome, Failed), failure.outcome
    return failure.outcome


def random_json(rng: random.Random, names: Sequence[str], depth: int = 5) -> Any:
    """Any JSON value, whose objects have some of these names."""
    kind = rng.randrange(4 if depth else 2)
    if kind == 0:
        return rng.choice(ODD_VALUES)
    if kind == 1:
        return rng.choice(names)
    if kind == 2:
        return [random_json(rng, names, depth - 1) for _ in range(rng.randrange(5))]
    return random_object(rng, names, depth)


def random_object(rng: random.Random, names: Sequence[str], depth: int = 5) -> dict[str, Any]:
    return {rng.choice(names): random_json(rng, names, depth - 1) for _ in range(rng.randrange(9))}


def new_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
