"""The background worker: submits queued jobs and polls processing ones when they are due.

It keeps no state of its own that must survive: everything is in the job's row, and a restart continues from there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, assert_never

from app.base import clock, logging
from app.base.disk_full import DiskFull, map_disk_full
from app.base.errors import Invalid, Missing, TooLarge, Unready
from app.catalog.service import Catalog
from app.jobs.schemas import Job, JobInputRole
from app.jobs.service import TIMED_OUT, Jobs
from app.library.service import Library
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    InputImage,
    Kind,
    Outcome,
    Pending,
    Provider,
    Request,
    Retryable,
    Turn,
)
from app.storage.files import Files

MAX_SUBMITS: Final = 16  # concurrent submits
MAX_POLLS: Final = 16  # concurrent polls
WRITE_RETRY_DELAY: Final = 5.0  # seconds
NO_FOLDER: Final = Path("no-such-folder")

P = ParamSpec("P")
logger = logging.get("worker")


class Worker:
    """Drives jobs from queued to their final status."""

    def __init__(
        self, jobs: Jobs, catalog: Catalog, library: Library, files: Files, providers: Mapping[str, Provider]
    ) -> None:
        self._jobs = jobs
        self._catalog = catalog
        self._library = library
        self._files = files
        self._providers = providers
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._polling: dict[str, asyncio.Task[None]] = {}
        self._cancel_forwarded: set[str] = set()  # jobs whose cancel was sent to the provider
        self._dispatch_lock = asyncio.Lock()
        self._stopping = False

    async def tick(self) -> None:
        """Start queued jobs and polls that are due, then wait until there is work."""
        async with self._dispatch_lock:
            if not self._stopping:
                await self._dispatch()
        await self._wait_for_work()

    async def _dispatch(self) -> None:
        free = MAX_SUBMITS - len(self._starting)
        if free > 0 and self._jobs.has_waiting():
            for job in await self._jobs.claim(free):
                if job.upstream_job is None:  # otherwise its existing result is fetched by a poll
                    self._spawn(self._starting, job, self._start(job))
        for job in self._jobs.to_poll(MAX_POLLS - len(self._polling)):
            self._spawn(self._polling, job, self._poll_and_release(job))

    async def stop(self, grace: float) -> None:
        """Start nothing new, and give running submits and polls `grace` seconds to finish; the rest continues after the
        next start."""
        self._stopping = True
        async with self._dispatch_lock:  # a job that was just claimed must not be left unsent
            tasks = [*self._starting.values(), *self._polling.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_for_work(self) -> None:
        run_at = self._jobs.next_due()
        wait = 1.0 if run_at is None else min(1.0, max(0.02, (run_at - clock.now()).total_seconds()))
        try:
            async with asyncio.timeout(wait):
                await self._jobs.wake.wait()
        except TimeoutError:
            pass
        self._jobs.wake.clear()

    def _spawn(self, tasks: dict[str, asyncio.Task[None]], job: Job, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(job, work), name=f"job {job.id}")
        tasks[job.id] = task

        def done(_: asyncio.Task[None]) -> None:
            tasks.pop(job.id, None)
            if self._jobs.current(job.id) is None:
                self._cancel_forwarded.discard(job.id)
            self._jobs.wake.set()

        task.add_done_callback(done)

    async def _guarded(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Fail the job on an unexpected exception, so that it cannot stop the worker."""
        logging.bind(job=job.id)
        try:
            await work
        except DiskFull:
            await self._write_with_retry(job, self._jobs.fail, _storage_full(job, None))
        except Exception as exc:
            logger.error("unexpected error in job", job=job.id, exc_info=exc)
            await self._write_with_retry(job, self._jobs.fail, _BUG)

    async def _start(self, job: Job) -> None:
        provider = self._providers.get(job.provider)
        if provider is None:
            await self._jobs.fail(job, _NO_PROVIDER)
            return
        try:
            request = await self._request(job)
        except Missing:
            await self._jobs.fail(job, _NO_INPUT_IMAGE)
            return
        async with self._output_folder(job.kind) as folder:
            if not self._jobs.is_wanted(job):
                await self._record_outcome(job, _NOT_SENT)
                return
            streamed = self._jobs.has_subscriber(job)
            work = self._stream_text(job, provider, request) if streamed else provider.submit(request, folder)
            deferred = await self._record_outcome(job, await self._within(job, work))
        await self._record_deferred(job, deferred)

    async def _within(self, job: Job, work: Awaitable[Outcome]) -> Outcome:
        """The provider's outcome; reaching the job's deadline or a full disk counts as a failure."""
        try:
            with map_disk_full():
                async with asyncio.timeout(self._jobs.seconds_left(job)):
                    return await work
        except TimeoutError:
            return TIMED_OUT
        except DiskFull:
            return _storage_full(job, None)

    async def _record_deferred(self, job: Job, deferred: Failed | None) -> None:
        """Record a failure that could only be written after the temporary files were removed."""
        if deferred is not None:
            await self._write_with_retry(job, self._jobs.fail, deferred)

    def _output_folder(self, kind: Kind) -> AbstractAsyncContextManager[Path]:
        """A temporary folder for the provider's files. Text jobs need none, so creating one is skipped."""
        return nullcontext(NO_FOLDER) if kind is Kind.TEXT else self._files.folder()

    async def _stream_text(self, job: Job, provider: Provider, request: Request) -> Outcome:
        """Generate a text and publish it piece by piece to its subscriber."""
        pieces: list[str] = []
        last = Chunk()
        try:
            async for chunk in provider.stream(request):
                if chunk.delta:
                    pieces.append(chunk.delta)
                    self._jobs.publish(job, chunk.delta)
                if chunk.finish_reason or chunk.usage or chunk.cost_nano is not None:
                    last = chunk
        except Failure as exc:
            outcome = exc.outcome
            if not pieces:
                return outcome
            # Text that was already streamed cannot be withdrawn: do not retry, and keep it with the job.
            return Failed(
                code=outcome.code,
                message=outcome.message,
                cost_nano=outcome.cost_nano if isinstance(outcome, Failed) else None,
                text="".join(pieces),
                detail=outcome.detail,
            )
        return Completed(
            text="".join(pieces),
            usage=last.usage,
            cost_nano=last.cost_nano,
            generation_id=last.generation_id,
        )

    async def _poll_and_release(self, job: Job) -> None:
        try:
            await self._poll(job)
        finally:
            self._jobs.polled(job)

    async def _poll(self, job: Job) -> None:
        provider = self._providers.get(job.provider)
        if provider is None or job.upstream_job is None:
            await self._jobs.fail(job, _NO_PROVIDER)
            return
        await self._forward_cancel(job)
        async with self._files.folder() as folder:
            deferred = await self._record_outcome(job, await self._within(job, provider.poll(job.upstream_job, folder)))
        await self._record_deferred(job, deferred)

    async def _request(self, job: Job) -> Request:
        images = []
        for used in job.inputs:
            asset = await self._library.find_including_deleted(job.owner_id, used.asset_id)
            images.append(InputImage(self._files.path(asset.key), asset.mime, _PROVIDER_ROLES[used.role]))
        messages: tuple[Turn, ...] = ()
        if job.system_prompt:
            messages = (Turn("system", job.system_prompt), Turn("user", job.prompt))
        return Request(
            job_id=job.id,
            kind=job.kind,
            model=job.upstream_model,
            prompt=job.prompt,
            params=job.params,
            images=tuple(images),
            messages=messages,
            route=job.route or None,
            output_modalities=self._catalog.output_modalities(job.model),
        )

    async def _record_outcome(self, job: Job, outcome: Outcome) -> Failed | None:
        """Record the provider's outcome. Returns a failure that can only be written once the temporary files are
        removed."""
        match outcome:
            case Completed():
                return await self._store(job, outcome)
            case Pending():
                await self._write_with_retry(job, self._jobs.record_progress, outcome)
                await self._forward_cancel(job)
            case Retryable():
                await self._write_with_retry(job, self._jobs.schedule_retry, outcome)
            case Failed(code=ErrorCode.STORAGE_FULL):
                return _storage_full(job, None) if job.upstream_job is not None else outcome
            case Failed():
                await self._write_with_retry(job, self._jobs.fail, outcome)
            case _:
                assert_never(outcome)
        return None

    async def _forward_cancel(self, job: Job) -> None:
        """Forward a cancel request to the provider, once."""
        live = self._jobs.current(job.id)
        if live is None or live.upstream_job is None or not live.cancel_requested or job.id in self._cancel_forwarded:
            return
        self._cancel_forwarded.add(job.id)
        await self._providers[job.provider].cancel(live.upstream_job)

    async def _store(self, job: Job, done: Completed) -> Failed | None:
        """Move the provider's files into the library and complete the job; the files are stored before the row is
        written."""
        if done.media:
            await self._write_with_retry(job, self._jobs.mark_downloaded)
        try:
            async with self._library.stage_results(
                job.owner_id, job.id, job.prompt, [m.path for m in done.media]
            ) as staged:

                async def complete(job: Job, done: Completed) -> None:
                    staged.committed = await self._jobs.complete(job, done, staged.assets)

                await self._write_with_retry(job, complete, done)
        except TooLarge as exc:
            await self._write_with_retry(job, self._jobs.fail, _unusable(ErrorCode.RESULT_TOO_LARGE, exc.message, done))
        except Invalid as exc:
            await self._write_with_retry(job, self._jobs.fail, _unusable(ErrorCode.RESULT_INVALID, exc.message, done))
        except DiskFull:
            return _storage_full(job, done.cost_nano)
        return None

    async def _write_with_retry(
        self, job: Job, write: Callable[Concatenate[Job, P], Awaitable[None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Record an outcome; retry while the database is unavailable, because the result may be paid for."""
        while True:
            try:
                await write(job, *args, **kwargs)
                return
            except DiskFull:
                raise
            except Unready as exc:
                logger.warning("outcome not yet recorded", job=job.id, reason=exc.message)
                await asyncio.sleep(WRITE_RETRY_DELAY)


def _unusable(code: ErrorCode, reason: str, done: Completed) -> Failed:
    message = f"The provider's result cannot be stored: {reason}"
    return Failed(code=code, message=message, cost_nano=done.cost_nano, detail=reason)


def _storage_full(job: Job, cost_nano: int | None) -> Failed:
    if job.upstream_job is not None:
        # The cost is recorded by the job that fetches the result, so that it is counted once.
        return Failed(
            code=ErrorCode.STORAGE_FULL,
            message="The disk is full, so the result could not be stored. The provider still has it:"
            " free some disk space, then retry to fetch it without paying again.",
        )
    return Failed(
        code=ErrorCode.STORAGE_FULL,
        message="The disk is full, so the result could not be stored. Free some disk space, then retry.",
        cost_nano=cost_nano,
    )


# The provider's name for an input's role.
_PROVIDER_ROLES = {
    JobInputRole.IMAGE: "reference",
    JobInputRole.FIRST_FRAME: "first_frame",
    JobInputRole.LAST_FRAME: "last_frame",
    JobInputRole.REFERENCE: "reference",
}
_BUG = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="An internal error occurred. Retry; if it happens again, contact an admin.",
)
_NO_PROVIDER = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="The provider of this model is no longer configured. Choose another model, or contact an admin.",
)
_NOT_SENT = Retryable(code=ErrorCode.PROVIDER_FAILED, message="The job was cancelled before it was sent.")
_NO_INPUT_IMAGE = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="The input image was deleted. Choose another image.",
)
