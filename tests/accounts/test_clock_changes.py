"""The system clock is changed while users are signed in."""

import time
from pathlib import Path

import pytest

from app.base import clock
from tests.studio import PASSWORD, running


async def test_no_one_is_signed_out_or_admitted_by_a_clock_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0
    monkeypatch.setattr(clock, "system", clock.Clock(wall=lambda: time.time_ns() + ahead * 10**9))
    async with running(tmp_path) as studio:
        ann, browser = await studio.user(), await studio.user_in_browser("bob@studio.example")
        account = {"email": "ann@studio.example", "password": PASSWORD}
        tokens = (await studio.client().post("/api/v1/auth/login", json=account)).json()
        key = (await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]

        async def status(token: str) -> int:
            return (await studio.client(token).get("/api/v1/users/me")).status_code

        ahead = -86_400
        assert await status(tokens["access_token"]) == 200
        assert (await browser.get("/jobs")).status_code == 200
        ahead = 3600  # access tokens are valid for 15 minutes, everything else for longer
        assert await status(tokens["access_token"]) == 401
        assert await status(key) == 200
        assert (await browser.get("/jobs")).status_code == 200
        refreshed = await studio.client().post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refreshed.status_code == 200
        ahead = 0
        assert await status(tokens["access_token"]) == 401, "expired tokens stay expired"
        assert await status(refreshed.json()["access_token"]) == 200
