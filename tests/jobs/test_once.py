"""A paid request with an `Idempotency-Key` is carried out once, however often it comes. Whether that is so is judged by the
provider's own log, beside our rows."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.base import clock
from app.base.errors import Conflict
from app.base.once import Once
from app.jobs.schemas import Status
from app.jobs.service import KEY_LIFE, Jobs
from app.providers.contract import ErrorCode, Later, Never, Ticket
from tests.api.kit import CLIP, PICTURE, SHORT, TEXT, Json, eventually, invalid, problem, read_job, submits
from tests.jobs.conftest import Reopen, a_job
from tests.studio import Browser, Studio, running

BODIES: dict[str, Json] = {
    "text": {"model": TEXT, "prompt": "once and for all"},
    "image": {"model": PICTURE, "prompt": "once and for all"},
    "video": {"model": CLIP, "prompt": "once and for all", **SHORT},
}
FULL = Never(code=ErrorCode.STORAGE_FULL, message="The disk is full.")
REFUSED = Never(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this.")


def under(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def total(client: httpx.AsyncClient) -> int:
    count: int = (await client.get("/api/v1/jobs")).json()["total"]
    return count


# Over HTTP


@pytest.mark.parametrize("kind", BODIES)
async def test_a_hundred_requests_at_once_with_one_key_make_one_job(studio: Studio, kind: str) -> None:
    ann = await studio.person()
    asked = [ann.post(f"/api/v1/generate/{kind}", json=BODIES[kind], headers=under("k")) for _ in range(100)]
    answers = await asyncio.gather(*asked)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == ([200] * 99 + [202] if kind == "video" else [200] * 100)
    [id] = {answer.json()["id"] for answer in answers}
    assert (await studio.finished(ann, id))["status"] == "completed"
    assert await total(ann) == 1
    assert len(submits(studio)) == 1


async def test_the_same_key_with_another_body_or_at_another_address_clashes(studio: Studio) -> None:
    ann = await studio.person()
    first = await ann.post("/api/v1/generate/video", json=BODIES["video"], headers=under("k"))
    assert first.status_code == 202
    other = {**BODIES["video"], "prompt": "twice"}
    problem(await ann.post("/api/v1/generate/video", json=other, headers=under("k")), 409, "CONFLICT")
    problem(await ann.post("/api/v1/generate/image", json=BODIES["image"], headers=under("k")), 409, "CONFLICT")
    turned = dict(reversed(BODIES["video"].items()))  # the same request, written in another order
    again = await ann.post("/api/v1/generate/video", json=turned, headers=under("k"))
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    await studio.finished(ann, first.json()["id"])
    assert len(submits(studio)) == 1


async def test_a_repeat_is_answered_with_the_first_result_also_unfinished_and_after_a_restart(tmp_path: Path) -> None:
    stuck = {**BODIES["video"], "prompt": "[stuck] without an end"}
    async with running(tmp_path) as studio:
        ann = await studio.person()
        first = (await ann.post("/api/v1/generate/video", json=stuck, headers=under("k"))).json()
        await eventually(lambda: read_job(ann, first["id"]), lambda now: now["status"] == "processing")
        again = await ann.post("/api/v1/generate/video", json=stuck, headers=under("k"))
        assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, first["id"], "processing")
        done = (await ann.post("/api/v1/generate/text", json=BODIES["text"], headers=under("text"))).json()
        await eventually(lambda: _tickets(studio), lambda tickets: tickets == 1)
    async with running(tmp_path) as studio:
        ann = await studio.person()
        again = await ann.post("/api/v1/generate/video", json=stuck, headers=under("k"))
        assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, first["id"], "processing")
        assert (await ann.post("/api/v1/generate/text", json=BODIES["text"], headers=under("text"))).json() == done
        assert await total(ann) == 2
        assert len(submits(studio)) == 2


async def test_a_key_is_a_persons_own(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    answers = [
        await person.post("/api/v1/generate/image", json=BODIES["image"], headers=under("k")) for person in (ann, bob)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] != answers[1].json()["id"]
    assert len(submits(studio)) == 2


async def test_a_refused_request_does_not_use_its_key_up(studio: Studio) -> None:
    ann = await studio.person()
    wrong = {**BODIES["image"], "model": "nobody/nothing"}
    assert (await ann.post("/api/v1/generate/image", json=wrong, headers=under("k"))).status_code == 400
    assert (await ann.post("/api/v1/generate/image", json=BODIES["image"], headers=under("k"))).status_code == 200


async def test_a_failed_request_is_not_carried_out_anew_by_its_repeat(studio: Studio) -> None:
    ann = await studio.person()
    refused = {**BODIES["image"], "prompt": "[refuse] something"}
    first = problem(await ann.post("/api/v1/generate/image", json=refused, headers=under("k")), 400)
    again = problem(await ann.post("/api/v1/generate/image", json=refused, headers=under("k")), 400)
    assert again["details"]["job_id"] == first["details"]["job_id"]
    assert await total(ann) == 1


async def test_streams_take_no_notice_of_the_key(studio: Studio) -> None:
    ann = await studio.person()
    for _ in range(2):
        body = {**BODIES["text"], "stream": True}
        answer = await ann.post("/api/v1/generate/text", json=body, headers=under("k"))
        assert answer.status_code == 200
        assert answer.text.rstrip().endswith("data: [DONE]")
    assert len(submits(studio)) == 2


async def test_a_retry_is_made_once_too(studio: Studio) -> None:
    ann = await studio.person()
    refused = {**BODIES["image"], "prompt": "[refuse] something"}
    failed = problem(await ann.post("/api/v1/generate/image", json=refused), 400)["details"]["job_id"]
    retries = [ann.post(f"/api/v1/jobs/{failed}/retry", headers=under("r")) for _ in range(100)]
    answers = await asyncio.gather(*retries)
    assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
    [id] = {answer.json()["id"] for answer in answers}
    assert (await studio.finished(ann, id))["retry_of"] == failed
    assert await total(ann) == 2
    problem(await ann.post(f"/api/v1/jobs/{id}/retry", headers=under("r")), 409, "CONFLICT")


@pytest.mark.parametrize("kind", ["jobs", "videos"])
async def test_an_admins_retry_is_made_once_too(studio: Studio, kind: str) -> None:
    admin, bob = await studio.person(), await studio.person("bob@studio.example")
    refused = {**BODIES["video"], "prompt": "[refuse] something"}
    failed = []
    for _ in range(2):
        failed.append((await bob.post("/api/v1/generate/video", json=refused)).json()["id"])
        await studio.finished(bob, failed[-1])
    path = f"/api/v1/admin/{kind}/{failed[0]}/retry"
    answers = await asyncio.gather(*(admin.post(path, headers=under("r")) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
    [id] = {answer.json()["id"] for answer in answers}
    assert (await studio.finished(bob, id))["retry_of"] == failed[0]
    assert await total(bob) == 3
    log = (await admin.get("/api/v1/admin/audit")).json()["items"]
    assert [entry["subject"] for entry in log] == [failed[0]], "one deed, one line"
    problem(await admin.post(f"/api/v1/admin/{kind}/{failed[1]}/retry", headers=under("r")), 409, "CONFLICT")
    own = await bob.post(f"/api/v1/jobs/{failed[1]}/retry", headers=under("r"))
    assert own.status_code == 201, "the key is the admin's, and not the person's"
    invalid(await admin.post(path, headers=under("")), "Idempotency-Key")
    assert (await studio.program.upkeep.examine()).ok


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"], ids=["empty", "too long", "not printable"])
async def test_a_key_that_is_none_is_refused(studio: Studio, key: str) -> None:
    ann = await studio.person()
    for path, body in BODIES.items():
        answer = await ann.post(f"/api/v1/generate/{path}", json=body, headers=under(key))
        invalid(answer, "Idempotency-Key")
    longest = await ann.post("/api/v1/generate/text", json=BODIES["text"], headers=under("x" * 255))
    assert longest.status_code == 200
    assert await total(ann) == 1


# Forms


async def _form(ann: Browser) -> tuple[dict[str, str], str]:
    """The form for a picture, filled in, with its hidden key; the same form empty has another key."""
    keys = []
    for _ in range(2):
        page = (await ann.get("/generate/image")).text
        found = re.search(r'name="idempotency_key" value="([^"]+)"', page)
        assert found, "the form has no key"
        keys.append(found[1])
    assert keys[0] != keys[1]
    return {**BODIES["image"], "idempotency_key": keys[0]}, keys[1]


async def test_a_double_click_makes_one_job(studio: Studio) -> None:
    ann = await studio.person_in_browser()
    form, other_key = await _form(ann)
    token = await ann.form_token("/jobs")
    clicks = [ann.post("/generate/image", data={**form, "_csrf_token": token}) for _ in range(10)]
    answers = await asyncio.gather(*clicks)
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    again = await ann.send_form("/generate/image", {**form, "idempotency_key": other_key})
    assert again.headers["location"] != answers[0].headers["location"]
    await eventually(lambda: _submits(studio), lambda count: count == 2)


async def test_a_double_click_on_retry_makes_one_job(studio: Studio) -> None:
    ann, client = await studio.person_in_browser(), await studio.person()
    refused = {**BODIES["video"], "prompt": "[refuse] something"}
    job = (await client.post("/api/v1/generate/video", json=refused)).json()
    await studio.finished(client, job["id"])
    token = await ann.form_token("/jobs")
    clicks = [ann.post(f"/jobs/{job['id']}/retry", data={"_csrf_token": token}) for _ in range(2)]
    first, second = await asyncio.gather(*clicks)
    assert first.headers["location"] == second.headers["location"]
    await studio.finished(client, first.headers["location"].removeprefix("/jobs/"))
    third = await ann.send_form(f"/jobs/{job['id']}/retry")  # the first retry has ended: now it is meant
    assert third.headers["location"] != first.headers["location"]


async def test_a_double_click_on_an_admins_retry_makes_one_job(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    job = (await bob.post("/api/v1/generate/video", json={**BODIES["video"], "prompt": "[stuck] something"})).json()
    await bob.post(f"/api/v1/jobs/{job['id']}/cancel")
    token = await admin.form_token("/jobs")
    clicks = [admin.post(f"/admin/jobs/{job['id']}/retry", data={"_csrf_token": token}) for _ in range(5)]
    answers = await asyncio.gather(*clicks)
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert await total(bob) == 2
    await bob.post(f"/api/v1/jobs/{answers[0].headers['location'].rpartition('/')[2]}/cancel")


# The rules, without HTTP


async def test_a_key_lives_for_a_day(jobs: Jobs, reopen: Reopen) -> None:
    asked, key = clock.now(), Once("k", "hash")
    first = await jobs.enqueue(a_job(created_at=asked), key)
    almost = await reopen().enqueue(a_job(created_at=asked + KEY_LIFE), key)
    assert (almost.repeated, almost.job.id) == (True, first.job.id)
    later = asked + KEY_LIFE + timedelta(seconds=1)
    anew = await jobs.enqueue(a_job(created_at=later), Once("k", "another hash"))
    assert not anew.repeated
    with pytest.raises(Conflict):
        await jobs.enqueue(a_job(created_at=later), key)


async def test_forgotten_keys_leave_nothing_behind(jobs: Jobs) -> None:
    old = clock.now() - KEY_LIFE - timedelta(minutes=1)
    await jobs.enqueue(a_job(created_at=old), Once("old", "hash"))
    await jobs.enqueue(a_job(), Once("new", "hash"))
    await jobs.sweep()
    rows = await jobs._database.read(lambda tx: tx.rows("select idempotency_key from idempotency"))
    assert [row["idempotency_key"] for row in rows] == ["new"]


async def test_a_result_that_was_paid_for_is_fetched_by_one_retry_only(jobs: Jobs) -> None:
    """Else its cost would be counted twice."""
    await jobs.enqueue(a_job())
    (job,) = await jobs.claim(1)
    ticket = Ticket("up-1")
    await jobs.go_on(job, Later(ticket=ticket, state="completed"))
    await jobs.fail(job, FULL)
    first, second = await jobs.retry("ann", job.id, Once("a", "x")), await jobs.retry("ann", job.id, Once("b", "x"))
    assert (first.repeated, second.repeated) == (False, True)
    assert (first.job.ticket, second.job.id) == (ticket, first.job.id)
    (retried,) = await jobs.claim(5)
    assert (retried.status, retried.attempts) == (Status.PROCESSING, 0), "nothing was sent"
    await jobs.fail(retried, FULL)  # still no room: then it may be tried once more
    third = await jobs.retry("ann", job.id, Once("b", "x"))
    assert (third.repeated, third.job.ticket) == (False, ticket)


async def test_a_retry_of_what_will_not_be_had_is_paid_for_anew(jobs: Jobs) -> None:
    await jobs.enqueue(a_job())
    (job,) = await jobs.claim(1)
    await jobs.go_on(job, Later(ticket=Ticket("up-1"), state="pending"))
    await jobs.fail(job, REFUSED)
    first, second = await jobs.retry("ann", job.id), await jobs.retry("ann", job.id)
    assert [first.job.ticket, second.job.ticket] == [None, None]
    assert first.job.id != second.job.id


async def _submits(studio: Studio) -> int:
    return len(submits(studio))


async def _tickets(studio: Studio) -> int:
    return sum(job.ticket is not None for job in studio.program.jobs._live.values())
