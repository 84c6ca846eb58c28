"""The fast path: what it answers itself, and what takes the normal route."""

from typing import Any, cast

import httpx
from litestar.types import Receive, Scope, Send

from app.web.fast_path import FastPath, FastResponse
from tests.kit import UNKNOWN_ID


async def normal_route(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_only_what_a_responder_answers_leaves_the_normal_route() -> None:
    asked: list[str] = []

    async def respond(scope: Any, id: str) -> FastResponse | None:
        asked.append(id)
        return FastResponse(200, [], b"known") if id == UNKNOWN_ID else None

    site = FastPath(normal_route, {"/jobs/{id}/card": respond})
    other = "f" * 32
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, site)), base_url="http://studio.test") as http:
        answer = await http.get(f"/jobs/{UNKNOWN_ID}/card")
        assert (answer.status_code, answer.text) == (200, "known")
        assert (await http.get(f"/jobs/{other}/card")).status_code == 418
        assert asked == [UNKNOWN_ID, other]
        for path in (f"/jobs/{UNKNOWN_ID}/card/more", f"/jobs/{UNKNOWN_ID}", "/jobs/xyz/card"):
            assert (await http.get(path)).status_code == 418
        assert (await http.post(f"/jobs/{UNKNOWN_ID}/card")).status_code == 418
        assert asked == [UNKNOWN_ID, other]
