"""The wrapper around a provider: it answers the same, and counts the duration and the outcome of each request."""

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
from app.providers.instrumented import instrumented
from tests.kit import Cases

TICKET = UpstreamJob("up-1")
REQUEST = Request(job_id="1", kind=Kind.IMAGE, model="m", prompt="p")
NEVER = Failed(code=ErrorCode.PROVIDER_REFUSED, message="no")


class Scripted:
    """Answers with `outcome`, or raises it."""

    name = "scripted"
    can_cancel = True

    def __init__(self) -> None:
        self.outcome: Outcome | Exception = Completed()
        self.closed = False

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
    return instrumented({"scripted": scripted}, metrics)["scripted"]


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
        (Completed(text="hello"), "poll done "),
        (Pending(upstream_job=TICKET, state="in_progress"), "poll later "),
        (Pending(upstream_job=TICKET, state="unanswered"), "poll unanswered "),
        (Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message="busy"), "poll again PROVIDER_UNREACHABLE"),
        (NEVER, "poll never PROVIDER_REFUSED"),
    ]
    with Cases() as cases:
        for outcome, counted in outcomes:
            with cases.case(counted):
                scripted, metrics = Scripted(), Metrics()
                scripted.outcome = outcome
                assert await instrumented({"scripted": scripted}, metrics)["scripted"].poll(TICKET, Path()) is outcome
                assert await _counted(metrics) == [counted]
                assert b'provider_seconds_count{operation="poll",provider="scripted"} 1.0' in await metrics.text()


async def test_a_submit_is_counted_by_its_kind(provider: Provider, metrics: Metrics) -> None:
    await provider.submit(REQUEST, Path())
    assert await _counted(metrics) == ["submit image done "]


async def test_everything_else_is_the_provider_itself(scripted: Scripted, provider: Provider) -> None:
    assert (provider.name, provider.can_cancel) == ("scripted", True)
    assert await provider.cancel(TICKET) is True
    assert [offer.id for offer in await provider.offers()] == ["m"]


async def test_an_exception_is_raised_and_counted(scripted: Scripted, provider: Provider, metrics: Metrics) -> None:
    scripted.outcome = Upstream("no catalogue")
    with pytest.raises(Upstream):
        await provider.offers()
    scripted.outcome = LookupError("a bug of ours")
    with pytest.raises(LookupError):
        await provider.submit(REQUEST, Path())
    assert await _counted(metrics) == ["offers unanswered ", "submit image bug "]


async def test_a_stream_that_completes_is_counted(provider: Provider, metrics: Metrics) -> None:
    assert [chunk.delta async for chunk in provider.stream(REQUEST)] == ["one", "two"]
    assert await _counted(metrics) == ["stream done "]


async def test_a_stream_that_fails_is_counted(scripted: Scripted, provider: Provider, metrics: Metrics) -> None:
    scripted.outcome = Failure(NEVER)
    with pytest.raises(Failure):
        _ = [chunk async for chunk in provider.stream(REQUEST)]
    assert await _counted(metrics) == ["stream never PROVIDER_REFUSED"]


async def test_a_stream_that_is_abandoned_is_closed_upstream_and_counted(
    scripted: Scripted, provider: Provider, metrics: Metrics
) -> None:
    async with aclosing(cast("AsyncGenerator[Chunk, None]", provider.stream(REQUEST))) as chunks:
        assert (await anext(chunks)).delta == "one"
    assert scripted.closed
    assert await _counted(metrics) == ["stream given up "]
