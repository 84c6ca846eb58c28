"""Every moment on the way of a job at which something is about to be written or sent, or just was.

The program knows nothing of this: its own functions are wrapped from outside, in the process that is to be killed. Each
moment has a name that says whose it is and what happens, as in `clip: ticket written, not committed`; when the same comes
again it has a number behind it, as in `clip: store renamed #2`. A first run writes down which moments there are, every
other one is killed at one of them.
"""

import asyncio
import contextlib
import contextvars
import hashlib
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.base.database import Database
from app.jobs import service
from app.jobs.line import Line
from app.jobs.rounds import Rounds
from app.jobs.schemas import Job, Status
from app.jobs.worker import Worker
from app.library.schemas import Asset
from app.library.service import Library
from app.providers import client
from app.providers.connections import Connection
from app.providers.openrouter.provider import OpenRouter
from app.quota.service import Quota
from app.storage import files
from app.storage.files import Files
from app.storage.media import Media
from app.storage.threads import Threads

UPLOAD = "upload"
HELD_IN_LINE, HELD_AT_PROVIDER = "early", "unwanted"

# The verbs that write, by the name of the function, in the words of the matrix.
VERBS = {
    "_enqueue": "job",
    "_claim": "start",
    "_go_on": "state",
    "_fetched": "download",
    "_complete": "end",
    "_fail": "failure",
    "_again": "second try",
    "_cancel": "cancel",
    "_rescue": "rescue",
    "_come_late": "late end",
    "add": "asset",
}

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="")
doing: contextvars.ContextVar[str] = contextvars.ContextVar("doing", default="")


def label(prompt: str) -> str:
    """The name of a job in the matrix stands before the bar in its prompt."""
    return prompt.partition(" |")[0]


class _Cursor:
    """DuckDB's cursor, watched for the end of each commit."""

    def __init__(self, cursor: Any, meter: "Meter") -> None:
        self._cursor = cursor
        self._meter = meter

    def execute(self, sql: str, *parameters: Any) -> Any:
        result = self._cursor.execute(sql, *parameters)
        if sql == "commit":
            self._meter.committed()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class Meter:
    """Counts the moments as they come; writes them down, or kills this process at one of them."""

    def __init__(self, kill_at: str | None = None, record: Path | None = None) -> None:
        self._kill_at = kill_at
        self._record = record
        self._seen: Counter[str] = Counter()
        self._turn = threading.Lock()
        self._labels: dict[str, str] = {}
        self._unsaid: list[tuple[str, str]] = []  # written by the writer thread and not committed yet

    def reach(self, what: str, name: str | None = None) -> None:
        owner = whose.get() if name is None else name
        if not owner:  # nothing of a job's: the catalogue, a session
            return
        with self._turn:
            moment = f"{owner}: {what}"
            self._seen[moment] += 1
            if self._seen[moment] > 1:
                moment += f" #{self._seen[moment]}"
            if moment == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._record:
                with self._record.open("a") as file:
                    file.write(f"{moment}\n")

    def know(self, job: Job) -> str:
        self._labels[job.id] = label(job.prompt)
        return self._labels[job.id]

    def of(self, id: str) -> str:
        return self._labels.get(id, "")

    def wrap(self, holder: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Put `wrapper(original, …)` in the place of a function."""
        original = getattr(holder, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return wrapper(original, *args, **kwargs)

        setattr(holder, name, wrapped)

    # Transactions

    def watch_database(self) -> None:
        self.wrap(Database, "write", self._write)
        self.wrap(Database, "_commit", self._commit)

    async def _write(self, original: Any, base: Database, verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        what = VERBS.get(verb.__name__)
        owners = self._owners(args) if what else []
        for owner in owners:
            self.reach(f"{what} asked", owner)

        def run(tx: Any, *args: Any, **kwargs: Any) -> Any:
            result = verb(tx, *args, **kwargs)
            for owner in owners:
                self._unsaid.append((owner, str(what)))
                self.reach(f"{what} written, not committed", owner)
            return result

        result = await original(base, run, *args, **kwargs)
        for owner in owners:
            self.reach(f"{what} known", owner)
        return result

    def _owners(self, args: Sequence[Any]) -> list[str]:
        found = []
        for value in args:
            if isinstance(value, Job):
                return [self.know(value)]
            if isinstance(value, list) and value and isinstance(value[0], Asset):
                return [UPLOAD]
            if isinstance(value, list) and value and isinstance(value[0], str):
                found = [self.of(id) for id in value]
        return found

    def _commit(self, original: Any, base: Database, cursor: Any, batch: Any) -> None:
        self._unsaid.clear()
        original(base, cursor if isinstance(cursor, _Cursor) else _Cursor(cursor, self), batch)

    def committed(self) -> None:
        """In the writer thread, before anybody knows."""
        unsaid, self._unsaid = self._unsaid, []
        for owner, what in unsaid:
            self.reach(f"{what} committed", owner)

    # What is written inside a transaction

    def watch_ledger(self) -> None:
        def hold(original: Any, quota: Quota, tx: Any, owner: str, kind: Any, subject: str, *rest: Any) -> None:
            original(quota, tx, owner, kind, subject, *rest)
            self.reach("hold written", self.of(subject))

        def settle(original: Any, quota: Quota, tx: Any, owner: str, subject: str, *rest: Any) -> None:
            original(quota, tx, owner, subject, *rest)
            self.reach("settlement written", self.of(subject))

        def correct(original: Any, quota: Quota, tx: Any, owner: str, kind: Any, subject: str, *rest: Any) -> None:
            original(quota, tx, owner, kind, subject, *rest)
            self.reach("correction written", self.of(subject))

        def add(original: Any, library: Library, tx: Any, owner: str, assets: Sequence[Asset]) -> None:
            original(library, tx, owner, assets)
            for asset in assets:
                self.reach("asset written", self.of(asset.job_id or ""))

        self.wrap(Quota, "hold", hold)
        self.wrap(Quota, "settle", settle)
        self.wrap(Quota, "correct", correct)
        self.wrap(Library, "add", add)

    # Files

    def watch_files(self) -> None:
        self.wrap(Threads, "run", self._in_thread)
        self.wrap(Threads, "finish", self._in_thread)
        self.wrap(Files, "store", self._around("store"))
        self.wrap(Files, "_remove", self._around("file removal"))
        self.wrap(Media, "inspect", self._after("looked at"))
        self.wrap(Media, "clean", self._after("cleaned"))
        self.wrap(Media, "thumbnail", self._after("thumbnail made"))
        self.wrap(files, "_sync", self._after("folder synced"))
        self.wrap(Path, "replace", self._rename)

        def digest(*args: Any) -> Any:
            found = hashlib.file_digest(*args)
            self.reach("store hashed")
            return found

        setattr(files, "hashlib", SimpleNamespace(file_digest=digest))  # noqa: B010
        folder = Files.folder

        @asynccontextmanager
        async def watched(store: Files) -> AsyncIterator[Path]:
            async with folder(store) as path:
                self.reach("folder made")
                yield path
                self.reach("folder to be removed")
            self.reach("folder removed")

        setattr(Files, "folder", watched)  # noqa: B010

    def _in_thread(self, original: Any, threads: Threads, work: Any, *args: Any, **kwargs: Any) -> Any:
        context = contextvars.copy_context()
        return original(threads, lambda: context.run(work, *args, **kwargs))

    def _around(self, what: str) -> Callable[..., Any]:
        def call(original: Any, *args: Any, **kwargs: Any) -> Any:
            self.reach(f"{what} asked")
            result = original(*args, **kwargs)
            if asyncio.iscoroutine(result):
                return self._then(result, f"{what} done")
            self.reach(f"{what} done")
            return result

        return call

    def _after(self, what: str) -> Callable[..., Any]:
        def call(original: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if asyncio.iscoroutine(result):
                return self._then(result, what)
            self.reach(what)
            return result

        return call

    async def _then(self, work: Any, what: str) -> Any:
        result = await work
        self.reach(what)
        return result

    def _rename(self, original: Any, path: Path, target: Path) -> Path:
        stored = target.parent.parent.parent.name == "media"
        if stored:
            self.reach("store synced")
        result: Path = original(path, target)
        if stored:
            self.reach("store renamed")
        return result

    # The provider

    def watch_provider(self) -> None:
        for verb in ("submit", "poll"):
            self.wrap(OpenRouter, verb, self._asked(verb))
        self.wrap(client, "connect", self._on_the_way("connected"))
        self.wrap(Connection, "send", self._on_the_way("sent"))
        self.wrap(Connection, "answered", self._on_the_way("answer begun"))
        self.wrap(Connection, "pieces", self._pieces)

    def _asked(self, verb: str) -> Callable[..., Any]:
        async def call(original: Any, *args: Any) -> Any:
            token = doing.set(verb)
            try:
                self.reach(f"{verb} begins")
                outcome = await original(*args)
                self.reach(f"{verb} answered")
                return outcome
            finally:
                doing.reset(token)

        return call

    def _on_the_way(self, what: str) -> Callable[..., Any]:
        async def call(original: Any, *args: Any, **kwargs: Any) -> Any:
            result = await original(*args, **kwargs)
            if doing.get():
                self.reach(f"{doing.get()} {what}")
            return result

        return call

    async def _pieces(self, original: Any, connection: Connection) -> AsyncIterator[bytes]:
        async with aclosing(original(connection)) as pieces:
            async for piece in pieces:
                yield piece
        if doing.get():
            self.reach(f"{doing.get()} answer read")

    # Whose work it is

    def watch_jobs(self) -> None:
        async def guarded(original: Any, worker: Worker, job: Job, work: Any) -> None:
            whose.set(self.know(job))
            await original(worker, job, work)

        async def upload(original: Any, library: Library, *args: Any) -> Any:
            token = whose.set(UPLOAD)
            try:
                return await original(library, *args)
            finally:
                whose.reset(token)

        async def sweep(original: Any, library: Library) -> Any:
            whose.set("start")
            self.reach("orphans to be swept")
            result = await original(library)
            self.reach("orphans swept")
            whose.set("")
            return result

        async def clear(original: Any, store: Files) -> None:
            self.reach("temporary folder to be cleared", "start")
            await original(store)
            self.reach("temporary folder cleared", "start")

        self.wrap(Worker, "_guarded", guarded)
        self.wrap(Library, "upload", upload)
        self.wrap(Library, "_sweep_orphans", sweep)
        self.wrap(Files, "clear_temporary", clear)

    # The story waits where it must come out the same each time

    def hold(self) -> None:
        """Two jobs go on when the person has cancelled them, and not before."""

        def line_up(original: Any, line: Line, job: Job) -> None:
            if label(job.prompt) != HELD_IN_LINE:
                original(line, job)

        def go_round(original: Any, rounds: Rounds, job: Job) -> None:
            if label(job.prompt) != HELD_AT_PROVIDER or job.status is Status.CANCELLED:
                original(rounds, job)

        self.wrap(Line, "put", line_up)
        self.wrap(Rounds, "put", go_round)

    def watch(self) -> None:
        self.watch_database()
        self.watch_ledger()
        self.watch_files()
        self.watch_provider()
        self.watch_jobs()


def hurry() -> None:
    """What is put off is due at once: the matrix is about order, not about time."""
    service.FIRST_WAIT = 0.01  # type: ignore[misc]


def moments(record: Path) -> list[str]:
    """What a recording run wrote down, in its order."""
    with contextlib.suppress(FileNotFoundError):
        return record.read_text().splitlines()
    return []
