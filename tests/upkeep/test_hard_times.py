"""A disk that is full, a database that somebody else has open, a clock that jumps, a provider that is half dead: each has
a clear end, nothing that was acknowledged is lost, and the studio works again by itself."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.base import clock, secret
from app.base.secret import new_id
from app.jobs import service as jobs_service
from app.providers.openrouter import Patience, provider
from tests.api.kit import CLIP, PICTURE, SHORT, TEXT, Json, asked_clip, eventually, pictured, problem, read_job, submits
from tests.api.processes import ROOT, atelier
from tests.storage.stalls import longest_stall
from tests.studio import PASSWORD, Studio, running

# Somebody else has the database open


@asynccontextmanager
async def held(database: Path) -> AsyncIterator[None]:
    """The database, open in another process until the end of the block."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(database), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert await process.stdout.readline() == b"open\n"
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


@pytest.mark.parametrize("command", ["serve", "doctor", "migrate"])
async def test_a_database_that_another_process_has_open_is_told_in_one_line(data: Path, command: str) -> None:
    async with held(data / "atelier.duckdb"), atelier(data.parent, command) as process:
        assert await process.ended() != 0
        [line] = process.out + process.err
        assert "another process has the database atelier.duckdb open: stop it first" in line
    async with atelier(data.parent, "doctor") as process:
        assert await process.ended() == 0, "once it is closed everything is as it was"


# The disk is full


@pytest.mark.parametrize("fold", [100_000_000, 300_000])
async def test_a_database_without_room_refuses_keeps_what_it_has_said_and_comes_back(tmp_path: Path, fold: int) -> None:
    """Both while the write-ahead log grows, and while it is folded in, when the engine gives up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.upkeep.full_database", str(tmp_path), str(fold), cwd=ROOT, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    told = json.loads(out.splitlines()[-1])
    assert told["kept"] > 100
    assert (told["lost"], told["came back"], told["healthy"]) == ([], [], True)
    assert told["refused as"] == ["NoRoom"]
    assert told["reads"]["wrong"] == 0
    assert told["reads"]["right"] > 50, "what is there can be read all the time"
    assert (told["opened anew"] > 0) == (fold == 300_000)


def fill(folder: Path) -> None:
    """Take all room there is, and take it again whenever this is called."""
    with contextlib.suppress(OSError), (folder / "ballast").open("ab", buffering=0) as file:
        while True:
            room = os.statvfs(folder)
            if not file.write(bytes(max(1, min(1_000_000, room.f_bavail * room.f_frsize)))):
                return


def spare(folder: Path, size: int) -> None:
    """Give back so many bytes of that."""
    ballast = folder / "ballast"
    os.truncate(ballast, ballast.stat().st_size - size)


async def asked(client: httpx.AsyncClient, prompt: str) -> httpx.Response:
    body = {"model": PICTURE, "prompt": prompt}
    return await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})


async def refused(client: httpx.AsyncClient, small_disk: Path) -> list[str]:
    """Ask until five requests were refused for want of room; the prompts of those."""
    prompts: list[str] = []
    async with asyncio.timeout(60):
        for number in range(10_000):
            fill(small_disk)
            prompt = f"number {number} " + "x" * 3000
            answer = await asked(client, prompt)
            if answer.status_code not in (200, 202):
                error = problem(answer, 503, "SERVICE_UNAVAILABLE")
                assert (
                    error["message"] == "The disk is full: nothing could be saved. What was saved before is not lost."
                )
                prompts.append(prompt)
            if len(prompts) == 5:
                return prompts
    raise AssertionError("nothing was refused")


async def prompts_of(client: httpx.AsyncClient) -> dict[str, str]:
    """Every job's state by its prompt."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page = (await client.get(f"/api/v1/jobs?limit=100{cursor}")).json()
        found |= {job["prompt"]: job["status"] for job in page["items"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


async def test_a_request_that_finds_no_room_is_refused_and_never_carried_out(small_disk: Path) -> None:
    async with running(small_disk) as studio:
        ann = await studio.person()
        earlier = await pictured(ann)
        turned_away = await refused(ann, small_disk)
        assert (await ann.get(earlier["assets"][0]["url"])).status_code == 200
        assert (await studio.client().get("/health")).status_code == 200
        assert (await ann.get("/api/v1/jobs")).status_code == 200

        (small_disk / "ballast").unlink()
        assert (await pictured(ann, "there is room again"))["status"] == "completed"
        found = await eventually(
            lambda: prompts_of(ann), lambda found: not {"queued", "processing"} & set(found.values()), 30
        )
        assert not set(turned_away) & set(found), "what was refused is not there"
        assert not set(turned_away) & {str(one["prompt"]) for one in submits(studio)}, "and was never sent"
        told = await studio.program.upkeep.examine()
        assert told.ok, told.text
    async with running(small_disk) as studio:
        ann = await studio.person()
        assert set(await prompts_of(ann)) == set(found)


async def test_an_engine_that_gives_up_on_a_full_disk_is_started_anew_while_the_studio_serves(
    small_disk: Path,
) -> None:
    async with running(small_disk) as studio:
        ann = await studio.person()
        await pictured(ann)
        database = studio.program.database
        database._fold_at, database._room = 1, -(10**12)  # fold the log after every write, whatever room there is
        accepted: list[str] = []
        async with asyncio.timeout(60):
            fill(small_disk)
            while not database._era:
                answer = await asked(ann, f"number {len(accepted)}")
                if answer.status_code in (200, 202):
                    accepted.append(answer.json()["id"])
                else:
                    problem(answer, 503, "SERVICE_UNAVAILABLE")
                    spare(small_disk, 16_384)  # soon a job has room in the log, and the log none in the file
        (small_disk / "ballast").unlink()
        assert await eventually(lambda: asyncio.sleep(0, database.healthy), lambda healthy: healthy)
        for id in accepted:
            assert (await studio.finished(ann, id))["status"] in ("completed", "failed")
        assert (await pictured(ann, "after that"))["status"] == "completed"
        assert (await studio.client().get("/health")).status_code == 200
        told = await studio.program.upkeep.examine()
        assert told.ok, told.text


# The clock jumps


async def with_key(studio: Studio) -> httpx.AsyncClient:
    """A person's program that signs in with a key, which no jump of an hour makes too old."""
    ann = await studio.person()
    return studio.client((await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"])


class Watch:
    """The system's clock, which somebody sets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0  # seconds
        patch.setattr(clock, "_wall", lambda: time.time_ns() + int(self.ahead * 1e9))
        patch.setattr(clock, "_origin", 0)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_time_follows_a_clock_that_is_set_forward_and_goes_on_when_it_is_set_back(watch: Watch) -> None:
    begun = clock.now()
    watch.ahead = 3600
    assert timedelta(hours=1) <= clock.now() - begun < timedelta(hours=1, seconds=1)
    there = clock.now()
    watch.ahead = -3600
    time.sleep(0.05)
    assert timedelta(seconds=0.05) <= clock.now() - there < timedelta(seconds=1)
    moments = [clock.now() for _ in range(1000)]
    assert moments == sorted(moments)


def test_ids_sort_by_the_time_they_were_made_however_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(secret, "_last", 0)
    made = [new_id()]
    for ahead in (0, 3600, -3600, 0):
        monkeypatch.setattr(time, "time_ns", lambda ahead=ahead: now() + ahead * 10**9)
        made += [new_id() for _ in range(100)]
    assert made == sorted(set(made))


@pytest.mark.parametrize("ahead", [-3600.0, 1200.0])
async def test_work_under_way_comes_to_its_end_in_its_time(tmp_path: Path, watch: Watch, ahead: float) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.2") as studio:
        ann = await with_key(studio)
        clip, later = await asked_clip(ann), await asked_clip(ann, "[overloaded] later")
        await eventually(lambda: read_job(ann, clip["id"]), lambda job: job["status"] == "processing")
        await eventually(lambda: read_job(ann, later["id"]), lambda job: job["attempts"] == 1)
        watch.ahead = ahead
        for job in (clip, later):
            assert (await studio.finished(ann, job["id"], 20))["status"] == "completed"
        assert (await pictured(ann))["status"] == "completed"
        assert (await studio.client().get("/health")).status_code == 200
        timeline = await studio.program.jobs.events((await ann.get("/api/v1/users/me")).json()["id"], clip["id"])
        assert [event.what for event in timeline][-1] == "completed"
        assert (await studio.program.upkeep.examine()).ok


async def test_a_clip_whose_deadline_passes_in_a_jump_is_told_so_and_comes_by_retry_without_a_second_charge(
    tmp_path: Path, watch: Watch
) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="0.5") as studio:
        ann = await with_key(studio)
        clip = await asked_clip(ann, "a long way")
        await eventually(lambda: read_job(ann, clip["id"]), lambda job: job["status"] == "processing")
        await eventually(lambda: asyncio.sleep(0, len(submits(studio))), lambda count: count == 1)
        watch.ahead = 7200
        ended = await studio.finished(ann, clip["id"])
        assert (ended["status"], ended["error"]["code"]) == ("failed", "TIMED_OUT")
        again = (await ann.post(f"/api/v1/jobs/{clip['id']}/retry")).json()
        assert (await studio.finished(ann, again["id"]))["status"] == "completed"
        assert len(submits(studio)) == 1


async def test_nobody_is_signed_out_or_let_in_by_a_clock_that_is_set(tmp_path: Path, watch: Watch) -> None:
    async with running(tmp_path) as studio:
        ann, browser = await studio.person(), await studio.person_in_browser("bob@studio.example")
        person = {"email": "ann@studio.example", "password": PASSWORD}
        tokens = (await studio.client().post("/api/v1/auth/login", json=person)).json()
        key = (await ann.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]

        async def status(token: str) -> int:
            return (await studio.client(token).get("/api/v1/users/me")).status_code

        watch.ahead = -86_400
        assert await status(tokens["access_token"]) == 200
        assert (await browser.get("/jobs")).status_code == 200
        watch.ahead = 3600  # access tokens live a quarter of an hour, everything else for long
        assert await status(tokens["access_token"]) == 401
        assert await status(key) == 200
        assert (await browser.get("/jobs")).status_code == 200
        fresh = await studio.client().post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert fresh.status_code == 200
        watch.ahead = 0
        assert await status(tokens["access_token"]) == 401, "what has expired stays expired"
        assert await status(fresh.json()["access_token"]) == 200


# The provider is half dead

WAIT = 3.0  # seconds
SHORT_PATIENCE = Patience(
    text_idle=WAIT, text=WAIT, stream=WAIT, image=WAIT, video=WAIT, poll=WAIT, download=WAIT, between_downloads=0.1
)
HALF_DEAD = {"stuck": "never answers", "trickle": "a byte a second", "cut": "cuts in mid-body", "html": "a web page"}
CODES = {"PROVIDER_FAILED", "PROVIDER_UNREACHABLE", "OUTCOME_UNKNOWN", "TIMED_OUT", "RESULT_INVALID"}


async def ended(studio: Studio, client: httpx.AsyncClient, kind: str, directive: str) -> tuple[Json, float]:
    """The job that was asked for, once it has ended, and after how many seconds."""
    began = time.monotonic()
    model, more = {"text": (TEXT, {}), "image": (PICTURE, {}), "video": (CLIP, SHORT)}[kind]
    body = {"model": model, "prompt": f"[{directive}] a {kind}", **more}
    answer = (await client.post(f"/api/v1/generate/{kind}", json=body)).json()
    id = answer["id"] if "id" in answer else answer["error"]["details"]["job_id"]
    return await studio.finished(client, id, 30), time.monotonic() - began


async def test_whatever_a_half_dead_provider_does_everybody_is_told_in_time_and_the_loop_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "Patience", lambda: SHORT_PATIENCE)
    monkeypatch.setattr(jobs_service, "FIRST_WAIT", 0.05)
    async with running(tmp_path, ATELIER_JOB_TIMEOUT_SECONDS="4") as studio:
        ann, bob = await studio.person(), await studio.person("bob@studio.example")
        asks = [(kind, directive) for kind in ("text", "image", "video") for directive in HALF_DEAD]
        slowest = 0.0

        async def meanwhile() -> None:
            """Somebody else uses the studio."""
            nonlocal slowest
            while True:
                began = time.monotonic()
                assert (await bob.get("/api/v1/jobs")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.05)

        async def chat(directive: str) -> httpx.Response:
            messages = [{"role": "user", "content": f"[{directive}] hello"}]
            return await ann.post("/api/v1/ai/chat", json={"model": TEXT, "messages": messages})

        async def all_of_them() -> None:
            results[:] = await asyncio.gather(*(ended(studio, ann, *ask) for ask in asks))
            answers[:] = await asyncio.gather(*(chat(directive) for directive in HALF_DEAD))

        results: list[tuple[Json, float]] = []
        answers: list[httpx.Response] = []
        other = asyncio.create_task(meanwhile())
        _, late = await longest_stall(all_of_them)
        other.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await other
        for ask, (job, seconds) in zip(asks, results, strict=True):
            if job["status"] == "completed":
                assert ask[1] in ("trickle", "cut"), ask  # so little was left that it came all the same
                continue
            assert (job["status"], job["error"]["code"] in CODES) == ("failed", True), (ask, job["error"])
            assert job["error"]["message"].endswith((".", "!")), ask
            assert "Traceback" not in job["error"]["message"]
            assert "<html" not in job["error"]["message"].lower()
            assert seconds < 20, (ask, seconds)
        for answer in answers:
            if answer.status_code != 200:
                assert problem(answer, 502, "UPSTREAM_ERROR")["message"].endswith(".")
        # Whoever waited for the provider in the loop would keep it for all of that time.
        assert late < WAIT * 0.7, f"the loop was kept waiting for {late:.3f} s"
        assert slowest < WAIT, f"somebody else waited for {slowest:.3f} s"
        told = await studio.program.upkeep.examine()
        assert told.ok, told.text
        assert (await pictured(bob))["status"] == "completed"
