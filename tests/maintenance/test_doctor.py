"""The doctor reports each planted fault in one line, and nothing for a sound data folder."""

import os
import re
import resource
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from app.base.errors import AtelierError
from app.db.database import DatabaseError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction
from app.maintenance import doctor
from app.maintenance.repository import INVARIANTS
from app.maintenance.schemas import Invariant
from app.maintenance.service import STALE_AFTER
from app.storage.files import Files
from tests.kit import generated_image
from tests.maintenance.conftest import HOLDINGS, Command, maintenance
from tests.studio import running

pytestmark = pytest.mark.xdist_group("maintenance")  # one worker creates the shared fixtures

# Placeholders in the changes below.
NAMES = {
    "ENDED": "(select min(id) from jobs where status = 'completed' and cost_nano > 0)",
    "FAILED": "(select min(id) from jobs where status = 'failed')",
    "ANSWER": "(select min(id) from messages where role = 'assistant')",
    "NOTHING": "'01a1fb00000070000000000000000000'",
}

# Changes to a sound database, and what the doctor reports.
ROWS = {
    "no hold": ("delete from ledger where entry = 'hold' and subject_id = ENDED", "does not have exactly one hold"),
    "two holds": (
        "insert into ledger select 'x', owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at, key_id"
        " from ledger where entry = 'hold' and subject_id = ENDED",
        "does not have exactly one hold",
    ),
    "no settlement": (
        "delete from ledger where entry = 'settlement' and subject_id = ENDED",
        "job .* has ended without exactly one settlement",
    ),
    "two settlements": (
        "insert into ledger select 'x', owner_id, subject_kind, subject_id, entry, held_nano, spent_nano, happened_at, key_id"
        " from ledger where entry = 'settlement' and subject_id = ENDED",
        "has ended without exactly one settlement",
    ),
    "settled too early": (
        "update jobs set status = 'processing', ended_at = null, cost_nano = null where id = ENDED",
        "is unfinished but already settled",
    ),
    "still held": (
        "update ledger set held_nano = held_nano + 1 where entry = 'hold' and subject_id = ENDED",
        "still has a held amount",
    ),
    "another cost": ("update jobs set cost_nano = cost_nano + 1 where id = ENDED", "cost that differs from the ledger"),
    "a known cost became unknown": (
        "update ledger set spent_nano = null where entry = 'settlement' and subject_id = ENDED",
        "cost that differs from the ledger",
    ),
    "a cost without a settlement": (
        "update jobs set cost_nano = 5 where id = FAILED",
        "cost that differs from the ledger",
    ),
    "a cost before the end": (
        "update jobs set status = 'processing', ended_at = null where id = ENDED",
        "is unfinished but already has a cost",
    ),
    "a settlement of another user": (
        "update ledger set owner_id = 'another' where entry = 'settlement' and subject_id = ENDED",
        "entries of another user",
    ),
    "a settlement of another key": (
        "update ledger set key_id = 'another' where entry = 'settlement' and subject_id = ENDED",
        "ledger entry .* has a different API key than its hold",
    ),
    "a hold without a job": (
        "insert into ledger values ('x', 'ann', 'job', NOTHING, 'hold', 0, null, now()::timestamp, null)",
        "ledger entry x belongs to a missing job",
    ),
    "a settlement without an answer": (
        "insert into ledger values ('x', 'ann', 'answer', NOTHING, 'settlement', 0, null, now()::timestamp, null)",
        "ledger entry x belongs to a missing answer",
    ),
    "a negative cost": (
        "update ledger set spent_nano = -1 where entry = 'settlement' and subject_id = ENDED",
        "amounts that are invalid for its type",
    ),
    "an answer without a hold": (
        "delete from ledger where entry = 'hold' and subject_id = ANSWER",
        "answer .* does not have exactly one hold",
    ),
    "an answer not settled": (
        "delete from ledger where entry = 'settlement' and subject_id = ANSWER",
        "answer .* has ended without exactly one settlement",
    ),
    "an answer at another cost": (
        "update messages set cost_nano = 123 where id = ANSWER",
        "answer .* cost that differs from the ledger",
    ),
    "completed before it began": (
        "update jobs set started_at = null where id = ENDED",
        "timestamps that do not match its status",
    ),
    "failed without a reason": (
        "update jobs set error_code = null where id = FAILED",
        "error that does not match its status",
    ),
    "a late result policy without a cancel": (
        "update jobs set late_result_policy = 'keep' where id = ENDED",
        "but was not cancelled",
    ),
    "deleted too early": (
        "update jobs set status = 'queued', ended_at = null, deleted_at = now()::timestamp where id = ENDED",
        "was deleted before it ended",
    ),
    "a job without a history": ("delete from job_events where job_id = ENDED", "job .* has no events"),
    "a history without a job": (
        "insert into job_events values (NOTHING, 'ann', now()::timestamp, 'queued', '{}')",
        "is missing but has events",
    ),
    "inputs without a job": (
        "insert into job_inputs values (NOTHING, 0, 'ann', 'image', 'unknown', null)",
        "is missing but has inputs",
    ),
    "inputs in a wrong order": (
        "insert into job_inputs select id, 1, owner_id, 'image', 'unknown', null from jobs where id = ENDED",
        "inputs that are not numbered from 0",
    ),
    "a job without a user": (
        "update jobs set owner_id = 'unknown' where id = ENDED",
        "job .* belongs to a missing user",
    ),
    "a file without a user": (
        "update assets set owner_id = 'unknown', job_id = null",
        "asset .* belongs to a missing user",
    ),
    "a file without a job": (
        "update assets set job_id = NOTHING where job_id is not null",
        "asset .* belongs to a missing job",
    ),
    "a retry without its job": ("update jobs set retry_of = NOTHING where id = ENDED", "retries a missing job"),
    "a request without its job": ("update idempotency_keys set result_id = NOTHING", "has an idempotency key"),
    "a session without a user": ("update sessions set user_id = 'unknown'", "session .* belongs to a missing user"),
    "a token without a user": (
        "update refresh_tokens set user_id = 'unknown'",
        "refresh token .* belongs to a missing user",
    ),
    "a key without a user": ("update api_keys set user_id = 'unknown'", "API key .* belongs to a missing user"),
    "a conversation without a user": (
        "update conversations set owner_id = 'unknown'",
        "conversation .* belongs to a missing user",
    ),
    "a response without a user": (
        "insert into responses values ('resp_1', 'unknown', null, '[]', '{}', null, timestamp '2030-01-01 00:00:00')",
        "response .* belongs to a missing user",
    ),
    "a message without a user": (
        "update messages set owner_id = 'unknown' where role = 'user'",
        "message .* belongs to a missing user",
    ),
    "a message without a conversation": (
        "delete from conversations",
        "message .* belongs to a missing conversation",
    ),
    "a message without its parent": (
        "update messages set parent_id = NOTHING where role = 'user'",
        "follows a missing message",
    ),
    "a conversation without its last message": (
        "update conversations set leaf_id = NOTHING",
        "ends with a missing message",
    ),
    "no admin": ("update users set role = 'user'", "there is no active admin"),
}


class Undone(Exception):
    """Rolls the change back."""


@pytest_asyncio.fixture(scope="module")
async def database(used_data: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedDatabase]:
    path = tmp_path_factory.mktemp("database") / "atelier.duckdb"
    path.write_bytes((used_data / "atelier.duckdb").read_bytes())
    database = EmbeddedDatabase(path)
    yield database
    await database.close()


async def reported_with(
    database: EmbeddedDatabase, sql: str, invariants: Sequence[Invariant] = INVARIANTS
) -> list[str]:
    """The doctor's findings with this change, which is rolled back."""
    found: list[str] = []
    for name, meaning in NAMES.items():
        sql = sql.replace(name, meaning)

    def plant(tx: Transaction) -> None:
        tx.execute((), sql)
        found.extend(doctor.check_rows(tx, invariants))
        raise Undone

    with pytest.raises(Undone):
        await database.write(plant)
    return found


async def test_each_fault_among_the_rows_is_found(database: EmbeddedDatabase) -> None:
    """All invariants take a tenth of a second, so only those run that may report the expected fault."""
    failures = {}
    for fault, (sql, expected) in ROWS.items():
        invariants = [invariant for invariant in INVARIANTS if re.search(expected, invariant.message.format(id="x"))]
        found = await reported_with(database, sql, invariants)
        if not any(re.search(expected, line) for line in found) or any("\n" in line for line in found):
            failures[fault] = found
    assert not failures


async def test_a_sound_database_has_none(database: EmbeddedDatabase) -> None:
    assert await database.read(doctor.check_rows) == []


async def test_of_a_fault_that_is_everywhere_the_first_few_are_named_and_the_others_counted(
    database: EmbeddedDatabase,
) -> None:
    found = await reported_with(
        database,
        "insert into ledger select 'x' || i, 'ann', 'job', 'gone' || i, 'hold', 0, null, now()::timestamp, null"
        " from range(1000) as numbers(i)",
    )
    assert len(found) == 21
    assert found[-1] == "… and 980 more of this kind"


def contents(data: Path) -> dict[str, bytes]:
    """Every file but the lock by its name, the database without what DuckDB notes when it opens it."""
    return {
        path.relative_to(data).as_posix(): b"" if path.suffix == ".duckdb" else path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and path.name != "lock"
    }


async def test_a_sound_data_folder_is_in_order_and_left_as_it_is(data: Path) -> None:
    before = contents(data)
    async with maintenance(data) as offline:
        result = await offline.examine()
    assert result.ok, result.text
    assert result.text.startswith(f"everything is in order ({HOLDINGS}, ")
    assert contents(data) == before


def a_file(data: Path, suffix: str = ".png") -> Path:
    return min((data / "media").rglob(f"*{suffix}"))


def damage(data: Path, how: str) -> None:
    path = a_file(data)
    match how:
        case "removed":
            path.unlink()
        case "a byte flipped":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "cut":
            os.truncate(path, path.stat().st_size // 2)
        case "grown":
            path.write_bytes(path.read_bytes() + b"\0")
        case "emptied":
            path.write_bytes(b"")
        case "a folder in its place":
            path.unlink()
            path.mkdir()
        case "a thumbnail removed":
            a_file(data, ".webp").unlink()
        case "a file without a row":
            unreferenced = data / "media" / "ab" / "cd" / f"abcd{'0' * 60}.png"
            unreferenced.parent.mkdir(parents=True, exist_ok=True)
            unreferenced.write_bytes(b"x")
        case "an unknown file among the media":
            (data / "media" / "holiday.jpg").write_bytes(b"x")
        case "a temporary file":
            (data / "tmp" / "left").mkdir()
            (data / "tmp" / "left" / "upload").write_bytes(b"x")
        case "rows set aside":
            (data / "atelier.duckdb.quarantine").write_bytes(b"{}")
        case "a byte of the database flipped":
            content = bytearray((data / "atelier.duckdb").read_bytes())
            content[20_000] ^= 1
            (data / "atelier.duckdb").write_bytes(content)
        case "no database":
            (data / "atelier.duckdb").unlink()


FILES = {
    "removed": r"stored file .*\.png of asset \w+ is missing",
    "a byte flipped": r"stored file .*\.png of asset \w+ is damaged",
    "cut": "is damaged",
    "grown": "is damaged",
    "emptied": "is damaged",
    "a folder in its place": "stored file .* (is missing|cannot be read)",
    "a thumbnail removed": r"stored file .*\.webp of asset \w+ is missing",
    "a file without a row": "is not referenced by any row; the next start removes it",
    "an unknown file among the media": r"media/holiday\.jpg is not a stored file",
    "a temporary file": "temporary file left was left behind",
    "rows set aside": r"atelier\.duckdb\.quarantine contains rows that could not be applied",
    "a byte of the database flipped": "damaged",
    "no database": "There is no Atelier database",
}


async def test_each_fault_among_the_files_is_found(used_data: Path, tmp_path: Path) -> None:
    failures = {}
    for how, expected in FILES.items():
        data = shutil.copytree(used_data, tmp_path / how)
        damage(data, how)
        try:
            async with maintenance(data) as offline:
                result = await offline.examine()
            sound, report = result.ok, result.text
        except (DatabaseError, AtelierError) as exc:
            sound, report = False, str(exc)
        if sound or "\n" in report or not re.search(expected, report):
            failures[how] = report
    assert not failures


async def test_the_command_exits_with_1_on_a_finding(data: Path, command: Command) -> None:
    for how in ("a byte flipped", "a byte of the database flipped"):
        damage(data, how)
        outcome = await command(data.parent, "doctor")
        assert outcome.code == 1
        [line] = outcome.out
        assert re.search(FILES[how], line), line
        assert "Traceback" not in "\n".join(outcome.err)


async def test_while_the_program_serves_faults_are_found_and_work_in_progress_is_not_one(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.user()
        job = await generated_image(ann)
        maintenance, data = studio.program.maintenance, tmp_path / "data"
        assert (await maintenance.examine()).ok

        async with studio.program.files.folder() as folder:  # work in progress
            (folder / "upload").write_bytes(b"x")
            assert (await maintenance.examine()).ok
        left = data / "tmp" / "left"
        left.write_bytes(b"x")
        os.utime(left, times=(0, time.time() - STALE_AFTER - 1))
        result = await maintenance.examine()
        assert (result.ok, result.text) == (False, "temporary file left was left behind; the next start removes it")
        left.unlink()

        damage(data, "a thumbnail removed")
        damage(data, "a file without a row")
        result = await maintenance.examine()
        assert len(result.text.splitlines()) == 2
        assert "is missing" in result.text
        assert "is not referenced by any row" in result.text
        assert (await ann.get(f"/api/v1/jobs/{job['id']}")).status_code == 200, "the program serves on"


async def test_a_result_that_is_being_stored_is_not_a_fault(tmp_path: Path) -> None:
    """Its file is stored before its row is written."""
    async with running(tmp_path) as studio:
        ann = await studio.user()
        await generated_image(ann, "a lighthouse")
        library, files = studio.program.library, studio.program.files
        (tmp_path / "new.png").write_bytes(a_file(tmp_path / "data").read_bytes() + b"")
        await studio.program.database.write(lambda tx: tx.execute("assets", "delete from assets"))
        async with library.stage_results("ann", "job", "a lighthouse", [(0, tmp_path / "new.png")]) as results:
            assert results.assets
            found = await doctor.check(studio.program.database, files, in_use=library.is_pinned)
            assert found == []
            assert len(await doctor.check(studio.program.database, files)) == 2, "without knowing that it is in use"


async def test_files_are_read_piece_by_piece(tmp_path: Path) -> None:
    """A file larger than the available memory can be checked."""
    store = Files(tmp_path / "media", tmp_path / "tmp")
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    async with store.folder() as folder:
        with (folder / "large").open("wb") as file:
            file.truncate(300_000_000)
        stored = await store.store(folder / "large", ".mp4")
    before = peak_memory()
    assert await store.verify(stored.key)
    assert peak_memory() - before < 50_000_000
    store.close()


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
