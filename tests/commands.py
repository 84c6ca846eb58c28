"""The command line in one resident interpreter: many commands that end by themselves, for the price of one start.

`python -m tests.commands` is that interpreter: it reads one request a line and writes one result a line, in JSON.
"""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.processes import NOTHING, ROOT, environment


class Result(NamedTuple):
    """How a command ended: its exit code and its output."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What was written to either stream, without empty lines."""
        return [line for line in (self.out + self.err).splitlines() if line.strip()]


class Commands:
    """Runs `atelier …` with its own environment and working directory, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(
        self, folder: Path, *arguments: str, settings: Mapping[str, str] = NOTHING, cwd: Path = ROOT
    ) -> Result:
        """The command on the data folder below `folder`, or where `settings` say. It must end by itself."""
        assert self._process.stdin
        assert self._process.stdout
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment(folder, settings)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(300):
            line = await self._process.stdout.readline()
        assert line, f"the interpreter ended with {arguments} {settings}"
        return Result(*json.loads(line))


@asynccontextmanager
async def resident_commands() -> AsyncIterator[Commands]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.commands",
        env=environment(ROOT, {}),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Commands(process)
    finally:
        assert process.stdin
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(300):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


def _run(request: dict[str, Any]) -> tuple[int, str, str]:
    from app.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(request["arguments"])
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
    return code, out.getvalue(), err.getvalue()


def _serve() -> None:
    results = sys.stdout
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=results, flush=True)


if __name__ == "__main__":
    _serve()
