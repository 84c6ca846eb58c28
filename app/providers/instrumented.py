"""Metrics for provider requests: a transparent wrapper that records duration and outcome."""

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
    Operation,
    Outcome,
    Pending,
    Provider,
    Request,
    Retryable,
    UpstreamJob,
)

BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)  # seconds
UNANSWERED: Final = ("unanswered", "missing")  # `Pending.state` of a poll that got no usable response


class InstrumentedProvider:
    """Delegates to a provider and records each request."""

    def __init__(self, provider: Provider, request_metrics: "_RequestMetrics") -> None:
        self._provider = provider
        self._metrics = request_metrics
        self.name = provider.name
        self.can_cancel = provider.can_cancel

    async def offers(self) -> Sequence[ModelOffer]:
        with self._metrics.record(self.name, "offers"):
            return await self._provider.offers()

    async def submit(self, request: Request, folder: Path) -> Outcome:
        with self._metrics.record(self.name, f"submit {request.kind.value}") as call:
            crash_point("provider.submit_started", request.job_id)
            outcome = await self._provider.submit(request, folder)
            crash_point("provider.submit_answered", request.job_id)
            call.set_outcome(outcome)
            return outcome

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        with self._metrics.record(self.name, "poll") as call:
            crash_point("provider.poll_started", upstream_job.id)
            outcome = await self._provider.poll(upstream_job, folder)
            crash_point("provider.poll_answered", upstream_job.id)
            call.set_outcome(outcome)
            return outcome

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        operation = "stream" if request.operation is Operation.CHAT else request.operation.value
        with self._metrics.record(self.name, operation):
            source = cast("AsyncGenerator[Chunk, None]", self._provider.stream(request))
            async with aclosing(source) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def cost_nano(self, generation_id: str) -> int | None:
        with self._metrics.record(self.name, "cost"):
            return await self._provider.cost_nano(generation_id)

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        with self._metrics.record(self.name, "cancel"):
            return await self._provider.cancel(upstream_job)

    def __repr__(self) -> str:
        return f"InstrumentedProvider({self._provider!r})"


class _Call:
    """One request to a provider; successful unless set otherwise."""

    outcome = "completed"
    code = ""

    def set_outcome(self, outcome: Outcome) -> None:
        match outcome:
            case Completed():
                pass
            case Pending(state=state):
                self.outcome = "unanswered" if state in UNANSWERED else "pending"
            case Retryable() | Failed():
                self.outcome, self.code = type(outcome).__name__.lower(), outcome.code.value
            case _:
                assert_never(outcome)

    def set_exception(self, exc: BaseException) -> None:
        if isinstance(exc, Failure):
            self.set_outcome(exc.outcome)
        elif isinstance(exc, Upstream):
            self.outcome = "unanswered"
        elif isinstance(exc, asyncio.CancelledError | GeneratorExit):
            self.outcome = "cancelled"  # by Atelier
        else:
            self.outcome = "bug"


class _RequestMetrics:
    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.histogram(
            "provider_seconds",
            "Duration of a provider request; for a finished video, including its download.",
            ("provider", "operation"),
            up_to=BUCKETS,
        )
        self._calls = metrics.counter(
            "provider_requests",
            "Provider requests by outcome; `code` is the `error.code` of a failed job.",
            ("provider", "operation", "outcome", "code"),
        )

    @contextmanager
    def record(self, provider: str, operation: str) -> Iterator[_Call]:
        call = _Call()
        began = perf_counter()
        try:
            yield call
        except BaseException as exc:
            call.set_exception(exc)
            raise
        finally:
            self._seconds.labels(provider, operation).observe(perf_counter() - began)
            self._calls.labels(provider, operation, call.outcome, call.code).inc()


def instrumented(providers: Mapping[str, Provider], metrics: Metrics) -> dict[str, Provider]:
    """The same providers, instrumented, under the same names."""
    request_metrics = _RequestMetrics(metrics)
    return {name: InstrumentedProvider(provider, request_metrics) for name, provider in providers.items()}
