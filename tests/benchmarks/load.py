"""A minimal HTTP client, so that making the load costs less CPU than what is measured."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

Request = tuple[str, str, object]  # method, path, JSON or None


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A keep-alive connection with one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    async def ask(self, method: str, path: str, content: object = None) -> Answer:
        body = b"" if content is None else json.dumps(content).encode()
        began = time.perf_counter()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        _, found, length = head.partition("\r\ncontent-length:")
        answer = await self._reader.readexactly(int(length.split("\r\n", 1)[0])) if found else b""
        return Answer(status, answer, time.perf_counter() - began)

    async def stream(self, method: str, path: str, content: object, token: bytes, count: int) -> tuple[float, float]:
        """Of a streamed answer: seconds until `token` has arrived once, and from then until it has arrived `count` times."""
        body = json.dumps(content).encode()
        began = time.perf_counter()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"answered {head[:200]!r}")
        received, tail, first = 0, b"", 0.0
        while received < count:
            chunk = await self._reader.read(65536)
            if not chunk:
                raise RuntimeError(f"the stream ended after {received} of {count}")
            received += (tail + chunk).count(token) - tail.count(token)
            tail = chunk[-len(token) + 1 :]
            first = first or (time.perf_counter() if received else 0.0)
        return first - began, time.perf_counter() - first

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(url: str, token: str | None = None, **headers: str) -> AsyncIterator[Connection]:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port)
    sent_headers: Mapping[str, str] = {
        "Host": f"{host}:{port}",
        "Content-Type": "application/json",
        **({"Authorization": f"Bearer {token}"} if token else {}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection = Connection(reader, writer, "".join(f"{name}: {value}\r\n" for name, value in sent_headers.items()))
    try:
        yield connection
    finally:
        connection.close()


async def run_requests(
    url: str,
    requests: Iterable[Request],
    *,
    connections: int,
    expected: Callable[[Answer], bool],
    token: str | None = None,
    **headers: str,
) -> tuple[float, list[Answer]]:
    """Send all of them over that many connections: the seconds it took, and the answers. Raises at an unexpected answer."""
    pending, answers = iter(requests), list[Answer]()

    async def send() -> None:
        async with connected(url, token, **headers) as connection:
            for method, path, content in pending:
                answer = await connection.ask(method, path, content)
                if not expected(answer):
                    raise RuntimeError(f"{method} {path} was answered {answer.status}: {answer.body[:300]!r}")
                answers.append(answer)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(send())
    return time.perf_counter() - began, answers


def percentile(seconds: list[float], fraction: float) -> float:
    """The duration in milliseconds that this fraction of all stayed below."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] * 1000
