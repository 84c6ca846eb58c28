"""The store: names come from content, everything is whole or not there, and nothing can be reached but what is stored."""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.base import errors
from app.base.folder import Folder
from app.storage import files as module
from app.storage.files import Files

CONTENT = b"some content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"{SHA256[:2]}/{SHA256[2:4]}/{SHA256}.png"


@pytest.fixture
def place(tmp_path: Path) -> Folder:
    place = Folder(tmp_path / "data")
    place.make()
    return place


@pytest.fixture
def files(place: Folder) -> Iterator[Files]:
    files = Files(place.media, place.temporary)
    yield files
    files.close()


async def stored(files: Files, content: bytes = CONTENT, suffix: str = ".png") -> str:
    async with files.folder() as folder:
        (folder / "whatever its sender calls it").write_bytes(content)
        return (await files.store(folder / "whatever its sender calls it", suffix)).key


async def keys(files: Files) -> list[str]:
    return [key async for key in files.keys()]  # noqa: SIM118


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_a_file_is_named_after_its_content(files: Files, place: Folder) -> None:
    async with files.folder() as folder:
        (folder / "evil").write_bytes(CONTENT)
        stored = await files.store(folder / "evil", ".png")
        assert not (folder / "evil").exists()
    assert (stored.key, stored.bytes, stored.sha256) == (KEY, len(CONTENT), SHA256)
    assert (place.media / KEY).read_bytes() == CONTENT


async def test_a_stored_file_can_be_read_by_its_owner_only(files: Files, place: Folder) -> None:
    async with files.folder() as folder:
        (folder / "open").write_bytes(CONTENT)
        (folder / "open").chmod(0o666)
        key = (await files.store(folder / "open", ".png")).key
    assert files.path(key).stat().st_mode & 0o777 == 0o600
    assert files.path(key).parent.stat().st_mode & 0o777 == 0o700


async def test_the_same_content_is_kept_once(files: Files, place: Folder) -> None:
    assert await stored(files) == await stored(files)
    assert await keys(files) == [KEY]


async def test_the_same_content_stored_many_times_at_once_is_whole(files: Files) -> None:
    content = os.urandom(300_000)
    found = await asyncio.gather(*(stored(files, content) for _ in range(20)))
    assert len(set(found)) == 1
    assert await files.verify(found[0])


async def test_a_name_is_given_only_to_what_is_safely_on_disk(
    files: Files, place: Folder, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize("suffix", ["", "png", ".PNG", "./png", ".p/../../x", ".png\n", ".png\0", ".verylongsuffix"])
async def test_only_a_plain_suffix_is_accepted(files: Files, suffix: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        await stored(files, suffix=suffix)
    assert await keys(files) == []


@pytest.mark.parametrize(
    "key",
    [
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
    ],
)
async def test_nothing_but_a_key_leads_to_a_path(files: Files, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        files.path(key)
    with pytest.raises(ValueError, match="not a key"):
        await files.remove(key)


async def test_the_size_and_presence_of_a_file_are_told(files: Files) -> None:
    assert not await files.exists(KEY)
    with pytest.raises(errors.Missing):
        await files.size(KEY)
    await stored(files)
    assert await files.exists(KEY)
    assert await files.size(KEY) == len(CONTENT)


async def test_removing_twice_is_as_good_as_once(files: Files) -> None:
    await stored(files)
    assert await files.remove(KEY)
    assert not await files.remove(KEY)
    assert await keys(files) == []


async def test_a_sweep_spares_what_was_stored_just_now_again(files: Files) -> None:
    await stored(files)
    os.utime(files.path(KEY), (0, 0))
    await stored(files)  # the same content, by somebody who has not written down its key yet
    assert not await files.remove(KEY, idle=60)
    assert await files.exists(KEY)
    os.utime(files.path(KEY), (0, 0))
    assert await files.remove(KEY, idle=60)


async def test_a_file_that_rotted_is_found_out_and_healed_by_storing_it_again(files: Files) -> None:
    await stored(files)
    assert await files.verify(KEY)
    files.path(KEY).write_bytes(b"some c0ntent")
    assert not await files.verify(KEY)
    await stored(files)
    assert await files.verify(KEY)
    await files.remove(KEY)
    assert not await files.verify(KEY)


async def test_every_key_is_listed_and_nothing_else(files: Files, place: Folder) -> None:
    expected = sorted([await stored(files, bytes([number])) for number in range(20)])
    (place.media / "notes.txt").write_text("somebody was here")
    (place.media / "ab").mkdir(exist_ok=True)
    (place.media / "ab" / "stray").write_text("here too")
    (place.media / KEY[:2] / "zz").mkdir(parents=True)
    (place.media / KEY[:2] / "zz" / (SHA256 + ".png")).write_text("and here")
    assert await keys(files) == expected


async def test_keys_may_be_removed_while_they_are_listed(files: Files) -> None:
    for number in range(20):
        await stored(files, bytes([number]))
    async for key in files.keys():
        await files.remove(key)
    assert await keys(files) == []


async def test_the_store_tells_how_much_it_holds_and_how_much_room_there_is(files: Files, place: Folder) -> None:
    await stored(files, bytes(1000))
    await stored(files, bytes(2000))
    usage = await files.usage()
    assert usage.stored == 3000
    disk = os.statvfs(place.media)
    assert usage.free == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)


async def test_a_folder_for_work_is_private_and_gone_afterwards(files: Files, place: Folder) -> None:
    async with files.folder() as one, files.folder() as other:
        assert one != other
        assert one.parent == place.temporary
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "deep").mkdir()
        (one / "deep" / "file").write_bytes(CONTENT)
    assert everything(place.temporary) == []


async def test_a_folder_is_gone_also_after_a_failure(files: Files, place: Folder) -> None:
    async def fail() -> None:
        async with files.folder() as folder:
            (folder / "file").write_bytes(CONTENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert everything(place.temporary) == []


async def test_a_folder_is_gone_also_when_its_user_is_cancelled_again_and_again(files: Files, place: Folder) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with files.folder() as folder:
            for number in range(200):
                (folder / str(number)).write_bytes(CONTENT)
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await begun.wait()
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everything(place.temporary) == []


async def test_a_folder_is_not_removed_under_a_thread_that_still_writes_into_it(files: Files, place: Folder) -> None:
    begun, go_on = threading.Event(), threading.Event()
    problems: list[Exception] = []

    def write(folder: Path) -> None:
        begun.set()
        go_on.wait(5)
        try:
            (folder / "late").write_bytes(CONTENT)
        except Exception as problem:
            problems.append(problem)

    async def work() -> None:
        async with files.folder() as folder:
            await files._threads.run(write, folder)

    task = asyncio.create_task(work())
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert problems == []
    assert everything(place.temporary) == []


async def test_at_start_up_everything_left_in_progress_is_cleared(files: Files, place: Folder, tmp_path: Path) -> None:
    await stored(files)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(CONTENT)
    (place.temporary / "killed").mkdir()
    (place.temporary / "killed" / "half").write_bytes(CONTENT)
    (place.temporary / "file").write_bytes(CONTENT)
    (place.temporary / "link").symlink_to(tmp_path / "elsewhere")
    await files.clear_temporary()
    assert everything(place.temporary) == []
    assert await files.verify(KEY)
    assert (tmp_path / "elsewhere" / "file").exists()


async def test_an_upload_is_written_as_it_came(files: Files) -> None:
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
        with pytest.raises(errors.TooLarge, match="larger than the 10 MB"):
            await files.write_upload(endless(), folder / "new", 10 * 1024 * 1024)
        assert taken == 161
        assert everything(folder) == []


async def test_an_upload_that_breaks_off_leaves_nothing(files: Files) -> None:
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
        await asyncio.sleep(60)

    async with files.folder() as folder:
        before = open_files()
        task = asyncio.create_task(files.write_upload(slow(), folder / "new", 10**7))
        await begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert everything(folder) == []
        assert open_files() == before


async def test_an_upload_never_overwrites(files: Files) -> None:
    async with files.folder() as folder:
        (folder / "there").write_bytes(CONTENT)
        with pytest.raises(FileExistsError):
            await files.write_upload(stream(b"other"), folder / "there", 1000)
        assert (folder / "there").read_bytes() == CONTENT


async def test_work_waiting_in_line_is_taken_back_when_its_caller_goes_away(files: Files) -> None:
    go_on = threading.Event()
    busy = [asyncio.create_task(files._threads.run(go_on.wait, 5)) for _ in range(4)]
    done: list[int] = []
    waiting = asyncio.create_task(files._threads.run(done.append, 1))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await asyncio.gather(*busy)
    assert done == []


def test_sizes_are_told_in_words_people_use() -> None:
    assert module.readable(10 * 1024 * 1024) == "10 MB"
    assert module.readable(1536 * 1024) == "1.5 MB"
    assert module.readable(1000) == "1000 bytes"
