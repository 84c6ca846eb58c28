"""The gate before sign-in: a crowd waits there, and nobody can block it."""

import asyncio
from urllib.parse import urlsplit

import httpx

from tests.studio import PASSWORD, Studio
from tests.trust import trust

ANN = {"email": "ann@studio.example", "password": PASSWORD}


async def test_who_sends_a_body_byte_by_byte_takes_nobodys_place(studio: Studio) -> None:
    await studio.person(ANN["email"])
    where = urlsplit(studio.url)
    head = (
        "POST /api/v1/auth/login HTTP/1.1\r\n"
        f"Host: {where.netloc}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )
    slow = [await asyncio.open_connection(where.hostname, where.port) for _ in range(40)]
    try:
        for _, writer in slow:
            writer.write(head.encode())
            await writer.drain()
        async with asyncio.timeout(20):
            answer = await studio.client().post("/api/v1/auth/login", json=ANN)
        assert answer.status_code == 200
    finally:
        for _, writer in slow:
            writer.close()


async def test_a_crowd_signs_in_one_after_the_other_and_all_succeed(studio: Studio) -> None:
    await studio.person(ANN["email"])
    client = studio.client()
    answers = await asyncio.gather(*(client.post("/api/v1/auth/login", json=ANN) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 40


async def test_a_body_far_too_long_is_refused_and_not_kept(studio: Studio) -> None:
    async with httpx.AsyncClient(base_url=studio.url, trust_env=False, verify=trust(), timeout=30) as http:
        answer = await http.post("/api/v1/auth/login", json={**ANN, "name": "x" * 2_000_000})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "FILE_TOO_LARGE"
