"""Sends commands to the running server from the same machine, because only the server may open the database.

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
MAX_PATH: Final = 100  # bytes; the system limit is 107
REPLY_TIMEOUT: Final = 3600.0  # seconds: a backup may take long

logger = logging.get("control")


class ControlRequest(msgspec.Struct):
    command: str
    argument: str = ""


class ControlReply(msgspec.Struct):
    """`ok`: the command succeeded; `text` is shown to the administrator."""

    ok: bool
    text: str


# A command takes one argument and returns the text to show.
Command = Callable[[str], Awaitable[str | ControlReply]]


@asynccontextmanager
async def listening(path: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Accept commands while the body runs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            reply = await _execute(commands, await reader.readline())
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
        writer.close()

    with _short_name(path) as name:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 (one name, at start and stop)
        previous = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(answer, name, limit=MAX_LINE)
        finally:
            os.umask(previous)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)  # noqa: ASYNC240


async def ask(path: Path, command: str, argument: str = "") -> ControlReply:
    """Have the running server execute a command; ConnectionError when no server listens."""
    with _short_name(path) as name:
        try:
            reader, writer = await asyncio.open_unix_connection(name, limit=MAX_LINE)
        except FileNotFoundError:
            raise ConnectionRefusedError("no server is listening") from None
    writer.write(msgspec.json.encode(ControlRequest(command, argument)) + b"\n")
    await writer.drain()
    async with asyncio.timeout(REPLY_TIMEOUT):
        line = await reader.readline()
    writer.close()
    if not line:
        raise ConnectionResetError("the server closed the connection")
    return msgspec.json.decode(line, type=ControlReply)


def reply(result: str | ControlReply) -> ControlReply:
    """A command's result as a reply; plain text means success."""
    return result if isinstance(result, ControlReply) else ControlReply(True, result)


async def _execute(commands: Mapping[str, Command], line: bytes) -> ControlReply:
    try:
        request = msgspec.json.decode(line, type=ControlRequest)
        return reply(await commands[request.command](request.argument))
    except (msgspec.DecodeError, KeyError):
        return ControlReply(False, "the server does not know this command; it may be of another version")
    except AtelierError as exc:
        return ControlReply(False, exc.message)
    except Exception as exc:
        logger.error("command failed", exc_info=exc)
        return ControlReply(False, "internal error in the server: see its log")


@contextlib.contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for the socket within the system's limit, however deep the data folder is."""
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
