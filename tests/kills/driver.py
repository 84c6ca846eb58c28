"""A process that has everything imported and forks: one child for each start of the real program.

A child runs `app.__main__.main` like `python -m app` does, after its functions were wrapped; that saves the second that
importing takes, some two hundred times. It is told what to do in lines of JSON, and answers in lines of JSON.
"""

import faulthandler
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import app.main
import app.providers.simulator.app
import app.storage.clips
import app.storage.pictures  # noqa: F401
from app.__main__ import main as atelier
from app.providers.simulator.__main__ import main as simulator
from tests.kills.boundaries import Meter, hurry


def serve() -> None:
    """Until nobody is there to ask any more; then no child is left behind."""
    children: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            children.add(child := _fork(asked["start"]))
            print(json.dumps(child), flush=True)
        else:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
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
        code = _become(order)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # said where its words are kept, for nothing of it reaches the process that forked
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(order: dict[str, Any]) -> int:
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(number, target)
    faulthandler.enable()
    os.environ.update(order["environ"])
    if order["program"] == "simulator":
        sys.argv = ["simulator", *order["arguments"]]
        simulator()
        return 0
    hurry()
    if order["watched"]:
        meter = Meter(order["kill_at"], Path(order["record"]) if order["record"] else None)
        meter.watch()
        if order["held"]:
            meter.hold()
    return atelier(order["arguments"])


if __name__ == "__main__":
    serve()
