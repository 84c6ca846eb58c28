"""A table of notes for the tests of the append log."""

from pathlib import Path
from typing import Any

from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction

NOTES = "notes (id, text, made_at)"


async def notes_database(folder: Path, **options: Any) -> EmbeddedDatabase:
    """The database in this folder, with the table; `options` as for EmbeddedDatabase."""
    database = EmbeddedDatabase(folder / "test.duckdb", **options)
    await database.write(
        lambda tx: tx.execute(
            "notes", "create table if not exists notes (id integer not null, text text, made_at timestamp)"
        )
    )
    return database


def add_notes(tx: Transaction, *ids: int) -> None:
    for id in ids:
        tx.insert(NOTES, id, f"note {id}", "2026-11-21T12:00:00.123456")


def note_ids(tx: Transaction) -> list[int]:
    return [row["id"] for row in tx.rows("notes", "select id from notes order by id")]
