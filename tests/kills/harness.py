"""Starting, killing and stopping the real program, quickly: children of one process that has imported everything."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.api.processes import ROOT, environment

PATIENCE: Final = 60.0  # seconds until a process must be up, or ended
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Child:
    """One run of a program; `url` once it listens."""

    def __init__(self, driver: "Driver", pid: int, said: Path) -> None:
        self._driver = driver
        self._code: int | None = None
        self.pid = pid
        self.said = said
        self.url = ""

    def ended(self) -> int | None:
        """The exit code, minus the number of the signal after a kill; None while it runs."""
        if self._code is None:
            self._code = self._driver.ask({"ended": self.pid})
        return self._code

    async def ready(self) -> "Child":
        """Once it listens, or has ended before it could."""
        end = time.monotonic() + PATIENCE
        while not self.url and self.ended() is None:
            if found := re.search(r"(?:at|on) (https?://[^\s/]+)", self.words()):
                self.url = found[1]
            assert time.monotonic() < end, f"it does not start: {self.words()}"
            await asyncio.sleep(0.005)
        return self

    async def end(self) -> int:
        """The exit code, once it has ended."""
        limit = time.monotonic() + PATIENCE
        while (code := self.ended()) is None:
            assert time.monotonic() < limit, f"it does not end: {self.words()}"
            await asyncio.sleep(0.005)
        return code

    def hit(self, number: int) -> None:
        if self.ended() is None:
            os.kill(self.pid, number)

    def words(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.said.read_text("utf-8", "replace")
        return ""


class Driver:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kills.driver"],
            cwd=ROOT,
            env=environment(ROOT, {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        folder: Path,
        *,
        program: str = "atelier",
        arguments: Sequence[str] = (),
        settings: Mapping[str, str] = NOTHING,
        watched: bool = False,
        held: bool = False,
        kill_at: str | None = None,
        record: Path | None = None,
    ) -> Child:
        """Atelier on the data folder beneath `folder`, or the simulator alone. `watched` with its moments counted, and
        killed at one of them when it is named."""
        said = folder / f"{program}-{time.monotonic_ns()}.said"
        order = {
            "program": program,
            "arguments": [*arguments],
            "environ": {name: text for name, text in environment(folder, settings).items() if name not in os.environ},
            "said": str(said),
            "watched": watched,
            "held": held,
            "kill_at": kill_at,
            "record": str(record) if record else None,
        }
        return Child(self, self.ask({"start": order}), said)

    def close(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def driver() -> Iterator[Driver]:
    """Ended with all of its children."""
    found = Driver()
    try:
        yield found
    finally:
        found.close()


@contextlib.contextmanager
def simulator(driver: Driver, folder: Path) -> Iterator[tuple[str, Path]]:
    """The provider, which outlives every Atelier: its address, and the folder with its memory."""
    memory = folder / "provider"
    arguments = ["--port", "0", "--data", str(memory), "--speed", "0"]
    child = driver.start(folder, program="simulator", arguments=arguments)
    end = time.monotonic() + PATIENCE
    while not (found := re.search(r"(?:at|on) (https?://[^\s/]+)", child.words())):
        assert child.ended() is None, child.words()
        assert time.monotonic() < end, child.words()
        time.sleep(0.01)
    try:
        yield found[1], memory
    finally:
        child.hit(signal.SIGKILL)


def copied(template: Path, folder: Path) -> Path:
    """A data folder as it was after registering, so that a run begins with a person who is signed in."""
    shutil.copytree(template / "data", folder / "data", ignore=shutil.ignore_patterns("control.sock", "lock"))
    return folder
