"""Whatever people ask and providers answer, in whatever order, and however often the program starts anew: a job only takes
the ways that there are, its ledger adds up, and what stands in memory is what stands on disk.

A model of a few lines says what must become of each job; Hypothesis looks for a story in which the real service, on a real
database, says something else. Time stands still unless the story lets it pass.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.base import clock
from app.base.database import Database, Row, Transaction
from app.base.errors import Conflict, Missing
from app.base.migrate import migrate
from app.base.once import Once
from app.catalog.service import Catalog
from app.jobs.schemas import Job, Late, Status
from app.jobs.service import ATTEMPTS, KEY_LIFE, RESCUES, UNDO, Jobs
from app.library.service import Library
from app.main import MIGRATIONS
from app.providers.client import Client
from app.providers.contract import Again, Done, ErrorCode, Kind, Later, Never, Outcome, Ticket
from app.quota.service import Quota
from app.storage.files import Files
from app.storage.media import Media
from tests.jobs.conftest import a_catalog, a_job

T = TypeVar("T")
TIMEOUT, PAUSE = 1800.0, 15.0
MOST = 3  # unfinished jobs in a story
PEOPLE = ("ann", "bob")
JOBS = (
    "select id, status, attempts, cost_nano, text, ticket_id, late, error_code, cancel_requested, deleted_at from jobs"
)
LEDGER = "select subject_id, owner_id, entry, held_nano, spent_nano from ledger"
WAYS = {
    Status.QUEUED: {Status.QUEUED, Status.PROCESSING, Status.CANCELLED},
    Status.PROCESSING: {*Status},
    Status.COMPLETED: {Status.COMPLETED},
    Status.FAILED: {Status.FAILED},
    Status.CANCELLED: {Status.CANCELLED},
}
RESUMED = (ErrorCode.TIMED_OUT, ErrorCode.STORAGE_FULL)
BUSY = Again(code=ErrorCode.PROVIDER_FAILED, message="The provider is busy.")
REFUSED = Never(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this.")
FULL = Never(code=ErrorCode.STORAGE_FULL, message="The disk is full.")
COSTS = st.sampled_from([None, 7])


class Obedient:
    """A provider that can be told to stop; the story says what it answers."""

    name = "obedient"
    can_cancel = True


class Expected:
    """What must stand in the row of a job."""

    def __init__(self, job: Job) -> None:
        self.id, self.owner, self.kind, self.provider = job.id, job.owner_id, job.kind, job.provider
        self.status = Status.QUEUED
        self.ticket = job.ticket
        self.submits = 0
        self.retry_of = job.retry_of
        self.due: datetime | None = None
        self.started: datetime | None = None
        self.state: str | None = None
        self.cost: int | None = None
        self.text: str | None = None
        self.code: ErrorCode | None = None
        self.late: Late | None = None
        self.wished = False
        self.rescues = 0
        self.deleted: datetime | None = None
        self.erased = False
        self.corrections = 0

    def end(self, status: Status, cost: int | None, code: ErrorCode | None = None, *, text: str | None = None) -> None:
        """From processing: whoever had wished for the end is told that it was their wish."""
        if self.status is not Status.PROCESSING:
            self.come_late(cost, text)
        elif self.wished and not (status is Status.COMPLETED and self.late is Late.KEEP):
            self.status, self.cost, self.late = Status.CANCELLED, cost, None
        else:
            self.status, self.cost, self.code, self.text = status, cost, code, text
            self.late = None if status is Status.COMPLETED else self.late

    def come_late(self, cost: int | None, text: str | None = None) -> None:
        if self.status is Status.CANCELLED and self.late is not None:
            if cost is not None:
                self.cost, self.corrections = cost, 1
            if self.late is Late.KEEP and self.deleted is None:
                self.text = text
            self.late = None

    @property
    def awaited(self) -> bool:
        """Whether a bill is still looked for after a cancel."""
        return self.status is Status.CANCELLED and self.late is not None and self.ticket is not None


def _clear(tx: Transaction) -> None:
    for table in ("jobs", "job_events", "ledger", "idempotency"):
        tx.execute(f"delete from {table}")  # noqa: S608


class Life(RuleBasedStateMachine):
    """Stories about the jobs of two people."""

    database: ClassVar[Database]
    catalog: ClassVar[Catalog]
    library: ClassVar[Library]
    runner: ClassVar[asyncio.Runner]
    now: ClassVar[datetime]

    def __init__(self) -> None:
        super().__init__()
        type(self).now = datetime(2026, 11, 20, 9, 0)
        self.run_(self.database.write(_clear))
        self.expected: dict[str, Expected] = {}
        self.sent: dict[str, Job] = {}  # calls that have not been answered
        self.asked: dict[str, Job] = {}  # polls that have not been answered
        self.keys: dict[tuple[str, str], tuple[str, str, datetime]] = {}
        self.before: dict[str, Status] = {}
        self.tickets = 0
        self.jobs = self._opened()

    def run_(self, work: Coroutine[Any, Any, T]) -> T:
        async def to_the_end() -> T:
            result = await work
            await asyncio.sleep(0)  # what a commit calls afterwards
            return result

        return self.runner.run(to_the_end())

    def _opened(self) -> Jobs:
        providers: Any = {"obedient": Obedient()}
        quota = Quota(self.database)
        jobs = Jobs(self.database, quota, self.catalog, self.library, providers, timeout=TIMEOUT, pause=PAUSE)
        self.run_(jobs.rescue())
        return jobs

    @property
    def unfinished(self) -> list[str]:
        return [job.id for job in self.expected.values() if not job.status.final]

    @property
    def queued(self) -> dict[str, datetime | None]:
        """With the moment until which they are put off."""
        return {job.id: job.due for job in self.expected.values() if job.status is Status.QUEUED}

    @property
    def ended(self) -> list[str]:
        return [job.id for job in self.expected.values() if job.status.final]

    def _some(self, place: int, *, of: list[str] | None = None) -> Expected:
        ids = list(self.expected) if of is None else of
        return self.expected[ids[place % len(ids)]]

    def _until_refused(self, work: Coroutine[Any, Any, T]) -> T | type[Exception]:
        try:
            return self.run_(work)
        except (Conflict, Missing) as problem:
            return type(problem)

    # What people do

    @precondition(lambda self: len(self.unfinished) < MOST)
    @rule(
        owner=st.sampled_from(PEOPLE),
        kind=st.sampled_from(Kind),
        provider=st.sampled_from(["openrouter", "obedient"]),
        key=st.sampled_from([None, None, "one", "two"]),
        asked=st.sampled_from(["this", "that"]),
        priority=st.sampled_from([0, 0, 5]),
    )
    def enqueue(self, owner: str, kind: Kind, provider: str, key: str | None, asked: str, priority: int) -> None:
        job = a_job(owner, kind, provider=provider, priority=priority, created_at=clock.now())
        answer = self._until_refused(self.jobs.enqueue(job, Once(key, asked) if key else None))
        known = self.keys.get((owner, key)) if key else None
        if known is None or known[2] < clock.now() - KEY_LIFE:
            assert not isinstance(answer, type)
            assert (answer.job.id, answer.repeated) == (job.id, False)
            self.expected[job.id] = Expected(job)
            if key:
                self.keys[owner, key] = (asked, job.id, clock.now())
        elif known[0] != asked:
            assert answer is Conflict
        elif self.expected[known[1]].deleted is not None:
            assert answer is Missing
        else:
            assert not isinstance(answer, type)
            assert (answer.job.id, answer.repeated) == (known[1], True)

    @precondition(lambda self: self.unfinished)
    @rule(place=st.integers(0, 99), late=st.sampled_from(Late))
    def cancel(self, place: int, late: Late) -> None:
        under_way = [id for id in (*self.sent, *self.asked) if not self.expected[id].status.final]
        self._cancel(self._some(place, of=under_way or self.unfinished), late)

    def _cancel(self, job: Expected, late: Late) -> None:
        answer = self._until_refused(self.jobs.cancel(job.owner, job.id, late))
        if job.deleted is not None:
            assert answer is Missing
        elif job.status.final:
            assert answer is Conflict
        elif job.status is Status.PROCESSING and job.provider == "obedient":
            job.wished, job.late = True, late
        else:
            job.late = late if job.status is Status.PROCESSING else None
            job.cost = 0 if job.status is Status.QUEUED else None
            job.status, job.wished = Status.CANCELLED, True

    @precondition(lambda self: self.ended)
    @rule(place=st.integers(0, 99), verb=st.sampled_from(["retry", "retry alone", "delete", "restore", "erase"]))
    def look_back(self, place: int, verb: str) -> None:
        """At one of the latest jobs that have ended."""
        job = self._some(place, of=self.ended[-4:])
        match verb:
            case "retry" | "retry alone":
                self._retry(job, alone=verb == "retry alone")
            case "delete":
                self._delete(job)
            case "restore":
                self._restore(job)
            case "erase":
                self._erase(job)

    @precondition(lambda self: self.expected)
    @rule(
        place=st.integers(0, 99),
        what=st.sampled_from([1, 700, TIMEOUT + 1, 90_000, "time out", "restart", "find", "retry"]),
    )
    def meanwhile(self, place: int, what: float | str) -> None:
        """Time passes, an admin gives up on what takes too long, the program starts anew, or somebody asks in vain."""
        match what:
            case "time out":
                self._time_out()
            case "restart":
                self._start_anew()
            case str():
                self._ask_in_vain(self._some(place), what)
            case _:
                type(self).now += timedelta(seconds=what)

    def _ask_in_vain(self, job: Expected, verb: str) -> None:
        work: Coroutine[Any, Any, object] = getattr(self.jobs, verb)("eve", job.id)
        assert self._until_refused(work) is Missing
        if job.status.final:
            self._cancel(job, Late.KEEP)
        else:
            self._retry(job, alone=False)
            self._delete(job)
            self._restore(job)

    def _retry(self, old: Expected, *, alone: bool) -> None:
        answer = self._until_refused(self.jobs.retry(old.owner, old.id, alone=alone))
        if old.deleted is not None:
            assert answer is Missing
            return
        if old.status not in (Status.FAILED, Status.CANCELLED):
            assert answer is Conflict
            return
        assert not isinstance(answer, type)
        ticket = old.ticket if old.code in RESUMED else None
        holders = [
            job.id
            for job in self.expected.values()
            if ticket and job.ticket == ticket and job.owner == old.owner and job.provider == old.provider
            if job.deleted is None and job.status not in (Status.FAILED, Status.CANCELLED)
        ]
        under_way = [job.id for job in self.expected.values() if job.retry_of == old.id and not job.status.final]
        earlier = holders or (under_way if alone else [])
        if earlier:
            assert answer.repeated
            assert answer.job.id in earlier
        else:
            assert (answer.repeated, answer.job.retry_of, answer.job.ticket) == (False, old.id, ticket)
            self.expected[answer.job.id] = Expected(answer.job)

    def _delete(self, job: Expected) -> None:
        answer = self._until_refused(self.jobs.delete(job.owner, job.id))
        if job.deleted is not None:
            assert answer is Missing
        elif not job.status.final:
            assert answer is Conflict
        else:
            job.deleted = clock.now()

    def _restore(self, job: Expected) -> None:
        answer = self._until_refused(self.jobs.restore(job.owner, job.id))
        if job.deleted is None or job.erased or job.deleted < clock.now() - UNDO:
            assert answer is Missing
        else:
            job.deleted = None

    def _erase(self, job: Expected) -> None:
        self.run_(self.database.write(lambda tx: self.jobs.erase(tx, [job.id])))
        job.deleted, job.erased, job.text = clock.now() - 2 * UNDO, True, None

    def _time_out(self) -> None:
        overdue = self.jobs.overdue()
        self.run_(self.database.write(self.jobs.time_out, overdue))
        for job in overdue:
            self.expected[job.id].end(Status.FAILED, None, ErrorCode.TIMED_OUT)

    def _start_anew(self) -> None:
        """As after a kill: what was under way is lost, the rows are not."""
        self.sent.clear()
        self.asked.clear()
        for job in self.expected.values():
            if job.status is Status.PROCESSING and job.ticket is None:
                job.end(Status.FAILED, None, ErrorCode.OUTCOME_UNKNOWN)
            elif job.status is Status.PROCESSING and job.rescues >= RESCUES:
                job.end(Status.FAILED, None, ErrorCode.RESULT_INVALID)
            elif job.status is Status.PROCESSING:
                job.rescues += job.state == "downloaded"
            elif job.status is Status.CANCELLED and job.ticket is None:
                job.come_late(None)
        self.jobs = self._opened()

    # What the worker does

    @precondition(lambda self: self.queued)
    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        """What is due, or else what will be due next."""
        if all(self.queued.values()):
            type(self).now = max(self.now, min(due for due in self.queued.values() if due))
        due = [id for id, moment in self.queued.items() if moment is None or moment <= self.now]
        claimed = self.run_(self.jobs.claim(limit))
        assert len(claimed) == min(limit, len(due))
        for job in claimed:
            assert job.id in due
            expected = self.expected[job.id]
            expected.status, expected.due = Status.PROCESSING, None
            expected.started = expected.started or clock.now()
            if expected.ticket is None:
                expected.submits += 1
                self.sent[job.id] = job

    @precondition(lambda self: self.jobs._rounds.next_due())
    @rule(limit=st.integers(1, 4))
    def look_after(self, limit: int) -> None:
        type(self).now = max(self.now, self.jobs._rounds.next_due() or self.now)
        for job in self.jobs.to_poll(limit):
            assert job.id not in self.asked
            assert job.ticket is not None
            self.asked[job.id] = job

    @precondition(lambda self: self.sent)
    @rule(place=st.integers(0, 99))
    def call_is_taken(self, place: int) -> None:
        self.tickets += 1
        self._called(place, Later(ticket=Ticket(f"ticket {self.tickets}"), state="pending"))

    @precondition(lambda self: self.sent)
    @rule(place=st.integers(0, 99), cost=COSTS)
    def call_is_done(self, place: int, cost: int | None) -> None:
        self._called(place, Done(text="made", cost_nano=cost))

    @precondition(lambda self: self.sent)
    @rule(place=st.integers(0, 99))
    def call_did_not_happen(self, place: int) -> None:
        self._called(place, BUSY)

    @precondition(lambda self: self.sent)
    @rule(place=st.integers(0, 99), cost=COSTS)
    def call_is_refused(self, place: int, cost: int | None) -> None:
        self._called(place, msgspec.structs.replace(REFUSED, cost_nano=cost))

    def _called(self, place: int, outcome: Outcome) -> None:
        self._answer(self.sent.pop(self._some(place, of=list(self.sent)).id), outcome)

    @precondition(lambda self: self.asked)
    @rule(place=st.integers(0, 99), state=st.sampled_from(["pending", "in_progress"]))
    def clip_goes_on(self, place: int, state: str) -> None:
        job = self.asked[self._some(place, of=list(self.asked)).id]
        assert job.ticket is not None
        self._polled(job, Later(ticket=job.ticket, state=state))

    @precondition(lambda self: self.asked)
    @rule(place=st.integers(0, 99), cost=COSTS)
    def clip_is_done(self, place: int, cost: int | None) -> None:
        job = self.asked[self._some(place, of=list(self.asked)).id]
        self._polled(job, Done(text="made", cost_nano=cost))

    @precondition(lambda self: self.asked)
    @rule(place=st.integers(0, 99), outcome=st.sampled_from([REFUSED, REFUSED, FULL, BUSY]))
    def clip_fails(self, place: int, outcome: Outcome) -> None:
        self._polled(self.asked[self._some(place, of=list(self.asked)).id], outcome)

    def _polled(self, job: Job, outcome: Outcome) -> None:
        self._answer(self.asked.pop(job.id), outcome)
        self.jobs.polled(job)

    @precondition(lambda self: self.asked)
    @rule(place=st.integers(0, 99))
    def download(self, place: int) -> None:
        """The result is here and is looked at; whether that goes well is another matter."""
        job = self.asked[self._some(place, of=list(self.asked)).id]
        self.run_(self.jobs.fetched(job))
        if self.expected[job.id].status is Status.PROCESSING:
            self.expected[job.id].state = "downloaded"

    def _answer(self, job: Job, outcome: Outcome) -> None:
        expected = self.expected[job.id]
        overdue = job.started_at is not None and clock.now() > job.started_at + timedelta(seconds=TIMEOUT)
        match outcome:
            case Done():
                self.run_(self.jobs.complete(job, outcome, []))
                expected.end(Status.COMPLETED, outcome.cost_nano, text=outcome.text)
            case Later() if overdue:
                self.run_(self.jobs.go_on(job, outcome))
                expected.end(Status.FAILED, None, ErrorCode.TIMED_OUT)
            case Later():
                self.run_(self.jobs.go_on(job, outcome))
                if expected.status is Status.PROCESSING:
                    expected.ticket, expected.state = outcome.ticket, outcome.state
                elif expected.status is Status.CANCELLED and expected.late is not None:
                    expected.ticket = expected.ticket or outcome.ticket
            case Again():
                self.run_(self.jobs.again(job, outcome))
                if expected.status is not Status.PROCESSING or expected.wished or job.attempts >= ATTEMPTS[job.kind]:
                    expected.end(Status.FAILED, 0, outcome.code)
                else:
                    expected.status, expected.state = Status.QUEUED, None
                    row = self.run_(self.jobs.find(job.owner_id, job.id))
                    assert row.due is not None
                    assert row.due > clock.now()
                    expected.due = row.due
            case Never():
                self.run_(self.jobs.fail(job, outcome))
                expected.end(Status.FAILED, outcome.cost_nano, outcome.code)

    # What must hold at every moment

    @invariant()
    def rows_are_as_expected_and_took_only_the_ways_there_are(self) -> None:
        rows = {row["id"]: row for row in self.database._read(lambda tx: tx.rows(JOBS))}
        assert rows.keys() == self.expected.keys()
        for id, expected in self.expected.items():
            row = rows[id]
            assert Status(row["status"]) in WAYS[self.before.get(id, Status.QUEUED)]
            assert (row["status"], row["attempts"], row["cost_nano"], row["text"], row["ticket_id"], row["late"]) == (
                expected.status,
                expected.submits,
                expected.cost,
                expected.text,
                expected.ticket.id if expected.ticket else None,
                expected.late,
            )
            assert row["error_code"] == (expected.code.value if expected.code else None)
            assert row["cancel_requested"] == expected.wished
            assert row["deleted_at"] == expected.deleted
            assert row["attempts"] <= ATTEMPTS[expected.kind]
            self.before[id] = expected.status

    @invariant()
    def the_ledger_adds_up(self) -> None:
        entries: dict[str, list[Row]] = {}
        for row in self.database._read(lambda tx: tx.rows(LEDGER)):
            entries.setdefault(row["subject_id"], []).append(row)
        assert entries.keys() == self.expected.keys()
        for id, job in self.expected.items():
            kinds = [row["entry"] for row in entries[id]]
            assert kinds.count("hold") == 1
            assert kinds.count("settlement") == int(job.status.final)
            assert kinds.count("correction") == job.corrections
            held = sum(row["held_nano"] for row in entries[id])
            assert held == 0 if job.status.final else held >= 0
            known = [row["spent_nano"] for row in entries[id] if row["spent_nano"] is not None]
            assert (sum(known) if known else None) == job.cost
            assert all(row["owner_id"] == job.owner for row in entries[id])

    @invariant()
    def memory_is_what_the_rows_say(self) -> None:
        live = {id: job for id, job in self.expected.items() if not job.status.final}
        assert self.jobs._live.keys() == live.keys()
        for id, job in live.items():
            kept = self.jobs._live[id]
            assert (kept.status, kept.attempts, kept.ticket, kept.upstream_state, kept.cancel_requested, kept.late) == (
                job.status,
                job.submits,
                job.ticket,
                job.state,
                job.wished,
                job.late,
            )
        awaited = {id for id, job in self.expected.items() if job.awaited}
        assert self.jobs._late.keys() == awaited
        followed = {id for id, job in live.items() if job.status is Status.PROCESSING and job.ticket}
        assert self.jobs._rounds._jobs.keys() == followed | awaited

    @invariant()
    def the_line_gives_turns_to_exactly_what_waits(self) -> None:
        waiting = {id for id, due in self.queued.items() if due is None or due <= self.now}
        assert self.jobs.waiting() == bool(waiting)
        assert set(self.jobs._line.choose(1000)) == waiting
        for owner in PEOPLE:
            running = [job for job in self.expected.values() if job.owner == owner]
            assert self.jobs._line._running[owner] == sum(job.status is Status.PROCESSING for job in running)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One database for all stories, and a clock that each story sets itself."""
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(clock, "now", lambda: Life.now)
    with asyncio.Runner() as runner:
        Life.runner = runner
        Life.now = datetime(2026, 11, 20, 9, 0)
        Life.database = Database(tmp_path / "atelier.duckdb")
        files, media = Files(tmp_path / "media", tmp_path / "tmp"), Media()
        client = Client()
        Life.library = Library(Life.database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
        runner.run(migrate(Life.database, MIGRATIONS))
        Life.catalog = runner.run(a_catalog(Life.database))
        yield
        runner.run(Life.database.close())
        runner.run(client.aclose())
        files.close()
        media.close()


@pytest.mark.usefixtures("world")
def test_no_story_leads_a_job_astray() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
