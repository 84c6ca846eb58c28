"""The card of an unfinished job, which every open page polls."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from app.base import clock
from tests.jobs.conftest import FakeClock
from tests.kit import SHORT_VIDEO, VIDEO_MODEL, Json, eventually, new_email
from tests.pages import FRAGMENT
from tests.studio import Browser, Studio, running

FORM = {
    "model": VIDEO_MODEL,
    "prompt": "[stamp] a paper boat",
    **{name: str(value) for name, value in SHORT_VIDEO.items()},
}
OWNER = "owner@studio.example"


class Card:
    """The card of a user's unfinished video, in their browser."""

    def __init__(self, browser: Browser, id: str) -> None:
        self.browser = browser
        self.id = id

    async def poll(self, seen: str = "", browser: Browser | None = None) -> httpx.Response:
        query = f"?seen={seen}" if seen else ""
        headers = {**FRAGMENT, "Accept-Encoding": "identity"}
        return await (browser or self.browser).get(f"/jobs/{self.id}/card{query}", headers=headers)


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """An application that polls its provider once an hour, so that videos stay unfinished, and whose rate-limit clock
    stands still."""
    folder = tmp_path_factory.mktemp("cards")
    async with running(folder, timer=lambda: 0.0, ATELIER_WORKER_SECONDS="3600", ATELIER_RATE_LIMITS="on") as studio:
        yield studio


@pytest_asyncio.fixture(scope="module")
async def browser(studio: Studio) -> Browser:
    return await studio.user_in_browser(OWNER)


@pytest.fixture
async def card(browser: Browser) -> Card:
    response = await browser.send_form("/generate/video", FORM)
    card = Card(browser, response.headers["location"].removeprefix("/jobs/"))
    await browser.get("/jobs")
    await eventually(card.poll, lambda response: 'data-status="processing"' in response.text)
    return card


def content(response: httpx.Response) -> Json:
    """The parts of a response that must be equal for equal requests."""
    headers = dict(response.headers)
    assert len(headers.pop("x-request-id")) == 32
    headers.pop("date")
    headers.pop("vary", None)
    return {"status": response.status_code, "body": response.text, **headers}


async def test_a_poll_is_answered_from_memory_exactly_as_from_the_database(
    studio: Studio, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = studio.program.jobs
    job = jobs.live.find(card.id)
    assert job is not None
    monkeypatch.setattr(clock, "system", FakeClock())  # the card shows seconds
    from_memory = await card.poll()
    assert jobs.cached(job.owner_id, card.id) is not None
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "cached", lambda *_: None)
        routed = await card.poll()
    assert from_memory.status_code == 200
    assert "a paper boat" in from_memory.text
    assert content(from_memory) == content(routed)
    metrics = (await studio.program.metrics.text()).decode()
    assert set(re.findall(r'route="(/jobs/[^"]*card)"', metrics)) == {"/jobs/{id}/card"}, (
        "both are counted as one route"
    )


async def test_a_poll_of_an_up_to_date_card_is_answered_with_204(card: Card) -> None:
    first = await card.poll()
    seen = re.search(r'name="seen" value="([0-9a-f]+)"', first.text)
    assert seen
    repeated = await card.poll(seen[1])
    assert (repeated.status_code, repeated.content) == (204, b"")
    assert repeated.headers["x-content-type-options"] == "nosniff"
    await card.browser.send_form(f"/jobs/{card.id}/cancel", {}, headers=FRAGMENT)
    ended = await card.poll(seen[1])
    assert (ended.status_code, "Cancelled" in ended.text) == (200, True)


async def test_an_unfinished_card_is_for_its_owner_only_and_only_while_signed_in(studio: Studio, card: Card) -> None:
    other = await studio.user_in_browser(new_email())
    assert (await card.poll(browser=other)).status_code == 404
    assert (await card.poll(browser=studio.browser())).status_code == 401
    second_session = await studio.user_in_browser(OWNER)
    assert (await card.poll(browser=second_session)).status_code == 200
    await second_session.send_form("/logout", {})
    assert (await card.poll(browser=second_session)).status_code == 401


async def test_polls_are_not_throttled(studio: Studio, card: Card) -> None:
    in_process = studio.direct_browser()
    in_process.cookies.update(card.browser.cookies)
    statuses = {(await card.poll(browser=in_process)).status_code for _ in range(700)}
    assert statuses == {200}
