"""The official `openai` package in a virtual environment of its own, and small programs that run there.

It brings its own HTTP stack, which must not come near the product's packages. The environment is made once, kept below
`tests/.environments` (git ignores it), and shared by all test processes.
"""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final

VERSION: Final = "3.52.0"
HOME: Final = Path(__file__).resolve().parent.parent.parent / ".environments"
PATIENCE: Final = 60  # seconds for one program

# What every program begins with. It reads what it is given from its input and says its findings as one line of JSON.
BEGINNING: Final = """
import base64, io, json, sys, warnings
warnings.simplefilter("ignore")
import openai

given = json.load(sys.stdin)
client = openai.OpenAI(max_retries=0, timeout=45)
ask = lambda text, **more: client.chat.completions.create(
    **{"model": given.get("model"), "messages": [{"role": "user", "content": text}], **more}
)

def refused(call, *arguments, **more):
    try:
        answer = call(*arguments, **more)
        if isinstance(answer, openai.Stream):
            list(answer)
    except openai.APIError as error:
        return {
            "kinds": [kind.__name__ for kind in type(error).__mro__],
            "status": getattr(error, "status_code", None),
            "code": error.code, "param": error.param, "type": error.type,
            "message": error.body.get("message") if isinstance(error.body, dict) else None,
            "request": getattr(error, "request_id", None),
            "headers": dict(error.response.headers) if hasattr(error, "response") else {},
        }
    return {"kinds": [], "status": 200}

def plain(answer):
    return json.loads(answer.model_dump_json())

"""


class Broken(Exception):
    """The environment could not be made."""


def made() -> Path:
    """The interpreter that has the package. Makes the environment when it is not there yet, under a lock. Blocks."""
    HOME.mkdir(exist_ok=True)
    folder = HOME / f"openai-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = folder / "whole"
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", folder)
            _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"openai=={VERSION}")
            whole.touch()
    return python


def _run(*command: str | Path) -> None:
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{command[1:4]} took too long") from error
    if outcome.returncode:
        raise Broken(outcome.stderr[-1000:])


class Outsider:
    """Somebody with the package, an address and a key; `base` is the address, `/v1` included."""

    def __init__(self, python: Path, base: str, key: str) -> None:
        self.python = python
        self.base = base
        self.key = key

    async def run(self, program: str, **given: Any) -> Any:
        """What the program says. It finds `client`, `ask`, `refused`, `plain` and `given`, and sets `said`."""
        text = f"{BEGINNING}\n{dedent(program)}\nprint(json.dumps(said))"
        process = await asyncio.create_subprocess_exec(
            self.python,
            "-I",
            "-c",
            text,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": self.base, "OPENAI_API_KEY": self.key},
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate(json.dumps(given).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"the program broke:\n{indent(err.decode()[-3000:], '    ')}"
        return json.loads(out)
