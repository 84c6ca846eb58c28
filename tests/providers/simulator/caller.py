"""What the tests say to a simulator: the requests of a client that knows the wire format and nothing else."""

import asyncio
import base64
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from PIL import Image

from app.providers.simulator.app import build
from tests.trust import trust

WRITER = "openai/gpt-5.5"
CHAT_PAINTER = "black-forest-labs/flux.2-pro"
TALKING_PAINTER = "google/gemini-3-pro-image"
PAINTER = "bytedance-seed/seedream-5"
STREAMING_PAINTER = "openai/gpt-image-2"
FILMMAKER = "kwaivgi/kling-v3.0-pro"
SHORT = {"duration": 2, "resolution": "480p", "aspect_ratio": "16:9"}

Json = dict[str, Any]


class Caller:
    """A client of one running simulator, and beside it a stranger without a key."""

    def __init__(self, origin: str, folder: Path, key: str = "sk-test") -> None:
        self.origin = origin
        self.folder = folder
        self.http = httpx.Client(
            base_url=f"{origin}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=20,
            trust_env=False,
            verify=trust(),
        )
        self.stranger = httpx.Client(timeout=20, trust_env=False, verify=trust())

    def close(self) -> None:
        self.http.close()
        self.stranger.close()

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path if path.startswith("http") else self._full(path), params=query or None)

    def _full(self, path: str) -> str:
        return f"{self.origin}{path}" if path.startswith(("/api/", "/simulator/")) else f"{self.origin}/api/v1{path}"

    def chat(self, prompt: str, **more: Any) -> httpx.Response:
        return self.http.post("/chat/completions", json=conversation(prompt, **more))

    def stream(self, prompt: str, **more: Any) -> str:
        return self.chat(prompt, stream=True, **more).text

    def image(self, prompt: str, **more: Any) -> httpx.Response:
        return self.http.post("/images", json={"model": PAINTER, "prompt": prompt, **more})

    def submit(self, prompt: str, **more: Any) -> httpx.Response:
        return self.http.post("/videos", json={"model": FILMMAKER, "prompt": prompt, **SHORT, **more})

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
        lines: list[Json] = self.stranger.get(f"{self.origin}/simulator/submits").json()
        return [line for line in lines if prompt is None or line["prompt"] == prompt]

    def visits(self, id: str) -> list[Json]:
        """What arrived at the other origin about this job."""
        lines: list[Json] = self.stranger.get(f"{self.origin}/simulator/redirects").json()
        return [line for line in lines if line["id"] == id]


def conversation(prompt: str, **more: Any) -> Json:
    return {"model": WRITER, "messages": [{"role": "user", "content": prompt}], **more}


def data_url(picture: Image.Image | bytes) -> str:
    data = picture if isinstance(picture, bytes) else png(picture)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def two_halves() -> Image.Image:
    """Red on the left, blue on the right: easily known again."""
    picture = Image.new("RGB", (320, 180), "red")
    picture.paste("blue", (160, 0, 320, 180))
    return picture


def opened(data: bytes) -> Image.Image:
    picture: Image.Image = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def picture_of(answer: httpx.Response) -> Image.Image:
    """The first picture in an answer of /images."""
    return opened(base64.b64decode(answer.json()["data"][0]["b64_json"], validate=True))


def picture_in(url: str) -> Image.Image:
    """The picture in a data URL."""
    head, _, payload = url.partition(",")
    assert head == "data:image/png;base64"
    return opened(base64.b64decode(payload, validate=True))


def events(text: str) -> list[Json]:
    """The JSON of every event in a stream, without its end mark."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [msgspec.json.decode(line) for line in lines if line != "[DONE]"]


def said(chunks: list[Json]) -> str:
    """The words of a streamed answer."""
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if "choices" in chunk)


@contextmanager
def serving(folder: Path, speed: float = 0.0, key: str | None = None) -> Iterator[Caller]:
    """A simulator inside this process, on a free port, behind a real server."""
    server = uvicorn.Server(
        uvicorn.Config(
            build(folder, speed, key),
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Without it every answer waits 40 ms for an ACK: asyncio sets it only on sockets that it opened itself.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listening.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        caller = Caller(f"http://127.0.0.1:{port}", folder)
        try:
            yield caller
        finally:
            caller.close()
            server.should_exit = True
            thread.join(15)
    assert not thread.is_alive()
