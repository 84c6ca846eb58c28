"""One interpreter with the official `openai` package, shared by all tests of a worker, because starting one for each program
would take longer than the programs themselves."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final

VERSION: Final = "3.52.0"
BOUND: Final = 300  # seconds for one program; reached only if something hangs
MAX_ANSWER: Final = 64 * 1024 * 1024  # bytes

SERVER: Final = Path(__file__).with_name("server.py")


class Interpreter:
    """Started with the first program, and restarted after a program that exited or timed out."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def run(self, program: str, base_url: str, api_key: str, given: dict[str, Any]) -> Any:
        """Run the program and return its `result`; `server.py` lists the names it can use. The package reads its base URL
        and API key from the environment, as usual."""
        request = {"program": dedent(program), "base_url": base_url, "api_key": api_key, "given": given}
        async with self._turn:
            answer = await self._ask(json.dumps(request).encode() + b"\n")
        assert "error" not in answer, f"the program raised:\n{indent(answer['error'], '    ')}"
        return answer["result"]

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # `process.kill` would consume the exit code before the event loop
        await process.communicate()

    async def _ask(self, request: bytes) -> Any:
        process = await self._started()
        assert process.stdin
        assert process.stdout
        try:
            async with asyncio.timeout(BOUND):
                process.stdin.write(request)
                await process.stdin.drain()
                line = await process.stdout.readline()
        except BaseException:
            await self.close()
            raise
        if not line:
            await self.close()
            raise AssertionError("the program exited its interpreter")
        return json.loads(line)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                self.python,
                "-I",
                SERVER,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.environ["PATH"]},
                limit=MAX_ANSWER,
            )
        return self._process
