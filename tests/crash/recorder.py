"""Records the crash points that a process reaches, and kills it at one of them.

A recorded point is the name of the crash point, followed by its transaction function or by the provider request (submit
or poll), as in `transaction.committed complete` and `request.sent poll`. A repeated point has a number, as in
`file.renamed #2`.
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
# Transactions of periodic tasks and of API key usage, which occur at any time.
BACKGROUND: Final = re.compile(r"transaction\.\w+ (note_key_use|\w+_any)")
WIRE: Final = {"connection.opened", "request.sent", "response.started", "response.read"}

_call: contextvars.ContextVar[str] = contextvars.ContextVar("provider call", default="")


def numbered(points: Iterable[str]) -> Iterator[str]:
    """The same points, with a number appended to repeated ones."""
    seen: Counter[str] = Counter()
    for point in points:
        seen[point] += 1
        yield point if seen[point] == 1 else f"{point} #{seen[point]}"


class Recorder:
    """A listener for `crash_points.listen`. Appends each point to the file `record`. Once the file
    `crash_at` exists, the process kills itself at the point named there, before recording it; counting starts then."""

    def __init__(self, record: Path, crash_at: Path) -> None:
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._crash_at = crash_at
        self._point = ""
        self._remaining = 0
        self._lock = threading.Lock()

    def __call__(self, name: str, subject: str) -> None:
        point = _named(name, subject)
        if point is None:
            return
        with self._lock:
            if not self._point and self._crash_at.exists():
                self._point, _, number = self._crash_at.read_text().partition(" #")
                self._remaining = int(number or 1)
            if point == self._point:
                self._remaining -= 1
                if self._remaining == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.write(self._record, f"{point}\n".encode())


def _named(name: str, subject: str) -> str | None:
    """The recorded point; None for points that occur at any time, such as requests for the model list."""
    if name.startswith("transaction."):
        point = f"{name} {subject.removeprefix('_')}"
        return None if BACKGROUND.fullmatch(point) else point
    if name.startswith("provider."):
        _call.set(PROVIDER_CALLS.get(name, ""))
    if name in WIRE:
        return f"{name} {_call.get()}" if _call.get() else None
    return name
