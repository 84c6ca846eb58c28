"""Requests as they come over the wire, also those that no browser would send."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.security.raw import Answer, head, talk
from tests.studio import Studio


def told(answer: Answer) -> str:
    """The code of the envelope that every refusal carries."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return str(json.loads(answer.body)["error"]["code"])


@pytest.mark.parametrize("method", ["FOO", "PROPFIND", "G", "GETT", "CONNECT"])
async def test_a_method_that_nobody_knows_is_answered_by_the_program(studio: Studio, method: str) -> None:
    answer = await talk(studio.url, head(method, "/api/v1/jobs"))
    assert (answer.status, told(answer)) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Odd: a\x01b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_the_envelope_and_the_connection_ended(studio: Studio, sent: bytes) -> None:
    answer = await talk(studio.url, sent)
    assert (answer.status, told(answer)) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("part", [b"GET /%s HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nX-Long: %s"])
async def test_a_head_without_end_is_refused_before_it_fills_the_memory(studio: Studio, part: bytes) -> None:
    answer = await talk(studio.url, part % (b"a" * 66_000))
    assert (answer.status, told(answer)) == (400, "VALIDATION_ERROR")


async def test_fields_behind_a_body_are_no_fields_of_the_request(studio: Studio) -> None:
    sent = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"2\r\n{}\r\n0\r\nX-Request-Id: behind\r\n\r\n"
    )
    answer = await talk(studio.url, sent)
    assert (answer.status, told(answer)) == (400, "VALIDATION_ERROR")
    assert answer.headers["x-request-id"] != "behind"


async def test_requests_that_come_together_or_in_pieces_are_answered_one_by_one(studio: Studio) -> None:
    place = urlsplit(studio.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(one + one + one[:1])
    for byte in one[1:-1]:
        await asyncio.sleep(0)
        writer.write(bytes([byte]))
    writer.write(one[-1:] + head("GET", "/health"))
    answers = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answers.count(b"HTTP/1.1 200 ") == 4


async def test_nonsense_behind_a_request_does_not_cost_that_request_its_answer(studio: Studio) -> None:
    for nonsense in (b"FOO / HTTP/1.1\r\n\r\n", b"\x00\x01\x02", b"GET / HTTP/1.1\r\nno field\r\n\r\n"):
        one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await talk(studio.url, one + nonsense)
        assert answer.status == 200
