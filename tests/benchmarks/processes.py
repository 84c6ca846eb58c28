"""The processes of a run: Atelier, the simulator, and the witness, which measures how long others wait."""

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

PERSON = {"email": "ann@studio.example", "password": "correct horse battery"}
PATIENCE = 60.0  # seconds until a process must be up


class Process:
    """A started process; its output goes into a file, because a pipe would have to be read by the process that makes the load."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    @property
    def processor(self) -> float:
        """Seconds of processor time so far: unlike all other figures this one does not depend on who else is busy."""
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
    """`python -m …` from when it says its address; ended in good order. `nice` as in the command of that name."""
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
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(r"(?:at|on) (https?://[^\s/]+)", log.read_text("utf-8", "replace"))):
                if process.returncode is not None:
                    raise RuntimeError(f"it did not start: {log.read_text('utf-8', 'replace')[-2000:]}")
                await asyncio.sleep(0.05)
        yield Process(process, found[1], log)
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGTERM)
        await process.wait()


class Studio(msgspec.Struct, frozen=True):
    """Atelier, its provider, and the bearer of its first person, who is its admin."""

    atelier: Process
    provider: Process
    token: str

    async def health(self) -> dict[str, Any]:
        async with connected(self.atelier.url, self.token) as connection:
            found: dict[str, Any] = (await connection.ask("GET", "/api/v1/admin/health")).json
            return found

    @property
    def processor(self) -> tuple[float, float]:
        """Seconds of processor time so far, of Atelier and of its provider."""
        return self.atelier.processor, self.provider.processor

    async def ended(self) -> int:
        """How many jobs have come to an end."""
        async with connected(self.atelier.url, self.token) as connection:
            jobs = (await connection.ask("GET", "/api/v1/admin/stats")).json["jobs"]
            return int(jobs["completed"] + jobs["failed"] + jobs["cancelled"])

    async def until_ended(self, count: int) -> None:
        await eventually(self.ended, lambda ended: ended >= count, seconds=600)


@asynccontextmanager
async def studio(folder: Path, **settings: str) -> AsyncIterator[Studio]:
    """Atelier beside the simulator alone at speed 0, with one person signed in by API key."""
    alone = ("app.providers.simulator", "--port", "0", "--data", str(folder / "provider"), "--speed", "0")
    # The provider gives way, because it is elsewhere in truth: drawing and filming would take the processor from us.
    async with started(folder, *alone, settings={}, nice=10) as provider:
        beside = {"OPENROUTER_BASE_URL": f"{provider.url}/api/v1", "OPENROUTER_API_KEY": "any", **settings}
        async with started(folder, "app", settings=beside) as atelier:
            async with httpx.AsyncClient(base_url=atelier.url, trust_env=False, verify=trust(), timeout=30) as http:
                await http.post("/api/v1/auth/register", json=PERSON)
                tokens = (await http.post("/api/v1/auth/login", json=PERSON)).json()
                http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                key = (await http.post("/api/v1/users/me/keys", json={"name": "benchmark"})).json()["key"]
            yield Studio(atelier, provider, key)


class Fared(msgspec.Struct, frozen=True):
    """How one who only asked `/health` fared meanwhile: how often, and milliseconds."""

    asked: int
    median: float
    most: float  # 99 of 100
    slowest: float

    def __str__(self) -> str:
        return f"median {self.median:.1f} ms, 99 % below {self.most:.1f} ms"


@asynccontextmanager
async def witness(url: str) -> AsyncIterator["list[Fared]"]:
    """Another process requests `/health` all the time; its result is appended when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.witness", url, cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    await process.stdout.readline()  # it has begun
    fared: list[Fared] = []
    try:
        yield fared
    finally:
        output, _ = await process.communicate(b"enough\n")
        fared.append(msgspec.convert(json.loads(output), Fared))


@asynccontextmanager
async def bystander(folder: Path) -> AsyncIterator["list[Fared]"]:
    """The same beside a server that does nothing at all: what the machine alone makes a witness wait."""
    own = folder / "bystander"
    own.mkdir()
    async with started(own, "tests.benchmarks.instant", settings={}) as idle, witness(idle.url) as fared:
        yield fared
