"""How long providers take and how they fail: each is wrapped once, and nobody who asks it knows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Final, assert_never, cast

from app.base.crash_points import crash_point
from app.base.errors import Upstream
from app.base.metrics import Metrics
from app.providers.contract import (
    Chunk,
    Completed,
    Failed,
    Failure,
    ModelOffer,
    Outcome,
    Pending,
    Provider,
    Request,
    Retryable,
    UpstreamJob,
)

BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)  # seconds
UNANSWERED: Final = ("unanswered", "missing")  # the states by which a provider says that a poll brought nothing


class InstrumentedProvider:
    """The provider inside, timed and counted."""

    def __init__(self, provider: Provider, watch: "_Watch") -> None:
        self._provider = provider
        self._watch = watch
        self.name = provider.name
        self.can_cancel = provider.can_cancel

    async def offers(self) -> Sequence[ModelOffer]:
        with self._watch.over(self.name, "offers"):
            return await self._provider.offers()

    async def submit(self, request: Request, folder: Path) -> Outcome:
        with self._watch.over(self.name, f"submit {request.kind.value}") as call:
            crash_point("provider.submit_started", request.job_id)
            outcome = await self._provider.submit(request, folder)
            crash_point("provider.submit_answered", request.job_id)
            call.ended(outcome)
            return outcome

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        with self._watch.over(self.name, "poll") as call:
            crash_point("provider.poll_started", upstream_job.id)
            outcome = await self._provider.poll(upstream_job, folder)
            crash_point("provider.poll_answered", upstream_job.id)
            call.ended(outcome)
            return outcome

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        with self._watch.over(self.name, "stream"):
            inside = cast("AsyncGenerator[Chunk, None]", self._provider.stream(request))
            async with aclosing(inside) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def cost_nano(self, generation_id: str) -> int | None:
        with self._watch.over(self.name, "bill"):
            return await self._provider.cost_nano(generation_id)

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        with self._watch.over(self.name, "cancel"):
            return await self._provider.cancel(upstream_job)

    def __repr__(self) -> str:
        return f"Watched({self._provider!r})"


class _Call:
    """One request to a provider. Without a word it went well."""

    outcome = "done"
    code = ""

    def ended(self, outcome: Outcome) -> None:
        match outcome:
            case Completed():
                pass
            case Pending(state=state):
                self.outcome = "unanswered" if state in UNANSWERED else "later"
            case Retryable() | Failed():
                self.outcome, self.code = type(outcome).__name__.lower(), outcome.code.value
            case _:
                assert_never(outcome)

    def broke(self, problem: BaseException) -> None:
        if isinstance(problem, Failure):
            self.ended(problem.outcome)
        elif isinstance(problem, Upstream):
            self.outcome = "unanswered"
        elif isinstance(problem, asyncio.CancelledError | GeneratorExit):
            self.outcome = "given up"  # by us
        else:
            self.outcome = "bug"


class _Watch:
    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.histogram(
            "provider_seconds",
            "A request to a provider until its end; of a clip that is finished with its download.",
            ("provider", "operation"),
            up_to=BUCKETS,
        )
        self._calls = metrics.counter(
            "provider_requests",
            "Requests to a provider by how they ended; `code` is a failed job's `error.code`.",
            ("provider", "operation", "outcome", "code"),
        )

    @contextmanager
    def over(self, provider: str, operation: str) -> Iterator[_Call]:
        call = _Call()
        began = perf_counter()
        try:
            yield call
        except BaseException as exc:
            call.broke(exc)
            raise
        finally:
            self._seconds.labels(provider, operation).observe(perf_counter() - began)
            self._calls.labels(provider, operation, call.outcome, call.code).inc()


def instrumented(providers: Mapping[str, Provider], metrics: Metrics) -> dict[str, Provider]:
    """The same providers by the same names."""
    watch = _Watch(metrics)
    return {name: InstrumentedProvider(provider, watch) for name, provider in providers.items()}
