"""Rows in the append log: on disk at once, in their tables before they are read, each exactly once."""

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base.errors import Missing
from app.db.database import DatabaseError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction
from tests.base.children import add_on_a_full_disk, add_until_killed, run_in_child
from tests.base.notes import NOTES, add_notes, note_ids, notes_database
from tests.kit import eventually

NEVER = 86_400.0  # seconds: added rows are not applied by the timer while a test runs


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = await notes_database(tmp_path, apply_after=NEVER)
    yield database
    await database.close()


def log_files(folder: Path) -> list[Path]:
    """The oldest first."""
    return sorted(folder.glob("*.append-*"), key=lambda path: int(path.name.rpartition("-")[2]))


async def test_a_reader_sees_what_was_added_before(database: EmbeddedDatabase) -> None:
    for id in range(20):
        await database.insert_only(add_notes, id)
        assert await database.read(note_ids) == list(range(id + 1))


async def test_a_writer_sees_what_was_added_before(database: EmbeddedDatabase) -> None:
    await database.insert_only(add_notes, 1, 2)
    assert await database.write(lambda tx: tx.count("notes", "update notes set text = 'seen'")) == 2


async def test_a_reader_of_another_table_does_not_wait_for_added_rows(database: EmbeddedDatabase) -> None:
    await database.write(lambda tx: tx.execute("other", "create table other (id integer)"))
    await database.insert_only(add_notes, 1)
    assert await database.read(lambda tx: tx.value("other", "select count(*) from other")) == 0
    assert database.unapplied == 1
    assert await database.read(note_ids) == [1]
    assert database.unapplied == 0


async def test_an_added_row_is_never_reported_as_missing(database: EmbeddedDatabase) -> None:
    def find(tx: Transaction) -> str:
        if (found := tx.value("notes", "select text from notes where id = 1")) is None:
            raise Missing("There is no such note.")
        return str(found)

    with pytest.raises(Missing):
        await database.read(find)
    await database.insert_only(add_notes, 2)
    with pytest.raises(Missing):
        await database.read(find)
    await database.insert_only(add_notes, 1)
    assert await database.read(find) == "note 1"


async def test_rows_that_are_added_concurrently_are_each_stored_once(database: EmbeddedDatabase) -> None:
    await asyncio.gather(*(database.insert_only(add_notes, id) for id in range(500)))
    assert await database.read(note_ids) == list(range(500))


async def test_more_rows_can_be_added_than_may_wait(tmp_path: Path) -> None:
    database = await notes_database(tmp_path, apply_after=NEVER, max_unapplied=10)
    waiting = []
    for id in range(100):
        await database.insert_only(add_notes, id)
        waiting.append(database.unapplied)
    assert max(waiting) == 10
    assert await database.read(note_ids) == list(range(100))
    await database.close()


async def test_added_rows_are_applied_after_a_while(tmp_path: Path) -> None:
    database = await notes_database(tmp_path, apply_after=0.01)
    waiting: list[int] = []

    async def unapplied() -> int:
        return database.unapplied

    def add(tx: Transaction) -> None:
        add_notes(tx, 1)
        tx.on_commit(lambda: waiting.append(database.unapplied))

    await database.insert_only(add)
    assert waiting == [1]
    await eventually(unapplied, lambda count: count == 0)
    assert await database.read(note_ids) == [1]
    await database.close()


async def test_an_addition_counts_as_a_change_of_its_table(database: EmbeddedDatabase) -> None:
    _, tables = await database.read_with_tables(note_ids)
    since = database.commit_seq
    assert not database.changed_since(tables, since)
    await database.insert_only(add_notes, 1)
    assert database.changed_since(tables, since)


async def test_a_callback_of_an_addition_is_called_once(database: EmbeddedDatabase) -> None:
    called: list[str] = []

    def add(tx: Transaction) -> None:
        add_notes(tx, 1)
        tx.on_commit(called.append, "once")

    await database.insert_only(add)
    assert called == ["once"]
    await database.read(note_ids)
    assert called == ["once"]


async def test_an_addition_can_run_no_statement(database: EmbeddedDatabase) -> None:
    with pytest.raises(TypeError, match="only insert"):
        await database.insert_only(note_ids)
    with pytest.raises(TypeError, match="only insert"):
        await database.insert_only(lambda tx: tx.batch("notes", "insert into notes select 1, '', null", 1))
    assert await database.read(note_ids) == []


async def test_an_addition_happens_although_its_caller_is_cancelled(database: EmbeddedDatabase) -> None:
    adding = asyncio.create_task(database.insert_only(add_notes, 1))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    await database.insert_only(add_notes, 2)
    assert await database.read(note_ids) == [1, 2]


async def test_no_log_file_is_left_when_all_rows_are_in_their_tables(tmp_path: Path) -> None:
    database = await notes_database(tmp_path)
    await database.insert_only(add_notes, 1)
    assert log_files(tmp_path)
    await database.close()
    assert not log_files(tmp_path)
    database = await notes_database(tmp_path)
    assert await database.read(note_ids) == [1]
    await database.close()


async def test_log_files_do_not_pile_up(tmp_path: Path) -> None:
    database = await notes_database(tmp_path, apply_after=NEVER, segment_bytes=2_000)
    for id in range(200):
        await database.insert_only(add_notes, id)
        if id % 50 == 0:
            await database.read(note_ids)
    assert len(log_files(tmp_path)) > 2
    assert await database.read(note_ids) == list(range(200))
    await database.insert_only(add_notes, 200)
    assert await database.read(note_ids) == list(range(201))
    assert len(log_files(tmp_path)) <= 2
    await database.close()


async def test_rows_in_their_tables_do_not_stay_in_a_log_file_as_well(
    database: EmbeddedDatabase, tmp_path: Path
) -> None:
    async def content() -> bytes:
        return b"".join(path.read_bytes() for path in log_files(tmp_path))

    for id in range(3):
        await database.insert_only(add_notes, id)
        assert b"note" in await content()
        await database.read(note_ids)
        await eventually(content, lambda content: content == b"")
    assert await database.read(note_ids) == [0, 1, 2]


async def test_an_append_log_that_cannot_be_read_is_reported_in_one_line(tmp_path: Path) -> None:
    await (await notes_database(tmp_path)).close()
    (tmp_path / "test.duckdb.append-1").mkdir()  # root may read every file
    with pytest.raises(
        DatabaseError, match=r"the append log of the database test\.duckdb cannot be read \(Is a directory\)"
    ):
        EmbeddedDatabase(tmp_path / "test.duckdb")
    (tmp_path / "test.duckdb.append-1").rmdir()
    await (await notes_database(tmp_path)).close()


async def test_rows_that_their_table_rejects_are_quarantined_and_do_not_block_others(tmp_path: Path) -> None:
    database = await notes_database(tmp_path)
    await asyncio.gather(
        database.insert_only(add_notes, 1),
        database.insert_only(lambda tx: tx.insert(NOTES, None, "no id", None)),
        database.insert_only(add_notes, 2),
    )
    assert await database.read(note_ids) == [1, 2]
    await database.write(lambda tx: tx.execute("notes", "insert into notes values (3, '', null)"))
    await database.close()
    [record] = [json.loads(line) for line in (tmp_path / "test.duckdb.quarantine").read_text().splitlines()]
    assert record["rows"] == {NOTES: [[None, "no id", None]]}
    database = await notes_database(tmp_path)
    assert await database.read(note_ids) == [1, 2, 3]
    await database.close()


@pytest.mark.xdist_group("base-children")
async def test_a_full_disk_rejects_additions_and_loses_nothing(tmp_path: Path) -> None:
    code, result = await run_in_child(add_on_a_full_disk, tmp_path)
    assert code == 0
    errors, ids = result
    assert len(errors) == 2
    assert all("disk is full" in message for message in errors)
    assert ids == [1, 4]


async def stored(folder: Path) -> list[int]:
    """The notes in the database after it was reopened."""
    database = await notes_database(folder)
    try:
        return await database.read(note_ids)
    finally:
        await database.close()


@pytest.mark.xdist_group("base-children")
async def test_a_process_killed_at_any_crash_point_has_stored_once_what_it_acknowledged(tmp_path: Path) -> None:
    code, crash_points = await run_in_child(add_until_killed, tmp_path / "whole", 0)
    assert code == 0
    assert crash_points > 60
    at_once = asyncio.Semaphore(3)
    kills = range(
        1, crash_points - 20, 2
    )  # two crash points in a row are equivalent; records written together have fewer
    killed = 0

    async def kill(at: int) -> str | None:
        nonlocal killed
        folder = tmp_path / str(at)
        async with at_once:
            code, _ = await run_in_child(add_until_killed, folder, at)
            killed += code == -signal.SIGKILL
            found = await stored(folder)
        acknowledged = {int(line) for line in (folder / "acknowledged").read_text().splitlines()}
        if sorted(set(found)) != found:
            return f"{at}: a note is stored twice: {found}"
        if not {*acknowledged, *(id + 1000 for id in acknowledged)} <= set(found):
            return f"{at}: an acknowledged note is lost: {acknowledged} {found}"
        if {id for id in found if id < 1000} != {id - 1000 for id in found if id >= 1000}:
            return f"{at}: half of an addition is stored: {found}"
        return None

    failures = [failure for failure in await asyncio.gather(*map(kill, kills)) if failure]
    assert not failures
    assert killed > len(kills) * 0.8


@pytest.mark.xdist_group("base-children")
async def test_an_incomplete_record_hides_none_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "life"
    code, _ = await run_in_child(add_until_killed, folder, 30)
    assert code == -signal.SIGKILL
    assert log_files(folder)
    complete = await stored(shutil.copytree(folder, tmp_path / "complete"))
    assert complete
    for number, garbage in enumerate((b"\0" * 40, b"\xff" * 40, b"\0\0\0\0\0\0\0\7\0\0\1\0", b"{")):
        copy = shutil.copytree(folder, tmp_path / str(number))
        with log_files(copy)[-1].open("ab") as file:
            file.write(garbage)
        assert await stored(copy) == complete, garbage
