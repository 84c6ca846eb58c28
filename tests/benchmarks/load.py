"""Requests as cheap as they can be made, so that the load costs less than what it measures."""

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
    """One kept connection; one request at a time."""

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

    async def stream(self, method: str, path: str, content: object, word: bytes, count: int) -> tuple[float, float]:
        """In an answer that comes in pieces: seconds until `word` has come once, and from then until so many times."""
        body = json.dumps(content).encode()
        began = time.perf_counter()
        self._writer.write(
            f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"answered {head[:200]!r}")
        come, rest, first = 0, b"", 0.0
        while come < count:
            piece = await self._reader.read(65536)
            if not piece:
                raise RuntimeError(f"it ended after {come} of {count}")
            come += (rest + piece).count(word) - rest.count(word)
            rest = piece[-len(word) + 1 :]
            first = first or (time.perf_counter() if come else 0.0)
        return first - began, time.perf_counter() - first

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(url: str, token: str | None = None, **headers: str) -> AsyncIterator[Connection]:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port)
    named: Mapping[str, str] = {
        "Host": f"{host}:{port}",
        "Content-Type": "application/json",
        **({"Authorization": f"Bearer {token}"} if token else {}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection = Connection(reader, writer, "".join(f"{name}: {value}\r\n" for name, value in named.items()))
    try:
        yield connection
    finally:
        connection.close()


async def together(
    url: str,
    requests: Iterable[Request],
    *,
    connections: int,
    expected: Callable[[Answer], bool],
    token: str | None = None,
    **headers: str,
) -> tuple[float, list[Answer]]:
    """Send all of them over so many connections; the seconds it took, and the answers. An unexpected one ends it."""
    waiting, answers = iter(requests), list[Answer]()

    async def one() -> None:
        async with connected(url, token, **headers) as connection:
            for method, path, content in waiting:
                answer = await connection.ask(method, path, content)
                if not expected(answer):
                    raise RuntimeError(f"{method} {path} was answered {answer.status}: {answer.body[:300]!r}")
                answers.append(answer)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return time.perf_counter() - began, answers


def share(seconds: list[float], of: float) -> float:
    """The duration that this share of all stayed below, in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * of))] * 1000
