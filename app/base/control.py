"""A way into the running server for commands on the same machine, because nothing but the server may open the database.

One line of JSON each way over a Unix socket in the data folder, which only the owner may open.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from app.base import logging
from app.base.errors import AtelierError

MAX_LINE: Final = 64 * 1024
MAX_PATH: Final = 100  # bytes; the system takes 107
PATIENCE: Final = 3600.0  # seconds: a backup may take long

logger = logging.get("control")


class ControlRequest(msgspec.Struct):
    command: str
    argument: str = ""


class ControlReply(msgspec.Struct):
    """`ok` tells whether it worked, `text` is for the person."""

    ok: bool
    text: str


# A command takes one word and answers with what the person is told.
Command = Callable[[str], Awaitable[str | ControlReply]]


@asynccontextmanager
async def listening(path: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Take commands while the body runs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            reply = await _carried_out(commands, await reader.readline())
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
        writer.close()

    with _short(path) as name:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 (one name, at start and stop)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(answer, name, limit=MAX_LINE)
        finally:
            os.umask(before)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)  # noqa: ASYNC240


async def ask(path: Path, command: str, word: str = "") -> ControlReply:
    """Have the running server carry out a command; ConnectionError when none listens."""
    with _short(path) as name:
        try:
            reader, writer = await asyncio.open_unix_connection(name, limit=MAX_LINE)
        except FileNotFoundError:
            raise ConnectionRefusedError("no server listens there") from None
    writer.write(msgspec.json.encode(ControlRequest(command, word)) + b"\n")
    await writer.drain()
    async with asyncio.timeout(PATIENCE):
        line = await reader.readline()
    writer.close()
    if not line:
        raise ConnectionResetError("the server went away")
    return msgspec.json.decode(line, type=ControlReply)


def reply(said: str | ControlReply) -> ControlReply:
    """What a command has said, as it goes over the wire; a mere text means that it worked."""
    return said if isinstance(said, ControlReply) else ControlReply(True, said)


async def _carried_out(commands: Mapping[str, Command], line: bytes) -> ControlReply:
    try:
        call = msgspec.json.decode(line, type=ControlRequest)
        return reply(await commands[call.command](call.argument))
    except (msgspec.DecodeError, KeyError):
        return ControlReply(False, "the server does not know this command: is it of another version?")
    except AtelierError as exc:
        return ControlReply(False, exc.message)
    except Exception as exc:
        logger.error("bug", exc_info=exc)
        return ControlReply(False, "something broke in the server: see its log")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that the system takes, however deep the data folder lies."""
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
