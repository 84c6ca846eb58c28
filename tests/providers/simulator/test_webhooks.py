"""The simulator says that a clip has ended: to one origin on this machine, signed when it has a secret."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.providers.simulator.app import build
from tests.api.processes import environment, started
from tests.providers.simulator.caller import FILMMAKER, SHORT

ADDRESS = "https://studio.example.org/webhooks/openrouter/a-token"
SECRET = "a secret of the workspace"


class Listener:
    """What arrives, and what is answered: one status after the other, the last for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.heard: asyncio.Queue[tuple[str, Mapping[str, str], bytes]] = asyncio.Queue()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields if field)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()
        self.heard.put_nowait((line, headers, body))

    async def next(self) -> tuple[str, Mapping[str, str], bytes]:
        async with asyncio.timeout(20):
            return await self.heard.get()


@asynccontextmanager
async def calling(folder: Path, listener: Listener, secret: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A simulator that calls that listener."""
    async with await asyncio.start_server(listener, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        app = build(folder, 0, webhook_to=f"http://{host}:{port}", webhook_secret=secret)
        async with (
            app.lifespan(),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),  # type: ignore[arg-type]
                base_url="http://simulator/api/v1",
                headers={"Authorization": "Bearer any"},
            ) as http,
        ):
            yield http


async def _submit(http: httpx.AsyncClient, prompt: str = "a boat", address: str | None = ADDRESS) -> str:
    body = {"model": FILMMAKER, "prompt": prompt, **SHORT, **({"callback_url": address} if address else {})}
    answer = await http.post("/videos", json=body)
    assert answer.status_code == 202, answer.text
    id: str = answer.json()["id"]
    return id


@pytest.mark.parametrize(
    ("prompt", "status"), [("a boat", "completed"), ("[fail] a boat", "failed"), ("[expire] a boat", "expired")]
)
async def test_it_calls_the_path_that_was_left_when_the_clip_has_ended(
    tmp_path: Path, prompt: str, status: str
) -> None:
    listener = Listener(204)
    async with calling(tmp_path, listener) as http:
        id = await _submit(http, prompt)
        line, headers, body = await listener.next()
    assert line == "POST /webhooks/openrouter/a-token HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert headers["x-openrouter-idempotency-key"] == f"{id}-{status}"
    assert "x-openrouter-signature" not in headers, "there is no secret"
    told = json.loads(body)
    assert told["type"] == f"video.generation.{status}"
    assert (told["data"]["id"], told["data"]["status"]) == (id, status)


async def test_it_signs_when_there_is_a_secret(tmp_path: Path) -> None:
    listener = Listener(204)
    async with calling(tmp_path, listener, SECRET) as http:
        await _submit(http)
        _, headers, body = await listener.next()
    moment, mac = (part.partition("=")[2] for part in headers["x-openrouter-signature"].split(","))
    assert abs(time.time() - int(moment)) < 30
    assert mac == hmac.new(SECRET.encode(), f"{moment},".encode() + body, hashlib.sha256).hexdigest()


async def test_it_calls_again_until_somebody_says_yes(tmp_path: Path) -> None:
    listener = Listener(503, 401, 204)
    async with calling(tmp_path, listener) as http:
        id = await _submit(http)
        keys = [(await listener.next())[1]["x-openrouter-idempotency-key"] for _ in range(3)]
        assert keys == [f"{id}-completed"] * 3
        async with asyncio.timeout(5):
            while len(tries := (await http.get("http://simulator/simulator/webhooks")).json()) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert [one["status"] for one in tries] == [503, 401, 204]


async def test_it_calls_nobody_who_left_no_address_or_whose_clip_never_ends(tmp_path: Path) -> None:
    listener = Listener(204)
    async with calling(tmp_path, listener) as http:
        await _submit(http, address=None)
        await _submit(http, "[stuck] a boat")
        id = await _submit(http)
        _, headers, _ = await listener.next()
        assert headers["x-openrouter-idempotency-key"].startswith(id)
        await asyncio.sleep(0.3)
        assert listener.heard.empty()


async def test_an_address_without_https_is_refused(tmp_path: Path) -> None:
    async with calling(tmp_path, Listener(204)) as http:
        body = {"model": FILMMAKER, "prompt": "a boat", **SHORT, "callback_url": "http://studio.example.org/hook"}
        assert (await http.post("/videos", json=body)).status_code == 400


async def test_it_never_calls_another_machine(tmp_path: Path) -> None:
    arguments = ["--port", "0", "--data", str(tmp_path), "--webhook-to", "https://studio.example.org"]
    async with started("app.providers.simulator", *arguments, env=environment(tmp_path, {})) as simulator:
        assert await simulator.ended() == 2
    assert any("on this machine" in line for line in simulator.err)
