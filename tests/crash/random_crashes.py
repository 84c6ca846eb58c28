"""`python -m tests.crash.random_crashes [SEED]`: users ask for 240 jobs of all kinds while the program is killed (SIGKILL) again
and again at random times and started again; then everything is inspected.

A request that was not answered is repeated with the same Idempotency-Key, as a careful client does, so each must become one
job. The seed is printed; with it as an argument the same requests are made again (not the same crashes: their times are real).
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
from tests.crash import checker
from tests.crash.harness import Child
from tests.crash.matrix import CrashLab, crash_lab
from tests.crash.scenes import Acknowledged, client, inspect
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL

JOBS: Final = 240
USERS: Final = 6  # that ask at the same time
LIFE: Final = (0.2, 1.5)  # seconds from a start to its crash
REQUESTS: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("text", {"model": TEXT_MODEL}, ""),
    ("text", {"model": TEXT_MODEL}, "[busy]"),
    ("text", {"model": TEXT_MODEL}, "[refuse]"),
    ("image", {"model": IMAGE_MODEL}, ""),
    ("image", {"model": IMAGE_MODEL}, ""),
    ("video", {"model": VIDEO_MODEL, **SHORT_VIDEO}, ""),
    ("video", {"model": VIDEO_MODEL, **SHORT_VIDEO}, "[notyet]"),
    ("video", {"model": VIDEO_MODEL, **SHORT_VIDEO}, "[fail]"),
]
RUN: Final = "random"


class RandomCrashes:
    """The program that crashes, and the users that go on."""

    def __init__(self, lab: CrashLab, dice: random.Random) -> None:
        self._lab = lab
        self._folder = lab.new_folder()
        self._data = self._folder / "data"
        self._dice = dice
        self._child: Child | None = None
        self.acknowledged = Acknowledged()
        self.unknown: set[str] = set()
        self.crashes = 0

    async def run(self) -> None:
        """Until every user has what it has asked for."""
        requests = iter([(number, *self._dice.choice(REQUESTS)) for number in range(JOBS)])
        users = asyncio.gather(*(self._user(requests) for _ in range(USERS)))
        while not users.done():
            self._child = await self._lab.start(self._folder)
            await asyncio.wait([users], timeout=self._dice.uniform(*LIFE))
            child, self._child = self._child, None
            child.send(signal.SIGKILL)
            await child.ended()
            self.crashes += 1
            self.unknown |= checker.in_submission(self._data)
        await users

    async def _user(self, requests: Iterator[tuple[int, str, dict[str, Any], str]]) -> None:
        for number, kind, body, directive in requests:
            prompt = f"request {number} | {RUN} {directive}".strip()
            id = self.acknowledged.jobs[prompt] = await self._generated(number, kind, {**body, "prompt": prompt})
            if self._dice.random() < 0.1:
                await self._cancel(id)

    async def _generated(self, number: int, kind: str, body: dict[str, Any]) -> str:
        """The job's id, however often one has to ask."""
        while True:
            if id := await self._generate(number, kind, body):
                return id
            await asyncio.sleep(0.02)

    async def _generate(self, number: int, kind: str, body: dict[str, Any]) -> str | None:
        """The job's id; None when there was no answer."""
        if self._child is None:
            return None
        headers = {"Prefer": "respond-async", "Idempotency-Key": f"request-{number}"}
        try:
            async with client(self._child, self._lab.user) as http:
                response = await http.post(f"/api/v1/generate/{kind}", json=body, headers=headers)
        except httpx.TransportError:
            return None
        if response.status_code in (
            409,
            503,
        ):  # the first request is still in progress, or the program is just starting
            return None
        job = response.json()
        if response.status_code not in (200, 202):  # a text that failed: its job is named
            job = {"id": job["error"]["details"]["job_id"]}
        id: str = job["id"]
        return id

    async def _cancel(self, id: str) -> None:
        """Once; a cancel without an answer may have happened or not."""
        if self._child is not None:
            try:
                async with client(self._child, self._lab.user) as http:
                    keep = self._dice.random() < 0.5
                    await http.post(f"/api/v1/jobs/{id}/cancel", json={"keep_result": keep})
            except httpx.TransportError:
                return

    async def faults(self) -> list[str]:
        """After a last start that is left alone: what is not as it should be."""
        child = await self._lab.start(self._folder)
        assert child.url, child.output
        jobs, faults = await inspect(child, self._lab.user, self._lab.provider, self.acknowledged, RUN)
        await child.rest()
        doctor = await control.ask(self._data / "control.sock", "doctor")
        if (code := await child.stopped()) != 0:
            faults.append(f"it did not stop in good order: {code}")
        if not doctor.ok:
            faults.append(f"the doctor says: {doctor.text}")
        if len(jobs) != JOBS:
            faults.append(f"{JOBS} requests became {len(jobs)} jobs")
        provider = checker.provider_log(self._lab.provider, [RUN])
        faults += checker.check(self._data, provider, list(self.acknowledged.jobs.values()), self.unknown)
        print(f"{len(jobs)} jobs: {dict(Counter(job['status'] for job in jobs))}")
        print(f"of these {sum(_is_unknown(job) for job in jobs)} ended with OUTCOME_UNKNOWN")
        return faults


def _is_unknown(job: dict[str, Any]) -> bool:
    return bool(job["error"]) and job["error"]["code"] == "OUTCOME_UNKNOWN"


async def main(folder: Path, seed: int) -> int:
    began = time.monotonic()
    async with crash_lab(folder) as lab:
        crashes = RandomCrashes(lab, random.Random(seed))
        await crashes.run()
        faults = await crashes.faults()
    print(f"{crashes.crashes} crashes in {time.monotonic() - began:.0f} s, seed {seed}")
    print(
        "\n".join(faults)
        or "nothing lost, nothing submitted twice, no file without a row, no row without a file, the ledger is exact"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(asyncio.run(main(Path(folder), seed)))
