"""Requests byte for byte, also those that no well-behaved client would send."""

import asyncio
import json
from urllib.parse import urlsplit

from tests.kit import TEXT_MODEL, Cases, new_user
from tests.security.raw import Answer, exchange, head
from tests.studio import Studio


def error_code(answer: Answer) -> str:
    """The code in the envelope, which every refusal has."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return str(json.loads(answer.body)["error"]["code"])


async def test_an_unknown_method_is_405_in_the_envelope(atelier: Studio) -> None:
    with Cases() as cases:
        for method in ("FOO", "PROPFIND", "G", "GETT", "CONNECT"):
            with cases.case(method):
                answer = await exchange(atelier.url, head(method, "/api/v1/jobs"))
                assert (answer.status, error_code(answer)) == (405, "METHOD_NOT_ALLOWED")


INVALID_HTTP = [
    b"GET /health HTTP/1.1\r\nHost: x\r\nX-Odd: a\x01b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost x\r\n\r\n",
    b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    # A head without end is refused before it fills the memory.
    b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\n",
    b"GET /health HTTP/1.1\r\nX-Long: " + b"a" * 66_000,
]


async def test_invalid_http_is_400_in_the_envelope_and_closes_the_connection(atelier: Studio) -> None:
    with Cases() as cases:
        for sent in INVALID_HTTP:
            with cases.case(sent):
                answer = await exchange(atelier.url, sent)
                assert (answer.status, error_code(answer)) == (400, "VALIDATION_ERROR")


async def test_trailer_fields_are_no_headers_of_the_request(atelier: Studio) -> None:
    sent = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"2\r\n{}\r\n0\r\nX-Request-Id: behind\r\n\r\n"
    )
    answer = await exchange(atelier.url, sent)
    assert (answer.status, error_code(answer)) == (400, "VALIDATION_ERROR")
    assert answer.headers["x-request-id"] != "behind"


async def test_pipelined_and_fragmented_requests_are_answered_one_by_one(atelier: Studio) -> None:
    place = urlsplit(atelier.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(one + one + one[:1])
    for byte in one[1:-1]:
        await asyncio.sleep(0)
        writer.write(bytes([byte]))
    writer.write(one[-1:] + head("GET", "/health"))
    answers = await asyncio.wait_for(reader.read(), 300)
    writer.close()
    assert answers.count(b"HTTP/1.1 200 ") == 4


async def test_invalid_bytes_after_a_request_do_not_cost_it_its_answer(atelier: Studio) -> None:
    for garbage in (b"FOO / HTTP/1.1\r\n\r\n", b"\x00\x01\x02", b"GET / HTTP/1.1\r\nno field\r\n\r\n"):
        answer = await exchange(atelier.url, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + garbage)
        assert answer.status == 200


async def test_an_http_1_0_client_is_never_answered_in_chunks(atelier: Studio) -> None:
    """Also when the answer is a stream."""
    user = await new_user(atelier)
    body = json.dumps({"model": TEXT_MODEL, "messages": [{"role": "user", "content": "Count to 3"}], "stream": True})
    fields = f"Authorization: {user.headers['authorization']}\r\nContent-Length: {len(body)}\r\n"
    stream = f"POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\n{fields}\r\n{body}".encode()
    with Cases() as cases:
        for sent, content in ((b"GET /login HTTP/1.0\r\nHost: x\r\n\r\n", b"</html>"), (stream, b"data: [DONE]")):
            with cases.case(sent):
                answer = await exchange(atelier.url, sent)
                assert answer.status == 200
                assert "transfer-encoding" not in answer.headers
                assert answer.body.strip().endswith(content)
