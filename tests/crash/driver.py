"""A process that imports everything once and forks a child for each start of the server.

A child runs `app.__main__.main` as `python -m app` does, with a listener at the crash points. Forking saves the seconds
that importing takes, about two hundred times. Commands and responses are lines of JSON.
"""

import faulthandler
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import app.asgi
import app.providers.simulator.app
import app.storage.images
from app.__main__ import main as atelier
from app.base import crash_points, struct_warmup
from app.jobs import execution, worker
from app.providers.simulator.__main__ import main as simulator
from app.web import render
from tests.crash.recorder import Recorder

ROUTES = app.asgi.litestar_app()


def serve() -> None:
    """Run until the input ends; then kill the remaining children."""
    children: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            children.add(child := _fork(command["start"]))
            print(json.dumps(child), flush=True)
        elif "pause" in command:
            os.kill(command["pause"], signal.SIGSTOP)
            os.waitid(os.P_PID, command["pause"], os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            print(json.dumps(None), flush=True)
        else:
            pid, status = os.waitpid(command["exit_code"], os.WNOHANG)
            children.discard(pid)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _fork(command: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _run(command)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # must not return into the parent's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(command: dict[str, Any]) -> int:
    output = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    faulthandler.enable()
    os.environ.update(command["environ"])
    if command["program"] == "simulator":
        sys.argv = ["simulator", *command["arguments"]]
        simulator()
        return 0
    setattr(execution, "FIRST_RETRY_DELAY", 0.01)  # noqa: B010  (retries come at once)
    if command["queue_held"]:
        setattr(worker, "MAX_CLAIMS", 0)  # noqa: B010  (no queued job is started)
    setattr(app.asgi, "litestar_app", lambda: ROUTES)  # noqa: B010  (built once, before the fork)
    crash_points.listen(Recorder(Path(command["record"]), Path(command["crash_at"])))
    return atelier(command["arguments"])


if __name__ == "__main__":
    struct_warmup.warm_up()
    render.precompile()
    serve()
