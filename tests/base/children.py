"""Programs that need a process of their own: because they are killed, because they limit the whole process, or because they are
about what happens in a process for the first time.

Each runs in a child of a process without threads that has imported everything already, which costs a tenth of a new interpreter.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import msgspec

from app.accounts.passwords import Passwords
from app.base import loop_watchdog, malloc, struct_warmup
from app.db.database import Database, DatabaseError, NoRoom, Transaction
from app.db.duckdb.append_log import AppendLog
from tests.base.notes import add_notes, note_ids, notes_database

get_temp_dir()  # chosen now: a program that runs in this process moves temporary files into its data folder
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", __name__])  # a child imports what the parent's main module imports


async def run_in_child(function: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """Call a function of this module in a new process: its exit code, negative for a signal, and what the function returned."""
    return await asyncio.to_thread(_run_in_child, function, arguments)


def _run_in_child(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[int, Any]:
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_call_and_send, args=(sender, function, arguments))
    process.start()
    sender.close()
    with receiver:
        try:
            result = receiver.recv()
        except EOFError:
            result = None
    process.join()
    code = process.exitcode
    process.close()
    assert code is not None
    return code, result


def _call_and_send(sender: "Connection[Any, Any]", function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(function(*arguments))


def add_until_killed(folder: Path, at: int) -> int:
    """Add one note after the other, then several at once; be killed at crash point number `at`, if there are so many. The file
    `acknowledged` lists what `add` has returned from. Returns how many crash points there were."""
    folder.mkdir()
    count = 0

    def crash_point() -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            crash_point()
            result = original(*args, **kwargs)
            crash_point()
            return result

        setattr(owner, name, call)

    async def live() -> None:
        database = await notes_database(folder, segment=300, take_in=0.001)
        for name in ("open", "write", "fdatasync", "fsync", "ftruncate"):
            watch(os, name)
        for name in ("insert_all", "execute", "finish"):
            watch(Transaction, name)
        watch(AppendLog, "taken")
        watch(Path, "unlink")

        async def add(id: int) -> None:
            await database.add(add_notes, id, id + 1000)
            print(id, file=acknowledged, flush=True)

        for id in range(6):
            await add(id)
            await asyncio.sleep(0.002)  # sometimes the note is in its table by then, and sometimes not
        await asyncio.gather(*(add(id) for id in range(6, 12)))
        await database.read(note_ids)
        await database.close()

    with open(folder / "acknowledged", "w") as acknowledged:
        asyncio.run(live())
    return count


def add_on_a_full_disk(folder: Path) -> tuple[list[str], list[int]]:
    """Add notes while no file may grow, which is like a disk without space; the refusals, and the notes that are there in the
    end."""

    def journal_size() -> int:
        [file] = folder.glob("*.journal-*")
        return file.stat().st_size

    async def run() -> tuple[list[str], list[int]]:
        database = await notes_database(folder)
        await database.add(add_notes, 1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        refused = []
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal_size() + 40, hard))
        for id in (2, 3):
            try:
                await database.add(add_notes, id)
            except NoRoom as exc:
                refused.append(exc.message)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await database.add(add_notes, 4)
        ids = await database.read(note_ids)
        await database.close()
        return refused, ids

    return asyncio.run(run())


def refusal_to_open(path: Path) -> str:
    """The message with which a database cannot be opened; empty when it can."""
    try:
        Database(path)
    except DatabaseError as exc:
        return str(exc)
    return ""


def memory_kept_after_hashing(keep_less: bool) -> int:
    """The bytes by which a process has grown after hashing some passwords."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def hash_passwords() -> int:
        passwords = Passwords(memory_kib=19456, passes=2)
        before = resident()
        for _ in range(4):
            await passwords.hash("correct horse battery")
        return resident() - before

    if keep_less:
        malloc.limit_arenas()
    return asyncio.run(hash_passwords())


def read_frames_while_collecting() -> bool:
    """Read the frames of all threads while a collection starts and frees a `threading.local`. A process that stands still is
    killed after five minutes."""

    class Cycle:
        def __init__(self) -> None:
            self.itself = self
            self.local = threading.local()
            self.local.value = 1

    signal.alarm(300)
    gc.set_threshold(1)
    for _ in range(100):
        gc.disable()
        Cycle()
        freed = [{"a": 1} for _ in range(10)]
        del freed  # so the result needs no new memory, and the first object that is allocated is a frame
        gc.enable()
        loop_watchdog.current_frames()
    return gc.isenabled()


def convert_structs_in_threads() -> tuple[int, int]:
    """Convert to every struct of the program for the first time in four threads at once, ten times in a new process: how many
    structs there are, and how many of the processes have crashed."""
    import app.main  # noqa: F401 (defines the structs)

    struct_warmup.warm_up()
    # Two have a field that nothing can be converted to, and nothing is.
    known = sorted(
        {shape for shape in struct_warmup.struct_types() if shape.__name__ not in ("Settings", "Program")}, key=repr
    )
    sys.setswitchinterval(1e-6)

    def convert(barrier: threading.Barrier) -> None:
        for shape in known:
            barrier.wait()
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert(dict.fromkeys(shape.__struct_encode_fields__), shape)

    crashed = 0
    for _ in range(10):
        child = os.fork()
        if not child:
            barrier = threading.Barrier(4)
            threads = [threading.Thread(target=convert, args=[barrier]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(0)
        crashed += os.waitpid(child, 0)[1] != 0
    return len(known), crashed
