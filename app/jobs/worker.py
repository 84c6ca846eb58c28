"""The loop that does the work: starts queued jobs at once, looks after processing ones when their poll is due.

It holds no state that matters. What it knows is in the job's row; a restart reads the rows and goes on.
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
from app.jobs.schemas import Job
from app.jobs.service import TIMED_OUT, Jobs
from app.library.service import Library
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    Kind,
    Message,
    Outcome,
    Pending,
    Picture,
    Provider,
    Request,
    Retryable,
)
from app.storage.files import Files

STARTING: Final = 16  # jobs being sent at one time
POLLING: Final = 16  # jobs being asked after at one time
UNREADY_PAUSE: Final = 5.0  # seconds
NOWHERE: Final = Path("no-such-folder")

P = ParamSpec("P")
logger = logging.get("worker")


class Worker:
    """Drives jobs from queued to their end."""

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
        self._told: set[str] = set()  # jobs whose providers have been asked to stop
        self._at_work = asyncio.Lock()
        self._stopping = False

    async def tick(self) -> None:
        """One turn of the loop: start what waits, look after what is due, then rest until there is something to do."""
        async with self._at_work:
            if not self._stopping:
                await self._dispatch()
        await self._wait_for_work()

    async def _dispatch(self) -> None:
        free = STARTING - len(self._starting)
        if free > 0 and self._jobs.waiting():
            for job in await self._jobs.claim(free):
                if (
                    job.upstream_job is None
                ):  # else it asks for a result which the provider may still have, and is polled
                    self._spawn(self._starting, job, self._start(job))
        for job in self._jobs.to_poll(POLLING - len(self._polling)):
            self._spawn(self._polling, job, self._look_after(job))

    async def stop(self, grace: float) -> None:
        """Begin nothing new, and give what is under way `grace` seconds to come to rest; what is not done then goes on
        after the next start."""
        self._stopping = True
        async with self._at_work:  # what has just been claimed must not be left unsent
            tasks = [*self._starting.values(), *self._polling.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_for_work(self) -> None:
        due = self._jobs.next_due()
        wait = 1.0 if due is None else min(1.0, max(0.02, (due - clock.now()).total_seconds()))
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
                self._told.discard(job.id)
            self._jobs.wake.set()

        task.add_done_callback(done)

    async def _guarded(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """A job that trips over a bug of ours is parked as failed; it must not take the loop with it."""
        logging.bind(job=job.id)
        try:
            await work
        except DiskFull:
            await self._write_with_retry(job, self._jobs.fail, _full(job, None))
        except Exception as exc:
            logger.error("bug", job=job.id, exc_info=exc)
            await self._write_with_retry(job, self._jobs.fail, _BUG)

    async def _start(self, job: Job) -> None:
        provider = self._providers.get(job.provider)
        if provider is None:
            await self._jobs.fail(job, _NO_PROVIDER)
            return
        try:
            request = await self._request(job)
        except Missing:
            await self._jobs.fail(job, _NO_PICTURE)
            return
        async with self._place(job.kind) as folder:
            if not self._jobs.wanted(job):
                await self._settle(job, _NOT_SENT)
                return
            heard = self._jobs.has_subscriber(job)
            work = self._write(job, provider, request) if heard else provider.submit(request, folder)
            rest = await self._settle(job, await self._within(job, work))
        await self._settle_rest(job, rest)

    async def _within(self, job: Job, work: Awaitable[Outcome]) -> Outcome:
        """What the provider answers, within the job's own deadline and the room on the disk."""
        try:
            with map_disk_full():
                async with asyncio.timeout(self._jobs.left(job)):
                    return await work
        except TimeoutError:
            return TIMED_OUT
        except DiskFull:
            return _full(job, None)

    async def _settle_rest(self, job: Job, rest: Failed | None) -> None:
        """What could only be written down once the provider's files had made room."""
        if rest is not None:
            await self._write_with_retry(job, self._jobs.fail, rest)

    def _place(self, kind: Kind) -> AbstractAsyncContextManager[Path]:
        """Where a provider may put files. A text brings none, and need not wait for a folder to come and go."""
        return nullcontext(NOWHERE) if kind is Kind.TEXT else self._files.folder()

    async def _write(self, job: Job, provider: Provider, request: Request) -> Outcome:
        """A text that somebody listens to, passed on piece by piece."""
        pieces: list[str] = []
        closing = Chunk()
        try:
            async for chunk in provider.stream(request):
                if chunk.delta:
                    pieces.append(chunk.delta)
                    self._jobs.publish(job, chunk.delta)
                if chunk.finish_reason or chunk.usage or chunk.cost_nano is not None:
                    closing = chunk
        except Failure as failure:
            ending = failure.outcome
            if not pieces:
                return ending
            # What was said cannot be unsaid, so there is no second attempt; it stays with the job.
            return Failed(
                code=ending.code,
                message=ending.message,
                cost_nano=ending.cost_nano if isinstance(ending, Failed) else None,
                text="".join(pieces),
                detail=ending.detail,
            )
        return Completed(
            text="".join(pieces),
            usage=closing.usage,
            cost_nano=closing.cost_nano,
            generation_id=closing.generation_id,
        )

    async def _look_after(self, job: Job) -> None:
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
            rest = await self._settle(job, await self._within(job, provider.poll(job.upstream_job, folder)))
        await self._settle_rest(job, rest)

    async def _request(self, job: Job) -> Request:
        pictures: tuple[Picture, ...] = ()
        if job.input_asset_id:
            asset = await self._library.find_kept(job.owner_id, job.input_asset_id)
            role = "first_frame" if job.kind is Kind.VIDEO else "reference"
            pictures = (Picture(self._files.path(asset.key), asset.mime, role),)
        messages: tuple[Message, ...] = ()
        if job.system_prompt:
            messages = (Message("system", job.system_prompt), Message("user", job.prompt))
        return Request(
            job_id=job.id,
            kind=job.kind,
            model=job.upstream_model,
            prompt=job.prompt,
            params=job.params,
            pictures=pictures,
            messages=messages,
            route=job.route or None,
            output_modalities=self._catalog.output_modalities(job.model),
        )

    async def _settle(self, job: Job, outcome: Outcome) -> Failed | None:
        """Write down what the provider answered; returns what must wait until the temporary files are gone."""
        match outcome:
            case Completed():
                return await self._store(job, outcome)
            case Pending():
                await self._write_with_retry(job, self._jobs.record_progress, outcome)
                await self._forward_cancel(job)
            case Retryable():
                await self._write_with_retry(job, self._jobs.schedule_retry, outcome)
            case Failed(code=ErrorCode.STORAGE_FULL):
                return _full(job, None) if job.upstream_job is not None else outcome
            case Failed():
                await self._write_with_retry(job, self._jobs.fail, outcome)
            case _:
                assert_never(outcome)
        return None

    async def _forward_cancel(self, job: Job) -> None:
        """Tell a provider that can be told, once, that the person wants the job stopped."""
        live = self._jobs.current(job.id)
        if live is None or live.upstream_job is None or not live.cancel_requested or job.id in self._told:
            return
        self._told.add(job.id)
        await self._providers[job.provider].cancel(live.upstream_job)

    async def _store(self, job: Job, done: Completed) -> Failed | None:
        """From the provider's files to the library; the files lie in our store before the row says completed."""
        if done.media:
            await self._write_with_retry(job, self._jobs.fetched)
        try:
            async with self._library.stage_results(
                job.owner_id, job.id, job.prompt, [m.path for m in done.media]
            ) as shelf:

                async def complete(job: Job, done: Completed) -> None:
                    shelf.committed = await self._jobs.complete(job, done, shelf.assets)

                await self._write_with_retry(job, complete, done)
        except TooLarge as exc:
            await self._write_with_retry(job, self._jobs.fail, _spoiled(ErrorCode.RESULT_TOO_LARGE, exc.message, done))
        except Invalid as exc:
            await self._write_with_retry(job, self._jobs.fail, _spoiled(ErrorCode.RESULT_INVALID, exc.message, done))
        except DiskFull:
            return _full(job, done.cost_nano)
        return None

    async def _write_with_retry(
        self, job: Job, verb: Callable[Concatenate[Job, P], Awaitable[None]], *answer: P.args, **more: P.kwargs
    ) -> None:
        """Write down an answer. While the database cannot, wait: it may have been paid for."""
        while True:
            try:
                await verb(job, *answer, **more)
                return
            except DiskFull:
                raise
            except Unready as exc:
                logger.warning("an answer waits to be written down", job=job.id, reason=exc.message)
                await asyncio.sleep(UNREADY_PAUSE)


def _spoiled(code: ErrorCode, reason: str, done: Completed) -> Failed:
    message = f"The provider's result cannot be kept: {reason}"
    return Failed(code=code, message=message, cost_nano=done.cost_nano, detail=reason)


def _full(job: Job, cost_nano: int | None) -> Failed:
    if job.upstream_job is not None:
        # The cost is left to the job that fetches the result, so that it is counted once.
        return Failed(
            code=ErrorCode.STORAGE_FULL,
            message="The disk is full, so the result could not be stored. The provider still has it:"
            " make room, then retry to fetch it without paying again.",
        )
    return Failed(
        code=ErrorCode.STORAGE_FULL,
        message="The disk is full, so the result could not be stored. Make room, then retry.",
        cost_nano=cost_nano,
    )


_BUG = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="Something broke on our side while this was being made. Retry; if it goes on, tell the admin.",
)
_NO_PROVIDER = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="The provider of this model is no longer configured. Choose another model, or ask the admin.",
)
_NOT_SENT = Retryable(code=ErrorCode.PROVIDER_FAILED, message="It was cancelled before it was sent.")
_NO_PICTURE = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="The picture to start from has been deleted. Choose another one.",
)
