"""A backup is of one moment, is made while the studio works, and says when it could not be finished."""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.base import clock
from app.base.database import Transaction
from app.base.folder import Folder
from app.library.schemas import Asset, AssetKind, Origin
from app.main import MIGRATIONS
from app.upkeep import backup
from app.upkeep.service import examine_backup, restored
from tests.api.kit import TEXT, eventually, pictured
from tests.api.processes import atelier
from tests.storage.stalls import longest_stall
from tests.studio import Studio, running
from tests.upkeep.conftest import upkeep


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refusal(source: Path, folder: Path) -> str:
    """Why this backup is not restored; nothing is touched then."""
    with pytest.raises(Exception, match=r"\.") as refused:
        restored(str(source), Folder(folder), MIGRATIONS)
    assert not folder.exists()
    return str(refused.value)


async def filled(studio: Studio, owner: str, count: int, size: int) -> list[Asset]:
    """So many files of so many bytes in somebody's library."""
    made = []
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
        made.append(asset)
    return made


async def test_a_backup_holds_everything_for_its_owner_only(tmp_path: Path) -> None:
    target = tmp_path / "far" / "away" / "backup"
    async with running(tmp_path) as studio:
        await pictured(await studio.person())
        told = await studio.program.upkeep.backup(str(target))
        assert told.ok, told.text
        assert "1 people, 1 jobs, 2 stored files" in told.text
        media = {name for name in files_in(tmp_path / "data") if name.startswith("media/")}
    assert files_in(target) == {"atelier.duckdb", "secret.key", "manifest.json", *media}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert {stat.S_IMODE((target / name).stat().st_mode) for name in files_in(target)} == {0o600}
    assert (target / "secret.key").read_bytes() == (tmp_path / "data" / "secret.key").read_bytes()
    assert all((target / name).stat().st_nlink == 1 for name in media), "a backup shares nothing with the original"
    assert examine_backup(str(target), MIGRATIONS).ok


async def test_people_go_on_working_while_a_backup_is_made_and_it_is_of_one_moment(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.person()
        me = (await ann.get("/api/v1/users/me")).json()["id"]
        await filled(studio, me, 40, 3_000_000)
        accepted: list[tuple[str, bool]] = []  # jobs by id, and whether the backup had ended by then
        done = asyncio.Event()

        async def go_on() -> None:
            for number in range(1000):
                body = {"model": TEXT, "prompt": f"number {number}"}
                answer = await ann.post("/api/v1/generate/text", json=body, headers={"Prefer": "respond-async"})
                assert answer.status_code in (200, 202), answer.text
                accepted.append((answer.json()["id"], done.is_set()))
                if done.is_set():
                    return

        async def make() -> None:
            told = await studio.program.upkeep.backup(str(tmp_path / "backup"))
            assert told.ok, told.text
            done.set()

        working = asyncio.create_task(go_on())
        await eventually(lambda: asyncio.sleep(0, len(accepted)), lambda count: count >= 3)
        before = len(accepted)
        took, late = await longest_stall(make)
        await working
        during = len([id for id, ended in accepted if not ended]) - before
        assert during >= 5, f"only {during} jobs were taken in the {took:.1f} s of the backup"
        assert late < took / 2, f"the loop was kept waiting for {late:.3f} s of {took:.3f} s"
        for id, _ in accepted:
            assert (await studio.finished(ann, id))["status"] == "completed"
        assert (await studio.program.upkeep.examine()).ok
    restored(str(tmp_path / "backup"), Folder(tmp_path / "again"), MIGRATIONS)
    async with upkeep(tmp_path / "again") as beside:
        told = await beside.examine()
        assert told.ok, told.text
        jobs = await beside._database.read(lambda tx: tx.rows("select id from jobs order by id"))
    found = [row["id"] for row in jobs]
    assert found == sorted(id for id, _ in accepted)[: len(found)], "what came first is there, what came later is not"
    assert len(found) >= before


async def test_what_is_deleted_meanwhile_is_in_the_backup_whole_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as studio:
        await studio.person()
        bob = await studio.person("bob@studio.example")
        await pictured(bob)
        id = (await bob.get("/api/v1/users/me")).json()["id"]
        admin = await studio.person()
        copy_to = studio.program.database.copy_to

        async def then_delete(path: Path, verb: Callable[[Transaction], object]) -> object:
            copied = await copy_to(path, verb)
            assert (await admin.delete(f"/api/v1/users/{id}")).status_code == 204
            return copied

        monkeypatch.setattr(studio.program.database, "copy_to", then_delete)
        told = await studio.program.upkeep.backup(str(tmp_path / "backup"))
        assert told.ok, told.text
        assert [name for name in files_in(tmp_path / "data") if name.startswith("media/")] == []
        assert (await studio.program.upkeep.examine()).ok
    restored(str(tmp_path / "backup"), Folder(tmp_path / "again"), MIGRATIONS)
    async with upkeep(tmp_path / "again") as beside:
        assert (await beside.examine()).text.startswith("everything is in order (2 people, 1 jobs")


@pytest.mark.parametrize("how", ["missing", "damaged"])
async def test_a_file_that_is_lost_already_is_told_and_everything_else_is_kept(data: Path, how: str) -> None:
    victim = min((data / "media").rglob("*.png"))
    if how == "missing":
        victim.unlink()
    else:
        victim.write_bytes(b"something else")
    target = data.parent / "backup"
    async with atelier(data.parent, "backup", str(target)) as process:
        assert await process.ended() == 1
        assert "\n".join(process.err).count(victim.name) == 1
    assert victim.name not in {path.name for path in target.rglob("*")}
    told = restored(str(target), Folder(data.parent / "again"), MIGRATIONS)
    assert victim.name in told.text
    async with upkeep(data.parent / "again") as beside:
        told = await beside.examine()
    assert victim.name in told.text
    assert "is missing" in told.text


@pytest.mark.parametrize("what", ["not empty", "a backup", "a file", "below a file", "the data folder", "inside it"])
async def test_a_folder_that_cannot_be_used_is_refused_with_one_sentence_and_left_alone(data: Path, what: str) -> None:
    root = data.parent
    (root / "file").write_text("x")
    (root / "full").mkdir()
    (root / "full" / "notes.txt").write_text("mine")
    targets = {
        "not empty": root / "full",
        "a backup": root / "backup",
        "a file": root / "file",
        "below a file": root / "file" / "backup",
        "the data folder": data,
        "inside it": data / "media" / "backup",
    }
    async with upkeep(data) as beside:
        await beside.backup(str(root / "backup"))
    before = files_in(root)
    async with atelier(root, "backup", str(targets[what])) as process:
        assert await process.ended() == 1
    [line] = [line for line in process.err if not line.startswith("{")]
    assert str(targets[what]) in line
    assert "Traceback" not in line
    assert files_in(root) == before


async def test_two_backups_are_not_made_at_once(studio: Studio, tmp_path: Path) -> None:
    upkeep = studio.program.upkeep
    made = await asyncio.gather(
        *(upkeep.backup(str(tmp_path / f"backup{number}")) for number in range(3)), return_exceptions=True
    )
    assert [type(one).__name__ for one in made] == ["Told", "Conflict", "Conflict"]
    assert (await upkeep.backup(str(tmp_path / "later"))).ok


async def test_the_command_works_while_the_studio_serves_and_while_it_does_not(tmp_path: Path) -> None:
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    async with atelier(tmp_path) as server:
        await server.ready()
        async with atelier(tmp_path, "backup", "one", cwd=cwd) as command:
            assert await command.ended() == 0
        assert "holds a backup now" in command.out[0]
        async with atelier(tmp_path, "doctor") as command:
            assert await command.ended() == 0
        assert command.out[0].startswith("everything is in order")
        async with atelier(tmp_path, "backup", "one", cwd=cwd) as command:
            assert await command.ended() == 1
        assert "holds a backup: choose a new folder" in command.err[0]
        assert await server.stopped() == 0
    async with atelier(tmp_path, "backup", "two", cwd=cwd) as command:
        assert await command.ended() == 0
    for name in ("one", "two"):
        async with atelier(tmp_path, "doctor", name, cwd=cwd) as command:
            assert await command.ended() == 0
        assert "is in order" in command.out[0]
    assert files_in(cwd / "one").issuperset({"atelier.duckdb", "manifest.json", "secret.key"})


async def test_without_a_studio_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    for command in (["backup", "target"], ["doctor"]):
        async with atelier(tmp_path, *command, cwd=tmp_path) as process:
            assert await process.ended() == 1
        assert f"There is no studio in {tmp_path / 'data'}" in "\n".join(process.out + process.err)
    assert files_in(tmp_path) == set()
    assert not (tmp_path / "data").exists()


async def test_a_secret_out_of_the_environment_is_not_in_the_backup_and_the_restore_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SECRET_KEY="a secret of forty characters for a test.") as studio:
        assert (await studio.program.upkeep.backup(str(tmp_path / "backup"))).ok
    assert "secret.key" not in files_in(tmp_path / "backup")
    told = restored(str(tmp_path / "backup"), Folder(tmp_path / "again"), MIGRATIONS)
    assert "set ATELIER_SECRET_KEY to what it was" in told.text


# What is interrupted can be told from what is whole


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_backup_that_is_interrupted_is_recognised(
    data: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    take, taken = backup._take, 0

    def stop(*arguments: object) -> object:
        nonlocal taken
        taken += 1
        if taken > after:
            raise KeyError("the power is gone")
        return take(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_take", stop)
    target = data.parent / "backup"
    async with upkeep(data) as beside:
        with pytest.raises(KeyError):
            await beside.backup(str(target))
        monkeypatch.undo()
        with pytest.raises(Exception, match="holds an incomplete backup: choose a new folder"):
            await beside.backup(str(target))
    assert "incomplete" in refusal(target, data.parent / "again")
    async with atelier(data.parent, "doctor", str(target)) as process:
        assert await process.ended() == 1
    assert "incomplete" in process.out[0]


async def test_a_disk_that_is_full_ends_a_backup_with_one_sentence_and_the_studio_goes_on(
    small_disk: Path, tmp_path: Path
) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.person()
        await filled(studio, (await ann.get("/api/v1/users/me")).json()["id"], 6, 2_000_000)
        for room in (20_000, 3_000_000, 12_000_000):  # for not even the database; for no file; for some of them
            target = small_disk / "backup"
            with (small_disk / "ballast").open("wb") as ballast:
                free = shutil.disk_usage(small_disk).free
                ballast.write(bytes(max(0, free - room)))
            with pytest.raises(Exception, match=r"There is no room for the backup on the disk of .* remove it") as full:
                await studio.program.upkeep.backup(str(target))
            assert str(full.value).count("\n") == 0
            assert not (target / "manifest.json").exists()
            assert "incomplete" in refusal(target, tmp_path / "again")
            shutil.rmtree(target)
            (small_disk / "ballast").unlink()
            job = await pictured(ann)
            assert job["status"] == "completed"
            assert studio.program.database.healthy
        assert (await studio.program.upkeep.examine()).ok


async def test_a_disk_that_fills_up_while_files_are_copied(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can know beforehand how much room others take meanwhile."""
    copy = backup.copy

    def full(source: Path, target: Path, name: str) -> object:
        if name.endswith(".webp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target, name)

    monkeypatch.setattr(backup, "copy", full)
    async with upkeep(data) as beside:
        with pytest.raises(Exception, match="There is no room for the backup"):
            await beside.backup(str(data.parent / "backup"))
    assert "incomplete" in refusal(data.parent / "backup", data.parent / "again")


async def test_a_server_that_stops_meanwhile_gives_the_backup_up_and_stops_in_time(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        await studio.person()
        database = studio.program.database
        await database.write(_many_rows)
        making = asyncio.create_task(studio.program.upkeep.backup(str(tmp_path / "backup")))
        await eventually(lambda: asyncio.sleep(0, database._copying), lambda copying: copying is not None)
        closing = asyncio.get_running_loop().time()
        await database.close()
        assert asyncio.get_running_loop().time() - closing < 5
        with pytest.raises(Exception, match="shutting down"):
            await making
    assert "incomplete" in refusal(tmp_path / "backup", tmp_path / "again")


def _many_rows(tx: Transaction) -> None:
    tx.execute(
        "insert into job_events select 'x' || i, 'ann', now()::timestamp, 'polled', md5(i::text) || md5((-i)::text)"
        " from range(1500000) as numbers(i)"
    )
