"""A running simulator and a client that knows only the wire format."""

import asyncio
import base64
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from PIL import Image, ImageChops, ImageStat

from app.providers.simulator.app import build
from app.providers.simulator.runtime import SimulatorClock
from tests.trust import trust

SECONDS = 300.0  # reached only if something hangs

TEXT_MODEL = "openai/gpt-5.5"
CHAT_IMAGE_MODEL = "black-forest-labs/flux.2-pro"  # answers with an image only
CHAT_TEXT_AND_IMAGE_MODEL = "google/gemini-3-pro-image"
IMAGE_MODEL = "bytedance-seed/seedream-5"
STREAMING_IMAGE_MODEL = "openai/gpt-image-2"
EMBEDDING_MODEL = "openai/text-embedding-3-small"
SPEECH_MODEL = "openai/gpt-4o-mini-tts"
TRANSCRIPTION_MODEL = "openai/whisper-large-v3"
VIDEO_MODEL = "kwaivgi/kling-v3.0-pro"
SHORT = {"duration": 2, "resolution": "480p", "aspect_ratio": "16:9"}
STAMP = (64, 64)  # pixels of what is generated for a prompt with [stamp]

Json = dict[str, Any]


class ManualClock(SimulatorClock):
    """A clock that a test advances. `sleep` returns at once and advances it, but only `allowed` times."""

    def __init__(self) -> None:
        self.allowed = float("inf")
        self.slept: list[float] = []
        self.sleeping = 0
        self._now = time.time()

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sleeping += 1
        try:
            while self.allowed < 1:  # noqa: ASYNC110  (the test runs in another thread)
                await asyncio.sleep(0.005)
        finally:
            self.sleeping -= 1
        self.allowed -= 1
        self._now += seconds


class SimulatorClient:
    """A client of a running simulator, with `anonymous` as a second HTTP client without an API key."""

    def __init__(self, origin: str, folder: Path, key: str = "sk-test") -> None:
        self.origin = origin
        self.folder = folder
        self.http = httpx.Client(
            base_url=f"{origin}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=SECONDS,
            trust_env=False,
            verify=trust(),
        )
        self.anonymous = httpx.Client(timeout=SECONDS, trust_env=False, verify=trust())

    def close(self) -> None:
        self.http.close()
        self.anonymous.close()

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path if path.startswith("http") else self._full(path), params=query or None)

    def _full(self, path: str) -> str:
        return f"{self.origin}{path}" if path.startswith(("/api/", "/simulator/")) else f"{self.origin}/api/v1{path}"

    def chat(self, prompt: str, **more: Any) -> httpx.Response:
        return self.http.post("/chat/completions", json=conversation(prompt, **more))

    def stream(self, prompt: str, **more: Any) -> str:
        return self.chat(prompt, stream=True, **more).text

    def image(self, prompt: str, **more: Any) -> httpx.Response:
        return self.http.post("/images", json={"model": IMAGE_MODEL, "prompt": prompt, **more})

    def submit(self, prompt: str, **more: Any) -> httpx.Response:
        return self.http.post("/videos", json={"model": VIDEO_MODEL, "prompt": prompt, **SHORT, **more})

    def video(self, prompt: str, **more: Any) -> Json:
        """Submit and poll once."""
        answer = self.submit(prompt, **more)
        assert answer.status_code == 202, answer.text
        return self.poll(answer.json()["id"])

    def poll(self, id: str) -> Json:
        state: Json = self.get(f"/videos/{id}").json()
        return state

    def content(self, id: str) -> httpx.Response:
        return self.get(f"/videos/{id}/content", index=0)

    def submits(self, prompt: str | None = None) -> list[Json]:
        """The submit log, or its lines with this prompt."""
        lines: list[Json] = self.anonymous.get(f"{self.origin}/simulator/submits").json()
        return [line for line in lines if prompt is None or line["prompt"] == prompt]

    def visits(self, id: str) -> list[Json]:
        """The requests for this job that arrived at the other origin."""
        lines: list[Json] = self.anonymous.get(f"{self.origin}/simulator/redirects").json()
        return [line for line in lines if line["id"] == id]


def conversation(prompt: str, **more: Any) -> Json:
    return {"model": TEXT_MODEL, "messages": [{"role": "user", "content": prompt}], **more}


def data_url(image: Image.Image | bytes) -> str:
    data = image if isinstance(image, bytes) else png(image)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def two_halves() -> Image.Image:
    """Red on the left, blue on the right: easy to recognise."""
    image = Image.new("RGB", (320, 180), "red")
    image.paste("blue", (160, 0, 320, 180))
    return image


def open_image(data: bytes) -> Image.Image:
    """Open an image; its pixels are decoded only when needed."""
    image: Image.Image = Image.open(io.BytesIO(data))
    return image


def image_of(answer: httpx.Response) -> Image.Image:
    """The first image in a response of /images."""
    return open_image(base64.b64decode(answer.json()["data"][0]["b64_json"], validate=True))


def image_in(url: str) -> Image.Image:
    """The image in a data URL."""
    head, _, payload = url.partition(",")
    assert head == "data:image/png;base64"
    return open_image(base64.b64decode(payload, validate=True))


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference between two images, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def events(text: str) -> list[Json]:
    """The JSON of all events in a stream, without the final [DONE]."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [msgspec.json.decode(line) for line in lines if line != "[DONE]"]


def streamed_text(chunks: list[Json]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if "choices" in chunk)


def until(condition: Callable[[], object]) -> None:
    """Poll until the condition is true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@contextmanager
def serving(
    folder: Path, speed: float = 0.0, key: str | None = None, clock: SimulatorClock | None = None
) -> Iterator[SimulatorClient]:
    """A simulator in a thread of this process, on a free port, behind a real server."""
    server = uvicorn.Server(
        uvicorn.Config(
            build(folder, speed, key, clock=clock),
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # asyncio sets this only on sockets that it opened itself; without it every response waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        client = SimulatorClient(f"http://127.0.0.1:{port}", folder)
        try:
            yield client
        finally:
            client.close()
            server.should_exit = True
            thread.join(SECONDS)
    assert not thread.is_alive()
