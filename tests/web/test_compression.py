"""Which responses are compressed."""

import gzip
from typing import Any

from litestar.types import Message, Receive, Scope, Send

from app.web.compression import MIN_BYTES, Compression
from tests.kit import Cases

Headers = dict[str, str]
TEXT = b"to be or not to be, " * 4_000


async def answer(headers: Headers, *pieces: bytes, status: int = 200, accept: str = "gzip") -> tuple[Headers, bytes]:
    """The headers and the body of a response of an application, as the client receives them."""
    length = {"content-length": str(sum(map(len, pieces)))}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        fields = [(name.encode(), value.encode()) for name, value in {**length, **headers}.items() if value]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        for number, piece in enumerate(pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})

    received: list[Any] = []

    async def send(message: Message) -> None:
        received.append(message)

    scope: Any = {"type": "http", "headers": [(b"accept-encoding", accept.encode())]}
    await Compression(application)(scope, lambda: send(received[0]), send)  # type: ignore[arg-type, return-value]
    start, *bodies = received
    fields = {name.decode(): value.decode() for name, value in start["headers"]}
    assert fields.get("content-length", "") in ("", str(sum(len(body["body"]) for body in bodies)))
    return fields, b"".join(body["body"] for body in bodies)


async def test_text_is_compressed_whatever_its_size_and_in_how_many_pieces_it_comes() -> None:
    with Cases() as cases:
        for mime in ("text/html; charset=utf-8", "application/json", "text/css", "image/svg+xml"):
            for pieces in ([TEXT], [TEXT[:1000], TEXT[1000:], b""], [TEXT[:MIN_BYTES]]):
                with cases.case((mime, len(pieces))):
                    headers, body = await answer({"content-type": mime}, *pieces)
                    assert headers["content-encoding"] == "gzip"
                    assert headers["vary"] == "Accept-Encoding"
                    assert gzip.decompress(body) == b"".join(pieces)


async def test_what_gains_nothing_or_must_keep_its_bytes_is_never_compressed() -> None:
    html = "text/html"
    untouched: list[tuple[Headers, int, str]] = [
        ({"content-type": "video/mp4"}, 200, "gzip"),
        ({"content-type": "image/png"}, 200, "gzip"),
        ({"content-type": "application/zip"}, 200, "gzip"),
        ({"content-type": "text/event-stream"}, 200, "gzip"),
        ({"content-type": html, "content-length": ""}, 200, "gzip"),
        ({"content-type": html, "content-encoding": "br"}, 200, "gzip"),
        ({"content-type": html, "content-range": "bytes 0-99/1000"}, 206, "gzip"),
        ({"content-type": html}, 200, "br"),
        ({"content-type": html}, 200, "gzip;q=0"),
    ]
    with Cases() as cases:
        for headers, status, accept in untouched:
            with cases.case((headers, accept)):
                received, body = await answer(headers, TEXT, status=status, accept=accept)
                assert received.get("content-encoding") == headers.get("content-encoding")
                assert body == TEXT
        with cases.case("short"):
            assert await answer({"content-type": html}, b"ok") == (
                {"content-length": "2", "content-type": html, "vary": "Accept-Encoding"},
                b"ok",
            )
