"""HTTP connections: which responses are accepted, and when a connection is reused."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.providers import urls
from app.providers.addresses import EgressPolicy, resolve
from app.providers.client import Client
from app.providers.connections import MAX_BUFFERED, MAX_HEADER, Connections
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import Ambiguous, TimedOut
from app.providers.exchange import CONNECTION_ERRORS, ExchangeState
from app.providers.responses import Response
from tests.kit import Cases
from tests.providers.fake_upstream import until

SECONDS = 300.0  # only a broken product takes this long
OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"a":1}'
WHOLE = OK + b"Content-Length: 7\r\n\r\n" + BODY


class Server:
    """Sends the scripted responses, one for each request on a connection, in chunks of `size` bytes."""

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
    endpoint = ProviderEndpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    client = Client([endpoint.base_url])
    try:
        yield client, endpoint, script
    finally:
        await client.aclose()
        server.close()
        await server.wait_closed()


async def get(client: Client, endpoint: ProviderEndpoint) -> object:
    answer = await client.request_json("GET", f"{endpoint.base_url}/x", endpoint=endpoint, idle=SECONDS, total=SECONDS)
    assert answer.status == 200
    return answer.body


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + BODY[:3] + b"\r\n4;note=1\r\n" + BODY[3:] + b"\r\n0\r\n"


async def test_a_response_is_read_however_it_is_framed_and_split() -> None:
    answers = {
        "with its length": WHOLE,
        "chunked": CHUNKED + b"\r\n",
        "with trailers": CHUNKED + b"X-Checksum: 12\r\n\r\n",
        "after early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + WHOLE,
        "after a 100": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"\r\n",
    }
    with Cases() as cases:
        for (name, answer), size in itertools.product(answers.items(), (1, 7, 1 << 20)):
            with cases.case(name, "in chunks of", size):
                async with answering(answer, answer, size=size) as (client, endpoint, server):
                    assert await get(client, endpoint) == {"a": 1}
                    assert await get(client, endpoint) == {"a": 1}
                    assert server.connections == 1


async def test_a_body_may_end_with_its_connection() -> None:
    with Cases() as cases:
        for version in (b"1.0", b"1.1"):
            with cases.case(version):
                async with answering(b"HTTP/%b 200 OK\r\n\r\n" % version + BODY, hang_up=True) as (client, endpoint, _):
                    assert await get(client, endpoint) == {"a": 1}


async def test_trailers_are_not_headers_and_repeated_headers_are_joined() -> None:
    answer = OK + b"Via: a\r\nVIA: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    async with answering(answer) as (client, endpoint, _):
        received = await client.request_json("GET", f"{endpoint.base_url}/x", endpoint=endpoint)
        assert received.headers == {"via": "a, b", "transfer-encoding": "chunked"}


async def test_a_connection_that_sent_more_or_must_be_closed_is_not_reused() -> None:
    answers = {
        "a second answer": WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse",
        "connection: close": OK + b"Connection: close\r\nContent-Length: 7\r\n\r\n" + BODY,
        "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n" + BODY,
    }
    with Cases() as cases:
        for name, answer in answers.items():
            with cases.case(name):
                async with answering(answer, WHOLE) as (client, endpoint, server):
                    assert await get(client, endpoint) == {"a": 1}
                    assert await get(client, endpoint) == {"a": 1}
                    assert server.connections == 2


async def test_a_connection_that_the_server_closed_meanwhile_is_not_reused() -> None:
    async with answering(WHOLE, hang_up=True) as (client, endpoint, server):
        assert await get(client, endpoint) == {"a": 1}
        await server.closed.wait()
        # After a round trip to the same server, what it sent before has arrived.
        _, writer = await asyncio.open_connection(endpoint.origin[1], endpoint.origin[2])
        writer.close()
        await writer.wait_closed()
        await until(lambda: server.connections == 2)
        server.answers.append(WHOLE)
        assert await get(client, endpoint) == {"a": 1}
        assert server.connections == 3


async def test_an_invalid_response_is_rejected() -> None:
    answers = {
        "a head without end": OK + b"X-Long: " + b"x" * MAX_HEADER + b"\r\n\r\n",
        "two lengths": OK + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n" + BODY,
        "two framings": OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        "a chunk without a number": OK + b"Transfer-Encoding: chunked\r\n\r\nseven\r\n" + BODY,
        "a line that is not a header": OK + b"No colon\r\n\r\n",
        "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "another version": b"HTTP/2.0 200 OK\r\n\r\n",
        "more bytes than declared": WHOLE + b"more",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
        "nothing": b"",
    }
    with Cases() as cases:
        for name, answer in answers.items():
            with cases.case(name):
                async with answering(answer, hang_up=True) as (client, endpoint, _):
                    with pytest.raises(Ambiguous):
                        await get(client, endpoint)


async def test_what_arrives_after_a_response_is_not_taken_for_the_next_one() -> None:
    """Otherwise one request's response could be given to another user."""
    first, stale, second = (
        OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in (b'"first"', b'"stale"', b'"second"')
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first if len(connections) == 1 else second)

    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = ProviderEndpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    client = Client([endpoint.base_url])
    with Cases() as cases:
        for name, seen in (("not yet seen by the client", False), ("seen by the client", True)):
            with cases.case(name):
                connections.clear()
                assert await get(client, endpoint) == "first"
                connections[0].write(stale)
                if seen:
                    await asyncio.sleep(0.05)
                assert await get(client, endpoint) == "second"
                await client.aclose()
                for writer in connections:
                    writer.close()
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def receiving(port: int, deadline: float = float("inf")) -> AsyncIterator[Response]:
    """The response to a request, with its body unread."""
    connections = Connections(resolve, None)
    exchange = ExchangeState("127.0.0.1", deadline)
    answer = await connections.send(
        "GET",
        urls.parse(f"http://127.0.0.1:{port}/v1/x"),
        {},
        None,
        policy=EgressPolicy.ANYWHERE,
        keep=False,
        idle=SECONDS,
        proxy=None,
        exchange=exchange,
    )
    response = Response(answer, exchange)
    try:
        yield response
    finally:
        response.close()
        await connections.aclose()


async def test_a_slow_reader_makes_the_server_wait() -> None:
    size = 64 * 1024 * 1024
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // MAX_BUFFERED):
            writer.write(bytes(MAX_BUFFERED))
            await writer.drain()
            sent += MAX_BUFFERED
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, receiving(server.sockets[0].getsockname()[1]) as response:
        before = -1
        while sent > before:  # until the server waits
            before = sent
            await asyncio.sleep(0.2)
        assert sent < size // 2, "it does not stop reading while the body is not read"
        assert sum([len(chunk) async for chunk in response.chunks()]) == size


async def test_the_first_chunk_of_a_body_is_not_delayed() -> None:
    gate = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        for chunk in (b"first", b"second"):
            await gate.acquire()
            writer.write(chunk)
        await gate.acquire()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    chunks: list[bytes] = []
    chunks_before_pause = []

    def pause() -> float:
        chunks_before_pause.append(len(chunks))
        return 0.01

    async with server, receiving(server.sockets[0].getsockname()[1]) as response:
        gate.release()
        async for chunk in response.chunks(pause):
            chunks.append(chunk)
            gate.release()
    assert chunks == [b"first", b"second"]
    assert chunks_before_pause[0] == 1


async def test_what_came_before_a_connection_was_lost_is_not_lost() -> None:
    """Also when the reader was busy with something else until then."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 100\r\n\r\nfirst")
        await ended.wait()
        writer.write(b"last")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, receiving(server.sockets[0].getsockname()[1]) as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"first"
        ended.set()
        await asyncio.sleep(0.1)
        assert await anext(chunks) == b"last"
        with pytest.raises(CONNECTION_ERRORS):
            await anext(chunks)


async def test_a_server_that_stops_reading_the_request_times_out() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        writer.close()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    endpoint = ProviderEndpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    client = Client([endpoint.base_url])
    with pytest.raises(TimedOut):
        await client.request_json(
            "POST", f"{endpoint.base_url}/x", endpoint=endpoint, content=bytes(64 << 20), idle=0.1, total=SECONDS
        )
    await client.aclose()
    closed.set()
    server.close()
    await server.wait_closed()
