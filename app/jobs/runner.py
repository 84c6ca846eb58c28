"""Runs one job at its provider: sends the request or polls it, stores the results and records the outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, assert_never

from app.base import logging
from app.base.disk_full import DiskFull, map_disk_full
from app.base.errors import Invalid, Missing, TooLarge, Unready
from app.catalog.service import Catalog
from app.jobs.execution import TIMED_OUT, Execution
from app.jobs.inputs import InputPreparation
from app.jobs.live_jobs import LiveJobs
from app.jobs.schemas import Job, JobWarning
from app.jobs.waiters import JobWaiters
from app.library.schemas import StagedResults
from app.library.service import Library
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    Kind,
    Outcome,
    Pending,
    Provider,
    Request,
    Retryable,
    Turn,
)
from app.storage.files import Files

WRITE_RETRY_DELAY: Final = 5.0  # seconds
NO_FOLDER: Final = Path("no-such-folder")

P = ParamSpec("P")
logger = logging.get("worker")


class JobRunner:
    """`start` and `poll` never raise: an unexpected exception fails the job."""

    def __init__(
        self,
        live: LiveJobs,
        waiters: JobWaiters,
        execution: Execution,
        catalog: Catalog,
        library: Library,
        files: Files,
        providers: Mapping[str, Provider],
        inputs: InputPreparation,
    ) -> None:
        self._live = live
        self._waiters = waiters
        self._execution = execution
        self._catalog = catalog
        self._library = library
        self._files = files
        self._providers = providers
        self._inputs = inputs
        self._cancel_forwarded: set[str] = set()  # jobs whose cancel was sent to the provider

    async def start(self, job: Job) -> None:
        """Send the job's request to its provider."""
        await self._guarded(job, self._start(job))

    async def poll(self, job: Job) -> None:
        """Ask the provider for the state of a submitted job."""
        await self._guarded(job, self._poll(job))

    async def _guarded(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Fail the job on an unexpected exception, so that it cannot stop the worker."""
        logging.bind(job=job.id)
        try:
            await work
        except DiskFull:
            await self._write_with_retry(job, self._execution.fail, _storage_full(job, None))
        except Exception as exc:
            logger.error("unexpected error in job", job=job.id, exc_info=exc)
            await self._write_with_retry(job, self._execution.fail, _BUG)
        finally:
            if self._live.find(job.id) is None:
                self._cancel_forwarded.discard(job.id)

    async def _start(self, job: Job) -> None:
        provider = self._providers.get(job.provider)
        if provider is None:
            await self._execution.fail(job, _NO_PROVIDER)
            return
        async with self._output_folder(job.kind) as folder, self._input_folder(job) as inputs:
            try:
                request = await self._request(job, inputs)
            except Missing:
                await self._execution.fail(job, _NO_INPUT_IMAGE)
                return
            except Invalid as exc:
                await self._execution.fail(job, _unusable_input(exc.message))
                return
            if not self._live.is_wanted(job.id):
                await self._record_outcome(job, _NOT_SENT)
                return
            streamed = self._waiters.has_subscriber(job.id)
            work = self._stream_text(job, provider, request) if streamed else provider.submit(request, folder)
            deferred = await self._record_outcome(job, await self._within(job, work))
        await self._record_deferred(job, deferred)

    async def _within(self, job: Job, work: Awaitable[Outcome]) -> Outcome:
        """The provider's outcome; reaching the job's deadline or a full disk counts as a failure."""
        try:
            with map_disk_full():
                async with asyncio.timeout(self._execution.seconds_left(job)):
                    return await work
        except TimeoutError:
            return TIMED_OUT
        except DiskFull:
            return _storage_full(job, None)

    async def _record_deferred(self, job: Job, deferred: Failed | None) -> None:
        """Record a failure that could only be written after the temporary files were removed."""
        if deferred is not None:
            await self._write_with_retry(job, self._execution.fail, deferred)

    def _output_folder(self, kind: Kind) -> AbstractAsyncContextManager[Path]:
        """A temporary folder for the provider's files. Text jobs need none, so creating one is skipped."""
        return nullcontext(NO_FOLDER) if kind is Kind.TEXT else self._files.folder()

    def _input_folder(self, job: Job) -> AbstractAsyncContextManager[Path]:
        """A temporary folder for inputs that are changed to fit the model."""
        return self._files.folder() if job.inputs else nullcontext(NO_FOLDER)

    async def _stream_text(self, job: Job, provider: Provider, request: Request) -> Outcome:
        """Generate a text and publish it piece by piece to its subscriber."""
        pieces: list[str] = []
        last = Chunk()
        try:
            async for chunk in provider.stream(request):
                if chunk.delta:
                    pieces.append(chunk.delta)
                    self._waiters.publish(job.id, chunk.delta)
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
        if not pieces:
            return Failed(code=ErrorCode.PROVIDER_FAILED, message=_NO_TEXT, cost_nano=last.cost_nano)
        return Completed(
            text="".join(pieces),
            usage=last.usage,
            cost_nano=last.cost_nano,
            generation_id=last.generation_id,
        )

    async def _poll(self, job: Job) -> None:
        provider = self._providers.get(job.provider)
        if provider is None or job.upstream_job is None:
            await self._execution.fail(job, _NO_PROVIDER)
            return
        await self._forward_cancel(job)
        async with self._files.folder() as folder:
            deferred = await self._record_outcome(job, await self._within(job, provider.poll(job.upstream_job, folder)))
        await self._record_deferred(job, deferred)

    async def _request(self, job: Job, folder: Path) -> Request:
        """Raises Missing for an input that was deleted, and Invalid for one that cannot be changed to fit the model."""
        images = await self._inputs.prepare(job, folder) if job.inputs else ()
        messages: tuple[Turn, ...] = ()
        if job.system_prompt:
            messages = (Turn("system", job.system_prompt), Turn("user", job.prompt))
        previews = self._waiters.previews.wanted(job.id)
        saved = self._catalog.described.find(job.model)
        return Request(
            job_id=job.id,
            kind=job.kind,
            model=job.upstream_model,
            prompt=job.sent_prompt,
            params=job.params,
            images=images,
            messages=messages,
            route=job.route or None,
            output_modalities=self._catalog.output_modalities(job.model),
            inputs=saved.description.inputs if saved else None,
            outputs=saved.description.outputs if saved else None,
            previews=previews,
            on_preview=partial(self._waiters.previews.add, job.id) if previews else None,
        )

    async def _record_outcome(self, job: Job, outcome: Outcome) -> Failed | None:
        """Record the provider's outcome. Returns a failure that can only be written once the temporary files are
        removed."""
        match outcome:
            case Completed():
                return await self._store(job, outcome)
            case Pending():
                await self._write_with_retry(job, self._execution.record_progress, outcome)
                await self._forward_cancel(job)
            case Retryable():
                await self._write_with_retry(job, self._execution.schedule_retry, outcome)
            case Failed(code=ErrorCode.STORAGE_FULL):
                return _storage_full(job, None) if job.upstream_job is not None else outcome
            case Failed():
                await self._write_with_retry(job, self._execution.fail, outcome)
            case _:
                assert_never(outcome)
        return None

    async def _forward_cancel(self, job: Job) -> None:
        """Forward a cancel request to the provider, once."""
        live = self._live.find(job.id)
        if live is None or live.upstream_job is None or not live.cancel_requested or job.id in self._cancel_forwarded:
            return
        self._cancel_forwarded.add(job.id)
        await self._providers[job.provider].cancel(live.upstream_job)

    async def _store(self, job: Job, done: Completed) -> Failed | None:
        """Move the provider's files into the library and complete the job; the files are stored before the row is
        written."""
        if done.media:
            await self._write_with_retry(job, self._execution.mark_downloaded)
        try:
            async with self._library.stage_results(
                job.owner_id, job.id, job.prompt, done.outputs, job.parent_asset_id
            ) as staged:
                warnings = _warnings(done, staged)

                async def complete(job: Job, done: Completed) -> None:
                    staged.committed = await self._execution.complete(job, done, staged.assets, warnings)

                await self._write_with_retry(job, complete, done)
        except TooLarge as exc:
            await self._write_with_retry(
                job, self._execution.fail, _unusable(ErrorCode.RESULT_TOO_LARGE, exc.message, done)
            )
        except Invalid as exc:
            await self._write_with_retry(
                job, self._execution.fail, _unusable(ErrorCode.RESULT_INVALID, exc.message, done)
            )
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


def _warnings(done: Completed, staged: StagedResults) -> list[JobWarning]:
    """What the user did not get, in the order of the outputs."""
    found = [JobWarning(each.index, each.code.value, each.message) for each in done.missing]
    for index, exc in staged.unusable.items():
        code = ErrorCode.RESULT_TOO_LARGE if isinstance(exc, TooLarge) else ErrorCode.RESULT_INVALID
        found.append(JobWarning(index, code.value, _NOT_STORED + exc.message))
    return sorted(found, key=lambda warning: warning.index or 0)


def _unusable(code: ErrorCode, reason: str, done: Completed) -> Failed:
    return Failed(code=code, message=_NOT_STORED + reason, cost_nano=done.cost_nano, detail=reason)


def _unusable_input(reason: str) -> Failed:
    message = f"An input cannot be sent to this model: {reason}"
    return Failed(code=ErrorCode.REQUEST_REJECTED, message=message, cost_nano=0, carried_out=False, detail=reason)


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


_NOT_STORED = "The provider's result cannot be stored: "
_BUG = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="An internal error occurred. Retry; if it happens again, contact an admin.",
)
_NO_TEXT = "The model returned no text. Raise the token limit or change the prompt."
_NO_PROVIDER = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="The provider of this model is no longer configured. Choose another model, or contact an admin.",
)
_NOT_SENT = Retryable(code=ErrorCode.PROVIDER_FAILED, message="The job was cancelled before it was sent.")
_NO_INPUT_IMAGE = Failed(
    code=ErrorCode.PROVIDER_FAILED,
    message="The input image was deleted. Choose another image.",
)
