"""Listens at the crash points of a process under test: records each, and kills the process at one of them.

A point has the name that the program gives it. Behind it stands the transaction function it belongs to, or whether a request
to the provider is a submit or a poll, as in `transaction.committed complete` and `request.sent poll`; when it comes again, its
number, as in `file.renamed #2`.
"""

import contextvars
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

PROVIDER_CALLS: Final = {"provider.submit_started": "submit", "provider.poll_started": "poll"}
# The transactions of periodic tasks, and the one that notes when an API key was used: they come at any time.
BACKGROUND: Final = re.compile(r"transaction\.\w+ (note_key_use|\w+_any)")
WIRE: Final = {"connection.opened", "request.sent", "response.started", "response.read"}

_call: contextvars.ContextVar[str] = contextvars.ContextVar("provider call", default="")


def numbered(points: Iterable[str]) -> Iterator[str]:
    """The same points; one that was there before with its number behind it."""
    seen: Counter[str] = Counter()
    for point in points:
        seen[point] += 1
        yield point if seen[point] == 1 else f"{point} #{seen[point]}"


class Recorder:
    """A listener for `crash_points.listen`. Writes a line for each point into the file `record`. Once there is a file
    `crash_at`, the process kills itself at the point that it names, before the line is written; counting begins then."""

    def __init__(self, record: Path, crash_at: Path) -> None:
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._crash_at = crash_at
        self._point = ""
        self._left = 0
        self._lock = threading.Lock()

    def __call__(self, name: str, subject: str) -> None:
        point = _named(name, subject)
        if point is None:
            return
        with self._lock:
            if not self._point and self._crash_at.exists():
                self._point, _, number = self._crash_at.read_text().partition(" #")
                self._left = int(number or 1)
            if point == self._point:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.write(self._record, f"{point}\n".encode())


def _named(name: str, subject: str) -> str | None:
    """None for what comes at any time, as do requests for a list of models."""
    if name.startswith("transaction."):
        point = f"{name} {subject.removeprefix('_')}"
        return None if BACKGROUND.fullmatch(point) else point
    if name.startswith("provider."):
        _call.set(PROVIDER_CALLS.get(name, ""))
    if name in WIRE:
        return f"{name} {_call.get()}" if _call.get() else None
    return name
