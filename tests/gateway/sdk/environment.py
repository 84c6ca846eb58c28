"""The official `openai` package in a virtual environment of its own, and small programs that run there."""

import asyncio
import json
import os
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final

VERSION: Final = "3.52.0"
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
