"""A measured figure, and the table of them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import structlog

RESULTS = Path(".benchmarks") / "latest.json"  # below the folder that it is started in


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """`value` in `unit`, measured under `workload`. `target` is what it shall reach (`>=`) or stay below (`<=`), None where
    it is only reported; `beside` says what else was measured in the same run."""

    name: str
    value: float
    unit: str
    workload: str
    target: str | None = None
    beside: str = ""

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        sign, _, bound = self.target.partition(" ")
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)


Measure = Callable[[], AsyncIterator[Figure]]


def table(figures: list[Figure]) -> str:
    """One figure a line, its workload and what stands beside it below."""
    lines = []
    for figure in figures:
        verdict = {None: "", True: "reached", False: "MISSED"}[figure.reached]
        target = f"target {figure.target}" if figure.target else ""
        lines.append(f"{figure.name:<52} {figure.value:>10.1f} {figure.unit:<7} {target:<14} {verdict}".rstrip())
        lines += [f"    {text}" for text in (figure.workload, figure.beside) if text]
    return "\n".join(lines)


def load() -> str:
    """How busy the machine was with other things when this began."""
    return f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the run"


async def measured(*measures: Measure) -> None:
    """Run them one after the other; print each figure as it comes, and all of them at the end."""
    print(load(), flush=True)
    figures = []
    for measure in measures:
        async for figure in measure():
            print(table([figure]), flush=True)
            figures.append(figure)
    print(f"\n{table(figures)}\n{load().replace('before', 'after')}")
    await asyncio.to_thread(_keep, figures)


def _keep(figures: list[Figure]) -> None:
    """As JSON, to compare one run with another."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    print(f"as JSON in {RESULTS}")


def run(*measures: Measure) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(measured(*measures))
