"""The instrumented provider returns the same results and records the duration and outcome of each request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from app.base.errors import Upstream
from app.base.metrics import Metrics
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    Kind,
    ModelOffer,
    Outcome,
    Pending,
    Provider,
    Request,
    Retryable,
    UpstreamJob,
)
from app.providers.instrumented import instrumentation
from tests.kit import Cases

UPSTREAM_JOB = UpstreamJob("up-1")
REQUEST = Request(job_id="1", kind=Kind.IMAGE, model="m", prompt="p")
REFUSED = Failed(code=ErrorCode.PROVIDER_REFUSED, message="no")


class Scripted:
    """Returns `outcome`, or raises it."""

    name = "scripted"
    can_cancel = True

    def __init__(self) -> None:
        self.outcome: Outcome | Exception = Completed()
        self.closed = False

    async def test(self) -> None:
        if isinstance(self.outcome, Exception):
            raise self.outcome

    async def offers(self) -> Sequence[ModelOffer]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [ModelOffer(id="m", name="M")]

    async def submit(self, request: Request, folder: Path) -> Outcome:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        return await self.submit(REQUEST, folder)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        try:
            for delta in ("one", "two"):
                yield Chunk(delta=delta)
                await asyncio.sleep(0)
            if isinstance(self.outcome, Exception):
                raise self.outcome
        finally:
            self.closed = True

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        return True

    async def cost_nano(self, generation_id: str) -> int | None:
        return None


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def provider(scripted: Scripted, metrics: Metrics) -> Provider:
    return instrumentation(metrics)(scripted)


async def _counted(metrics: Metrics) -> list[str]:
    """The counted requests, as `operation outcome code`."""
    lines = (await metrics.text()).decode().splitlines()
    found = [line for line in lines if line.startswith("atelier_provider_requests_total{")]
    return [
        " ".join(part.split('"')[1] for name in ("operation", "outcome", "code") for part in line.split(",") if name in part)
        for line in found
    ]  # fmt: skip


async def test_an_outcome_is_returned_and_counted() -> None:
    outcomes: list[tuple[Outcome, str]] = [
        (Completed(text="hello"), "poll completed "),
        (Pending(upstream_job=UPSTREAM_JOB, state="in_progress"), "poll pending "),
        (Pending(upstream_job=UPSTREAM_JOB, state="unanswered"), "poll unanswered "),
        (Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message="busy"), "poll retryable PROVIDER_UNREACHABLE"),
        (REFUSED, "poll failed PROVIDER_REFUSED"),
    ]
    with Cases() as cases:
        for outcome, counted in outcomes:
            with cases.case(counted):
                scripted, metrics = Scripted(), Metrics()
                scripted.outcome = outcome
                assert await instrumentation(metrics)(scripted).poll(UPSTREAM_JOB, Path()) is outcome
                assert await _counted(metrics) == [counted]
                assert b'provider_seconds_count{operation="poll",provider="scripted"} 1.0' in await metrics.text()


async def test_a_submit_is_counted_by_its_kind(provider: Provider, metrics: Metrics) -> None:
    await provider.submit(REQUEST, Path())
    assert await _counted(metrics) == ["submit image completed "]


async def test_other_calls_are_delegated(scripted: Scripted, provider: Provider) -> None:
    assert (provider.name, provider.can_cancel) == ("scripted", True)
    assert await provider.cancel(UPSTREAM_JOB) is True
    assert [offer.id for offer in await provider.offers()] == ["m"]


async def test_an_exception_is_raised_and_counted(scripted: Scripted, provider: Provider, metrics: Metrics) -> None:
    scripted.outcome = Upstream("no model list")
    with pytest.raises(Upstream):
        await provider.offers()
    scripted.outcome = LookupError("a bug")
    with pytest.raises(LookupError):
        await provider.submit(REQUEST, Path())
    assert await _counted(metrics) == ["offers unanswered ", "submit image bug "]


async def test_a_stream_that_completes_is_counted(provider: Provider, metrics: Metrics) -> None:
    assert [chunk.delta async for chunk in provider.stream(REQUEST)] == ["one", "two"]
    assert await _counted(metrics) == ["stream completed "]


async def test_a_stream_that_fails_is_counted(scripted: Scripted, provider: Provider, metrics: Metrics) -> None:
    scripted.outcome = Failure(REFUSED)
    with pytest.raises(Failure):
        _ = [chunk async for chunk in provider.stream(REQUEST)]
    assert await _counted(metrics) == ["stream failed PROVIDER_REFUSED"]


async def test_a_stream_that_is_abandoned_is_closed_upstream_and_counted(
    scripted: Scripted, provider: Provider, metrics: Metrics
) -> None:
    async with aclosing(cast("AsyncGenerator[Chunk, None]", provider.stream(REQUEST))) as chunks:
        assert (await anext(chunks)).delta == "one"
    assert scripted.closed
    assert await _counted(metrics) == ["stream cancelled "]
