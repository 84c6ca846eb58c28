"""`python -m tests.crash [TEXT]`: kill the server at every crash point of the scenarios, one run each; TEXT selects the
runs whose line contains it. Prints one line per run; the exit code is 1 if anything was lost."""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.crash import matrix
from tests.crash.scenarios import SCENARIOS


async def main(folder: Path, text: str) -> int:
    failed = 0
    async with matrix.crash_lab(folder) as lab:
        recorded = await lab.record(SCENARIOS)
        runs = [
            (scenario, point)
            for scenario, points in recorded.items()
            for point in points
            if text in f"{scenario}: {point}"
        ]
        for number, (scenario, point) in enumerate(runs, 1):
            outcome = await lab.crash(scenario, point)
            failed += bool(outcome.faults)
            result = "; ".join(outcome.faults) or ("ok" if all(outcome.crashed) else "not reached this time")
            print(f"{number:3} of {len(runs)}  {scenario}: {point}: {result}", flush=True)
    print(f"{len(runs)} crash points, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(asyncio.run(main(Path(folder), " ".join(sys.argv[1:]))))
