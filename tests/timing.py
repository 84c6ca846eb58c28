"""Measures what each folder of tests costs and prints a table at the end: items, CPU seconds, and seconds on the clock.

CPU seconds include ended subprocesses, and hardly change when the machine is busy. What a fixture of the session costs counts
for the folder that uses it first. `tests/conftest.py` imports the hooks.
"""

import resource
from collections.abc import Generator
from time import monotonic
from typing import Any

import pytest

Row = list[float]  # items, CPU seconds, seconds on the clock

_rows: dict[str, Row] = {}  # folder -> its sums, of this process and of workers that have ended
_OUTSIDE = "(start and collection)"


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _add(folder: str, row: Row) -> None:
    _rows[folder] = [a + b for a, b in zip(_rows.get(folder, [0, 0, 0]), row, strict=True)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    cpu, clock = _cpu_seconds(), monotonic()
    result = yield
    path = item.path.relative_to(item.config.rootpath)
    _add("/".join(path.parts[:2]), [1, _cpu_seconds() - cpu, monotonic() - clock])
    return result


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        _add(_OUTSIDE, [0, _cpu_seconds() - sum(row[1] for row in _rows.values()), 0])
        output["timing"] = _rows


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of xdist has ended."""
    for folder, row in getattr(node, "workeroutput", {}).get("timing", {}).items():
        _add(folder, row)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if len(_rows) < 2:
        return
    terminalreporter.section("cost of each folder")
    terminalreporter.write_line(f"{'items':>7} {'CPU s':>8} {'clock s':>8}")
    total = [sum(column) for column in zip(*_rows.values(), strict=True)]
    for folder, (items, cpu, clock) in [*sorted(_rows.items(), key=lambda entry: -entry[1][1]), ("total", total)]:
        terminalreporter.write_line(f"{items:7.0f} {cpu:8.1f} {clock:8.1f}  {folder}")
