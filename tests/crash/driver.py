"""A process that has imported everything and forks one child for each start of the real program.

A child runs `app.__main__.main` as `python -m app` does, with a listener at the crash points. Forking saves the seconds that
importing and compiling take, some two hundred times. Orders come in as lines of JSON, and answers go out as lines of JSON.
"""

import faulthandler
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from litestar import Litestar

import app.main
import app.providers.simulator.app
import app.storage.images  # noqa: F401
from app.__main__ import main as atelier
from app.base import crash_points, struct_warmup
from app.jobs import service, worker
from app.providers.simulator.__main__ import main as simulator
from app.web import render
from tests.crash.recorder import Recorder


def serve() -> None:
    """Until there are no more orders; no child is left behind."""
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            children.add(child := _fork(order["start"]))
            print(json.dumps(child), flush=True)
        elif "pause" in order:
            os.kill(order["pause"], signal.SIGSTOP)
            os.waitid(os.P_PID, order["pause"], os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            print(json.dumps(None), flush=True)
        else:
            pid, status = os.waitpid(order["exit_code"], os.WNOHANG)
            children.discard(pid)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _fork(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _run(order)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # must not return into the loop of the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(order: dict[str, Any]) -> int:
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    faulthandler.enable()
    os.environ.update(order["environ"])
    if order["program"] == "simulator":
        sys.argv = ["simulator", *order["arguments"]]
        simulator()
        return 0
    setattr(service, "FIRST_WAIT", 0.01)  # noqa: B010  (a second attempt comes at once: the tests are about order, not time)
    if order["queue_held"]:
        setattr(worker, "STARTING", 0)  # noqa: B010  (no queued job is started)
    crash_points.listen(Recorder(Path(order["record"]), Path(order["crash_at"])))
    return atelier(order["arguments"])


if __name__ == "__main__":
    struct_warmup.warm_up()
    render.precompile()
    Litestar()  # imports what the first application needs
    serve()
