"""Named points at which a test can kill the process, to prove that nothing is lost: just before or after something is written,
sent or removed. In production there is no listener, so a point costs one global read and a comparison."""

from collections.abc import Callable

Listener = Callable[[str, str], None]

_listener: Listener | None = None


def crash_point(name: str, subject: str = "") -> None:
    """Report that this point was reached, in any thread. `name` says what has just happened, as in
    `file.renamed`; `subject` says to what: a job's id, or a transaction function's name."""
    if _listener is not None:
        _listener(name, subject)


def listen(listener: Listener | None) -> None:
    """Have `listener(name, subject)` called at every crash point from now on; None removes the listener."""
    global _listener
    _listener = listener
