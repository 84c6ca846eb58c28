"""Helpers for tests of the API: models of the simulator, requests, files to upload, and checks of answers."""

import asyncio
import io
import itertools
import json
import re
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import av
import httpx
import pytest
from PIL import Image

from tests.studio import Studio

# Models of the simulator's catalogue, named by what a test needs them for.
TEXT_MODEL = "mistralai/mistral-small-4"
IMAGE_MODEL = "recraft/recraft-v4"  # text to image only
MULTI_IMAGE_MODEL = "bytedance-seed/seedream-5"  # accepts n, seed and an input image
SIZED_IMAGE_MODEL = "openai/gpt-image-2"  # accepts size
VIDEO_MODEL = "alibaba/wan-2.6"  # text to video only, one second is allowed
IMAGE_TO_VIDEO_MODEL = "kwaivgi/kling-v3.0-pro"  # text to video or from a first frame, two seconds at least
SHORT_VIDEO = {"resolution": "360p", "aspect_ratio": "1:1", "duration": 1}
SHORT_IMAGE_TO_VIDEO = {"resolution": "480p", "aspect_ratio": "1:1", "duration": 2}

UNKNOWN_ID = "01a1fb00000070000000000000000000"
JOB_STATES = {"queued", "processing", "completed", "failed", "cancelled"}
FINAL_STATES = {"completed", "failed", "cancelled"}

# `retry_of` is not in the contract's list; it links a retry to the job that it repeats.
JOB_FIELDS = {
    "inputs",
    "parent_asset_id",
    "id",
    "kind",
    "generation_type",
    "provider",
    "model",
    "prompt",
    "enhanced_prompt",
    "params",
    "status",
    "progress",
    "attempts",
    "cancel_requested",
    "paused",
    "error",
    "warnings",
    "estimated_start",
    "estimated_seconds",
    "text",
    "polling_url",
    "assets",
    "cost_usd",
    "created_at",
    "started_at",
    "completed_at",
    "retry_of",
    "batch_id",
}
ASSET_FIELDS = {"id", "parent_asset_id", "kind", "url", "thumbnail_url", "mime", "bytes", "width", "height", "duration"}
USER_FIELDS = {"id", "email", "name", "role", "is_active", "created_at", "last_login_at"}

Json = dict[str, Any]
T = TypeVar("T")

_numbers = itertools.count(1)


def new_email(name: str = "user") -> str:
    """An address that is not registered yet."""
    return f"{name}{next(_numbers)}@studio.example"


class Cases:
    """Many cheap cases in one test. Every failed case is collected, and the test fails once, naming all of them:

    with Cases() as cases:
        for value in VALUES:
            with cases.case(value):
                assert …
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._count = 0

    @contextmanager
    def case(self, *what: object) -> Iterator[None]:
        self._count += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as exc:  # the second is what `pytest.raises` fails with
            place = traceback.extract_tb(exc.__traceback__)[-1]
            name = " ".join(str(part)[:80] for part in what)
            self.failures.append(
                f"{name}: {Path(place.filename).name}:{place.lineno} {place.line}\n{type(exc).__name__}: {exc}"
            )

    def __enter__(self) -> "Cases":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert self._count, "no case was run"
            assert not self.failures, f"{len(self.failures)} of {self._count} cases:\n" + "\n".join(self.failures)


def error_of(answer: httpx.Response, status: int, code: str | None = None) -> Json:
    """The error inside the envelope, after checking the status and that the body is an error envelope and nothing else."""
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


def validation_error(answer: httpx.Response, *fields: str) -> Json:
    """A 400 that names each of `fields` with a sentence."""
    error = error_of(answer, 400, "VALIDATION_ERROR")
    named = error["details"].get("fields", {})
    for field in fields:
        assert named.get(field, "").strip(), f"{field} is not named: {error}"
    return error


def is_timestamp(text: object) -> bool:
    """ISO 8601 in UTC, ending in Z."""
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text):
        return False
    return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo == UTC


def is_money(value: object) -> bool:
    """A decimal string without an exponent, or null when unknown."""
    if value is None:
        return True
    return isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value) is not None and Decimal(value) >= 0


def check_job(job: Json) -> None:
    """Every field that the contract names, each of its type."""
    assert set(job) == JOB_FIELDS
    assert isinstance(job["id"], str)
    assert job["kind"] in ("image", "video", "text")
    assert isinstance(job["generation_type"], str)
    assert job["provider"] == "openrouter"
    assert isinstance(job["params"], dict)
    assert job["status"] in JOB_STATES
    assert job["progress"] is None or 0 <= job["progress"] <= 100
    assert isinstance(job["attempts"], int)
    assert isinstance(job["cancel_requested"], bool)
    assert is_money(job["cost_usd"]), job["cost_usd"]
    assert is_timestamp(job["created_at"]), job["created_at"]
    for field in ("started_at", "completed_at"):
        assert job[field] is None or is_timestamp(job[field]), job[field]
    assert (job["completed_at"] is not None) == (job["status"] in FINAL_STATES)
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


def submit_log(studio: Studio) -> list[Json]:
    """The requests that reached the built-in provider: promises about charges are judged by this log."""
    log = studio.program.settings.data_dir / "simulator" / "submits.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


async def new_user(atelier: Studio, name: str = "user") -> httpx.AsyncClient:
    """An API client of a new user."""
    return await atelier.user(new_email(name))


async def key_client(atelier: Studio, name: str) -> httpx.AsyncClient:
    """An API client of a new user for use in any number of tests: it has an API key, which does not expire as an access
    token does after 15 minutes, and calls the application in process."""
    client = await atelier.user(new_email(name), direct=True)
    key = await client.post("/api/v1/users/me/keys", json={"name": "tests"})
    return atelier.direct(key.json()["key"])


async def generated_image(client: httpx.AsyncClient, prompt: str = "[stamp] a lighthouse", **params: Any) -> Json:
    """A completed image job. `[stamp]` in a prompt makes a tiny image, which takes a fifth of the processor time."""
    body = {"model": IMAGE_MODEL, "prompt": prompt, **params}
    answer = await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "wait=120"})
    assert answer.status_code == 200, answer.text
    job: Json = answer.json()
    return job


async def requested_video(client: httpx.AsyncClient, prompt: str = "[stamp] a lighthouse", **params: Any) -> Json:
    """A video job that was accepted just now."""
    body = {"model": VIDEO_MODEL, "prompt": prompt, **SHORT_VIDEO, **params}
    answer = await client.post("/api/v1/generate/video", json=body)
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    return job


async def uploaded_asset(client: httpx.AsyncClient, data: bytes | None = None, name: str = "image.png") -> Json:
    """An uploaded file; a small PNG unless `data` is given."""
    answer = await client.post("/api/v1/assets", files={"file": (name, data or png())})
    assert answer.status_code == 201, answer.text
    asset: Json = answer.json()
    return asset


async def eventually(read: Callable[[], Awaitable[T]], right: Callable[[T], bool], seconds: float = 300) -> T:
    """Call `read` until `right` accepts its result, and return that; only a broken product needs `seconds`."""
    value: object = "nothing"
    try:
        async with asyncio.timeout(seconds):
            while True:
                if right(value := await read()):
                    return value
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"after {seconds} seconds it is still {str(value)[:2000]}") from None


async def read_job(client: httpx.AsyncClient, job_id: str) -> Json:
    answer = await client.get(f"/api/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    job: Json = answer.json()
    return job


async def ended_job(client: httpx.AsyncClient, job_id: str) -> Json:
    """Wait until the job has ended and return it."""
    return await eventually(lambda: read_job(client, job_id), lambda job: job["status"] in FINAL_STATES)


def logged(lines: Sequence[MutableMapping[str, Any]], part: str) -> list[MutableMapping[str, Any]]:
    """The captured log lines of one part of the program: others of the same worker write theirs at any time."""
    return [line for line in lines if line.get("part") == part]


def png(width: int = 64, height: int = 48, color: str = "teal") -> bytes:
    return image_bytes("PNG", width, height, color)


def image_bytes(format: str, width: int = 64, height: int = 48, color: str = "teal", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, format, **options)
    return file.getvalue()


def photo_with_exif() -> bytes:
    """A JPEG with EXIF data: a position, a camera and a rotation."""
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera Works"
    exif[0x0112] = 6  # to be shown rotated by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.6)
    return image_bytes("JPEG", 80, 40, exif=exif, comment=b"made at home")


def encoded_mp4(path: Path, width: int = 64, height: int = 48, frames: int = 10, rate: int = 10) -> bytes:
    """A real MP4 video."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            frame = Image.new("RGB", (width, height), (number * 20 % 256, 80, 120))
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    return path.read_bytes()


def decoded_image(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def decoded_video(data: bytes) -> tuple[str, int, int, float, list[Image.Image]]:
    """Codec, width, height, seconds and frames."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert container.duration is not None
        seconds = container.duration / av.time_base
        frames = [frame.to_image() for frame in container.decode(stream)]  # type: ignore[no-untyped-call]
        return stream.codec_context.name, stream.width, stream.height, seconds, frames
