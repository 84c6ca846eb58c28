"""`python -m tests.crash.random_crashes [SEED]`: users request 240 jobs of all kinds while the server is repeatedly
killed (SIGKILL) at random times and restarted; then everything is inspected.

A request without a response is repeated with the same Idempotency-Key, so each must become exactly one job. The seed is
printed; passing it repeats the same requests, but not the same crash times.
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
from tests.crash.scenarios import Acknowledged, client, inspect
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL

JOBS: Final = 240
USERS: Final = 6  # concurrent
LIFE: Final = (0.2, 1.5)  # seconds between a start and its crash
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
    """A server that keeps crashing, and users that keep sending requests."""

    def __init__(self, lab: CrashLab, rng: random.Random) -> None:
        self._lab = lab
        self._folder = lab.new_folder()
        self._data = self._folder / "data"
        self._rng = rng
        self._child: Child | None = None
        self.acknowledged = Acknowledged()
        self.unknown: set[str] = set()
        self.crashes = 0

    async def run(self) -> None:
        """Run until every request has been acknowledged."""
        requests = iter([(number, *self._rng.choice(REQUESTS)) for number in range(JOBS)])
        users = asyncio.gather(*(self._user(requests) for _ in range(USERS)))
        while not users.done():
            self._child = await self._lab.start(self._folder)
            await asyncio.wait([users], timeout=self._rng.uniform(*LIFE))
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
            if self._rng.random() < 0.1:
                await self._cancel(id)

    async def _generated(self, number: int, kind: str, body: dict[str, Any]) -> str:
        """Send the request until it is answered; returns the job's id."""
        while True:
            if id := await self._generate(number, kind, body):
                return id
            await asyncio.sleep(0.02)

    async def _generate(self, number: int, kind: str, body: dict[str, Any]) -> str | None:
        """The job's id; None if there was no response."""
        if self._child is None:
            return None
        headers = {"Prefer": "respond-async", "Idempotency-Key": f"request-{number}"}
        try:
            async with client(self._child, self._lab.user) as http:
                response = await http.post(f"/api/v1/generate/{kind}", json=body, headers=headers)
        except httpx.TransportError:
            return None
        if response.status_code in (409, 503):  # the first request is in progress, or the server is starting
            return None
        job = response.json()
        if response.status_code not in (200, 202):  # a text job failed: the error names the job
            job = {"id": job["error"]["details"]["job_id"]}
        id: str = job["id"]
        return id

    async def _cancel(self, id: str) -> None:
        """Cancel once; without a response the cancel may have happened or not."""
        if self._child is not None:
            try:
                async with client(self._child, self._lab.user) as http:
                    keep = self._rng.random() < 0.5
                    await http.post(f"/api/v1/jobs/{id}/cancel", json={"keep_result": keep})
            except httpx.TransportError:
                return

    async def faults(self) -> list[str]:
        """Restart without a crash and return the faults found."""
        child = await self._lab.start(self._folder)
        assert child.url, child.output
        jobs, faults = await inspect(child, self._lab.user, self._lab.provider, self.acknowledged, RUN)
        await child.wait_idle()
        doctor = await control.ask(self._data / "control.sock", "doctor")
        if (code := await child.stopped()) != 0:
            faults.append(f"did not shut down cleanly: {code}")
        if not doctor.ok:
            faults.append(f"doctor: {doctor.text}")
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
    started = time.monotonic()
    async with crash_lab(folder) as lab:
        crashes = RandomCrashes(lab, random.Random(seed))
        await crashes.run()
        faults = await crashes.faults()
    print(f"{crashes.crashes} crashes in {time.monotonic() - started:.0f} s, seed {seed}")
    print(
        "\n".join(faults)
        or "nothing lost, nothing submitted twice, no file without a row, no row without a file, the ledger is exact"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(asyncio.run(main(Path(folder), seed)))
