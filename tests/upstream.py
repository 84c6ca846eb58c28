"""A provider that outlives every Atelier beside it: the simulator in this process, whose time a test moves by hand."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from app.jobs.schemas import EventType
from app.providers.simulator.runtime import SimulatorClock
from tests.kit import Json, eventually
from tests.studio import Studio, running, served_simulator


class ManualClock(SimulatorClock):
    """Stands still until it is moved, so what takes time at the provider is in progress until then. A video takes some seconds
    from its request on; a text or an image sleeps, and only from then on counts what the clock is moved by."""

    def __init__(self) -> None:
        self._now = time.time()
        self._moved = asyncio.Event()
        self._sleeping = 0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        until = self._now + seconds
        self._sleeping += 1
        try:
            while self._now < until:
                await self._moved.wait()
        finally:
            self._sleeping -= 1

    async def sleeping(self, count: int) -> None:
        """Wait until so many requests sleep."""
        await eventually(lambda: asyncio.sleep(0, self._sleeping), lambda now: now == count)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._moved.set()
        self._moved = asyncio.Event()


class Upstream:
    """The running provider: its address, its clock, and what was submitted to it."""

    def __init__(self, url: str, folder: Path, clock: ManualClock) -> None:
        self.url = url
        self.clock = clock
        self._log = folder / "submits.jsonl"

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an Atelier that uses this provider."""
        return {"OPENROUTER_BASE_URL": f"{self.url}/api/v1", "OPENROUTER_API_KEY": "any"}

    @asynccontextmanager
    async def atelier(self, folder: Path) -> AsyncIterator[Studio]:
        """An Atelier in this process that uses this provider, once it knows the models."""
        async with running(folder, OPENROUTER_BASE_URL=f"{self.url}/api/v1", OPENROUTER_API_KEY="any") as studio:
            async with asyncio.timeout(300):
                await studio.program.catalog.filled.wait()
            yield studio

    def prompts(self) -> list[str]:
        """The prompts of all requests that were accepted, oldest first: promises about charges are judged by them."""
        if not self._log.exists():
            return []
        return [str(msgspec.json.decode(line)["prompt"]) for line in self._log.read_bytes().splitlines()]


async def submission_is_stored(studio: Studio, client: httpx.AsyncClient, job: Json) -> None:
    """Wait until the timeline of a user's job says that the provider has accepted it: from then on it can be polled."""
    owner = (await client.get("/api/v1/users/me")).json()["id"]

    async def events() -> set[EventType]:
        return {event.event for event in await studio.program.jobs.events(owner, job["id"])}

    await eventually(events, lambda found: EventType.SUBMITTED in found)


@asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[Upstream]:
    """Keeps its jobs below `folder`."""
    clock = ManualClock()
    async with served_simulator(folder / "provider", clock) as url:
        yield Upstream(url, folder / "provider", clock)
