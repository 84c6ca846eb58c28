"""The limit of concurrent sign-ins: many wait for their turn, and no one can block the others."""

import asyncio
from urllib.parse import urlsplit

from tests.kit import new_email
from tests.studio import PASSWORD, Studio


async def test_clients_that_send_their_body_byte_by_byte_occupy_no_turn(atelier: Studio) -> None:
    account = {"email": new_email(), "password": PASSWORD}
    await atelier.user(account["email"])
    where = urlsplit(atelier.url)
    head = (
        "POST /api/v1/auth/login HTTP/1.1\r\n"
        f"Host: {where.netloc}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )
    slow = [await asyncio.open_connection(where.hostname, where.port) for _ in range(40)]
    try:
        for _, writer in slow:
            writer.write(head.encode())
            await writer.drain()
        answer = await atelier.client().post("/api/v1/auth/login", json=account)
        assert answer.status_code == 200
    finally:
        for _, writer in slow:
            writer.close()


async def test_many_concurrent_sign_ins_all_succeed(atelier: Studio) -> None:
    account = {"email": new_email(), "password": PASSWORD}
    await atelier.user(account["email"])
    client = atelier.client()
    answers = await asyncio.gather(*(client.post("/api/v1/auth/login", json=account) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 40


async def test_a_body_that_is_far_too_long_is_413(atelier: Studio) -> None:
    body = {"email": new_email(), "password": PASSWORD, "name": "x" * 2_000_000}
    answer = await atelier.client().post("/api/v1/auth/login", json=body)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "FILE_TOO_LARGE"
