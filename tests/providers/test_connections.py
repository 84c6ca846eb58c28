"""One connection at a time: what an answer may look like on the wire, and when a connection is good for another request."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.providers.client import Ambiguous, Client, Home
from app.providers.connections import LONGEST_HEAD, MUCH, connect, head

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"a":1}'
WHOLE = OK + b"Content-Length: 7\r\n\r\n" + BODY


class Server:
    """Says what it was told to say, request after request over one connection, cut into pieces of some bytes."""

    def __init__(self, answers: Sequence[bytes], *, cut: int, hang_up: bool) -> None:
        self.answers = list(answers)
        self.cut = cut
        self.hang_up = hang_up
        self.connections = 0
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                for start in range(0, len(answer), self.cut):
                    writer.write(answer[start : start + self.cut])
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.hang_up:
                    break
            if not self.hang_up:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def saying(
    *answers: bytes, cut: int = 1 << 20, hang_up: bool = False
) -> AsyncIterator[tuple[Client, Home, Server]]:
    served = Server(answers, cut=cut, hang_up=hang_up)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    home = Home(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    client = Client([home.base_url])
    try:
        yield client, home, served
    finally:
        await client.aclose()
        server.close()
        await server.wait_closed()


async def ask(client: Client, home: Home) -> object:
    answer = await client.request_json("GET", f"{home.base_url}/x", home=home, idle=5, total=10)
    assert answer.status == 200
    return answer.body


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + BODY[:3] + b"\r\n4;note=1\r\n" + BODY[3:] + b"\r\n0\r\n"


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        CHUNKED + b"\r\n",
        CHUNKED + b"X-Checksum: 12\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + WHOLE,
        b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"\r\n",
    ],
    ids=["with its length", "in chunks", "with fields after the body", "after hints", "after a nod"],
)
async def test_an_answer_is_read_however_it_is_framed_and_cut(answer: bytes, cut: int) -> None:
    async with saying(answer, answer, cut=cut) as (client, home, server):
        assert await ask(client, home) == {"a": 1}
        assert await ask(client, home) == {"a": 1}
        assert server.connections == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_may_end_with_its_connection(version: bytes) -> None:
    async with saying(b"HTTP/%b 200 OK\r\n\r\n" % version + BODY, hang_up=True) as (client, home, _):
        assert await ask(client, home) == {"a": 1}


async def test_fields_after_a_body_are_no_headers_and_those_that_come_twice_are_both_kept() -> None:
    answer = OK + b"Via: a\r\nVIA: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    async with saying(answer) as (client, home, _):
        told = await client.request_json("GET", f"{home.base_url}/x", home=home)
        assert told.headers == {"via": "a, b", "transfer-encoding": "chunked"}


@pytest.mark.parametrize(
    "first",
    [
        WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse",
        WHOLE + b"more",
        OK + b"Connection: close\r\nContent-Length: 7\r\n\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n" + BODY,
    ],
    ids=["a second answer", "something more", "a farewell", "an old version"],
)
async def test_a_connection_that_said_more_or_farewell_is_not_asked_again(first: bytes) -> None:
    async with saying(first, WHOLE) as (client, home, server):
        assert await ask(client, home) == {"a": 1}
        assert await ask(client, home) == {"a": 1}
        assert server.connections == 2


async def test_a_connection_whose_other_side_has_left_meanwhile_is_not_asked_again() -> None:
    async with saying(WHOLE, hang_up=True) as (client, home, server):
        assert await ask(client, home) == {"a": 1}
        server.answers.append(WHOLE)
        await asyncio.sleep(0.1)
        assert await ask(client, home) == {"a": 1}
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"X-Long: " + b"x" * LONGEST_HEAD + b"\r\n\r\n",
        OK + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n" + BODY,
        OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        OK + b"Transfer-Encoding: chunked\r\n\r\nseven\r\n" + BODY,
        OK + b"No colon\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"",
    ],
    ids=[
        "a head without end",
        "two lengths",
        "two framings",
        "a chunk without a number",
        "a line that is no field",
        "another protocol",
        "another version",
        "TLS",
        "nothing",
    ],
)
async def test_what_is_no_answer_is_taken_for_none(answer: bytes) -> None:
    async with saying(answer, hang_up=True) as (client, home, _):
        with pytest.raises(Ambiguous):
            await ask(client, home)


async def test_a_reader_that_is_slow_makes_the_other_side_wait() -> None:
    size = 64 * 1024 * 1024
    async with saying(OK + b"Content-Length: %d\r\n\r\n" % size + bytes(size), cut=1 << 16) as (_, home, _server):
        connection = await connect(["127.0.0.1"], home.origin[2], tls=None, name="127.0.0.1", seconds=5)
        await connection.send(head("GET", b"/v1/x", b"127.0.0.1", {}), None)
        await connection.answered()
        assert connection.status == 200
        await asyncio.sleep(0.5)
        assert connection.waiting < 2 * MUCH, "it stops reading while nobody takes what came"
        assert sum([len(piece) async for piece in connection.pieces()]) == size
        connection.close()


async def test_the_first_words_come_at_once_however_many_streams_there_are() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        await asyncio.sleep(0.05)  # the head alone comes first
        writer.write(b"first")
        await asyncio.sleep(0.05)
        writer.write(b"second")
        await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = await connect(["127.0.0.1"], server.sockets[0].getsockname()[1], tls=None, name="", seconds=5)
    looks = []

    def pause() -> float:
        looks.append(len(came))
        return 0.2

    came: list[bytes] = []
    await connection.send(head("GET", b"/", b"there", {}), None)
    await connection.answered()
    connection.pause = pause
    async for piece in connection.pieces():
        came.append(piece)
    assert came == [b"first", b"second"]
    assert looks[0] == 1
    connection.close()
    server.close()
    await server.wait_closed()
