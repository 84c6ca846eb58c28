"""The base URLs of the two services, and how their errors look."""

import io
from typing import Any

import httpx
from PIL import Image

from tests.providers.simulator.kit import SimulatorClient

OPENAI = "/openai/v1"
COMPATIBLE = "/compatible/v1"
TEXT_MODEL = "gpt-5.5"
IMAGE_MODEL = "gpt-image-2"

Files = list[tuple[str, tuple[str, bytes, str]]]


def post(sim: SimulatorClient, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return sim.http.post(f"{sim.origin}{path}", json=body, **more)


def chat(sim: SimulatorClient, prompt: str, **more: Any) -> httpx.Response:
    body = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": prompt}], **more}
    return post(sim, f"{OPENAI}/chat/completions", body)


def image(sim: SimulatorClient, prompt: str, base: str = OPENAI, **more: Any) -> httpx.Response:
    return post(sim, f"{base}/images/generations", {"model": IMAGE_MODEL, "prompt": prompt, **more})


def edit(sim: SimulatorClient, prompt: str, files: Files, **fields: Any) -> httpx.Response:
    data = {"model": IMAGE_MODEL, "prompt": prompt, **fields}
    return sim.http.post(f"{sim.origin}{OPENAI}/images/edits", data=data, files=files)


def error_of(answer: httpx.Response, status: int, type: str, code: str | None) -> dict[str, Any]:
    """The error, after checking that it has OpenAI's envelope."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (type, code)
    assert error["message"]
    return error


def png(size: tuple[int, int], colour: Any, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()
