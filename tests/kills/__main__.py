"""`python -m tests.kills`: killed at every moment that a run has, one after the other; a line for each, and 1 when anything
was lost."""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.kills import matrix
from tests.kills.matrix import Theatre


async def every(theatre: Theatre) -> int:
    wrong = 0
    moments = await matrix.recorded(theatre)
    for place, moment in enumerate(moments, 1):
        outcome = await matrix.killed(theatre, moment)
        wrong += bool(outcome.faults)
        said = "; ".join(outcome.faults) or "kept"
        print(f"{place:3} of {len(moments)}  {moment}: {said}", flush=True)
    print(f"{len(moments)} moments, {wrong} with something lost")
    return 1 if wrong else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, matrix.opened(Path(folder)) as theatre:
        sys.exit(asyncio.run(every(theatre)))
