"""The real commands as processes: started, observed, stopped, killed."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
NOTHING: Mapping[str, str] = MappingProxyType({})


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The variables of a shell without settings of the product, and the settings under test."""
    kept = {name: text for name, text in os.environ.items() if not re.match(r"ATELIER_|OPENROUTER_|FAL_|OPENAI_", name)}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
        "ATELIER_DATA_DIR": str(folder / "data"),
        "ATELIER_PORT": "0",
        "ATELIER_SIMULATOR_SPEED": "0",
        "ATELIER_WORKER_SECONDS": "0.1",
        "ATELIER_RATE_LIMITS": "off",
        **settings,
    }


class RunningProcess:
    """A started process. Its output is collected in lines; `url` is the address in its first line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self.url = ""
        self._ready = asyncio.Event()
        assert process.stdout
        assert process.stderr
        self._readers = asyncio.gather(self._read(process.stdout, self.out), self._read(process.stderr, self.err))

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        while line := await stream.readline():
            lines.append(line.decode(errors="replace").rstrip("\n"))
            if lines is self.out and not self.url and (found := re.search(r"https?://[^\s/]+", lines[-1])):
                self.url = found[0]
                self._ready.set()
        self._ready.set()

    async def ready(self, seconds: float = 300) -> "RunningProcess":
        async with asyncio.timeout(seconds):
            await self._ready.wait()
        assert self.url, f"it did not start: {self.out} {self.err}"
        return self

    async def ended(self, seconds: float = 300) -> int:
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await self._readers
        return code

    def hit(self, number: int) -> None:
        """Send a signal. Not by the process object: that would take the exit code from the loop that waits for it."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def stopped(self, with_signal: int = signal.SIGTERM, seconds: float = 300) -> int:
        self.hit(with_signal)
        return await self.ended(seconds)


@asynccontextmanager
async def python_process(*arguments: str, env: Mapping[str, str], cwd: Path = ROOT) -> AsyncIterator[RunningProcess]:
    """`python -m …`, killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running = RunningProcess(process)
    try:
        yield running
    finally:
        running.hit(signal.SIGKILL)
        await running.ended()
        process._transport.close()  # type: ignore[attr-defined]


@asynccontextmanager
async def atelier_process(
    folder: Path, *arguments: str, settings: Mapping[str, str] = NOTHING, cwd: Path = ROOT
) -> AsyncIterator[RunningProcess]:
    """`python -m app` on the data folder below `folder`."""
    async with python_process("app", *arguments, env=environment(folder, settings), cwd=cwd) as running:
        yield running


@asynccontextmanager
async def simulator_process(folder: Path, speed: str = "0", *more: str) -> AsyncIterator[RunningProcess]:
    """The simulator as a process of its own, which outlives every Atelier beside it."""
    arguments = ["--port", "0", "--data", str(folder / "provider"), "--speed", speed, *more]
    async with python_process("app.providers.simulator", *arguments, env=environment(folder, {})) as running:
        yield await running.ready()
