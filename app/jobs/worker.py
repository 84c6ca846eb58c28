"""The background worker: submits queued jobs and polls processing ones when they are due.

It keeps no state of its own that must survive: everything is in the job's row, and a restart continues from there.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from app.base import clock
from app.catalog.service import Catalog
from app.jobs.inputs import InputPreparation
from app.jobs.runner import JobRunner
from app.jobs.schemas import Job
from app.jobs.service import Jobs
from app.library.service import Library
from app.providers.contract import Provider
from app.storage.files import Files
from app.storage.media import Media

MAX_CLAIMS: Final = 64  # jobs that are claimed by one write
MAX_POLLS: Final = 16  # concurrent polls of one provider


class Worker:
    """Drives jobs from queued to their final status."""

    def __init__(
        self,
        jobs: Jobs,
        catalog: Catalog,
        library: Library,
        files: Files,
        media: Media,
        providers: Mapping[str, Provider],
    ) -> None:
        self._live = jobs.live
        self._execution = jobs.execution
        self._runner = JobRunner(
            jobs.live,
            jobs.waiters,
            jobs.execution,
            catalog,
            library,
            files,
            providers,
            InputPreparation(catalog, library, media),
        )
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._polling: dict[str, asyncio.Task[None]] = {}
        self._dispatch_lock = asyncio.Lock()
        self._stopping = False

    async def tick(self) -> None:
        """Start queued jobs and polls that are due, then wait until there is work."""
        async with self._dispatch_lock:
            if not self._stopping:
                await self._dispatch()
        await self._wait_for_work()

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

    async def _dispatch(self) -> None:
        if self._live.has_waiting():
            for job in await self._execution.claim(MAX_CLAIMS):
                if job.upstream_job is None:  # otherwise its existing result is fetched by a poll
                    self._live.begin_sending(job)
                    self._spawn(self._starting, job, self._start(job))
        for job in self._live.to_poll(MAX_POLLS):
            self._spawn(self._polling, job, self._poll(job))

    async def _start(self, job: Job) -> None:
        try:
            await self._runner.start(job)
        finally:
            self._live.end_sending(job)

    async def _poll(self, job: Job) -> None:
        try:
            await self._runner.poll(job)
        finally:
            self._live.polled(job)

    async def _wait_for_work(self) -> None:
        run_at = self._live.next_due()
        wait = 1.0 if run_at is None else min(1.0, max(0.02, (run_at - clock.now()).total_seconds()))
        try:
            async with asyncio.timeout(wait):
                await self._live.wake.wait()
        except TimeoutError:
            pass
        self._live.wake.clear()

    def _spawn(self, tasks: dict[str, asyncio.Task[None]], job: Job, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"job {job.id}")
        tasks[job.id] = task

        def done(_: asyncio.Task[None]) -> None:
            tasks.pop(job.id, None)
            self._live.wake.set()

        task.add_done_callback(done)
