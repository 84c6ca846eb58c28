"""Starts, kills and stops the server quickly: each run is forked from one process that has imported everything."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.processes import ROOT, environment

TIMEOUT: Final = 300.0  # seconds; only reached if something is broken
NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})


async def until(condition: Callable[[], bool], otherwise: Callable[[], object]) -> None:
    """Wait until the condition holds. Raises AssertionError with the result of `otherwise` after TIMEOUT."""
    try:
        async with asyncio.timeout(TIMEOUT):
            while not condition():  # noqa: ASYNC110  (another process changes it)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(otherwise()) from None


class Child:
    """One run of the server or the simulator; `url` is set once it listens."""

    def __init__(self, driver: "Driver", pid: int, output: Path, record: Path, crash_at: Path) -> None:
        self._driver = driver
        self._code: int | None = None
        self._output = output
        self._record = record
        self._crash_at = crash_at
        self.pid = pid
        self.url = ""

    @property
    def exit_code(self) -> int | None:
        """Minus the number of the signal after a kill; None while it runs."""
        if self._code is None:
            self._code = self._driver.ask({"exit_code": self.pid})
        return self._code

    @property
    def output(self) -> str:
        """Its output and log."""
        with contextlib.suppress(FileNotFoundError):
            return self._output.read_text("utf-8", "replace")
        return ""

    @property
    def points(self) -> list[str]:
        """The crash points that it has passed."""
        with contextlib.suppress(FileNotFoundError):
            return self._record.read_text().splitlines()
        return []

    @property
    def idle(self) -> bool:
        """Whether the startup cleanup is done and no job's temporary folder is in use."""
        points = self.points
        return "orphans.swept" in points and points.count("temp_folder.created") == points.count("temp_folder.removed")

    async def listening(self) -> "Child":
        """Wait until it listens, or has ended before it could."""

        def found() -> bool:
            if address := re.search(r"(?:at|on) (https?://[^\s/]+)", self.output):
                self.url = address[1]
            return bool(self.url) or self.exit_code is not None

        await until(found, lambda: f"did not start: {self.output}")
        return self

    async def wait_idle(self) -> None:
        """Wait until it is idle."""
        await until(lambda: self.idle, lambda: f"did not become idle: {self.points} {self.output}")

    async def ended(self) -> int:
        """Wait until it has ended; returns its exit code."""
        await until(lambda: self.exit_code is not None, lambda: f"did not end: {self.output}")
        assert self.exit_code is not None
        return self.exit_code

    async def stopped(self) -> int:
        """Stop it with SIGTERM; returns its exit code."""
        self.send(signal.SIGTERM)
        return await self.ended()

    def crash_at(self, point: str) -> None:
        """Make it kill itself the next time it reaches this crash point."""
        part = self._crash_at.with_suffix(".part")
        part.write_text(point)
        part.rename(self._crash_at)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the process."""
        self._driver.ask({"pause": self.pid})
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, number)


class Driver:
    """The process that forks the children."""

    def __init__(self) -> None:
        self._started = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.driver"],
            cwd=ROOT,
            env=environment(ROOT, {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        folder: Path,
        *,
        program: str = "atelier",
        arguments: Sequence[str] = (),
        settings: Mapping[str, str] = NO_SETTINGS,
        queue_held: bool = False,
        crash_at: str | None = None,
    ) -> Child:
        """Start Atelier on the data folder in `folder`, or the simulator. With `queue_held` no queued job is started;
        with `crash_at` it kills itself at that crash point."""
        self._started += 1
        output, record, at = (folder / f"{program}-{self._started}.{suffix}" for suffix in ("log", "points", "crash"))
        if crash_at:
            at.write_text(crash_at)
        command = {
            "program": program,
            "arguments": [*arguments],
            "environ": {name: text for name, text in environment(folder, settings).items() if name not in os.environ},
            "output": str(output),
            "record": str(record),
            "queue_held": queue_held,
            "crash_at": str(at),
        }
        return Child(self, self.ask({"start": command}), output, record, at)

    def close(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def driver() -> Iterator[Driver]:
    """A driver; it and all its children are ended afterwards."""
    driver = Driver()
    try:
        yield driver
    finally:
        driver.close()


@contextlib.asynccontextmanager
async def simulator(driver: Driver, folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """The provider, which keeps running across all restarts: its URL, and the folder with its jobs and submit log."""
    data = folder / "provider"
    arguments = ["--port", "0", "--data", str(data), "--speed", "0"]
    child = await driver.start(folder, program="simulator", arguments=arguments).listening()
    assert child.url, child.output
    try:
        yield child.url, data
    finally:
        child.send(signal.SIGKILL)


def copied(template: Path, folder: Path) -> Path:
    """Copy the data folder with the registered user, so that a run starts signed in."""
    shutil.copytree(template / "data", folder / "data", ignore=shutil.ignore_patterns("control.sock", "lock"))
    return folder
