"""Named points at which a test may stop the program, to prove that nothing is lost there: just before or just after something
is written, sent or removed. Nothing listens in production, so a point costs one global read and a comparison."""

from collections.abc import Callable

Listener = Callable[[str, str], None]

_listener: Listener | None = None


def crash_point(name: str, subject: str = "") -> None:
    """Report that the program has reached this point, in whatever thread it runs. `name` says what has just happened, as in
    `file.renamed`; `subject` says to what: a job's id, or a transaction function's name."""
    if _listener is not None:
        _listener(name, subject)


def listen(listener: Listener | None) -> None:
    """Have `listener(name, subject)` called at every crash point from now on; None ends that."""
    global _listener
    _listener = listener
