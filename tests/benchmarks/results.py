"""Results of measurements and the table of them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import structlog

RESULTS = Path(".benchmarks") / "latest.json"  # relative to the working directory


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`value` in `unit`, measured under `workload`. `target` is what it must reach (`>=`) or stay below (`<=`), None where it is
    only reported; `comparison` states what else was measured in the same run."""

    name: str
    value: float
    unit: str
    workload: str
    target: str | None = None
    comparison: str = ""

    @property
    def target_met(self) -> bool | None:
        if self.target is None:
            return None
        sign, _, bound = self.target.partition(" ")
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)


Measure = Callable[[], AsyncIterator[Result]]


def table(results: list[Result]) -> str:
    """One result per line, followed by its workload and comparison."""
    lines = []
    for result in results:
        verdict = {None: "", True: "reached", False: "MISSED"}[result.target_met]
        target = f"target {result.target}" if result.target else ""
        lines.append(f"{result.name:<52} {result.value:>10.1f} {result.unit:<7} {target:<14} {verdict}".rstrip())
        lines += [f"    {text}" for text in (result.workload, result.comparison) if text]
    return "\n".join(lines)


def machine_load() -> str:
    """How busy the machine was before the run."""
    return f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the run"


async def run_all(*measures: Measure) -> None:
    """Run them one after the other; print each result at once, and all of them at the end."""
    print(machine_load(), flush=True)
    results = []
    for measure in measures:
        async for result in measure():
            print(table([result]), flush=True)
            results.append(result)
    print(f"\n{table(results)}\n{machine_load().replace('before', 'after')}")
    await asyncio.to_thread(_save, results)


def _save(results: list[Result]) -> None:
    """As JSON, to compare runs."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    print(f"saved as {RESULTS}")


def run(*measures: Measure) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(run_all(*measures))
