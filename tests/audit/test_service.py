"""The audit log contains an entry exactly if the change was committed, and is read in pages, newest first."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.audit.schemas import COMMAND_LINE, Action, Actor
from app.audit.service import Audit
from app.base.errors import Conflict
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction
from tests.studio import migrated_database

ANN = Actor("ann", "ann@studio.example")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(migrated_database(tmp_path / "test.duckdb"))
    yield database
    await database.close()


async def test_an_entry_contains_actor_action_subject_and_detail(database: EmbeddedDatabase) -> None:
    audit = Audit(database)
    await database.write(lambda tx: audit.record(tx, ANN, Action.ROLE_CHANGED, "bob@studio.example", role="admin"))
    await database.write(lambda tx: audit.record(tx, COMMAND_LINE, Action.TOKENS_PURGED, count=3))
    purged, changed = (await audit.newest()).items
    assert (changed.actor_id, changed.actor_email, changed.action) == ("ann", ANN.email, "user.role_changed")
    assert (changed.subject, changed.detail) == ("bob@studio.example", {"role": "admin"})
    assert (purged.actor_id, purged.actor_email, purged.action) == (None, "command line", "tokens.purged")
    assert (purged.subject, purged.detail) == (None, {"count": 3})


async def test_a_change_that_fails_leaves_no_entry(database: EmbeddedDatabase) -> None:
    audit = Audit(database)

    def change(tx: Transaction) -> None:
        audit.record(tx, ANN, Action.JOB_DELETED, "job")
        raise Conflict("The change is impossible.")

    with pytest.raises(Conflict):
        await database.write(change)
    assert (await audit.newest()).total == 0


async def test_the_log_is_read_newest_first_in_pages(database: EmbeddedDatabase) -> None:
    audit = Audit(database)

    def delete_five(tx: Transaction) -> None:
        for number in range(5):
            audit.record(tx, ANN, Action.JOB_DELETED, f"job {number}")

    await database.write(delete_five)
    first = await audit.newest(limit=3)
    assert ([entry.subject for entry in first.items], first.total) == (["job 4", "job 3", "job 2"], 5)
    rest = await audit.newest(before=first.next, limit=3)
    assert ([entry.subject for entry in rest.items], rest.next) == (["job 1", "job 0"], None)


async def test_every_action_is_stored_and_read_back(database: EmbeddedDatabase) -> None:
    audit = Audit(database)

    def record_all(tx: Transaction) -> None:
        for action in Action:
            audit.record(tx, Actor("ada", "ada@example.org"), action)

    await database.write(record_all)
    entries = (await audit.newest(limit=100)).items
    assert [entry.action for entry in entries] == list(reversed(Action))
