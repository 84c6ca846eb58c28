"""A backup is consistent, is created while the server runs, and reports when it could not be completed."""

import asyncio
import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from app.base import clock
from app.base.data_dir import DataDir
from app.base.errors import Conflict
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS
from app.db.transaction import Transaction
from app.library.schemas import Asset, AssetKind, Origin
from app.maintenance import backup as backup_module
from app.maintenance.schemas import CommandResult
from app.maintenance.service import examine_backup, restore_backup
from tests.kit import TEXT_MODEL, eventually, generated_image
from tests.maintenance.conftest import HOLDINGS, Command, maintenance
from tests.studio import Studio, running

T = TypeVar("T")
pytestmark = pytest.mark.xdist_group("maintenance")  # one worker creates the shared fixtures
BOUND = 300  # seconds; reached only on failure


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def media_in(folder: Path) -> set[str]:
    return {name for name in files_in(folder) if name.startswith("media/")}


def rejection(source: Path, folder: Path) -> str:
    """The error message of a rejected backup; nothing is changed."""
    with pytest.raises(Exception, match=r"\.") as raised:
        restore_backup(str(source), DataDir(folder), MIGRATIONS)
    assert not folder.exists()
    return str(raised.value)


async def fill_library(studio: Studio, owner: str, count: int, size: int) -> None:
    """Add files of this number and size to a user's library."""
    for number in range(count):
        async with studio.program.files.folder() as folder:
            (folder / "file").write_bytes(os.urandom(size))
            stored = await studio.program.files.store(folder / "file", ".png")
        asset = Asset(
            id=f"filler{number:04}",
            owner_id=owner,
            kind=AssetKind.IMAGE,
            origin=Origin.UPLOADED,
            mime="image/png",
            bytes=size,
            width=1,
            height=1,
            key=stored.key,
            created_at=clock.now(),
        )
        await studio.program.database.write(studio.program.library.add, owner, [asset])


async def test_a_backup_holds_everything_for_its_owner_only(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "far" / "away" / "backup"
    media = media_in(data)
    async with maintenance(data) as offline:
        result = await offline.backup(str(target))
    assert result.ok, result.text
    assert f"{HOLDINGS}, {len(media)} stored files" in result.text
    assert len(media) > 5
    assert files_in(target) == {"atelier.duckdb", "secret.key", "manifest.json", *media}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert {stat.S_IMODE((target / name).stat().st_mode) for name in files_in(target)} == {0o600}
    assert (target / "secret.key").read_bytes() == (data / "secret.key").read_bytes()
    assert all((target / name).stat().st_nlink == 1 for name in media), "a backup shares nothing with the original"
    assert examine_backup(str(target), MIGRATIONS).ok


async def test_users_go_on_working_while_a_backup_is_made_and_it_is_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup waits, first while it copies the database and then while it copies a file, until several more jobs were
    accepted and completed. A backup that blocked the event loop or the writer would never finish."""
    async with running(tmp_path) as studio:
        ann = await studio.user()
        await generated_image(ann)
        before: list[str] = []
        during: list[str] = []
        worked: dict[str, threading.Event] = {"database": threading.Event(), "file": threading.Event()}
        waiting: dict[str, asyncio.Event] = {"database": asyncio.Event(), "file": asyncio.Event()}
        loop = asyncio.get_running_loop()

        async def work(ids: list[str]) -> None:
            for number in range(5):
                body = {"model": TEXT_MODEL, "prompt": f"number {number}"}
                answer = await ann.post("/api/v1/generate/text", json=body, headers={"Prefer": "respond-async"})
                assert answer.status_code in (200, 202), answer.text
                ids.append(answer.json()["id"])
            for id in ids:
                assert (await studio.finished(ann, id))["status"] == "completed"

        def wait_for_work(what: str) -> None:
            loop.call_soon_threadsafe(waiting[what].set)
            assert worked[what].wait(BOUND), f"no one could work while the {what} was copied"

        copy_to, copy = studio.program.database.snapshot, backup_module.copy

        async def slow_copy_to(path: Path, verb: Callable[[Transaction], T]) -> T:
            def slow_verb(tx: Transaction) -> T:
                wait_for_work("database")
                return verb(tx)

            return await copy_to(path, slow_verb)

        def slow_copy(*arguments: Path | str) -> object:
            wait_for_work("file")
            return copy(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(studio.program.database, "snapshot", slow_copy_to)
        monkeypatch.setattr(backup_module, "copy", slow_copy)
        await work(before)
        making = asyncio.create_task(studio.program.maintenance.backup(str(tmp_path / "backup")))
        async with asyncio.timeout(BOUND):
            for what in ("database", "file"):
                await waiting[what].wait()
                await work(during)
                worked[what].set()
        result = await making
        assert result.ok, result.text
        assert (await studio.program.maintenance.examine()).ok
    monkeypatch.undo()
    restore_backup(str(tmp_path / "backup"), DataDir(tmp_path / "again"), MIGRATIONS)
    async with maintenance(tmp_path / "again") as offline:
        result = await offline.examine()
        assert result.ok, result.text
    database = EmbeddedDatabase(tmp_path / "again" / "atelier.duckdb")
    rows = await database.read(
        lambda tx: tx.rows("jobs", "select id, status from jobs where kind = 'text' order by id")
    )
    await database.close()
    assert [row["id"] for row in rows] == sorted(before), "what came first is there, what came later is not"
    assert {row["status"] for row in rows} == {"completed"}


async def test_what_is_deleted_meanwhile_is_in_the_backup_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as studio:
        admin = await studio.user()
        bob = await studio.user("bob@studio.example")
        await generated_image(bob)
        id = (await bob.get("/api/v1/users/me")).json()["id"]
        copy_to = studio.program.database.snapshot

        async def then_delete(path: Path, verb: Callable[[Transaction], object]) -> object:
            copied = await copy_to(path, verb)
            assert (await admin.delete(f"/api/v1/users/{id}")).status_code == 204
            return copied

        monkeypatch.setattr(studio.program.database, "snapshot", then_delete)
        result = await studio.program.maintenance.backup(str(tmp_path / "backup"))
        assert result.ok, result.text
        assert media_in(tmp_path / "data") == set()
        assert (await studio.program.maintenance.examine()).ok
    restore_backup(str(tmp_path / "backup"), DataDir(tmp_path / "again"), MIGRATIONS)
    async with maintenance(tmp_path / "again") as offline:
        assert (await offline.examine()).text.startswith("everything is in order (2 users, 1 jobs")


async def test_a_file_that_is_lost_already_is_reported_and_everything_else_is_in_the_backup(
    used_data: Path, tmp_path: Path, command: Command
) -> None:
    for how in ("missing", "damaged"):
        root = tmp_path / how
        data = shutil.copytree(used_data, root / "data")
        victim = min((data / "media").rglob("*.png"))
        if how == "missing":
            victim.unlink()
        else:
            victim.write_bytes(b"something else")
        outcome = await command(root, "backup", str(root / "backup"))
        assert outcome.code == 1
        assert "\n".join(outcome.err).count(victim.name) == 1
        assert victim.name not in {path.name for path in (root / "backup").rglob("*")}
        assert len(media_in(root / "backup")) == len(media_in(used_data)) - 1
        result = restore_backup(str(root / "backup"), DataDir(root / "again"), MIGRATIONS)
        assert victim.name in result.text
        async with maintenance(root / "again") as offline:
            result = await offline.examine()
        assert victim.name in result.text
        assert "is missing" in result.text


async def test_a_folder_that_cannot_be_used_is_rejected_with_one_sentence_and_left_alone(
    data: Path, backup: Path, command: Command
) -> None:
    root = data.parent
    (root / "file").write_text("x")
    (root / "full").mkdir()
    (root / "full" / "notes.txt").write_text("mine")
    before = files_in(root) | {"data/lock"}
    for target in (
        root / "full",
        backup,
        root / "file",
        root / "file" / "backup",
        data,
        data / "media" / "backup",
    ):
        outcome = await command(root, "backup", str(target))
        assert outcome.code == 1, target
        [line] = outcome.err
        assert str(target) in line
        assert "Traceback" not in line
        assert files_in(root) == before, target


async def test_two_backups_are_not_made_at_once(data: Path, tmp_path: Path) -> None:
    async with maintenance(data) as offline:
        made = await asyncio.gather(
            *(offline.backup(str(tmp_path / f"backup{number}")) for number in range(3)), return_exceptions=True
        )
        assert [type(one) for one in made] == [CommandResult, Conflict, Conflict]
        assert (await offline.backup(str(tmp_path / "later"))).ok


async def test_the_commands_work_while_the_program_serves_and_while_it_does_not(
    tmp_path: Path, command: Command
) -> None:
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    async with running(tmp_path):
        outcome = await command(tmp_path, "backup", "one", cwd=cwd)
        assert outcome.code == 0
        assert "backup created in" in outcome.out[0]
        outcome = await command(tmp_path, "doctor")
        assert outcome.code == 0
        assert outcome.out[0].startswith("everything is in order")
        outcome = await command(tmp_path, "backup", "one", cwd=cwd)
        assert outcome.code == 1
        assert "already contains a backup. Choose a new folder" in outcome.err[0]
    outcome = await command(tmp_path, "backup", "two", cwd=cwd)
    assert outcome.code == 0
    for name in ("one", "two"):
        outcome = await command(tmp_path, "doctor", name, cwd=cwd)
        assert outcome.code == 0
        assert "is in order" in outcome.out[0]
    assert files_in(cwd / "one").issuperset({"atelier.duckdb", "manifest.json", "secret.key"})


async def test_without_a_database_there_is_nothing_to_back_up(tmp_path: Path, command: Command) -> None:
    for arguments in (["backup", "target"], ["doctor"]):
        outcome = await command(tmp_path, *arguments, cwd=tmp_path)
        assert outcome.code == 1
        assert f"There is no Atelier database in {tmp_path / 'data'}" in "\n".join(outcome.out + outcome.err)
    assert files_in(tmp_path) == set()
    assert not (tmp_path / "data").exists()


async def test_a_secret_of_the_environment_is_not_in_the_backup_and_the_restore_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SECRET_KEY="a secret of forty characters for a test.") as studio:
        assert (await studio.program.maintenance.backup(str(tmp_path / "backup"))).ok
    assert "secret.key" not in files_in(tmp_path / "backup")
    result = restore_backup(str(tmp_path / "backup"), DataDir(tmp_path / "again"), MIGRATIONS)
    assert "set ATELIER_SECRET_KEY to its previous value" in result.text


# A backup that was interrupted is recognised


async def test_a_backup_that_is_interrupted_is_recognised(
    data: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    copy = backup_module.copy
    for after in (0, 1, 3):
        copied = 0

        def stop(*arguments: Path | str, after: int = after) -> object:
            nonlocal copied
            copied += 1
            if copied > after:
                raise KeyError("the power is gone")
            return copy(*arguments)  # type: ignore[arg-type]

        target = data.parent / f"backup{after}"
        async with maintenance(data) as offline:
            with monkeypatch.context() as patch:
                patch.setattr(backup_module, "copy", stop)
                with pytest.raises(KeyError):
                    await offline.backup(str(target))
            assert len(media_in(target)) == after
            with pytest.raises(Conflict, match="contains an incomplete backup"):
                await offline.backup(str(target))
        assert "incomplete" in rejection(target, data.parent / "again")
        outcome = await command(data.parent, "doctor", str(target))
        assert outcome.code == 1
        assert "incomplete" in outcome.out[0]


async def test_a_full_disk_ends_a_backup_with_one_sentence_and_the_program_goes_on(
    small_disk: Path, tmp_path: Path
) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.user()
        await fill_library(studio, (await ann.get("/api/v1/users/me")).json()["id"], 6, 2_000_000)
        for room in (20_000, 3_000_000, 12_000_000):  # not enough for the database; for any file; for all of them
            target = small_disk / "backup"
            with (small_disk / "ballast").open("wb") as ballast:
                free = shutil.disk_usage(small_disk).free
                ballast.write(bytes(max(0, free - room)))
            with pytest.raises(Exception, match=r"The disk of .* is full.* remove it") as full:
                await studio.program.maintenance.backup(str(target))
            assert str(full.value).count("\n") == 0
            assert not (target / "manifest.json").exists()
            assert "incomplete" in rejection(target, tmp_path / "again")
            shutil.rmtree(target)
            (small_disk / "ballast").unlink()
            job = await generated_image(ann)
            assert job["status"] == "completed"
            assert studio.program.database.healthy
        assert (await studio.program.maintenance.examine()).ok


async def test_a_disk_that_fills_up_while_files_are_copied_ends_the_backup(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes may fill the disk after the check for free space."""
    copy = backup_module.copy

    def full(source: Path, target: Path, name: str) -> object:
        if name.endswith(".webp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target, name)

    monkeypatch.setattr(backup_module, "copy", full)
    async with maintenance(data) as offline:
        with pytest.raises(Exception, match=r"The disk of .* is full"):
            await offline.backup(str(data.parent / "backup"))
    assert "incomplete" in rejection(data.parent / "backup", data.parent / "again")


async def test_a_program_that_stops_meanwhile_gives_the_backup_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup keeps reading its copy of the database until it is interrupted."""
    async with running(tmp_path) as studio:
        await studio.user()
        database = studio.program.database
        copy_to, begun = database.snapshot, threading.Event()

        async def endless_copy_to(path: Path, _: object) -> object:
            def verb(tx: Transaction) -> object:
                begun.set()
                return tx.value((), "select sum(a.i * b.i) from range(10000000) as a(i), range(10000000) as b(i)")

            return await copy_to(path, verb)

        monkeypatch.setattr(database, "snapshot", endless_copy_to)
        making = asyncio.create_task(studio.program.maintenance.backup(str(tmp_path / "backup")))
        await eventually(lambda: asyncio.sleep(0, begun.is_set()), bool)
        async with asyncio.timeout(BOUND):
            await database.close()
            with pytest.raises(Exception, match="shutting down"):
                await making
    assert "incomplete" in rejection(tmp_path / "backup", tmp_path / "again")
