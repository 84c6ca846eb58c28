"""Test code that needs a separate process: because it is killed, limits the whole process, or tests what happens the first time
in a process.

Each function runs in a fork of a process without threads that has already imported everything, which takes a tenth of the time
of a new interpreter.
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
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import msgspec

from app.accounts.passwords import Passwords
from app.base import gc_tuning, loop_watchdog, malloc, struct_warmup
from app.base.disk_full import DiskFull
from app.db.database import DatabaseError
from app.db.duckdb.append_log import AppendLog
from app.db.duckdb.database import EmbeddedDatabase
from app.db.transaction import Transaction
from tests.base.notes import add_notes, note_ids, notes_database

get_temp_dir()  # chosen now: an application in this process moves temporary files into its data folder
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", __name__])  # a child imports what the parent's main module imports


async def run_in_child(function: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """Call a function of this module in a new process. Returns the exit code, negative for a signal, and the function's result."""
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
    """Add notes one by one, then several at once; kill this process at crash point number `at`, if there are that many. The file
    `acknowledged` lists the notes whose `add` has returned. Returns the number of crash points."""
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

    async def run() -> None:
        database = await notes_database(folder, segment_bytes=300, apply_after=0.001)
        for name in ("open", "write", "fdatasync", "fsync", "ftruncate"):
            watch(os, name)
        for name in ("insert_all", "execute", "flush"):
            watch(Transaction, name)
        watch(AppendLog, "mark_applied")
        watch(Path, "unlink")

        async def add(id: int) -> None:
            await database.insert_only(add_notes, id, id + 1000)
            print(id, file=acknowledged, flush=True)

        for id in range(6):
            await add(id)
            await asyncio.sleep(0.002)  # the note may or may not be in its table by then
        await asyncio.gather(*(add(id) for id in range(6, 12)))
        await database.read(note_ids)
        await database.close()

    with open(folder / "acknowledged", "w") as acknowledged:
        asyncio.run(run())
    return count


def add_on_a_full_disk(folder: Path) -> tuple[list[str], list[int]]:
    """Add notes while no file may grow, which is like a full disk. Returns the error messages and the notes stored at the end."""

    def log_size() -> int:
        [file] = folder.glob("*.append-*")
        return file.stat().st_size

    async def run() -> tuple[list[str], list[int]]:
        database = await notes_database(folder)
        await database.insert_only(add_notes, 1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        errors = []
        resource.setrlimit(resource.RLIMIT_FSIZE, (log_size() + 40, hard))
        for id in (2, 3):
            try:
                await database.insert_only(add_notes, id)
            except DiskFull as exc:
                errors.append(exc.message)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await database.insert_only(add_notes, 4)
        ids = await database.read(note_ids)
        await database.close()
        return errors, ids

    return asyncio.run(run())


def error_on_open(path: Path) -> str:
    """The error message of opening a database; empty when it succeeds."""
    try:
        EmbeddedDatabase(path)
    except DatabaseError as exc:
        return str(exc)
    return ""


def memory_growth_after_hashing(limited: bool) -> int:
    """The bytes by which a process has grown after hashing some passwords, with or without `malloc.limit_arenas`."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def hash_passwords() -> int:
        passwords = Passwords(memory_kib=19456, passes=2)
        before = resident()
        for _ in range(4):
            await passwords.hash("correct horse battery")
        return resident() - before

    if limited:
        malloc.limit_arenas()
    return asyncio.run(hash_passwords())


def garbage_after_startup() -> tuple[bool, bool, bool]:
    """Whether collections are on after `gc_tuning.freeze`, and whether they find garbage from before it and from after it."""

    class Cycle:
        def __init__(self) -> None:
            self.cycle = self

    gc_tuning.disable()
    before = weakref.ref(Cycle())
    gc_tuning.freeze()
    after = weakref.ref(Cycle())
    gc.collect()
    return gc.isenabled(), before() is None, after() is None


def read_frames_while_collecting() -> bool:
    """Read the frames of all threads while a collection starts and frees a `threading.local`. A process that hangs is
    killed after five minutes."""

    class Cycle:
        def __init__(self) -> None:
            self.cycle = self
            self.local = threading.local()
            self.local.value = 1

    signal.alarm(300)
    gc.set_threshold(1)
    for _ in range(100):
        gc.disable()
        Cycle()
        freed = [{"a": 1} for _ in range(10)]
        del freed  # so that the result needs no new memory and the first allocated object is a frame
        gc.enable()
        loop_watchdog.current_frames()
    return gc.isenabled()


def convert_structs_in_threads() -> tuple[int, int]:
    """Convert to every struct for the first time in four threads at once, in ten new processes. Returns the number of structs and
    of crashed processes."""
    import app.asgi  # noqa: F401 (defines the structs)

    struct_warmup.warm_up()
    # Two have a field of an unsupported type and are never converted to.
    known = sorted(
        {struct for struct in struct_warmup.struct_types() if struct.__name__ not in ("Settings", "Application")},
        key=repr,
    )
    sys.setswitchinterval(1e-6)

    def convert(barrier: threading.Barrier) -> None:
        for struct in known:
            barrier.wait()
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert(dict.fromkeys(struct.__struct_encode_fields__), struct)

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
