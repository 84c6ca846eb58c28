"""The processes of a run: Atelier, the simulator, and the health probe, which measures how long other users wait."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.benchmarks.load import connected
from tests.kit import eventually
from tests.processes import ROOT, environment
from tests.trust import trust

USER = {"email": "ann@studio.example", "password": "correct horse battery"}
TIMEOUT = 60.0  # seconds until a process must respond


class Process:
    """A started process; its output goes into a file, because a pipe would have to be read by the process that makes the load."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far: unlike the other results, it does not depend on what else the machine does."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024


@asynccontextmanager
async def started(folder: Path, *arguments: str, settings: Mapping[str, str], nice: int = 0) -> AsyncIterator[Process]:
    """Run `python -m …`, from when it prints its address until the block ends. `nice` is the niceness of the process."""
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            env={**environment(folder, settings), "PYTHONWARNINGS": "ignore"},
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=partial(os.nice, nice),
        )
    try:
        async with asyncio.timeout(TIMEOUT):
            while not (found := re.search(r"(?:at|on) (https?://[^\s/]+)", log.read_text("utf-8", "replace"))):
                if process.returncode is not None:
                    raise RuntimeError(f"the process did not start: {log.read_text('utf-8', 'replace')[-2000:]}")
                await asyncio.sleep(0.05)
        yield Process(process, found[1], log)
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGTERM)
        await process.wait()


class Studio(msgspec.Struct, frozen=True):
    """Atelier, its provider, and the API key of its first user, who is an admin."""

    atelier: Process
    provider: Process
    token: str

    async def health(self) -> dict[str, Any]:
        async with connected(self.atelier.url, self.token) as connection:
            found: dict[str, Any] = (await connection.ask("GET", "/api/v1/admin/health")).json
            return found

    @property
    def cpu_seconds(self) -> tuple[float, float]:
        """CPU time so far, of Atelier and of its provider."""
        return self.atelier.cpu_seconds, self.provider.cpu_seconds

    async def ended(self) -> int:
        """How many jobs have ended."""
        async with connected(self.atelier.url, self.token) as connection:
            jobs = (await connection.ask("GET", "/api/v1/admin/stats")).json["jobs"]
            return int(jobs["completed"] + jobs["failed"] + jobs["cancelled"])

    async def until_ended(self, count: int) -> None:
        await eventually(self.ended, lambda ended: ended >= count, seconds=600)


@asynccontextmanager
async def studio(folder: Path, **settings: str) -> AsyncIterator[Studio]:
    """Atelier with a separate simulator at speed 0, and one user signed in by API key."""
    simulator = ("app.providers.simulator", "--port", "0", "--data", str(folder / "provider"), "--speed", "0")
    # The provider has a lower priority, because in production it runs elsewhere: generating would take CPU time from Atelier.
    async with started(folder, *simulator, settings={}, nice=10) as provider:
        provider_settings = {"OPENROUTER_BASE_URL": f"{provider.url}/api/v1", "OPENROUTER_API_KEY": "any", **settings}
        async with started(folder, "app", settings=provider_settings) as atelier:
            async with httpx.AsyncClient(base_url=atelier.url, trust_env=False, verify=trust(), timeout=30) as http:
                await http.post("/api/v1/auth/register", json=USER)
                tokens = (await http.post("/api/v1/auth/login", json=USER)).json()
                http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                key = (await http.post("/api/v1/users/me/keys", json={"name": "benchmark"})).json()["key"]
            yield Studio(atelier, provider, key)


class ProbeResult(msgspec.Struct, frozen=True):
    """The number of requests to `/health`, and how many milliseconds they took."""

    requests: int
    median: float
    p99: float
    slowest: float

    def __str__(self) -> str:
        return f"median {self.median:.1f} ms, 99 % below {self.p99:.1f} ms"


@asynccontextmanager
async def health_probe(url: str) -> AsyncIterator[list[ProbeResult]]:
    """Another process requests `/health` all the time; its result is appended when the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.health_probe", url, cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    await process.stdout.readline()  # it has started
    results: list[ProbeResult] = []
    try:
        yield results
    finally:
        output, _ = await process.communicate(b"stop\n")
        results.append(msgspec.convert(json.loads(output), ProbeResult))


@asynccontextmanager
async def idle_probe(folder: Path) -> AsyncIterator[list[ProbeResult]]:
    """The same with an idle server: how long the probe waits because of the machine alone."""
    idle_folder = folder / "idle"
    idle_folder.mkdir()
    async with (
        started(idle_folder, "tests.benchmarks.instant_provider", settings={}) as idle,
        health_probe(idle.url) as probe,
    ):
        yield probe
