"""Crash runs: play a scenario until the server kills itself at a crash point, restart it, and inspect everything. Starting
takes the most time, so the server that recovered from one run is reused for the next."""

import contextlib
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from app.base import control
from tests.crash import checker
from tests.crash.harness import Child, Driver, copied, driver, simulator, until
from tests.crash.recorder import numbered
from tests.crash.scenarios import QUEUE_HELD, Acknowledged, Crashed, Credentials, User, client, inspect, register

RUNS: Final = 16  # in one data folder

_numbers = count(1)


class Outcome(msgspec.Struct, frozen=True):
    """The result of a run: the faults found, whether the server was killed at each crash point, and its log up to the
    first of them."""

    faults: list[str]
    crashed: list[bool]
    log: str


class Chain(msgspec.Struct):
    """The runs on one data folder: the current process, and what is known from the runs so far."""

    folder: Path
    child: Child
    runs: list[str] = []
    acknowledged: list[str] = []
    unknown: set[str] = set()

    @property
    def data(self) -> Path:
        return self.folder / "data"


class CrashLab:
    """Shared by all runs of an xdist worker: the provider with its folder, and a data folder with one registered
    user."""

    def __init__(self, driver: Driver, provider_url: str, provider: Path, folder: Path) -> None:
        self.provider = provider
        self.folder = folder
        self.user = Credentials("", ("", ""))
        self._driver = driver
        self._settings = {
            "OPENROUTER_BASE_URL": f"{provider_url}/api/v1",
            "OPENROUTER_API_KEY": "any",
            "FAL_QUEUE_URL": f"{provider_url}/fal/queue",
            "FAL_REST_URL": f"{provider_url}/fal/rest",
            "FAL_KEY": "any",
            "ATELIER_WORKER_SECONDS": "0.05",
        }
        self._template = folder / "template"
        self._chain: Chain | None = None

    async def prepare(self) -> None:
        """Register the user in the template folder."""
        self._template.mkdir()
        child = await self.start(self._template)
        assert child.url, child.output
        self.user = await register(child)
        assert await child.stopped() == 0, child.output

    async def start(self, folder: Path, *, queue_held: bool = False, crash_at: str | None = None) -> Child:
        """Start the server on this folder; returns once it listens or has crashed."""
        child = self._driver.start(folder, settings=self._settings, queue_held=queue_held, crash_at=crash_at)
        return await child.listening()

    def new_folder(self) -> Path:
        """A new copy of the template folder."""
        folder = self.folder / f"chain{next(_numbers)}"
        folder.mkdir()
        return copied(self._template, folder)

    async def record(self, scenarios: Iterable[str]) -> dict[str, list[str]]:
        """The crash points of each scenario, recorded without a crash. The scenarios run one after another, so that each
        point belongs to a known scenario."""
        found: dict[str, list[str]] = {}
        for held in (True, False):
            child = await self.start(self.new_folder(), queue_held=held)
            for scenario in scenarios:
                if held == (scenario in QUEUE_HELD):
                    await child.wait_idle()
                    before = len(child.points)
                    await self._run_scenario(child, scenario, f"record{next(_numbers)}")
                    await child.wait_idle()
                    found[scenario] = list(numbered(child.points[before:]))
            assert await child.stopped() == 0, child.output
        return found

    async def crash(self, scenario: str, *points: str) -> Outcome:
        """Play the scenario until the first crash point, restart until the next one, and so on; then restart and
        inspect."""
        chain = await self._take_chain(queue_held=scenario in QUEUE_HELD)
        run = f"run{next(_numbers)}"
        chain.runs.append(run)
        first, *others = points
        chain.child.crash_at(first)
        acknowledged = await self._run_scenario(chain.child, scenario, run)
        chain.acknowledged += [*acknowledged.jobs.values(), *acknowledged.assets]
        crashed = [await self._crashed(chain)]
        log = f"{acknowledged} {chain.child.output[-3000:]}"
        for point in others:
            chain.child = await self.start(chain.folder, crash_at=point)
            if chain.child.url:
                with contextlib.suppress(Crashed):
                    await self._all_ended(chain.child, run)
            crashed.append(await self._crashed(chain))
        chain.child = await self.start(chain.folder)
        faults = await self._inspect(chain, run, acknowledged)
        self._chain = chain
        if faults or not all(crashed) or len(chain.runs) == RUNS:
            faults += await self.close()
        return Outcome(faults, crashed, log)

    async def close(self) -> list[str]:
        """End the chain; returns the faults of the shutdown."""
        chain, self._chain = self._chain, None
        if chain is None or (code := await chain.child.stopped()) == 0:
            return []
        return [f"did not shut down cleanly: {code} {chain.child.output[-2000:]}"]

    async def _take_chain(self, *, queue_held: bool) -> Chain:
        """Take the current chain, or a new one. It is only reused if the run puts it back."""
        if queue_held:
            assert await self.close() == []
        chain, self._chain = self._chain, None
        if chain is None:
            folder = self.new_folder()
            chain = Chain(folder, await self.start(folder, queue_held=queue_held))
            await chain.child.wait_idle()
        return chain

    async def _run_scenario(self, child: Child, scenario: str, run: str) -> Acknowledged:
        async with client(child, self.user) as http:
            return await User(http, child, self.provider, run).run_scenario(scenario)

    async def _all_ended(self, child: Child, run: str) -> None:
        async with client(child, self.user) as http:
            await User(http, child, self.provider, run).all_ended()

    async def _crashed(self, chain: Chain) -> bool:
        """Whether the server killed itself; if it became idle instead, it is stopped here."""
        child = chain.child
        await until(lambda: child.exit_code is not None or child.idle, lambda: f"did not become idle: {child.points}")
        code = await child.stopped()
        chain.unknown |= checker.in_submission(chain.data)
        return code == -signal.SIGKILL

    async def _inspect(self, chain: Chain, run: str, acknowledged: Acknowledged) -> list[str]:
        """The faults after a restart, as seen by the user, by the doctor command and from outside."""
        child = chain.child
        if not child.url:
            return [f"did not restart: {child.output}"]
        _, faults = await inspect(child, self.user, self.provider, acknowledged, run)
        await child.wait_idle()
        doctor = await control.ask(chain.data / "control.sock", "doctor")
        if not doctor.ok:
            faults.append(f"doctor: {doctor.text}")
        provider = checker.provider_log(self.provider, chain.runs)
        with child.paused():
            faults += checker.check(chain.data, provider, chain.acknowledged, chain.unknown)
        return faults


@asynccontextmanager
async def crash_lab(folder: Path) -> AsyncIterator[CrashLab]:
    with driver() as forks:
        async with simulator(forks, folder) as (url, provider):
            lab = CrashLab(forks, url, provider, folder)
            await lab.prepare()
            yield lab
            assert await lab.close() == []
