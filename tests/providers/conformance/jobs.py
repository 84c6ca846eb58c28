"""Runs a job of a provider to its end."""

import itertools
from pathlib import Path

from app.providers.contract import Outcome, Pending, Provider, Request
from tests.providers.openrouter.kit import new_folder

MAX_POLLS = 50
_numbers = itertools.count(1)


def unique(text: str) -> str:
    """A prompt that no other test has, so that the simulator's log can be searched for it."""
    return f"{text} number {next(_numbers)}"


async def outcome_of(provider: Provider, request: Request, parent: Path) -> Outcome:
    """The final outcome, or Pending if the job has not ended after many polls."""
    folder = new_folder(parent)
    outcome = await provider.submit(request, folder)
    for _ in range(MAX_POLLS):
        if not isinstance(outcome, Pending):
            break
        outcome = await provider.poll(outcome.upstream_job, folder)
    return outcome


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
