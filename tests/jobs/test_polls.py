"""The card of an unfinished job, which every open page asks for all the time."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api.kit import CLIP, SHORT, Json, eventually
from tests.studio import Browser, Studio, running

POLL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[tuple[Studio, Browser, str]]:
    """A person in a browser, and a clip of theirs that stays in the making."""
    async with running(tmp_path, ATELIER_WORKER_SECONDS="3600") as studio:
        browser = await studio.person_in_browser()
        form = {"model": CLIP, "prompt": "a paper boat", **{name: str(value) for name, value in SHORT.items()}}
        made = await browser.send_form("/generate/video", form)
        id = made.headers["location"].removeprefix("/jobs/")
        await browser.get("/jobs")

        async def said() -> str:
            return (await browser.get(f"/jobs/{id}/card", headers=POLL)).text

        await eventually(said, lambda said: 'data-status="processing"' in said)
        yield studio, browser, id


def _same(answer: httpx.Response) -> Json:
    headers = dict(answer.headers)
    assert len(headers.pop("x-request-id")) == 32
    headers.pop("date")
    headers.pop("vary", None)
    return {"status": answer.status_code, "body": answer.text, **headers}


async def test_a_poll_is_answered_from_memory_as_it_would_be_the_long_way(
    waiting: tuple[Studio, Browser, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, browser, id = waiting
    monkeypatch.setattr("app.web.render.elapsed", lambda _: 5)
    short = await browser.get(f"/jobs/{id}/card", headers={**POLL, "Accept-Encoding": "identity"})
    assert studio.program.jobs.shown(_owner(studio, id), id) is not None, "memory knows it"
    monkeypatch.setattr(studio.program.jobs, "shown", lambda *_: None)
    long = await browser.get(f"/jobs/{id}/card", headers={**POLL, "Accept-Encoding": "identity"})
    assert short.status_code == 200
    assert "a paper boat" in short.text
    figures = (await studio.program.metrics.text()).decode()
    routes = set(re.findall(r'route="(/jobs/[^"]*card)"', figures))
    assert routes == {"/jobs/{id}/card"}, "both ways are counted as one route"
    assert _same(short) == _same(long)


async def test_a_card_that_shows_all_there_is_to_know_is_told_nothing(waiting: tuple[Studio, Browser, str]) -> None:
    _, browser, id = waiting
    first = await browser.get(f"/jobs/{id}/card", headers=POLL)
    seen = re.search(r'name="seen" value="([0-9a-f]+)"', first.text)
    assert seen
    again = await browser.get(f"/jobs/{id}/card?seen={seen[1]}", headers=POLL)
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["x-content-type-options"] == "nosniff"
    await browser.send_form(f"/jobs/{id}/cancel", {}, headers=POLL)
    ended = await browser.get(f"/jobs/{id}/card?seen={seen[1]}", headers=POLL)
    assert (ended.status_code, "Cancelled" in ended.text) == (200, True)


async def test_a_card_in_the_making_is_its_persons_only(waiting: tuple[Studio, Browser, str]) -> None:
    studio, browser, id = waiting
    stranger = await studio.person_in_browser("eve@studio.example")
    assert (await stranger.get(f"/jobs/{id}/card", headers=POLL)).status_code == 404
    nobody = studio.browser()
    assert (await nobody.get(f"/jobs/{id}/card", headers=POLL)).status_code == 401
    await browser.send_form("/logout", {})
    assert (await browser.get(f"/jobs/{id}/card", headers=POLL)).status_code == 401


async def test_polls_of_many_cards_are_nobodys_allowance(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_WORKER_SECONDS="3600", ATELIER_RATE_LIMITS="on") as studio:
        browser = await studio.person_in_browser()
        made = await browser.send_form(
            "/generate/video", {"model": CLIP, "prompt": "x", **{name: str(value) for name, value in SHORT.items()}}
        )
        id = made.headers["location"].removeprefix("/jobs/")
        for _ in range(700):
            assert (await browser.get(f"/jobs/{id}/card", headers=POLL)).status_code == 200


def _owner(studio: Studio, id: str) -> str:
    job = studio.program.jobs.current(id)
    assert job is not None
    return job.owner_id
