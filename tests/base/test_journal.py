"""What is only added: on disk at once, in the tables before anybody looks, each row exactly once."""

import asyncio
import json
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.base import journal
from app.base.database import Database, DatabaseError, NoRoom, Transaction
from app.base.errors import Missing
from app.base.metrics import Metrics
from tests.api.kit import eventually
from tests.api.processes import ROOT

NOTES = "notes (id, text, made_at)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await opened(tmp_path)
    yield database
    await database.close()


async def opened(folder: Path) -> Database:
    database = Database(folder / "test.duckdb")
    await database.write(
        lambda tx: tx.execute("create table if not exists notes (id integer not null, text text, made_at timestamp)")
    )
    return database


def add(tx: Transaction, *ids: int) -> None:
    for id in ids:
        tx.insert(NOTES, id, f"note {id}", "2026-11-21T12:00:00.123456")


def ids(tx: Transaction) -> list[int]:
    return [row["id"] for row in tx.rows("select id from notes order by id")]


def beside(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal-*"))


async def test_a_reader_sees_what_was_added_before(database: Database) -> None:
    for id in range(20):
        await database.add(add, id)
        assert await database.read(ids) == list(range(id + 1))


async def test_a_writer_sees_what_was_added_before(database: Database) -> None:
    await database.add(add, 1, 2)
    assert await database.write(lambda tx: tx.count("update notes set text = 'seen'")) == 2


async def test_a_reader_of_something_else_need_not_wait_for_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.base.database.TAKE_IN", 60.0)
    await database.write(lambda tx: tx.execute("create table other (id integer)"))
    await database.add(add, 1)
    assert await database.read(lambda tx: tx.value("select count(*) from other")) == 0
    assert database._journal.waiting
    assert await database.read(ids) == [1]
    assert not database._journal.waiting


async def test_nobody_is_told_that_what_was_added_is_missing(database: Database) -> None:
    def find(tx: Transaction) -> str:
        if (found := tx.value("select text from notes where id = 1")) is None:
            raise Missing("There is no such note.")
        return str(found)

    with pytest.raises(Missing):
        await database.read(find)
    await database.add(add, 2)
    with pytest.raises(Missing):
        await database.read(find)
    await database.add(add, 1)
    assert await database.read(find) == "note 1"


async def test_many_that_add_at_once_are_all_kept_once(database: Database) -> None:
    await asyncio.gather(*(database.add(add, id) for id in range(500)))
    assert await database.read(ids) == list(range(500))


async def test_more_may_be_added_than_may_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.base.database.MOST_ADDED", 10)
    for id in range(100):
        await database.add(add, id)
    assert await database.read(ids) == list(range(100))


async def test_rows_come_into_their_tables_by_themselves_a_moment_later(database: Database) -> None:
    await database.add(add, 1)
    assert database._journal.waiting

    async def waiting() -> int:
        return len(database._journal.waiting)

    await eventually(waiting, lambda count: count == 0)
    assert await database.read(ids) == [1]


async def test_whoever_keeps_what_was_read_learns_that_rows_were_added(database: Database) -> None:
    _, tables = await database.read_noting(ids)
    since = database.moment
    assert not database.written(tables, since)
    await database.add(add, 1)
    assert database.written(tables, since)


async def test_what_is_to_happen_afterwards_happens_once(database: Database) -> None:
    happened: list[str] = []

    def verb(tx: Transaction) -> None:
        add(tx, 1)
        tx.then(happened.append, "once")

    await database.add(verb)
    assert happened == ["once"]
    await database.read(ids)
    assert happened == ["once"]


async def test_whoever_adds_may_not_look(database: Database) -> None:
    with pytest.raises(TypeError, match="only adds"):
        await database.add(ids)
    with pytest.raises(TypeError, match="only adds"):
        await database.add(lambda tx: tx.gather("notes", "insert into notes select 1, '', null", 1))
    assert await database.read(ids) == []


async def test_whoever_goes_away_while_adding_has_added(database: Database) -> None:
    adding = asyncio.create_task(database.add(add, 1))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    await database.add(add, 2)
    assert await database.read(ids) == [1, 2]


async def test_no_file_is_left_when_everything_is_in_its_tables(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await database.add(add, 1)
    assert beside(tmp_path)
    await database.close()
    assert not beside(tmp_path)
    database = await opened(tmp_path)
    assert await database.read(ids) == [1]
    await database.close()


async def test_files_do_not_pile_up(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT", 2_000)
    for id in range(200):
        await database.add(add, id)
        if id % 50 == 0:
            await database.read(ids)
    assert len(beside(tmp_path)) > 2
    assert await database.read(ids) == list(range(200))
    await database.add(add, 200)
    assert await database.read(ids) == list(range(201))
    assert len(beside(tmp_path)) <= 2


async def test_what_is_in_the_tables_does_not_lie_about_in_a_file_as_well(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.base.database.TAKE_IN", 60.0)
    for text in range(3):
        await database.add(add, text)
        assert b"note" in beside(tmp_path)[0].read_bytes()
        await database.read(ids)

        async def left() -> bytes:
            return b"".join(path.read_bytes() for path in beside(tmp_path))

        await eventually(left, lambda content: content == b"")
    assert await database.read(ids) == [0, 1, 2]


async def test_a_journal_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    (tmp_path / "test.duckdb.journal-1").mkdir()  # root may read every file
    with pytest.raises(
        DatabaseError, match=r"the journal of the database test\.duckdb cannot be read \(Is a directory\)"
    ):
        Database(tmp_path / "test.duckdb")
    (tmp_path / "test.duckdb.journal-1").rmdir()
    await (await opened(tmp_path)).close()


async def test_rows_that_fit_into_no_table_are_set_aside_and_keep_nobody_out(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await asyncio.gather(
        database.add(add, 1), database.add(lambda tx: tx.insert(NOTES, None, "no id", None)), database.add(add, 2)
    )
    assert await database.read(ids) == [1, 2]
    await database.write(lambda tx: tx.execute("insert into notes values (3, '', null)"))
    await database.close()
    [aside] = [json.loads(line) for line in (tmp_path / "test.duckdb.refused").read_text().splitlines()]
    assert aside["rows"] == {NOTES: [[None, "no id", None]]}
    database = await opened(tmp_path)
    assert await database.read(ids) == [1, 2, 3]
    await database.close()


async def test_a_disk_without_room_refuses_what_is_added_and_loses_nothing(tmp_path: Path) -> None:
    """The limit on the size of files is a disk without room for every file that would grow beyond it."""
    database = await opened(tmp_path)
    await database.add(add, 1)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    [file] = beside(tmp_path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 40, hard))
        with pytest.raises(NoRoom):
            await database.add(add, 2)
        with pytest.raises(NoRoom):
            await database.add(add, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    await database.add(add, 4)
    assert await database.read(ids) == [1, 4]
    await database.close()


# A process that adds one note after the other, or several at once, says which of them were kept, and is killed at one moment
# of the way: `MOMENT` counts how often one of the watched functions was entered or left.
LIFE = """
import asyncio, os, signal, sys
from pathlib import Path
from app.base import database as module, journal
from tests.base.test_journal import add, ids, opened

at, seen = int(sys.argv[2]), 0
journal.SEGMENT = 300
module.TAKE_IN = 0.001

def moment():
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(holder, name):
    original = getattr(holder, name)
    def call(*args, **kwargs):
        moment()
        result = original(*args, **kwargs)
        moment()
        return result
    setattr(holder, name, call)

async def live():
    database = await opened(Path(sys.argv[1]))
    for name in ("open", "write", "fdatasync", "fsync"):
        watched(os, name)
    watched(module, "_take_in")
    watched(module.Database, "_try")
    watched(Path, "unlink")

    async def one(id):
        await database.add(add, id, id + 1000)
        print(id, flush=True)

    for id in range(6):
        await one(id)
        await asyncio.sleep(0.002)
    await asyncio.gather(*(one(id) for id in range(6, 12)))
    await database.read(ids)
    await database.close()
    print("moments", seen)

asyncio.run(live())
"""


def lived(folder: Path, at: int) -> tuple[int, list[str]]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LIFE, str(folder), str(at)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


async def kept(folder: Path) -> list[int]:
    database = await opened(folder)
    try:
        return await database.read(ids)
    finally:
        await database.close()


async def test_a_process_killed_at_any_moment_has_kept_once_what_it_said_it_had(tmp_path: Path) -> None:
    code, said = await asyncio.to_thread(lived, tmp_path / "whole", 0)
    assert code == 0
    moments = int(said[-1].split()[1])
    assert moments > 40  # fewer when records come together
    tries = range(1, moments - 20, 2)
    killed = 0

    async def die(at: int) -> None:
        nonlocal killed
        async with turns:
            code, said = await asyncio.to_thread(lived, tmp_path / str(at), at)
            killed += code == -signal.SIGKILL
            found = await kept(tmp_path / str(at))
        told = {int(line) for line in said if line.isdigit()}
        assert sorted(set(found)) == found, at
        assert {*told, *(id + 1000 for id in told)} <= set(found), at
        assert {id for id in found if id < 1000} == {id - 1000 for id in found if id >= 1000}, at  # never half a verb

    turns = asyncio.Semaphore(3)
    await asyncio.gather(*(die(at) for at in tries))
    assert killed > len(tries) * 0.8


async def test_a_record_that_a_power_cut_left_in_pieces_hides_none_before_it(tmp_path: Path) -> None:
    code, _ = await asyncio.to_thread(lived, tmp_path / "life", 30)
    assert code == -signal.SIGKILL
    before = in_files(tmp_path / "life")
    assert before
    for garbage in (b"\0" * 40, b"\xff" * 40, b"\0\0\0\0\0\0\0\7\0\0\1\0", b"{"):
        [*_, last] = sorted(beside(tmp_path / "life"), key=journal._first)
        whole = last.read_bytes()
        last.write_bytes(whole + garbage)
        assert in_files(tmp_path / "life") == before
        last.write_bytes(whole)
    assert set(before) <= set(await kept(tmp_path / "life"))


def in_files(folder: Path) -> list[int]:
    """What the journal's files hold, whatever is in the tables."""
    found = journal.Journal(folder / "test.duckdb", 0, Metrics()).waiting
    return [row[0] for record in found for row in record.rows[NOTES]]
