"""The simulator sends a webhook when a video has ended: to one origin on this machine, signed if it has a secret."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from app.providers.simulator.app import build
from tests.kit import Cases
from tests.providers.simulator.kit import SECONDS, SHORT, VIDEO_MODEL, ManualClock

URL = "https://studio.example.org/webhooks/openrouter/a-token"
SECRET = "a secret of the workspace"


class Listener:
    """Records requests and responds with the given statuses in order, repeating the last one."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self._received: asyncio.Queue[tuple[str, Mapping[str, str], bytes]] = asyncio.Queue()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields if field)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()
        self._received.put_nowait((line, headers, body))

    async def next(self) -> tuple[str, Mapping[str, str], bytes]:
        async with asyncio.timeout(SECONDS):
            return await self._received.get()


@asynccontextmanager
async def calling(
    folder: Path, listener: Listener, secret: str | None = None, clock: ManualClock | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A simulator that sends webhooks to this listener."""
    async with await asyncio.start_server(listener, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        app = build(folder, 0, webhook_to=f"http://{host}:{port}", webhook_secret=secret, clock=clock)
        async with (
            app.lifespan(),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),  # type: ignore[arg-type]
                base_url="http://simulator/api/v1",
                headers={"Authorization": "Bearer any"},
            ) as http,
        ):
            yield http


async def submit(http: httpx.AsyncClient, prompt: str = "a boat", url: str | None = URL) -> str:
    body = {"model": VIDEO_MODEL, "prompt": prompt, **SHORT, **({"callback_url": url} if url else {})}
    answer = await http.post("/videos", json=body)
    assert answer.status_code == 202, answer.text
    id: str = answer.json()["id"]
    return id


async def calls(http: httpx.AsyncClient, number: int) -> list[dict[str, object]]:
    """The simulator's log of webhooks, once it has this many entries."""
    async with asyncio.timeout(SECONDS):
        while len(found := (await http.get("http://simulator/simulator/webhooks")).json()) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return list(found)


async def test_the_path_of_the_callback_url_is_called_when_the_video_has_ended(tmp_path: Path) -> None:
    listener = Listener(204)
    async with calling(tmp_path, listener) as http:
        with Cases() as cases:
            for prompt, status in {
                "a boat": "completed",
                "[fail] a boat": "failed",
                "[expire] a boat": "expired",
            }.items():
                id = await submit(http, prompt)
                line, headers, body = await listener.next()
                with cases.case(prompt):
                    assert line == "POST /webhooks/openrouter/a-token HTTP/1.1"
                    assert headers["content-type"] == "application/json"
                    assert headers["x-openrouter-idempotency-key"] == f"{id}-{status}"
                    assert "x-openrouter-signature" not in headers, "there is no secret"
                    event = json.loads(body)
                    assert event["type"] == f"video.generation.{status}"
                    assert (event["data"]["id"], event["data"]["status"]) == (id, status)


async def test_a_call_is_signed_when_there_is_a_secret(tmp_path: Path) -> None:
    listener = Listener(204)
    async with calling(tmp_path, listener, SECRET) as http:
        await submit(http)
        _, headers, body = await listener.next()
    timestamp, mac = (part.partition("=")[2] for part in headers["x-openrouter-signature"].split(","))
    assert abs(time.time() - int(timestamp)) < SECONDS
    assert mac == hmac.new(SECRET.encode(), f"{timestamp},".encode() + body, hashlib.sha256).hexdigest()


async def test_calls_are_repeated_with_pauses_until_one_succeeds(tmp_path: Path) -> None:
    listener, clock = Listener(503, 401, 204), ManualClock()
    async with calling(tmp_path, listener, clock=clock) as http:
        id = await submit(http)
        keys = [(await listener.next())[1]["x-openrouter-idempotency-key"] for _ in range(3)]
        assert keys == [f"{id}-completed"] * 3
        assert [call["status"] for call in await calls(http, 3)] == [503, 401, 204]
    assert clock.slept[-3:] == [0.0, 0.5, 2.0]


async def test_jobs_without_a_callback_url_and_endless_jobs_are_not_reported(tmp_path: Path) -> None:
    listener, clock = Listener(204), ManualClock()
    async with calling(tmp_path, listener, clock=clock) as http:
        await submit(http, url=None)
        await submit(http, "[stuck] a boat")
        ids = []
        for _ in range(2):
            clock.advance(86400)
            ids.append(await submit(http))
            _, headers, _ = await listener.next()
            assert headers["x-openrouter-idempotency-key"] == f"{ids[-1]}-completed"
        assert [call["id"] for call in await calls(http, 2)] == ids


async def test_a_callback_url_without_https_is_refused(tmp_path: Path) -> None:
    async with calling(tmp_path, Listener(204)) as http:
        body = {"model": VIDEO_MODEL, "prompt": "a boat", **SHORT, "callback_url": "http://studio.example.org/hook"}
        assert (await http.post("/videos", json=body)).status_code == 400
