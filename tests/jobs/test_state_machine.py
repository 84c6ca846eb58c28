"""Stateful test of the jobs service: for any sequence of requests, provider outcomes and restarts, jobs make only valid
transitions, the ledger adds up, and memory equals the tables.

A small model predicts the state of each job; Hypothesis searches for a sequence of steps after which the real service,
on a real database, differs from it. Time passes only in steps of its own.
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
from app.base.errors import Conflict, Missing
from app.catalog.service import Catalog
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Row
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import KEY_TTL, Idempotency
from app.jobs.execution import MAX_ATTEMPTS, MAX_RECOVERIES
from app.jobs.poll_schedule import PollSchedule
from app.jobs.scheduler import FairQueue
from app.jobs.schemas import UNDO_PERIOD, Job, JobStatus, LateResultPolicy
from app.jobs.service import Jobs
from app.ledger.service import Ledger
from app.library.service import Library
from app.providers.client import Client
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Outcome, Pending, Retryable, UpstreamJob
from app.storage.files import Files
from app.storage.media import Media
from tests.jobs.conftest import FakeClock, ModelProvider, StoppableProvider, delete_rows, new_job
from tests.studio import migrated_database

T = TypeVar("T")
TIMEOUT, POLL_INTERVAL = 1800.0, 15.0
MAX_UNFINISHED = 3  # jobs at a time
USERS = ("ann", "bob")
JOBS = (
    "select id, status, attempts, cost_nano, text, upstream_job_id, late_result_policy, error_code, cancel_requested,"
    " deleted_at from jobs"
)
LEDGER = "select subject_id, owner_id, entry, held_nano, spent_nano from ledger"
TRANSITIONS = {
    JobStatus.QUEUED: {JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.CANCELLED},
    JobStatus.PROCESSING: {*JobStatus},
    JobStatus.COMPLETED: {JobStatus.COMPLETED},
    JobStatus.FAILED: {JobStatus.FAILED},
    JobStatus.CANCELLED: {JobStatus.CANCELLED},
}
RESUMABLE = (ErrorCode.TIMED_OUT, ErrorCode.STORAGE_FULL)
BUSY = Retryable(code=ErrorCode.PROVIDER_FAILED, message="The provider is busy.")
REFUSED = Failed(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this.")
FULL = Failed(code=ErrorCode.STORAGE_FULL, message="The disk is full.")
COSTS = st.sampled_from([None, 7])


class Expected:
    """The expected row of a job."""

    def __init__(self, job: Job) -> None:
        self.id, self.owner, self.kind, self.provider = job.id, job.owner_id, job.kind, job.provider
        self.status = JobStatus.QUEUED
        self.upstream_job = job.upstream_job
        self.submits = 0
        self.retry_of = job.retry_of
        self.run_at: datetime | None = None
        self.started: datetime | None = None
        self.state: str | None = None
        self.cost: int | None = None
        self.text: str | None = None
        self.code: ErrorCode | None = None
        self.late_result_policy: LateResultPolicy | None = None
        self.cancel_requested = False
        self.recovery_count = 0
        self.deleted: datetime | None = None
        self.erased = False
        self.corrections = 0

    def end(
        self, status: JobStatus, cost: int | None, code: ErrorCode | None = None, *, text: str | None = None
    ) -> None:
        """From processing; a job whose cancellation was requested ends as cancelled."""
        if self.status is not JobStatus.PROCESSING:
            self.end_late(cost, text)
        elif self.cancel_requested and not (
            status is JobStatus.COMPLETED and self.late_result_policy is LateResultPolicy.KEEP
        ):
            self.status, self.cost, self.late_result_policy = JobStatus.CANCELLED, cost, None
        else:
            self.status, self.cost, self.code, self.text = status, cost, code, text
            self.late_result_policy = None if status is JobStatus.COMPLETED else self.late_result_policy

    def end_late(self, cost: int | None, text: str | None = None) -> None:
        if self.status is JobStatus.CANCELLED and self.late_result_policy is not None:
            if cost is not None:
                self.cost, self.corrections = cost, 1
            if self.late_result_policy is LateResultPolicy.KEEP and self.deleted is None:
                self.text = text
            self.late_result_policy = None

    @property
    def awaited(self) -> bool:
        """Whether the cost is still polled for after a cancellation."""
        return (
            self.status is JobStatus.CANCELLED and self.late_result_policy is not None and self.upstream_job is not None
        )


class JobsMachine(RuleBasedStateMachine):
    """Random steps on the jobs of two users."""

    database: ClassVar[EmbeddedDatabase]
    catalog: ClassVar[Catalog]
    library: ClassVar[Library]
    providers: ClassVar[dict[str, Any]] = {"stoppable": StoppableProvider()}
    runner: ClassVar[asyncio.Runner]
    clock: ClassVar[FakeClock]

    def __init__(self) -> None:
        super().__init__()
        self.clock.time = datetime(2026, 11, 20, 9, 0)
        self.finish(self.database.write(delete_rows))
        self.expected: dict[str, Expected] = {}
        self.submits: dict[str, Job] = {}  # without an outcome yet
        self.polls: dict[str, Job] = {}  # without an outcome yet
        self.keys: dict[tuple[str, str], tuple[str, str, datetime]] = {}  # request hash, job id, created at
        self.statuses: dict[str, JobStatus] = {}
        self.upstream_jobs = 0
        self.jobs = self._open()

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        async def with_callbacks() -> T:
            result = await work
            await asyncio.sleep(0)  # callbacks of the commit
            return result

        return self.runner.run(with_callbacks())

    def _open(self) -> Jobs:
        """A new service, as after a restart."""
        self.queue, self.poll_schedule = FairQueue(), PollSchedule()
        jobs = Jobs(
            self.database,
            Ledger(self.database),
            Idempotency(self.database),
            self.catalog,
            self.library,
            self.providers,
            timeout=TIMEOUT,
            poll_interval=POLL_INTERVAL,
            queue=self.queue,
            polls=self.poll_schedule,
        )
        self.finish(jobs.execution.rescue())
        return jobs

    @property
    def unfinished(self) -> list[str]:
        return [job.id for job in self.expected.values() if not job.status.final]

    @property
    def queued(self) -> dict[str, datetime | None]:
        """The ids of queued jobs, with the time of their scheduled retry."""
        return {job.id: job.run_at for job in self.expected.values() if job.status is JobStatus.QUEUED}

    @property
    def ended(self) -> list[str]:
        return [job.id for job in self.expected.values() if job.status.final]

    def _pick(self, index: int, *, of: list[str] | None = None) -> Expected:
        ids = list(self.expected) if of is None else of
        return self.expected[ids[index % len(ids)]]

    def _result_or_error(self, work: Coroutine[Any, Any, T]) -> T | type[Exception]:
        try:
            return self.finish(work)
        except (Conflict, Missing) as exc:
            return type(exc)

    # Actions of users

    @precondition(lambda self: len(self.unfinished) < MAX_UNFINISHED)
    @rule(
        owner=st.sampled_from(USERS),
        kind=st.sampled_from([Kind.TEXT, Kind.IMAGE, Kind.VIDEO]),  # those of the model
        provider=st.sampled_from(["openrouter", "stoppable"]),
        key=st.sampled_from([None, None, "one", "two"]),
        request=st.sampled_from(["this", "that"]),
        priority=st.sampled_from([0, 0, 5]),
    )
    def enqueue(self, owner: str, kind: Kind, provider: str, key: str | None, request: str, priority: int) -> None:
        job = new_job(owner, kind, provider=provider, priority=priority, created_at=clock.now())
        answer = self._result_or_error(self.jobs.enqueue(job, IdempotencyKey(owner, key, request) if key else None))
        known = self.keys.get((owner, key)) if key else None
        if known is None or known[2] < clock.now() - KEY_TTL:
            assert not isinstance(answer, type)
            assert (answer.job.id, answer.repeated) == (job.id, False)
            self.expected[job.id] = Expected(job)
            if key:
                self.keys[owner, key] = (request, job.id, clock.now())
        elif known[0] != request:
            assert answer is Conflict
        elif self.expected[known[1]].deleted is not None:
            assert answer is Missing
        else:
            assert not isinstance(answer, type)
            assert (answer.job.id, answer.repeated) == (known[1], True)

    @precondition(lambda self: self.unfinished)
    @rule(index=st.integers(0, 99), late=st.sampled_from(LateResultPolicy))
    def cancel(self, index: int, late: LateResultPolicy) -> None:
        active = [id for id in (*self.submits, *self.polls) if not self.expected[id].status.final]
        self._cancel(self._pick(index, of=active or self.unfinished), late)

    def _cancel(self, job: Expected, late: LateResultPolicy) -> None:
        answer = self._result_or_error(self.jobs.cancel(job.owner, job.id, late))
        if job.deleted is not None:
            assert answer is Missing
        elif job.status.final:
            assert answer is Conflict
        elif job.status is JobStatus.PROCESSING and job.provider == "stoppable":
            job.cancel_requested, job.late_result_policy = True, late
        else:
            job.late_result_policy = late if job.status is JobStatus.PROCESSING else None
            job.cost = 0 if job.status is JobStatus.QUEUED else None
            job.status, job.cancel_requested = JobStatus.CANCELLED, True

    @precondition(lambda self: self.ended)
    @rule(
        index=st.integers(0, 99), action=st.sampled_from(["retry", "single-flight retry", "delete", "restore", "erase"])
    )
    def act_on_ended_job(self, index: int, action: str) -> None:
        """Act on one of the latest ended jobs."""
        job = self._pick(index, of=self.ended[-4:])
        match action:
            case "retry" | "single-flight retry":
                self._retry(job, single_flight=action == "single-flight retry")
            case "delete":
                self._delete(job)
            case "restore":
                self._restore(job)
            case "erase":
                self._erase(job)

    @precondition(lambda self: self.expected)
    @rule(
        index=st.integers(0, 99),
        event=st.sampled_from([1, 700, TIMEOUT + 1, 90_000, "time out", "restart", "find", "retry"]),
    )
    def other_event(self, index: int, event: float | str) -> None:
        """Seconds pass, an admin ends overdue jobs, the program restarts, or a request must be rejected."""
        match event:
            case "time out":
                self._time_out()
            case "restart":
                self._restart()
            case str():
                self._send_rejected_request(self._pick(index), event)
            case _:
                self.clock.advance(event)

    def _send_rejected_request(self, job: Expected, action: str) -> None:
        work: Coroutine[Any, Any, object] = getattr(self.jobs, action)("eve", job.id)
        assert self._result_or_error(work) is Missing
        if job.status.final:
            self._cancel(job, LateResultPolicy.KEEP)
        else:
            self._retry(job, single_flight=False)
            self._delete(job)
            self._restore(job)

    def _retry(self, old: Expected, *, single_flight: bool) -> None:
        answer = self._result_or_error(self.jobs.retry(old.owner, old.id, single_flight=single_flight))
        if old.deleted is not None:
            assert answer is Missing
            return
        if old.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            assert answer is Conflict
            return
        assert not isinstance(answer, type)
        upstream_job = old.upstream_job if old.code in RESUMABLE else None
        holders = [
            job.id
            for job in self.expected.values()
            if upstream_job
            and job.upstream_job == upstream_job
            and job.owner == old.owner
            and job.provider == old.provider
            if job.deleted is None and job.status not in (JobStatus.FAILED, JobStatus.CANCELLED)
        ]
        unfinished = [job.id for job in self.expected.values() if job.retry_of == old.id and not job.status.final]
        earlier = holders or (unfinished if single_flight else [])
        if earlier:
            assert answer.repeated
            assert answer.job.id in earlier
        else:
            assert (answer.repeated, answer.job.retry_of, answer.job.upstream_job) == (False, old.id, upstream_job)
            self.expected[answer.job.id] = Expected(answer.job)

    def _delete(self, job: Expected) -> None:
        answer = self._result_or_error(self.jobs.delete(job.owner, job.id))
        if job.deleted is not None:
            assert answer is Missing
        elif not job.status.final:
            assert answer is Conflict
        else:
            job.deleted = clock.now()

    def _restore(self, job: Expected) -> None:
        answer = self._result_or_error(self.jobs.restore(job.owner, job.id))
        if job.deleted is None or job.erased or job.deleted < clock.now() - UNDO_PERIOD:
            assert answer is Missing
        else:
            job.deleted = None

    def _erase(self, job: Expected) -> None:
        self.finish(self.database.write(lambda tx: self.jobs.all.erase(tx, [job.id])))
        job.deleted, job.erased, job.text = clock.now() - 2 * UNDO_PERIOD, True, None

    def _time_out(self) -> None:
        overdue = self.jobs.all.overdue()
        self.finish(self.database.write(self.jobs.all.time_out, overdue))
        for job in overdue:
            self.expected[job.id].end(JobStatus.FAILED, None, ErrorCode.TIMED_OUT)

    def _restart(self) -> None:
        """As after a crash: running requests are lost, rows are not."""
        self.submits.clear()
        self.polls.clear()
        for job in self.expected.values():
            if job.status is JobStatus.PROCESSING and job.upstream_job is None:
                job.end(JobStatus.FAILED, None, ErrorCode.OUTCOME_UNKNOWN)
            elif job.status is JobStatus.PROCESSING and job.recovery_count >= MAX_RECOVERIES:
                job.end(JobStatus.FAILED, None, ErrorCode.RESULT_INVALID)
            elif job.status is JobStatus.PROCESSING:
                job.recovery_count += job.state == "downloaded"
            elif job.status is JobStatus.CANCELLED and job.upstream_job is None:
                job.end_late(None)
        self.jobs = self._open()

    # Actions of the worker

    def _advance_to(self, time: datetime) -> None:
        self.clock.time = max(self.clock.time, time)

    @precondition(lambda self: self.queued)
    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        """Claim due jobs; if none is due, first advance the clock to the next."""
        if all(self.queued.values()):
            self._advance_to(min(run_at for run_at in self.queued.values() if run_at))
        due = [id for id, run_at in self.queued.items() if run_at is None or run_at <= clock.now()]
        claimed = self.finish(self.jobs.execution.claim(limit))
        assert len(claimed) == min(limit, len(due))
        for job in claimed:
            assert job.id in due
            expected = self.expected[job.id]
            expected.status, expected.run_at = JobStatus.PROCESSING, None
            expected.started = expected.started or clock.now()
            if expected.upstream_job is None:
                expected.submits += 1
                self.submits[job.id] = job

    @precondition(lambda self: self.poll_schedule.next_due())
    @rule(limit=st.integers(1, 4))
    def poll(self, limit: int) -> None:
        self._advance_to(self.poll_schedule.next_due() or clock.now())
        for job in self.jobs.live.to_poll(limit):
            assert job.id not in self.polls
            assert job.upstream_job is not None
            self.polls[job.id] = job

    @precondition(lambda self: self.submits)
    @rule(index=st.integers(0, 99))
    def submit_is_accepted(self, index: int) -> None:
        self.upstream_jobs += 1
        self._submit_answered(
            index, Pending(upstream_job=UpstreamJob(f"upstream {self.upstream_jobs}"), state="pending")
        )

    @precondition(lambda self: self.submits)
    @rule(index=st.integers(0, 99), cost=COSTS)
    def submit_completes(self, index: int, cost: int | None) -> None:
        self._submit_answered(index, Completed(text="result", cost_nano=cost))

    @precondition(lambda self: self.submits)
    @rule(index=st.integers(0, 99))
    def submit_is_retryable(self, index: int) -> None:
        self._submit_answered(index, BUSY)

    @precondition(lambda self: self.submits)
    @rule(index=st.integers(0, 99), cost=COSTS)
    def submit_is_refused(self, index: int, cost: int | None) -> None:
        self._submit_answered(index, msgspec.structs.replace(REFUSED, cost_nano=cost))

    def _submit_answered(self, index: int, outcome: Outcome) -> None:
        self._answer(self.submits.pop(self._pick(index, of=list(self.submits)).id), outcome)

    @precondition(lambda self: self.polls)
    @rule(index=st.integers(0, 99), state=st.sampled_from(["pending", "in_progress"]))
    def poll_is_pending(self, index: int, state: str) -> None:
        job = self.polls[self._pick(index, of=list(self.polls)).id]
        assert job.upstream_job is not None
        self._poll_answered(job, Pending(upstream_job=job.upstream_job, state=state))

    @precondition(lambda self: self.polls)
    @rule(index=st.integers(0, 99), cost=COSTS)
    def poll_completes(self, index: int, cost: int | None) -> None:
        job = self.polls[self._pick(index, of=list(self.polls)).id]
        self._poll_answered(job, Completed(text="result", cost_nano=cost))

    @precondition(lambda self: self.polls)
    @rule(index=st.integers(0, 99), outcome=st.sampled_from([REFUSED, REFUSED, FULL, BUSY]))
    def poll_fails(self, index: int, outcome: Outcome) -> None:
        self._poll_answered(self.polls[self._pick(index, of=list(self.polls)).id], outcome)

    def _poll_answered(self, job: Job, outcome: Outcome) -> None:
        self._answer(self.polls.pop(job.id), outcome)
        self.jobs.live.polled(job)

    @precondition(lambda self: self.polls)
    @rule(index=st.integers(0, 99))
    def download(self, index: int) -> None:
        """The result has arrived and is about to be inspected."""
        job = self.polls[self._pick(index, of=list(self.polls)).id]
        self.finish(self.jobs.execution.mark_downloaded(job))
        if self.expected[job.id].status is JobStatus.PROCESSING:
            self.expected[job.id].state = "downloaded"

    def _answer(self, job: Job, outcome: Outcome) -> None:
        expected = self.expected[job.id]
        overdue = job.started_at is not None and clock.now() > job.started_at + timedelta(seconds=TIMEOUT)
        match outcome:
            case Completed():
                self.finish(self.jobs.execution.complete(job, outcome, []))
                expected.end(JobStatus.COMPLETED, outcome.cost_nano, text=outcome.text)
            case Pending() if overdue:
                self.finish(self.jobs.execution.record_progress(job, outcome))
                expected.end(JobStatus.FAILED, None, ErrorCode.TIMED_OUT)
            case Pending():
                self.finish(self.jobs.execution.record_progress(job, outcome))
                if expected.status is JobStatus.PROCESSING:
                    expected.upstream_job, expected.state = outcome.upstream_job, outcome.state
                elif expected.status is JobStatus.CANCELLED and expected.late_result_policy is not None:
                    expected.upstream_job = expected.upstream_job or outcome.upstream_job
            case Retryable():
                self.finish(self.jobs.execution.schedule_retry(job, outcome))
                wanted = expected.status is JobStatus.PROCESSING and not expected.cancel_requested
                if not wanted or job.attempts >= MAX_ATTEMPTS[job.kind]:
                    expected.end(JobStatus.FAILED, 0, outcome.code)
                    if wanted:  # the provider did nothing, so the next request with its key is a new one
                        self.keys = {key: first for key, first in self.keys.items() if first[1] != job.id}
                else:
                    expected.status, expected.state = JobStatus.QUEUED, None
                    row = self.finish(self.jobs.find(job.owner_id, job.id))
                    assert row.run_at is not None
                    assert row.run_at > clock.now()
                    expected.run_at = row.run_at
            case Failed():
                self.finish(self.jobs.execution.fail(job, outcome))
                expected.end(JobStatus.FAILED, outcome.cost_nano, outcome.code)

    # Invariants

    @invariant()
    def the_rows_are_as_expected_and_the_ledger_adds_up(self) -> None:
        jobs, ledger = self.finish(self.database.read(lambda tx: (tx.rows("jobs", JOBS), tx.rows("ledger", LEDGER))))
        rows = {row["id"]: row for row in jobs}
        assert rows.keys() == self.expected.keys()
        for id, expected in self.expected.items():
            row = rows[id]
            assert JobStatus(row["status"]) in TRANSITIONS[self.statuses.get(id, JobStatus.QUEUED)]
            assert (
                row["status"],
                row["attempts"],
                row["cost_nano"],
                row["text"],
                row["upstream_job_id"],
                row["late_result_policy"],
            ) == (
                expected.status,
                expected.submits,
                expected.cost,
                expected.text,
                expected.upstream_job.id if expected.upstream_job else None,
                expected.late_result_policy,
            )
            assert row["error_code"] == (expected.code.value if expected.code else None)
            assert row["cancel_requested"] == expected.cancel_requested
            assert row["deleted_at"] == expected.deleted
            assert row["attempts"] <= MAX_ATTEMPTS[expected.kind]
            self.statuses[id] = expected.status
        self._check_ledger(ledger)

    def _check_ledger(self, ledger: list[Row]) -> None:
        entries: dict[str, list[Row]] = {}
        for row in ledger:
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
    def memory_equals_the_rows(self) -> None:
        memory = self.jobs.live.snapshot()
        unfinished = {id: job for id, job in self.expected.items() if not job.status.final}
        assert memory.unfinished.keys() == unfinished.keys()
        for id, job in unfinished.items():
            held = memory.unfinished[id]
            assert (
                held.status,
                held.attempts,
                held.upstream_job,
                held.upstream_state,
                held.cancel_requested,
                held.late_result_policy,
            ) == (
                job.status,
                job.submits,
                job.upstream_job,
                job.state,
                job.cancel_requested,
                job.late_result_policy,
            )
        awaited = {id for id, job in self.expected.items() if job.awaited}
        assert memory.awaiting_late_result.keys() == awaited
        polled = {id for id, job in unfinished.items() if job.status is JobStatus.PROCESSING and job.upstream_job}
        assert self.poll_schedule.ids() == polled | awaited

    @invariant()
    def exactly_the_due_jobs_are_chosen(self) -> None:
        waiting = {id for id, run_at in self.queued.items() if run_at is None or run_at <= clock.now()}
        assert self.jobs.live.has_waiting() == bool(waiting)
        assert set(self.queue.next_batch(1000)) == waiting
        rebuilt, jobs = FairQueue(), self.jobs.live.snapshot().unfinished
        for job in jobs.values():
            rebuilt.put(job)
        assert all(self.queue.position(jobs[id]) == rebuilt.position(jobs[id]) for id in waiting)


@pytest.fixture
def services(tmp_path: Path, fake_clock: FakeClock) -> Iterator[None]:
    """The services of the machine: one database for all runs, and a clock that each run sets itself."""
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    with asyncio.Runner() as runner:
        JobsMachine.runner = runner
        JobsMachine.clock = fake_clock
        JobsMachine.database = database = EmbeddedDatabase(migrated_database(tmp_path / "atelier.duckdb"))
        files, media, client = Files(tmp_path / "media", tmp_path / "tmp"), Media(), Client()
        JobsMachine.library = Library(database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
        providers: Any = {"openrouter": ModelProvider()}
        JobsMachine.catalog = Catalog(database, providers)
        runner.run(JobsMachine.catalog.refresh())
        yield
        runner.run(database.close())
        runner.run(client.aclose())
        files.close()
        media.close()


@pytest.mark.usefixtures("services")
def test_the_jobs_service_agrees_with_its_model_after_every_step() -> None:
    run_state_machine_as_test(
        JobsMachine,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
