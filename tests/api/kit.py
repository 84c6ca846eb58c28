"""What the tests of the contract share: models to ask for, files to send, and how a right answer looks."""

import asyncio
import io
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import av
import httpx
from PIL import Image

from tests.studio import Studio

# Models of the simulator's catalogue, by what they are good for in a test.
TEXT = "mistralai/mistral-small-4"
PICTURE = "recraft/recraft-v4"  # from words only
COUNTED = "bytedance-seed/seedream-5"  # takes n, seed and a picture
SIZED = "openai/gpt-image-2"  # takes size
CLIP = "alibaba/wan-2.6"  # from words only, one second is allowed
FRAMED = "kwaivgi/kling-v3.0-pro"  # from words or from a first frame, two seconds at least
SHORT = {"resolution": "360p", "aspect_ratio": "1:1", "duration": 1}
SHORT_FRAMED = {"resolution": "480p", "aspect_ratio": "1:1", "duration": 2}

INVENTED = "01a1fb00000070000000000000000000"
STATES = {"queued", "processing", "completed", "failed", "cancelled"}
FINAL = {"completed", "failed", "cancelled"}

# `retry_of` is not in the contract's list; it is how a retry is "linked" to what it repeats.
JOB_FIELDS = {
    "id",
    "kind",
    "generation_type",
    "provider",
    "model",
    "prompt",
    "params",
    "status",
    "progress",
    "attempts",
    "cancel_requested",
    "error",
    "text",
    "polling_url",
    "assets",
    "cost_usd",
    "created_at",
    "started_at",
    "completed_at",
    "retry_of",
}
ASSET_FIELDS = {"id", "kind", "url", "thumbnail_url", "mime", "bytes", "width", "height", "duration"}
USER_FIELDS = {"id", "email", "name", "role", "is_active", "created_at", "last_login_at"}

Json = dict[str, Any]
T = TypeVar("T")

_numbers = itertools.count(1)


def email(name: str = "person") -> str:
    """An address that nobody has registered yet."""
    return f"{name}{next(_numbers)}@studio.example"


def problem(answer: httpx.Response, status: int, code: str | None = None) -> Json:
    """The error inside the envelope, after checking that it is one and nothing but one."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text[:500]}"
    assert answer.headers["content-type"].startswith("application/json"), answer.headers["content-type"]
    body = answer.json()
    assert set(body) == {"error"}
    error: Json = body["error"]
    assert set(error) == {"code", "message", "details"}
    assert isinstance(error["details"], dict)
    assert isinstance(error["message"], str)
    assert error["message"].strip()
    assert "Traceback" not in answer.text
    assert 'File "' not in error["message"]
    if code is not None:
        assert error["code"] == code, error
    return error


def invalid(answer: httpx.Response, *fields: str) -> Json:
    """A 400 that names each of `fields` with a sentence."""
    error = problem(answer, 400, "VALIDATION_ERROR")
    named = error["details"].get("fields", {})
    for field in fields:
        assert named.get(field, "").strip(), f"{field} is not named: {error}"
    return error


def is_time(text: object) -> bool:
    """ISO 8601 in UTC, ending in Z."""
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text):
        return False
    return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo == UTC


def is_money(value: object) -> bool:
    """A decimal string that anybody can read (no exponent), or null when unknown."""
    if value is None:
        return True
    return isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value) is not None and Decimal(value) >= 0


def check_job(job: Json) -> None:
    """Every field that the contract names, each of its kind."""
    assert set(job) == JOB_FIELDS
    assert isinstance(job["id"], str)
    assert job["kind"] in ("image", "video", "text")
    assert isinstance(job["generation_type"], str)
    assert job["provider"] == "openrouter"
    assert isinstance(job["params"], dict)
    assert job["status"] in STATES
    assert job["progress"] is None or 0 <= job["progress"] <= 100
    assert isinstance(job["attempts"], int)
    assert isinstance(job["cancel_requested"], bool)
    assert is_money(job["cost_usd"]), job["cost_usd"]
    assert is_time(job["created_at"]), job["created_at"]
    for moment in ("started_at", "completed_at"):
        assert job[moment] is None or is_time(job[moment]), job[moment]
    assert (job["completed_at"] is not None) == (job["status"] in FINAL)
    assert (job["error"] is not None) == (job["status"] == "failed")
    if job["error"]:
        assert set(job["error"]) == {"code", "message"}
        assert job["error"]["message"].strip()
    polling = f"/api/v1/generate/video/{job['id']}/status" if job["kind"] == "video" else None
    assert job["polling_url"] == polling
    for asset in job["assets"]:
        check_asset(asset)


def check_asset(asset: Json) -> None:
    assert set(asset) == ASSET_FIELDS
    assert asset["kind"] in ("image", "video")
    assert asset["url"].startswith("/media/")
    assert asset["thumbnail_url"] is None or asset["thumbnail_url"].startswith("/media/")
    assert asset["mime"] in ("image/png", "image/jpeg", "image/webp", "video/mp4", "video/webm")
    assert asset["bytes"] > 0
    assert asset["width"] > 0
    assert asset["height"] > 0
    assert (asset["duration"] is None) == (asset["kind"] == "image")


def check_list(body: Json) -> list[Json]:
    assert set(body) == {"items", "total", "next"}
    assert isinstance(body["total"], int)
    assert body["next"] is None or isinstance(body["next"], str)
    items: list[Json] = body["items"]
    return items


def submits(studio: Studio) -> list[Json]:
    """What reached the built-in provider: the log that promises about money are judged by."""
    log = studio.program.settings.data_dir / "simulator" / "submits.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


async def person(atelier: Studio, name: str = "person") -> httpx.AsyncClient:
    """Somebody new, signed in by token."""
    client = await atelier.person(email(name))
    # The server closes what is idle for five seconds; who is shared by many tests must not use such a connection.
    token = client.headers["Authorization"].removeprefix("Bearer ")
    return atelier.client(token, limits=httpx.Limits(keepalive_expiry=1))


async def pictured(client: httpx.AsyncClient, prompt: str = "a lighthouse", **params: Any) -> Json:
    """A finished picture."""
    answer = await client.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": prompt, **params})
    assert answer.status_code == 200, answer.text
    job: Json = answer.json()
    return job


async def asked_clip(client: httpx.AsyncClient, prompt: str = "a lighthouse", **params: Any) -> Json:
    """A clip that was asked for a moment ago."""
    body = {"model": CLIP, "prompt": prompt, **SHORT, **params}
    answer = await client.post("/api/v1/generate/video", json=body)
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def uploaded(client: httpx.AsyncClient, data: bytes | None = None, name: str = "picture.png") -> Json:
    """An uploaded picture."""
    answer = await client.post("/api/v1/assets", files={"file": (name, data or png())})
    assert answer.status_code == 201, answer.text
    asset: Json = answer.json()
    return asset


async def eventually(read: Callable[[], Awaitable[T]], right: Callable[[T], bool], seconds: float = 15) -> T:
    """What `read` answers once it is right."""
    async with asyncio.timeout(seconds):
        while True:
            if right(value := await read()):
                return value
            await asyncio.sleep(0.03)


async def read_job(client: httpx.AsyncClient, job_id: str) -> Json:
    answer = await client.get(f"/api/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    job: Json = answer.json()
    return job


def png(width: int = 64, height: int = 48, colour: str = "teal") -> bytes:
    return picture("PNG", width, height, colour)


def picture(form: str, width: int = 64, height: int = 48, colour: str = "teal", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, form, **options)
    return file.getvalue()


def photograph() -> bytes:
    """A JPEG that tells where it was taken: EXIF with a position, a camera, and a rotation."""
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera Works"
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.6)
    return picture("JPEG", 80, 40, exif=exif, comment=b"made at home")


def clip(path: Path, width: int = 64, height: int = 48, frames: int = 10, rate: int = 10) -> bytes:
    """A real MP4."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            shade = Image.new("RGB", (width, height), (number * 20 % 256, 80, 120))
            container.mux(stream.encode(av.VideoFrame.from_image(shade)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    return path.read_bytes()


def seen(data: bytes) -> Image.Image:
    """The picture that these bytes are, decoded whole."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def watched(data: bytes) -> tuple[str, int, int, float, list[Image.Image]]:
    """Codec, width, height, seconds and frames of the clip that these bytes are."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert container.duration is not None
        seconds = container.duration / av.time_base
        pictures = [frame.to_image() for frame in container.decode(stream)]  # type: ignore[no-untyped-call]
        return stream.codec_context.name, stream.width, stream.height, seconds, pictures
