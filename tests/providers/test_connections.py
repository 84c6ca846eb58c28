"""One connection: what an answer may look like on the wire, and when a connection may carry another request."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.providers.client import Ambiguous, Client, ProviderEndpoint
from app.providers.connections import MAX_HEAD, MUCH, connect, head
from tests.kit import Cases
from tests.providers.fake_upstream import until

SECONDS = 300.0  # only a broken product takes this long
OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"a":1}'
WHOLE = OK + b"Content-Length: 7\r\n\r\n" + BODY


class Server:
    """Sends the scripted answers, request after request over one connection, split into pieces of some bytes."""

    def __init__(self, answers: Sequence[bytes], *, size: int, hang_up: bool) -> None:
        self.answers = list(answers)
        self.size = size
        self.hang_up = hang_up
        self.connections = 0
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                await reader.readuntil(b"\r\n\r\n")
                answer = self.answers.pop(0)
                for start in range(0, len(answer), self.size):
                    writer.write(answer[start : start + self.size])
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
            self.closed.set()


@asynccontextmanager
async def answering(
    *answers: bytes, size: int = 1 << 20, hang_up: bool = False
) -> AsyncIterator[tuple[Client, ProviderEndpoint, Server]]:
    script = Server(answers, size=size, hang_up=hang_up)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    home = ProviderEndpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    client = Client([home.base_url])
    try:
        yield client, home, script
    finally:
        await client.aclose()
        server.close()
        await server.wait_closed()


async def get(client: Client, home: ProviderEndpoint) -> object:
    answer = await client.request_json("GET", f"{home.base_url}/x", home=home, idle=SECONDS, total=SECONDS)
    assert answer.status == 200
    return answer.body


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + BODY[:3] + b"\r\n4;note=1\r\n" + BODY[3:] + b"\r\n0\r\n"


async def test_an_answer_is_read_however_it_is_framed_and_split() -> None:
    answers = {
        "with its length": WHOLE,
        "chunked": CHUNKED + b"\r\n",
        "with trailers": CHUNKED + b"X-Checksum: 12\r\n\r\n",
        "after early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + WHOLE,
        "after a 100": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"\r\n",
    }
    with Cases() as cases:
        for (name, answer), size in itertools.product(answers.items(), (1, 7, 1 << 20)):
            with cases.case(name, "in pieces of", size):
                async with answering(answer, answer, size=size) as (client, home, server):
                    assert await get(client, home) == {"a": 1}
                    assert await get(client, home) == {"a": 1}
                    assert server.connections == 1


async def test_a_body_may_end_with_its_connection() -> None:
    with Cases() as cases:
        for version in (b"1.0", b"1.1"):
            with cases.case(version):
                async with answering(b"HTTP/%b 200 OK\r\n\r\n" % version + BODY, hang_up=True) as (client, home, _):
                    assert await get(client, home) == {"a": 1}


async def test_trailers_are_no_headers_and_repeated_headers_are_joined() -> None:
    answer = OK + b"Via: a\r\nVIA: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    async with answering(answer) as (client, home, _):
        received = await client.request_json("GET", f"{home.base_url}/x", home=home)
        assert received.headers == {"via": "a, b", "transfer-encoding": "chunked"}


async def test_a_connection_that_sent_more_or_is_to_be_closed_is_not_used_again() -> None:
    answers = {
        "a second answer": WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse",
        "more bytes": WHOLE + b"more",
        "connection: close": OK + b"Connection: close\r\nContent-Length: 7\r\n\r\n" + BODY,
        "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n" + BODY,
    }
    with Cases() as cases:
        for name, answer in answers.items():
            with cases.case(name):
                async with answering(answer, WHOLE) as (client, home, server):
                    assert await get(client, home) == {"a": 1}
                    assert await get(client, home) == {"a": 1}
                    assert server.connections == 2


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async with answering(WHOLE, hang_up=True) as (client, home, server):
        assert await get(client, home) == {"a": 1}
        await server.closed.wait()
        # A round trip to the same server: what it sent before has arrived then.
        _, writer = await asyncio.open_connection(home.origin[1], home.origin[2])
        writer.close()
        await writer.wait_closed()
        await until(lambda: server.connections == 2)
        server.answers.append(WHOLE)
        assert await get(client, home) == {"a": 1}
        assert server.connections == 3


async def test_an_invalid_answer_is_not_read() -> None:
    answers = {
        "a head without end": OK + b"X-Long: " + b"x" * MAX_HEAD + b"\r\n\r\n",
        "two lengths": OK + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n" + BODY,
        "two framings": OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        "a chunk without a number": OK + b"Transfer-Encoding: chunked\r\n\r\nseven\r\n" + BODY,
        "a line that is no field": OK + b"No colon\r\n\r\n",
        "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "another version": b"HTTP/2.0 200 OK\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
        "nothing": b"",
    }
    with Cases() as cases:
        for name, answer in answers.items():
            with cases.case(name):
                async with answering(answer, hang_up=True) as (client, home, _):
                    with pytest.raises(Ambiguous):
                        await get(client, home)


async def test_a_slow_reader_makes_the_server_wait() -> None:
    size = 64 * 1024 * 1024
    async with answering(OK + b"Content-Length: %d\r\n\r\n" % size + bytes(size), size=1 << 16) as (_, home, _server):
        connection = await connect(["127.0.0.1"], home.origin[2], tls=None, name="127.0.0.1", seconds=SECONDS)
        await connection.send(head("GET", b"/v1/x", b"127.0.0.1", {}), None)
        await connection.answered()
        assert connection.status == 200
        await until(lambda: connection.waiting > MUCH)
        for _ in range(200):  # turns of the loop, in each of which more would be read
            await asyncio.sleep(0)
        assert connection.waiting < 2 * MUCH, "it does not stop reading while the body is not taken"
        assert sum([len(piece) async for piece in connection.pieces()]) == size
        connection.close()


async def test_the_first_piece_of_a_body_comes_without_a_pause() -> None:
    gate = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        for piece in (b"first", b"second"):
            await gate.acquire()
            writer.write(piece)
        await gate.acquire()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await connect(["127.0.0.1"], port, tls=None, name="", seconds=SECONDS)
    pieces: list[bytes] = []
    pieces_before_pause = []

    def pause() -> float:
        pieces_before_pause.append(len(pieces))
        return 0.01

    await connection.send(head("GET", b"/", b"there", {}), None)
    await connection.answered()
    connection.pause = pause
    gate.release()
    async for piece in connection.pieces():
        pieces.append(piece)
        gate.release()
    assert pieces == [b"first", b"second"]
    assert pieces_before_pause[0] == 1
    connection.close()
    server.close()
    await server.wait_closed()
