"""API keys with a monthly limit and with a list of models: what they may do, at every door, and that nobody else feels it."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from app.base import clock
from app.base.database import Database
from app.base.migrate import migrate
from app.main import MIGRATIONS
from tests.api.kit import CLIP, FRAMED, PICTURE, SHORT, TEXT, Json, eventually, pictured, problem, submits
from tests.studio import Studio, running

LEDGER = "select subject_id, entry, held_nano, spent_nano, key_id from ledger order by happened_at, id"
BEGUN = datetime(2030, 3, 20, 12)  # eleven and a half days before the month ends


class Calendar:
    """The system's clock, which somebody sets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._begun = time.monotonic_ns()
        patch.setattr(clock, "_wall", self._wall)
        patch.setattr(clock, "_origin", 0)
        self.set(BEGUN)

    def set(self, moment: datetime) -> None:
        self._offset = int(clock.unix(moment)) * 10**9 - (time.monotonic_ns() - self._begun)

    def _wall(self) -> int:
        return self._offset + time.monotonic_ns() - self._begun


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


@pytest.fixture
async def studio(calendar: Calendar, tmp_path: Path) -> AsyncIterator[Studio]:
    async with running(tmp_path) as studio:
        yield studio


@pytest.fixture
async def ann(studio: Studio) -> httpx.AsyncClient:
    return await studio.person()


async def made(client: httpx.AsyncClient, **limits: object) -> Json:
    answer = await client.post("/api/v1/users/me/keys", json={"name": "nightly", **limits})
    assert answer.status_code == 201, answer.text
    body: Json = answer.json()
    return body


async def with_key(studio: Studio, client: httpx.AsyncClient, **limits: object) -> httpx.AsyncClient:
    """The same person's program, signed in by a key."""
    return studio.client((await made(client, **limits))["key"])


async def listed(client: httpx.AsyncClient) -> list[Json]:
    items: list[Json] = (await client.get("/api/v1/users/me/keys")).json()["items"]
    return items


async def ledger(studio: Studio) -> list[Json]:
    return await studio.program.database.read(lambda tx: tx.rows(LEDGER))


async def post_picture(client: httpx.AsyncClient, prompt: str = "a lighthouse", **headers: str) -> httpx.Response:
    return await client.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": prompt}, headers=headers)


async def price(client: httpx.AsyncClient) -> Decimal:
    """What one picture costs, which from then on is known."""
    return Decimal((await pictured(client))["cost_usd"])


# The monthly limit


async def test_a_key_that_has_reached_its_limit_is_refused_until_the_month_ends(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    cost = await price(ann)
    program = await with_key(studio, ann, monthly_cap_usd=str(cost * 2))
    for _ in range(2):
        assert (await post_picture(program)).status_code == 200
    sent = len(submits(studio))
    refused = await post_picture(program)
    error = problem(refused, 429, "QUOTA_EXCEEDED")
    assert "monthly limit of this API key" in error["message"]
    assert "1 April" in error["message"]
    eleven_and_a_half_days = 993_600
    assert eleven_and_a_half_days - 120 < int(refused.headers["Retry-After"]) <= eleven_and_a_half_days + 1
    doors: dict[str, Json] = {
        "generate/text": {"model": TEXT, "prompt": "hello"},
        "generate/video": {"model": CLIP, "prompt": "a boat", **SHORT},
        "ai/chat": {"model": TEXT, "messages": [{"role": "user", "content": "hello"}]},
    }
    for path, body in doors.items():
        answer = await program.post(f"/api/v1/{path}", json=body)
        problem(answer, 429, "QUOTA_EXCEEDED")
        assert int(answer.headers["Retry-After"]) > 0
    for path in ("generate/text", "ai/chat"):
        answer = await program.post(f"/api/v1/{path}", json={**doors[path], "stream": True})
        assert "QUOTA_EXCEEDED" in answer.text
    assert len(submits(studio)) == sent
    assert (await program.get("/api/v1/jobs")).json()["total"] == 3


async def test_next_month_it_works_again(studio: Studio, ann: httpx.AsyncClient, calendar: Calendar) -> None:
    cost = await price(ann)
    program = await with_key(studio, ann, monthly_cap_usd=str(cost))
    assert (await post_picture(program)).status_code == 200
    calendar.set(datetime(2030, 3, 31, 23, 50))
    refused = await post_picture(program)
    problem(refused, 429, "QUOTA_EXCEEDED")
    assert 0 < int(refused.headers["Retry-After"]) <= 601
    calendar.set(datetime(2030, 4, 1, 0, 0, 1))
    assert Decimal((await listed(program))[0]["spent_usd"]) == 0
    assert (await post_picture(program)).status_code == 200
    assert Decimal((await listed(program))[0]["spent_usd"]) == cost
    problem(await post_picture(program), 429, "QUOTA_EXCEEDED")


async def test_fifty_at_once_with_one_key_stay_within_its_limit(studio: Studio, ann: httpx.AsyncClient) -> None:
    cost = await price(ann)
    program = await with_key(studio, ann, monthly_cap_usd=str(cost * 5 + cost / 2))
    before = len(submits(studio))
    answers = await asyncio.gather(*(post_picture(program, f"boat {n}") for n in range(50)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429)) == (5, 45)
    assert len(submits(studio)) - before == 5
    (key,) = await listed(program)
    assert Decimal(key["spent_usd"]) == cost * 5 <= Decimal(key["monthly_cap_usd"])
    assert (await studio.program.upkeep.examine()).ok


async def test_what_is_under_way_counts_and_is_free_again_when_it_is_cancelled(
    calendar: Calendar, tmp_path: Path
) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="1") as studio:
        ann = await studio.person()
        cost = await price(ann)
        program = await with_key(studio, ann, monthly_cap_usd=str(cost))
        first = await post_picture(program, "[stuck] a boat", Prefer="respond-async")
        assert first.status_code == 202
        assert "held" in problem(await post_picture(program), 429, "QUOTA_EXCEEDED")["message"]
        await program.post(f"/api/v1/jobs/{first.json()['id']}/cancel")
        await studio.finished(program, first.json()["id"])
        assert (await post_picture(program)).status_code == 200


async def test_the_limit_holds_after_a_restart_too(calendar: Calendar, tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.person()
        cost = await price(ann)
        key = (await made(ann, monthly_cap_usd=str(cost * 2)))["key"]
        assert (await post_picture(studio.client(key))).status_code == 200
    async with running(tmp_path) as studio:
        program = studio.client(key)
        answers = await asyncio.gather(*(post_picture(program, f"boat {n}") for n in range(10)))
        assert sorted(answer.status_code for answer in answers) == [200] + [429] * 9
        assert Decimal((await listed(program))[0]["spent_usd"]) == cost * 2


async def test_a_retry_counts_and_is_refused_like_anything_else(studio: Studio, ann: httpx.AsyncClient) -> None:
    cost = await price(ann)
    failed = (await post_picture(ann, "[refuse] a boat")).json()["error"]["details"]["job_id"]
    program = await with_key(studio, ann, monthly_cap_usd=str(cost / 2))
    sent = len(submits(studio))
    problem(await program.post(f"/api/v1/jobs/{failed}/retry"), 429, "QUOTA_EXCEEDED")
    assert len(submits(studio)) == sent
    assert (await ann.post(f"/api/v1/jobs/{failed}/retry")).status_code == 201


async def test_a_request_that_was_accepted_is_answered_again_although_nothing_is_left(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    program = await with_key(studio, ann, monthly_cap_usd=str(await price(ann)))
    first = await post_picture(program, **{"Idempotency-Key": "once"})
    again = await post_picture(program, **{"Idempotency-Key": "once"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["id"] == again.json()["id"]


async def test_other_keys_sign_ins_and_browsers_of_the_same_person_feel_nothing_of_it(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    cost = await price(ann)
    limited = await with_key(studio, ann, monthly_cap_usd=str(cost), allowed_models=[PICTURE])
    free, browser = await with_key(studio, ann), await studio.person_in_browser()
    assert (await post_picture(limited)).status_code == 200
    problem(await post_picture(limited), 429, "QUOTA_EXCEEDED")
    for client in (free, ann):
        assert (await post_picture(client)).status_code == 200
        assert (await client.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "hi"})).status_code == 200
    form = {"model": PICTURE, "prompt": "a boat", "idempotency_key": "one"}
    assert (await browser.send_form("/generate/image", form)).headers["Location"].startswith("/jobs/")
    spent = {key["monthly_cap_usd"] is None: Decimal(key["spent_usd"]) for key in await listed(ann)}
    assert spent[False] == cost
    assert spent[True] > cost  # and the text


async def test_what_a_key_spends_carries_its_name_in_the_ledger_also_when_the_key_is_gone(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    key = await made(ann)
    program = studio.client(key["key"])
    job = (await post_picture(program)).json()
    talk = {"model": TEXT, "messages": [{"role": "user", "content": "hello"}]}
    said = (await program.post("/api/v1/ai/chat", json=talk)).json()
    before = await ledger(studio)
    assert [(row["entry"], row["key_id"]) for row in before if row["subject_id"] in (job["id"], said["id"])] == [
        ("hold", key["id"]),
        ("settlement", key["id"]),
    ] * 2
    assert (await ann.delete(f"/api/v1/users/me/keys/{key['id']}")).status_code == 204
    assert (await post_picture(program)).status_code == 401
    assert await ledger(studio) == before
    await pictured(ann)
    assert {row["key_id"] for row in (await ledger(studio))[len(before) :]} == {None}
    assert (await studio.program.upkeep.examine()).ok


async def test_a_bill_that_comes_late_is_the_keys_too(calendar: Calendar, tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.1") as studio:
        key = await made(await studio.person())
        program = studio.client(key["key"])
        clip = (await program.post("/api/v1/generate/video", json={"model": CLIP, "prompt": "a boat", **SHORT})).json()
        await eventually(lambda: asyncio.sleep(0, submits(studio)), bool)
        await program.post(f"/api/v1/jobs/{clip['id']}/cancel")
        await eventually(lambda: ledger(studio), lambda rows: rows[-1]["entry"] == "correction")
        assert {row["key_id"] for row in await ledger(studio)} == {key["id"]}
        assert Decimal((await listed(program))[0]["spent_usd"]) > 0
        assert (await studio.program.upkeep.examine()).ok


# The list of models


async def test_a_key_with_a_list_is_refused_every_other_model_at_every_door(
    studio: Studio, ann: httpx.AsyncClient
) -> None:
    picture = (await pictured(ann))["assets"][0]["id"]
    failed = (await post_picture(ann, "[refuse] a boat")).json()["error"]["details"]["job_id"]
    program = await with_key(studio, ann, allowed_models=["google/veo-3.1", "not/known-yet"])
    talk = [{"role": "user", "content": "hello"}]
    doors: list[tuple[str, Json]] = [
        ("generate/text", {"model": TEXT, "prompt": "hello"}),
        ("generate/text", {"model": TEXT, "prompt": "hello", "stream": True}),
        ("generate/image", {"model": PICTURE, "prompt": "a boat"}),
        ("generate/video", {"model": CLIP, "prompt": "a boat", **SHORT}),
        ("generate/video", {"model": f"  {CLIP} ", "prompt": "a boat", **SHORT}),
        ("generate/video/from-image", {"model": FRAMED, "image_asset_id": picture}),
        ("ai/chat", {"model": TEXT, "messages": talk}),
        ("ai/chat", {"model": TEXT, "messages": talk, "stream": True}),
    ]
    before, sent = await ledger(studio), len(submits(studio))
    for path, body in doors:
        error = problem(await program.post(f"/api/v1/{path}", json=body), 403, "FORBIDDEN")
        assert error["message"] == f"This API key may not use {body['model'].strip()}."
    error = problem(await program.post(f"/api/v1/jobs/{failed}/retry"), 403, "FORBIDDEN")
    assert error["message"] == f"This API key may not use {PICTURE}."
    assert await ledger(studio) == before
    assert len(submits(studio)) == sent
    clip = {"model": "google/veo-3.1", "prompt": "a boat"}
    assert (await program.post("/api/v1/generate/video", json=clip)).status_code == 202


async def test_a_key_with_a_list_is_shown_the_models_on_it(studio: Studio, ann: httpx.AsyncClient) -> None:
    program = await with_key(studio, ann, allowed_models=[TEXT, CLIP, "not/known-yet"])
    found = (await program.get("/api/v1/ai/models", params={"limit": 1})).json()
    assert found["total"] == 2
    rest = (await program.get("/api/v1/ai/models", params={"cursor": found["next"]})).json()
    assert {model["id"] for model in found["items"] + rest["items"]} == {TEXT, CLIP}
    clips = (await program.get("/api/v1/ai/models", params={"output": "video"})).json()
    assert [model["id"] for model in clips["items"]] == [CLIP]
    free = await with_key(studio, ann)
    assert (await free.get("/api/v1/ai/models")).json()["total"] > 2


# No way around


@pytest.mark.parametrize("limits", [{"monthly_cap_usd": "5"}, {"allowed_models": [PICTURE]}])
async def test_a_key_with_limits_cannot_make_itself_another_or_spend_on_somebody_elses_name(
    studio: Studio, ann: httpx.AsyncClient, limits: Json
) -> None:
    """Ann is the admin, being the first."""
    bob = await studio.person("bob@studio.example")
    failed = (await post_picture(bob, "[refuse] a boat")).json()["error"]["details"]["job_id"]
    program = await with_key(studio, ann, **limits)
    problem(await program.post("/api/v1/users/me/keys", json={"name": "free"}), 403, "FORBIDDEN")
    problem(await program.post(f"/api/v1/admin/jobs/{failed}/retry"), 403, "FORBIDDEN")
    assert len(await listed(program)) == 1
    free = await with_key(studio, ann)
    await made(free)
    assert (await free.post(f"/api/v1/admin/jobs/{failed}/retry")).status_code == 201


async def test_the_limits_cost_no_question_to_the_database(
    studio: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = await with_key(studio, ann, monthly_cap_usd="5", allowed_models=[TEXT])
    await program.get("/api/v1/ai/models")
    asked: list[object] = []

    async def counted(*question: object) -> None:
        asked.append(question)

    monkeypatch.setattr(studio.program.database, "read", counted)
    assert (await program.get("/api/v1/ai/models")).json()["total"] == 1
    assert asked == []


# Databases from before


async def test_keys_and_ledger_of_an_older_database_stay_as_they_were(tmp_path: Path) -> None:
    older = tmp_path / "migrations"
    older.mkdir()
    for path in sorted(MIGRATIONS.glob("*.sql"))[:8]:
        (older / path.name).write_bytes(path.read_bytes())
    database = Database(tmp_path / "atelier.duckdb")
    await migrate(database, older)

    await database.write(
        lambda tx: tx.execute(
            "insert into api_keys values ('k', 'ann', 'laptop', 'atl_12345678', 'hash', now()::timestamp, null, null);"
            " insert into ledger values ('h', 'ann', 'job', 'j', 'hold', 7, null, now()::timestamp)"
        )
    )
    await database.close()
    database = Database(tmp_path / "atelier.duckdb")
    assert (await migrate(database, MIGRATIONS))[0] == "0009_key_limits.sql"
    key = await database.read(lambda tx: tx.row("select * from api_keys"))
    entry = await database.read(lambda tx: tx.row("select * from ledger"))
    assert key is not None
    assert entry is not None
    assert (key["name"], key["key_hash"], key["monthly_cap_nano"], key["allowed_models"]) == (
        "laptop",
        "hash",
        None,
        None,
    )
    assert (entry["held_nano"], entry["key_id"]) == (7, None)
    await database.close()
