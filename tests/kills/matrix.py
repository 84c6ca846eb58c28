"""One run of the matrix: a story is told until the program is killed, it is started anew, and everything is looked at."""

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec

from app.base import control
from tests.kills import checker
from tests.kills.harness import Child, Driver, copied, driver, simulator
from tests.kills.story import Person, Story, client, look, register

_runs = count(1)


class Theatre(msgspec.Struct, frozen=True):
    """What all runs share: the provider, and a studio in which one person has registered."""

    driver: Driver
    provider: str
    memory: Path
    template: Path
    person: Person
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "OPENROUTER_BASE_URL": f"{self.provider}/api/v1",
            "OPENROUTER_API_KEY": "any",
            "ATELIER_WORKER_SECONDS": "0.05",
        }

    def start(
        self, folder: Path, *, held: bool = False, kill_at: str | None = None, record: Path | None = None
    ) -> Child:
        return self.driver.start(
            folder,
            settings=self.settings,
            watched=bool(kill_at or record or held),
            held=held,
            kill_at=kill_at,
            record=record,
        )


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended: what was found, whether the kills struck, and what the person was told before."""

    faults: list[str]
    struck: list[bool]
    unknown: int


@contextmanager
def opened(folder: Path) -> Iterator[Theatre]:
    with driver() as forks, simulator(forks, folder) as (provider, memory):
        template = folder / "template"
        template.mkdir()
        theatre = Theatre(forks, provider, memory, template, Person("", ""), folder)
        person = _prepared(theatre)
        yield msgspec.structs.replace(theatre, person=person)


def _prepared(theatre: Theatre) -> Person:
    """In a loop of its own: what comes out of it are words on the disk and two secrets."""
    import asyncio

    async def prepare() -> Person:
        child = await theatre.start(theatre.template).ready()
        assert child.url, child.words()
        person = await register(child)
        child.hit(signal.SIGTERM)
        assert await child.end() == 0, child.words()
        return person

    return asyncio.run(prepare())


async def recorded(theatre: Theatre) -> list[str]:
    """The moments of a run in which nobody is killed."""
    with tempfile.TemporaryDirectory(dir=theatre.folder) as name:
        folder = copied(theatre.template, Path(name))
        record = folder / "record"
        child = await theatre.start(folder, held=True, record=record).ready()
        async with client(child, theatre.person) as http:
            await Story(http, f"record{next(_runs)}").tell()
        child.hit(signal.SIGTERM)
        assert await child.end() == 0, child.words()
        return record.read_text().splitlines()


async def killed(theatre: Theatre, *moments: str) -> Outcome:
    """Tell the story until the first moment, start anew until the next, and so on; then start once more and look."""
    with tempfile.TemporaryDirectory(dir=theatre.folder) as name:
        folder = copied(theatre.template, Path(name))
        data = folder / "data"
        run = f"run{next(_runs)}"
        first, *others = moments
        child = await theatre.start(folder, held=True, kill_at=first).ready()
        async with client(child, theatre.person) as http:
            told = await Story(http, run).tell()
        struck = [await _struck(child)]
        missed = (
            [] if all(struck) else [f"it was not killed but {child.ended()}: {child.words()[-3000:]} {told.last_words}"]
        )
        unknown = checker.under_way(data)
        for moment in others:
            child = await theatre.start(folder, kill_at=moment).ready()
            struck.append(await _struck(child))
            unknown |= checker.under_way(data)
        child = await theatre.start(folder).ready()
        if not child.url:
            return Outcome([f"it does not start again: {child.words()}"], struck, len(unknown))
        _, faults = await look(child, theatre.person, told, run)
        faults += missed
        doctor = await control.ask(data / "control.sock", "doctor")
        child.hit(signal.SIGTERM)
        if (code := await child.end()) != 0:
            faults.append(f"it did not stop in good order: {code} {child.words()[-2000:]}")
        faults += [] if doctor.ok else [f"the doctor says: {doctor.text}"]
        acknowledged = [*told.jobs.values(), *([told.asset] if told.asset else [])]
        faults += checker.check(data, checker.books(theatre.memory, run), acknowledged, unknown)
        return Outcome(faults, struck, len(unknown))


async def _struck(child: Child) -> bool:
    """Whether it was killed by itself, for which a busy machine may take a moment; else it is ended here."""
    for _ in range(100):
        if child.ended() is not None:
            break
        await asyncio.sleep(0.02)
    else:
        child.hit(signal.SIGTERM)
    return await child.end() == -signal.SIGKILL
