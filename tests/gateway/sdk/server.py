"""Runs in the virtual environment of the `openai` package: reads one request per line (a program and its arguments), runs the
program in a namespace of its own, and writes one line of JSON.

A program can use `client` (without retries), `chat` (one question), `error_of` (the error of a call), `as_json` (an object of
the package as plain data) and its arguments in `given`. It assigns `result`.
"""

import base64
import io
import json
import os
import sys
import traceback
import warnings
from typing import Any

warnings.simplefilter("ignore")
import openai  # type: ignore[import-not-found]  # noqa: E402


def error_of(call: Any, *arguments: Any, **keywords: Any) -> dict[str, Any]:
    """The error that the package raises, as data; `kinds` is empty if it raises none."""
    try:
        answer = call(*arguments, **keywords)
        if isinstance(answer, openai.Stream):
            list(answer)
    except openai.APIError as exc:
        return {
            "kinds": [kind.__name__ for kind in type(exc).__mro__],
            "status": getattr(exc, "status_code", None),
            "code": exc.code,
            "param": exc.param,
            "type": exc.type,
            "message": exc.body.get("message") if isinstance(exc.body, dict) else None,
            "request": getattr(exc, "request_id", None),
            "headers": dict(exc.response.headers) if hasattr(exc, "response") else {},
        }
    return {"kinds": [], "status": 200}


def as_json(answer: Any) -> Any:
    return json.loads(answer.model_dump_json())


def run(request: dict[str, Any]) -> Any:
    given = request["given"]
    os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"] = request["base_url"], request["api_key"]
    with openai.OpenAI(max_retries=0) as client:

        def chat(text: str, **keywords: Any) -> Any:
            messages = [{"role": "user", "content": text}]
            return client.chat.completions.create(**{"model": given.get("model"), "messages": messages, **keywords})

        names = {
            "as_json": as_json,
            "base64": base64,
            "chat": chat,
            "client": client,
            "error_of": error_of,
            "given": given,
            "io": io,
            "json": json,
            "openai": openai,
        }
        exec(compile(request["program"], "<program>", "exec"), names)  # noqa: S102
        return names["result"]


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # output of a program must not mix with the results
    for line in sys.stdin:
        try:
            answer = {"result": run(json.loads(line))}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
