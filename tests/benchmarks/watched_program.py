"""Atelier, which also prints the CPU time of each garbage collection that took longer than all before:

    python -m tests.benchmarks.watched_program

Nothing outside a process can see its collections.
"""

import gc
import sys
import time
from typing import Any

from app.__main__ import main


class LongestCollection:
    """A callback of the garbage collector."""

    def __init__(self) -> None:
        self._began = 0.0
        self._longest = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.thread_time()
            return
        seconds = time.thread_time() - self._began
        if seconds > self._longest:
            self._longest = seconds
            print(f"collection {seconds * 1000:.1f} ms of generation {info['generation']}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    gc.callbacks.append(LongestCollection())
    sys.exit(main([]))
