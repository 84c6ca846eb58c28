"""Crash points call the listener, with a name and a subject."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.base import crash_points
from app.base.crash_points import crash_point
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction


@pytest.fixture
def points() -> Iterator[list[tuple[str, str]]]:
    """The calls that the listener receives from this test, not from an application in the same process."""
    found: list[tuple[str, str]] = []

    def listener(name: str, subject: str) -> None:
        if subject == "test":
            found.append((name, subject))

    crash_points.listen(listener)
    yield found
    crash_points.listen(None)


def test_a_listener_receives_the_name_and_the_subject(points: list[tuple[str, str]]) -> None:
    crash_point("file.renamed", "test")
    crash_point("file.stored", "test")
    assert points == [("file.renamed", "test"), ("file.stored", "test")]


def test_without_a_listener_a_crash_point_does_nothing(points: list[tuple[str, str]]) -> None:
    crash_points.listen(None)
    crash_point("file.renamed", "test")
    assert points == []


async def test_a_transaction_passes_four_crash_points(points: list[tuple[str, str]], tmp_path: Path) -> None:
    def test(tx: Transaction) -> None:
        tx.execute("notes", "create table notes (id integer)")

    database = EmbeddedDatabase(tmp_path / "a.duckdb")
    await database.write(test)
    await database.close()
    steps = ("requested", "executed", "committed", "acknowledged")
    assert points == [(f"transaction.{step}", "test") for step in steps]
