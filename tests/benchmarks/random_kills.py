"""`python -m tests.benchmarks.random_kills`: people ask for at least 200 jobs of all kinds while the program is killed
(SIGKILL) again and again at random moments and started anew; then everything is looked at.

Whoever is not answered asks again with the same Idempotency-Key, as a careful program does, so each wish must become one job.
The seed is printed; with it as an argument the same wishes come again (the moments of the kills do not: they are real).
"""

import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from app.base import control
from tests.api.kit import CLIP, PICTURE, SHORT, TEXT
from tests.kills import checker, matrix
from tests.kills.harness import Child, copied
from tests.kills.matrix import Theatre
from tests.kills.story import Told, client, look

JOBS: Final = 240
PEOPLE: Final = 6  # who ask at the same time
LIFE: Final = (0.2, 1.5)  # seconds from a start to its kill
WISHES: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("text", {"model": TEXT}, ""),
    ("text", {"model": TEXT}, "[busy]"),
    ("text", {"model": TEXT}, "[refuse]"),
    ("image", {"model": PICTURE}, ""),
    ("image", {"model": PICTURE}, ""),
    ("video", {"model": CLIP, **SHORT}, ""),
    ("video", {"model": CLIP, **SHORT}, "[notyet]"),
    ("video", {"model": CLIP, **SHORT}, "[fail]"),
]
RUN: Final = "storm"


class Storm:
    """The program that dies, and the people who go on."""

    def __init__(self, theatre: Theatre, folder: Path, dice: random.Random) -> None:
        self._theatre = theatre
        self._folder = folder
        self._dice = dice
        self._child: Child | None = None
        self.told = Told()
        self.unknown: set[str] = set()
        self.kills = 0

    async def rage(self) -> None:
        """Until everybody has what they asked for."""
        wishes = iter([(number, *self._dice.choice(WISHES)) for number in range(JOBS)])
        people = asyncio.gather(*(self._person(wishes) for _ in range(PEOPLE)))
        while not people.done():
            self._child = await self._theatre.start(self._folder).ready()
            await asyncio.wait([people], timeout=self._dice.uniform(*LIFE))
            child, self._child = self._child, None
            child.hit(signal.SIGKILL)
            await child.end()
            self.kills += 1
            self.unknown |= checker.under_way(self._folder / "data")
        await people

    async def _person(self, wishes: Iterator[tuple[int, str, dict[str, Any], str]]) -> None:
        for number, kind, body, directive in wishes:
            prompt = f"wish {number} | {RUN} {directive}".strip()
            id = self.told.jobs[prompt] = await self._made(number, kind, {**body, "prompt": prompt})
            if self._dice.random() < 0.1:
                await self._cancel(id)

    async def _made(self, number: int, kind: str, body: dict[str, Any]) -> str:
        """The job's id, however often one has to ask."""
        while True:
            if id := await self._ask(number, kind, body):
                return id
            await asyncio.sleep(0.02)

    async def _ask(self, number: int, kind: str, body: dict[str, Any]) -> str | None:
        """The job's id; None when nobody answered."""
        if self._child is None:
            return None
        headers = {"Prefer": "respond-async", "Idempotency-Key": f"wish-{number}"}
        try:
            async with client(self._child, self._theatre.person) as http:
                answer = await http.post(f"/api/v1/generate/{kind}", json=body, headers=headers)
        except httpx.TransportError:
            return None
        if answer.status_code in (409, 503):  # it is still being answered to the one who died, or is just starting
            return None
        said = answer.json()
        if answer.status_code not in (200, 202):  # a text that failed: its job is named
            said = {"id": said["error"]["details"]["job_id"]}
        found: str = said["id"]
        return found

    async def _cancel(self, id: str) -> None:
        """Once; an unanswered cancel may have happened or not."""
        if self._child is not None:
            try:
                async with client(self._child, self._theatre.person) as http:
                    keep = self._dice.random() < 0.5
                    await http.post(f"/api/v1/jobs/{id}/cancel", json={"keep_result": keep})
            except httpx.TransportError:
                return

    async def judge(self) -> list[str]:
        """After a last start, left alone: what is not as it should be."""
        data = self._folder / "data"
        child = await self._theatre.start(self._folder).ready()
        assert child.url, child.words()
        jobs, faults = await look(child, self._theatre.person, self.told, RUN)
        doctor = await control.ask(data / "control.sock", "doctor")
        child.hit(signal.SIGTERM)
        await child.end()
        faults += [] if doctor.ok else [f"the doctor says: {doctor.text}"]
        if len(jobs) != JOBS:
            faults.append(f"{JOBS} wishes became {len(jobs)} jobs")
        books = checker.books(self._theatre.memory, RUN)
        faults += checker.check(data, books, list(self.told.jobs.values()), self.unknown)
        print(f"{len(jobs)} jobs: {dict(Counter(job['status'] for job in jobs))}")
        print(f"of these with an unknown fate, said so: {sum(_unknown(job) for job in jobs)}")
        return faults


def _unknown(job: dict[str, Any]) -> bool:
    return bool(job["error"]) and job["error"]["code"] == "OUTCOME_UNKNOWN"


async def main(theatre: Theatre, folder: Path, seed: int) -> int:
    began = time.monotonic()
    storm = Storm(theatre, copied(theatre.template, folder), random.Random(seed))
    await storm.rage()
    faults = await storm.judge()
    print(f"{storm.kills} kills in {time.monotonic() - began:.0f} s, seed {seed}")
    print(
        "\n".join(faults)
        or "nothing lost, nothing sent twice, no file without a row, no row without a file, the ledger is exact"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory() as place, matrix.opened(Path(place)) as theatre:
        folder = Path(place) / RUN
        folder.mkdir()
        sys.exit(asyncio.run(main(theatre, folder, seed)))
