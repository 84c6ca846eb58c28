"""API keys with a monthly limit or a list of models: enforced on every route, without effect on other keys."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.base import clock
from app.providers.contract import Outcome
from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    Json,
    ended_job,
    error_of,
    eventually,
    generated_image,
    new_email,
    requested_video,
    submit_log,
)
from tests.studio import Studio, running

ADMIN = "admin@studio.example"
LEDGER = (
    "select subject_id, entry, held_nano, spent_nano, key_id from ledger where owner_id = $1 order by happened_at, id"
)


class Calendar:
    """A wall clock that the tests set; it continues from there and is never set back."""

    def __init__(self) -> None:
        self._offset = 0
        self.set(datetime(2030, 3, 20, 12))

    def set(self, now: datetime) -> None:
        self._offset = int(clock.unix(now)) * 10**9 - time.monotonic_ns()

    def wall(self) -> int:
        return self._offset + time.monotonic_ns()


def month_end(day: datetime) -> datetime:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def calendar() -> Iterator[Calendar]:
    calendar = Calendar()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "system", clock.Clock(wall=calendar.wall))
        yield calendar


@pytest_asyncio.fixture(scope="module")
async def studio(calendar: Calendar, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A separate application, because the tests set its clock."""
    async with running(tmp_path_factory.mktemp("key-limits")) as studio:
        await studio.user(ADMIN, direct=True)
        yield studio


@pytest.fixture
async def ann(studio: Studio) -> httpx.AsyncClient:
    return await studio.user(new_email("ann"), direct=True)


@pytest.fixture
async def admin(studio: Studio) -> httpx.AsyncClient:
    return await studio.user(ADMIN, direct=True)


async def add_key(client: httpx.AsyncClient, **limits: object) -> Json:
    answer = await client.post("/api/v1/users/me/keys", json={"name": "nightly", **limits})
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    return body


async def key_client(studio: Studio, client: httpx.AsyncClient, **limits: object) -> httpx.AsyncClient:
    """A client of the same user with a new API key."""
    return studio.direct((await add_key(client, **limits))["key"])


async def keys(client: httpx.AsyncClient) -> list[Json]:
    items: list[Json] = (await client.get("/api/v1/users/me/keys")).json()["items"]
    return items


async def ledger(studio: Studio, client: httpx.AsyncClient) -> list[Json]:
    """The entries of this user."""
    owner = (await client.get("/api/v1/users/me")).json()["id"]
    return await studio.program.database.read(lambda tx: tx.rows("ledger", LEDGER, owner))


async def generate_image(client: httpx.AsyncClient, prompt: str = "a lighthouse", **headers: str) -> httpx.Response:
    body = {"model": IMAGE_MODEL, "prompt": f"[stamp] {prompt}"}
    return await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "wait=120", **headers})


async def price(client: httpx.AsyncClient) -> Decimal:
    """The cost of one image, which Atelier then uses as its estimate."""
    return Decimal((await generated_image(client))["cost_usd"])


# The monthly limit


async def test_a_key_that_has_reached_its_limit_is_refused_until_the_month_ends(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    cost = await price(ann)
    limited = await key_client(studio, ann, monthly_cap_usd=str(cost * 2))
    for _ in range(2):
        assert (await generate_image(limited)).status_code == 200
    sent = len(submit_log(studio))
    before = clock.now()
    refused = await generate_image(limited)
    after = clock.now()
    error = error_of(refused, 429, "QUOTA_EXCEEDED")
    assert "monthly limit of this API key" in error["message"]
    end = month_end(before)
    assert f"{end:%-d %B}" in error["message"]
    wait = timedelta(seconds=int(refused.headers["Retry-After"]))
    assert end - after <= wait <= end - before + timedelta(seconds=1)
    requests: dict[str, Json] = {
        "generate/text": {"model": TEXT_MODEL, "prompt": "hello"},
        "generate/video": {"model": VIDEO_MODEL, "prompt": "a boat", **SHORT_VIDEO},
        "ai/chat": {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "hello"}]},
    }
    for path, body in requests.items():
        answer = await limited.post(f"/api/v1/{path}", json=body)
        error_of(answer, 429, "QUOTA_EXCEEDED")
        assert int(answer.headers["Retry-After"]) > 0
    for path in ("generate/text", "ai/chat"):
        answer = await limited.post(f"/api/v1/{path}", json={**requests[path], "stream": True})
        assert "QUOTA_EXCEEDED" in answer.text
    assert len(submit_log(studio)) == sent
    assert (await limited.get("/api/v1/jobs")).json()["total"] == 3


async def test_a_key_works_again_in_the_next_month(studio: Studio, ann: httpx.AsyncClient, calendar: Calendar) -> None:
    cost = await price(ann)
    limited = await key_client(studio, ann, monthly_cap_usd=str(cost))
    assert (await generate_image(limited)).status_code == 200
    end = month_end(clock.now())
    calendar.set(end - timedelta(minutes=10))
    refused = await generate_image(limited)
    error_of(refused, 429, "QUOTA_EXCEEDED")
    assert 0 < int(refused.headers["Retry-After"]) <= 601
    calendar.set(end + timedelta(seconds=1))
    assert Decimal((await keys(limited))[0]["spent_usd"]) == 0
    assert (await generate_image(limited)).status_code == 200
    assert Decimal((await keys(limited))[0]["spent_usd"]) == cost
    error_of(await generate_image(limited), 429, "QUOTA_EXCEEDED")


async def test_fifty_requests_at_once_with_one_key_stay_within_its_limit(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    cost = await price(ann)
    limited = await key_client(studio, ann, monthly_cap_usd=str(cost * 5 + cost / 2))
    before = len(submit_log(studio))
    answers = await asyncio.gather(*(generate_image(limited, f"boat {n}") for n in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (5, 45)
    assert len(submit_log(studio)) - before == 5
    (key,) = await keys(limited)
    assert Decimal(key["spent_usd"]) == cost * 5 <= Decimal(key["monthly_cap_usd"])
    assert (await studio.program.maintenance.examine()).ok


async def test_a_job_in_progress_counts_until_it_is_cancelled(studio: Studio, ann: httpx.AsyncClient) -> None:
    cost = await price(ann)
    limited = await key_client(studio, ann, monthly_cap_usd=str(cost))
    first = await generate_image(limited, "[stuck] a boat", Prefer="respond-async")
    assert first.status_code == 202
    assert "held" in error_of(await generate_image(limited), 429, "QUOTA_EXCEEDED")["message"]
    await limited.post(f"/api/v1/jobs/{first.json()['id']}/cancel")
    await ended_job(limited, first.json()["id"])
    assert (await generate_image(limited)).status_code == 200


async def test_the_limit_applies_after_a_restart(calendar: Calendar, tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.user(direct=True)
        cost = await price(ann)
        key = (await add_key(ann, monthly_cap_usd=str(cost * 2)))["key"]
        assert (await generate_image(studio.direct(key))).status_code == 200
    async with running(tmp_path) as studio:
        limited = studio.direct(key)
        answers = await asyncio.gather(*(generate_image(limited, f"boat {n}") for n in range(10)))
        assert sorted(answer.status_code for answer in answers) == [200] + [429] * 9
        assert Decimal((await keys(limited))[0]["spent_usd"]) == cost * 2


async def test_a_retry_is_counted_and_refused_like_any_other_request(studio: Studio, ann: httpx.AsyncClient) -> None:
    cost = await price(ann)
    failed = (await generate_image(ann, "[refuse] a boat")).json()["error"]["details"]["job_id"]
    limited = await key_client(studio, ann, monthly_cap_usd=str(cost / 2))
    sent = len(submit_log(studio))
    error_of(await limited.post(f"/api/v1/jobs/{failed}/retry"), 429, "QUOTA_EXCEEDED")
    assert len(submit_log(studio)) == sent
    retried = await ann.post(f"/api/v1/jobs/{failed}/retry")
    assert retried.status_code == 201
    await ended_job(ann, retried.json()["id"])


async def test_an_accepted_request_that_is_repeated_gets_its_answer_although_the_limit_is_reached(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    limited = await key_client(studio, ann, monthly_cap_usd=str(await price(ann)))
    first = await generate_image(limited, **{"Idempotency-Key": "once"})
    again = await generate_image(limited, **{"Idempotency-Key": "once"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["id"] == again.json()["id"]


async def test_other_keys_tokens_and_browsers_of_the_same_user_are_not_affected(studio: Studio) -> None:
    email = new_email("ann")
    ann = await studio.user(email, direct=True)
    cost = await price(ann)
    limited = await key_client(studio, ann, monthly_cap_usd=str(cost), allowed_models=[IMAGE_MODEL])
    unlimited, browser = await key_client(studio, ann), await studio.user_in_browser(email, direct=True)
    assert (await generate_image(limited)).status_code == 200
    error_of(await generate_image(limited), 429, "QUOTA_EXCEEDED")
    for client in (unlimited, ann):
        assert (await generate_image(client)).status_code == 200
        assert (
            await client.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "hi"})
        ).status_code == 200
    form = {"model": IMAGE_MODEL, "prompt": "[stamp] a boat", "idempotency_key": "one"}
    created = await browser.send_form("/generate/image", form)
    assert created.headers["Location"].startswith("/jobs/")
    await ended_job(ann, created.headers["Location"].removeprefix("/jobs/"))
    spent = {key["monthly_cap_usd"] is None: Decimal(key["spent_usd"]) for key in await keys(ann)}
    assert spent[False] == cost
    assert spent[True] > cost  # the text was added


async def test_the_ledger_names_the_key_that_spent_also_after_the_key_is_deleted(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    key = await add_key(ann)
    client = studio.direct(key["key"])
    job = (await generate_image(client)).json()
    chat = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "hello"}]}
    answer = (await client.post("/api/v1/ai/chat", json=chat)).json()
    before = await ledger(studio, ann)
    assert [(row["subject_id"], row["entry"], row["key_id"]) for row in before] == [
        (job["id"], "hold", key["id"]),
        (job["id"], "settlement", key["id"]),
        (answer["id"], "hold", key["id"]),
        (answer["id"], "settlement", key["id"]),
    ]
    assert (await ann.delete(f"/api/v1/users/me/keys/{key['id']}")).status_code == 204
    assert (await generate_image(client)).status_code == 401
    assert await ledger(studio, ann) == before
    await generated_image(ann)
    assert {row["key_id"] for row in (await ledger(studio, ann))[len(before) :]} == {None}
    assert (await studio.program.maintenance.examine()).ok


async def test_a_cost_that_becomes_known_after_a_cancel_is_charged_to_the_key(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = studio.program.providers["openrouter"]
    poll, released = provider.poll, asyncio.Event()

    async def held(*request: Any) -> Outcome:
        await released.wait()
        return await poll(*request)

    monkeypatch.setattr(provider, "poll", held)
    key = await add_key(ann)
    client = studio.direct(key["key"])
    video = await requested_video(client, "[stamp] a boat that is cancelled")
    await eventually(submitted_prompts(studio), lambda prompts: "[stamp] a boat that is cancelled" in prompts)
    await client.post(f"/api/v1/jobs/{video['id']}/cancel")
    released.set()
    await eventually(lambda: ledger(studio, ann), lambda rows: rows[-1]["entry"] == "correction")
    assert {row["key_id"] for row in await ledger(studio, ann)} == {key["id"]}
    assert Decimal((await keys(client))[0]["spent_usd"]) > 0
    assert (await studio.program.maintenance.examine()).ok


def submitted_prompts(studio: Studio) -> Any:
    async def read() -> list[str]:
        return [entry["prompt"] for entry in submit_log(studio)]

    return read


# The list of models


async def test_a_key_with_a_list_is_refused_all_other_models_by_every_route(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    image = (await generated_image(ann))["assets"][0]["id"]
    failed = (await generate_image(ann, "[refuse] a boat")).json()["error"]["details"]["job_id"]
    listed = await key_client(studio, ann, allowed_models=["google/veo-3.1", "not/known-yet"])
    chat = [{"role": "user", "content": "hello"}]
    requests: list[tuple[str, Json]] = [
        ("generate/text", {"model": TEXT_MODEL, "prompt": "hello"}),
        ("generate/text", {"model": TEXT_MODEL, "prompt": "hello", "stream": True}),
        ("generate/image", {"model": IMAGE_MODEL, "prompt": "a boat"}),
        ("generate/video", {"model": VIDEO_MODEL, "prompt": "a boat", **SHORT_VIDEO}),
        ("generate/video", {"model": f"  {VIDEO_MODEL} ", "prompt": "a boat", **SHORT_VIDEO}),
        ("generate/video/from-image", {"model": IMAGE_TO_VIDEO_MODEL, "image_asset_id": image}),
        ("ai/chat", {"model": TEXT_MODEL, "messages": chat}),
        ("ai/chat", {"model": TEXT_MODEL, "messages": chat, "stream": True}),
    ]
    before, sent = await ledger(studio, ann), len(submit_log(studio))
    with Cases() as cases:
        for path, body in requests:
            with cases.case(path, body):
                error = error_of(await listed.post(f"/api/v1/{path}", json=body), 403, "FORBIDDEN")
                assert error["message"] == f"This API key cannot use {body['model'].strip()}."
    error = error_of(await listed.post(f"/api/v1/jobs/{failed}/retry"), 403, "FORBIDDEN")
    assert error["message"] == f"This API key cannot use {IMAGE_MODEL}."
    assert await ledger(studio, ann) == before
    assert len(submit_log(studio)) == sent
    video = {"model": "google/veo-3.1", "prompt": "[stamp] a boat"}
    accepted = await listed.post("/api/v1/generate/video", json=video)
    assert accepted.status_code == 202
    await ended_job(listed, accepted.json()["id"])


async def test_a_key_with_a_list_is_shown_only_the_models_on_it(studio: Studio, ann: httpx.AsyncClient) -> None:
    listed = await key_client(studio, ann, allowed_models=[TEXT_MODEL, VIDEO_MODEL, "not/known-yet"])
    found = (await listed.get("/api/v1/ai/models", params={"limit": 1})).json()
    assert found["total"] == 2
    rest = (await listed.get("/api/v1/ai/models", params={"cursor": found["next"]})).json()
    assert {model["id"] for model in found["items"] + rest["items"]} == {TEXT_MODEL, VIDEO_MODEL}
    videos = (await listed.get("/api/v1/ai/models", params={"output": "video"})).json()
    assert [model["id"] for model in videos["items"]] == [VIDEO_MODEL]
    unlimited = await key_client(studio, ann)
    assert (await unlimited.get("/api/v1/ai/models")).json()["total"] > 2


# No way around the limits


async def test_a_key_with_limits_cannot_create_another_key_or_cause_costs_for_another_user(
    studio: Studio, admin: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    failed = (await generate_image(ann, "[refuse] a boat")).json()["error"]["details"]["job_id"]
    limits: list[Json] = [{"monthly_cap_usd": "5"}, {"allowed_models": [IMAGE_MODEL]}]
    for limit in limits:
        limited = await key_client(studio, admin, **limit)
        before = len(await keys(limited))
        error_of(await limited.post("/api/v1/users/me/keys", json={"name": "free"}), 403, "FORBIDDEN")
        error_of(await limited.post(f"/api/v1/admin/jobs/{failed}/retry"), 403, "FORBIDDEN")
        assert len(await keys(limited)) == before
    unlimited = await key_client(studio, admin)
    await add_key(unlimited)
    retried = await unlimited.post(f"/api/v1/admin/jobs/{failed}/retry")
    assert retried.status_code == 201
    await ended_job(ann, retried.json()["id"])


async def test_the_limits_are_checked_without_a_query(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = await key_client(studio, ann, monthly_cap_usd="5", allowed_models=[TEXT_MODEL])
    await limited.get("/api/v1/ai/models")
    read, test, queries = studio.program.database.read, asyncio.current_task(), []

    async def counted(*query: Any, **more: Any) -> Any:
        if asyncio.current_task() is test:  # the request itself, which runs in this task; background tasks go on
            queries.append(query)
        return await read(*query, **more)

    monkeypatch.setattr(studio.program.database, "read", counted)
    assert (await limited.get("/api/v1/ai/models")).json()["total"] == 1
    assert queries == []
    await limited.get("/api/v1/users/me/keys")
    assert queries != [], "a query of a request is not counted"


# Databases of earlier versions
