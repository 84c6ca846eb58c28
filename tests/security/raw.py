"""Requests that no well-behaved client would send, byte for byte."""

import asyncio
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from typing import NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


async def exchange(url: str, sent: bytes, seconds: float = 300) -> Answer:
    """The response of a server to exactly these bytes; only a broken product needs `seconds`."""
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    try:
        async with asyncio.timeout(seconds):
            writer.write(sent)
            start, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    line, _, rest = start.partition(b"\r\n")
    return Answer(int(line.split()[1]), message_from_bytes(rest), body)


def head(method: str, path: str | bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The head of a request that ends its connection."""
    target = path if isinstance(path, bytes) else path.encode("latin-1")
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: studio.example", b"Connection: close"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in (headers or {}).items()]
    return b"\r\n".join(lines) + b"\r\n\r\n"
