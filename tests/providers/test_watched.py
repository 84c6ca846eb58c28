"""A watched provider is the provider: it answers the same, and how long it took and how it ended is counted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from app.base.errors import Upstream
from app.base.metrics import Metrics
from app.providers.contract import (
    Again,
    Chunk,
    Done,
    ErrorCode,
    Failure,
    Kind,
    Later,
    Never,
    Offer,
    Outcome,
    Provider,
    Request,
    Ticket,
)
from app.providers.watched import watched

TICKET = Ticket("up-1")
ASKED = Request(job_id="1", kind=Kind.IMAGE, model="m", prompt="p")
NEVER = Never(code=ErrorCode.PROVIDER_REFUSED, message="no")


class Scripted:
    """Says what it is told to say."""

    name = "scripted"
    can_cancel = True

    def __init__(self) -> None:
        self.outcome: Outcome | Exception = Done()
        self.closed = False

    async def offers(self) -> Sequence[Offer]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [Offer(id="m", name="M")]

    async def submit(self, request: Request, folder: Path) -> Outcome:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def poll(self, ticket: Ticket, folder: Path) -> Outcome:
        return await self.submit(ASKED, folder)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        try:
            for delta in ("one", "two"):
                yield Chunk(delta=delta)
                await asyncio.sleep(0)
            if isinstance(self.outcome, Exception):
                raise self.outcome
        finally:
            self.closed = True

    async def cancel(self, ticket: Ticket) -> bool:
        return True

    async def cost_nano(self, generation_id: str) -> int | None:
        return None


@pytest.fixture
def inside() -> Scripted:
    return Scripted()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def provider(inside: Scripted, metrics: Metrics) -> Provider:
    return watched({"scripted": inside}, metrics)["scripted"]


async def _counted(metrics: Metrics) -> list[str]:
    """What was counted, as `operation outcome code`."""
    lines = (await metrics.text()).decode().splitlines()
    found = [line for line in lines if line.startswith("atelier_provider_calls_total{")]
    return [
        " ".join(part.split('"')[1] for name in ("operation", "outcome", "code") for part in line.split(",") if name in part)
        for line in found
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (Done(text="hello"), "poll done "),
        (Later(ticket=TICKET, state="in_progress"), "poll later "),
        (Later(ticket=TICKET, state="unanswered"), "poll unanswered "),
        (Again(code=ErrorCode.PROVIDER_UNREACHABLE, message="busy"), "poll again PROVIDER_UNREACHABLE"),
        (NEVER, "poll never PROVIDER_REFUSED"),
    ],
)
async def test_an_answer_is_passed_on_and_counted(
    inside: Scripted, provider: Provider, metrics: Metrics, outcome: Outcome, counted: str
) -> None:
    inside.outcome = outcome
    assert await provider.poll(TICKET, Path()) is outcome
    assert await _counted(metrics) == [counted]
    assert b'provider_seconds_count{operation="poll",provider="scripted"} 1.0' in await metrics.text()


async def test_a_submit_is_counted_by_what_is_made(provider: Provider, metrics: Metrics) -> None:
    await provider.submit(ASKED, Path())
    assert await _counted(metrics) == ["submit image done "]


async def test_it_is_the_provider_in_all_else(inside: Scripted, provider: Provider) -> None:
    assert (provider.name, provider.can_cancel) == ("scripted", True)
    assert await provider.cancel(TICKET) is True
    assert [offer.id for offer in await provider.offers()] == ["m"]


async def test_what_it_raises_is_raised_and_counted(inside: Scripted, provider: Provider, metrics: Metrics) -> None:
    inside.outcome = Upstream("no catalogue")
    with pytest.raises(Upstream):
        await provider.offers()
    inside.outcome = LookupError("a bug of ours")
    with pytest.raises(LookupError):
        await provider.submit(ASKED, Path())
    assert await _counted(metrics) == ["offers unanswered ", "submit image bug "]


async def test_a_stream_to_its_end(provider: Provider, metrics: Metrics) -> None:
    assert [chunk.delta async for chunk in provider.stream(ASKED)] == ["one", "two"]
    assert await _counted(metrics) == ["stream done "]


async def test_a_stream_that_fails(inside: Scripted, provider: Provider, metrics: Metrics) -> None:
    inside.outcome = Failure(NEVER)
    with pytest.raises(Failure):
        _ = [chunk async for chunk in provider.stream(ASKED)]
    assert await _counted(metrics) == ["stream never PROVIDER_REFUSED"]


async def test_a_stream_that_somebody_leaves_hangs_up_upstream(
    inside: Scripted, provider: Provider, metrics: Metrics
) -> None:
    async with aclosing(cast("AsyncGenerator[Chunk, None]", provider.stream(ASKED))) as chunks:
        assert (await anext(chunks)).delta == "one"
    assert inside.closed
    assert await _counted(metrics) == ["stream given up "]
