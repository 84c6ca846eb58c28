"""The file store: names come from content, a file is whole or absent, and nothing but stored files can be reached."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.base import errors
from app.base.data_dir import DataDir
from app.storage.files import Files
from app.storage.threads import Threads
from tests.kit import Cases

SECONDS = 300.0  # only a broken product takes this long
CONTENT = b"some content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.png"


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "data")
    data_dir.create()
    return data_dir


@pytest.fixture
def files(data_dir: DataDir) -> Iterator[Files]:
    files = Files(data_dir.media, data_dir.temporary)
    yield files
    files.close()


async def store(files: Files, content: bytes = CONTENT, suffix: str = ".png") -> str:
    async with files.folder() as folder:
        (folder / "name from the client").write_bytes(content)
        return (await files.store(folder / "name from the client", suffix)).key


async def keys(files: Files) -> list[str]:
    return [key async for key in files.keys()]  # noqa: SIM118


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_a_file_is_named_after_its_content(files: Files, data_dir: DataDir) -> None:
    async with files.folder() as folder:
        (folder / "evil").write_bytes(CONTENT)
        stored = await files.store(folder / "evil", ".png")
        assert not (folder / "evil").exists()
    assert (stored.key, stored.bytes, stored.sha256) == (KEY, len(CONTENT), SHA256)
    assert (data_dir.media / KEY).read_bytes() == CONTENT


async def test_a_stored_file_can_be_read_by_its_owner_only(files: Files, data_dir: DataDir) -> None:
    async with files.folder() as folder:
        (folder / "open").write_bytes(CONTENT)
        (folder / "open").chmod(0o666)
        key = (await files.store(folder / "open", ".png")).key
    assert files.path(key).stat().st_mode & 0o777 == 0o600
    assert files.path(key).parent.stat().st_mode & 0o777 == 0o700


async def test_the_same_content_is_stored_once(files: Files, data_dir: DataDir) -> None:
    assert await store(files) == await store(files)
    assert await keys(files) == [KEY]


async def test_the_same_content_stored_many_times_at_once_is_intact(files: Files) -> None:
    content = os.urandom(300_000)
    found = await asyncio.gather(*(store(files, content) for _ in range(20)))
    assert len(set(found)) == 1
    assert await files.verify(found[0])


async def test_a_file_is_renamed_only_after_its_content_is_on_disk(
    files: Files, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(number: int) -> None:
        steps.append("sync " + Path(f"/proc/self/fd/{number}").readlink().name)
        real_sync(number)

    def replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(path, target)

    async with files.folder() as folder:
        (folder / "new").write_bytes(CONTENT)
        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(Path, "replace", replace)
        await files.store(folder / "new", ".png")
    assert steps == ["sync new", "rename", f"sync {KEY[3:5]}", f"sync {KEY[:2]}", "sync media"]


async def test_only_a_plain_suffix_is_accepted(files: Files) -> None:
    with Cases() as cases:
        for suffix in ("", "png", ".PNG", "./png", ".p/../../x", ".png\n", ".png\0", ".verylongsuffix"):
            with cases.case(repr(suffix)), pytest.raises(ValueError, match="suffix"):
                await store(files, suffix=suffix)
    assert await keys(files) == []


async def test_nothing_but_a_key_leads_to_a_path(files: Files) -> None:
    invalid = (
        "",
        ".",
        "/etc/passwd",
        "../../etc/passwd",
        f"{KEY}/../../../../etc/passwd",
        f"../{KEY}",
        f"/{KEY}",
        KEY + "\n",
        KEY + "\0",
        KEY.upper(),
        KEY.replace("/", "\\"),
        KEY.replace("/", "//", 1),
        KEY.removesuffix(".png"),
        KEY + "/",
        f"00/00/{SHA256}.png",
        f"{SHA256[:2]}/{SHA256[2:4]}/{SHA256[:-1]}.png",
        f"{SHA256[:2]}/{SHA256[2:4]}/{'０' * 64}.png",
    )
    with Cases() as cases:
        for key in invalid:
            with cases.case(repr(key)):
                with pytest.raises(ValueError, match="invalid storage key"):
                    files.path(key)
                with pytest.raises(ValueError, match="invalid storage key"):
                    await files.remove(key)


async def test_the_store_reports_the_size_and_existence_of_a_file(files: Files) -> None:
    assert not await files.exists(KEY)
    with pytest.raises(errors.Missing):
        await files.size(KEY)
    await store(files)
    assert await files.exists(KEY)
    assert await files.size(KEY) == len(CONTENT)


async def test_removing_a_file_twice_does_no_harm(files: Files) -> None:
    await store(files)
    assert await files.remove(KEY)
    assert not await files.remove(KEY)
    assert await keys(files) == []


async def test_a_cleanup_spares_a_file_that_was_just_stored_again(files: Files) -> None:
    await store(files)
    os.utime(files.path(KEY), (0, 0))
    await store(files)  # the same content, by another request that has not recorded its key yet
    assert not await files.remove(KEY, idle=60)
    assert await files.exists(KEY)
    os.utime(files.path(KEY), (0, 0))
    assert await files.remove(KEY, idle=60)


async def test_a_corrupted_file_is_detected_and_repaired_by_storing_it_again(files: Files) -> None:
    await store(files)
    assert await files.verify(KEY)
    files.path(KEY).write_bytes(b"some c0ntent")
    assert not await files.verify(KEY)
    await store(files)
    assert await files.verify(KEY)
    await files.remove(KEY)
    assert not await files.verify(KEY)


async def test_every_key_is_listed_and_nothing_else(files: Files, data_dir: DataDir) -> None:
    expected = sorted([await store(files, bytes([number])) for number in range(20)])
    (data_dir.media / "notes.txt").write_text("notes")
    (data_dir.media / "ab").mkdir(exist_ok=True)
    (data_dir.media / "ab" / "stray").write_text("stray")
    (data_dir.media / KEY[:2] / "zz").mkdir(parents=True)
    (data_dir.media / KEY[:2] / "zz" / (SHA256 + ".png")).write_text("misplaced")
    assert await keys(files) == expected


async def test_keys_may_be_removed_while_they_are_listed(files: Files) -> None:
    for number in range(20):
        await store(files, bytes([number]))
    async for key in files.keys():
        await files.remove(key)
    assert await keys(files) == []


async def test_the_store_reports_how_much_it_holds_and_how_much_space_is_free(files: Files, data_dir: DataDir) -> None:
    await store(files, bytes(1000))
    await store(files, bytes(2000))
    usage = await files.usage()
    assert usage.stored == 3000
    disk = os.statvfs(data_dir.media)
    assert usage.free == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)


async def test_a_temporary_folder_is_private_and_removed_afterwards(files: Files, data_dir: DataDir) -> None:
    async with files.folder() as one, files.folder() as other:
        assert one != other
        assert one.parent == data_dir.temporary
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "deep").mkdir()
        (one / "deep" / "file").write_bytes(CONTENT)
    assert everything(data_dir.temporary) == []


async def test_a_temporary_folder_is_removed_after_a_failure(files: Files, data_dir: DataDir) -> None:
    async def fail() -> None:
        async with files.folder() as folder:
            (folder / "file").write_bytes(CONTENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert everything(data_dir.temporary) == []


async def test_a_temporary_folder_is_removed_when_its_user_is_cancelled_several_times(
    files: Files, data_dir: DataDir
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with files.folder() as folder:
            for number in range(200):
                (folder / str(number)).write_bytes(CONTENT)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everything(data_dir.temporary) == []


async def test_a_temporary_folder_is_not_removed_while_a_thread_writes_into_it(data_dir: DataDir) -> None:
    threads = Threads(2, "files")
    files = Files(data_dir.media, data_dir.temporary, threads=threads)
    begun, proceed = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def write(folder: Path) -> None:
        begun.set()
        assert proceed.wait(SECONDS)
        try:
            (folder / "late").write_bytes(CONTENT)
        except Exception as exc:
            failures.append(exc)

    async def work() -> None:
        async with files.folder() as folder:
            await threads.run(write, folder)

    task = asyncio.create_task(work())
    assert await asyncio.to_thread(begun.wait, SECONDS)
    task.cancel()
    # The one free thread runs calls in order: had the folder been released, its removal would run first.
    for _ in range(3):
        await files.exists(KEY)
    assert not task.done()
    assert len(everything(data_dir.temporary)) == 1
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failures == []
    assert everything(data_dir.temporary) == []
    files.close()


async def test_temporary_files_of_an_earlier_process_are_removed_at_start(
    files: Files, data_dir: DataDir, tmp_path: Path
) -> None:
    await store(files)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(CONTENT)
    (data_dir.temporary / "killed").mkdir()
    (data_dir.temporary / "killed" / "half").write_bytes(CONTENT)
    (data_dir.temporary / "file").write_bytes(CONTENT)
    (data_dir.temporary / "link").symlink_to(tmp_path / "elsewhere")
    await files.clear_temporary()
    assert everything(data_dir.temporary) == []
    assert await files.verify(KEY)
    assert (tmp_path / "elsewhere" / "file").exists()


async def test_an_upload_is_written_unchanged(files: Files) -> None:
    chunks = [os.urandom(size) for size in (1, 0, 70_000, 3_000_000, 5)]
    async with files.folder() as folder:
        written = await files.write_upload(stream(*chunks), folder / "new", 10**7)
        assert written == sum(map(len, chunks))
        assert (folder / "new").read_bytes() == b"".join(chunks)
        assert (folder / "new").stat().st_mode & 0o777 == 0o600


async def test_an_upload_may_be_exactly_as_large_as_allowed(files: Files) -> None:
    async with files.folder() as folder:
        assert await files.write_upload(stream(bytes(600), bytes(400)), folder / "new", 1000) == 1000


async def test_an_upload_is_refused_as_soon_as_it_is_too_large(files: Files) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(65536)

    async with files.folder() as folder:
        with pytest.raises(errors.TooLarge, match="at most 10 MB"):
            await files.write_upload(endless(), folder / "new", 10 * 1024 * 1024)
        assert taken == 161
        assert everything(folder) == []


async def test_an_interrupted_upload_leaves_nothing(files: Files) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        raise ConnectionResetError

    async with files.folder() as folder:
        with pytest.raises(ConnectionResetError):
            await files.write_upload(broken(), folder / "new", 10**7)
        assert everything(folder) == []


async def test_an_upload_that_is_cancelled_leaves_nothing_open(files: Files) -> None:
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        begun.set()
        await asyncio.Event().wait()

    async with files.folder() as folder:
        before = open_files()
        task = asyncio.create_task(files.write_upload(slow(), folder / "new", 10**7))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert everything(folder) == []
        assert open_files() == before


async def test_an_upload_never_overwrites(files: Files) -> None:
    async with files.folder() as folder:
        (folder / "there").write_bytes(CONTENT)
        with pytest.raises(FileExistsError):
            await files.write_upload(stream(b"other"), folder / "there", 1000)
        assert (folder / "there").read_bytes() == CONTENT
