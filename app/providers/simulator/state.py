"""What the simulator must still know after a kill: every job, every paid submit, every picture it was given.

Tests about money read `submits.jsonl`, so a submit is on the disk before anything is answered or made. Everything here
blocks: `stage.Stage` runs it in threads. Nothing is kept in process memory but the day totals of what was charged.
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

Kind = Literal["text", "image", "video"]
Phase = Literal["waiting", "running", "ended"]

TAIL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request. Its state at any moment follows from these times alone, so a restart changes nothing.

    Times are Unix seconds. `ends` is None for a job that never ends. `outcome` is the last state, in the persona's word.
    """

    id: str
    kind: Kind
    model: str
    prompt: str
    created: float
    runs: float
    ends: float | None
    outcome: str = "completed"
    seed: int
    cost: float
    usage: dict[str, Any] = {}
    request: dict[str, Any] = {}
    streamed: bool = False
    cancelled: bool = False

    def phase(self, now: float) -> Phase:
        """Where this job stands at `now`."""
        if now < self.runs:
            return "waiting"
        return "ended" if self.ends is not None and now >= self.ends else "running"


class Submit(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the submit log: a request that was accepted and will be worked on."""

    time: float
    endpoint: str
    model: str
    prompt: str
    id: str
    digest: str
    request: dict[str, Any]


def new_id(prefix: str, now: float) -> str:
    """An id of the form that OpenRouter gives: prefix, Unix second, twenty letters or digits."""
    return f"{prefix}-{int(now)}-{''.join(secrets.choice(TAIL) for _ in range(20))}"


class Memory:
    """Files under one folder. Every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips = folder / "clips"
        self._jobs = folder / "jobs"
        self._inputs = folder / "inputs"
        self._marks = folder / "marks"
        self._submits = folder / "submits.jsonl"
        self._redirects = folder / "redirects.jsonl"
        self._bills = folder / "bills.jsonl"
        self._calls = folder / "webhooks.jsonl"
        self._writing = threading.Lock()
        self._charged: dict[int, float] = {}
        self.secret = b""

    def open(self) -> None:
        """Make the folders, heal what a kill left half-written, and add up what was charged before."""
        for folder in (self.clips, self._jobs, self._inputs, self._marks):
            folder.mkdir(parents=True, exist_ok=True)
        for journal in (self._submits, self._redirects, self._bills, self._calls):
            _heal(journal)
        for leftover in self.folder.glob("*/*.part"):
            leftover.unlink(missing_ok=True)
        self._charged = {}
        for line in _lines(self._bills):
            self._count(**msgspec.json.decode(line))
        self.secret = self._keep_secret()

    # Jobs

    def save(self, job: Job) -> None:
        """Write the job so that a reader, and a kill, sees the old one or the new one and nothing between."""
        _write(self._jobs / f"{_plain(job.id)}.json", msgspec.json.encode(job))

    def job(self, id: str) -> Job | None:
        """The job, or None when it was never accepted here."""
        try:
            return msgspec.json.decode((self._jobs / f"{_plain(id)}.json").read_bytes(), type=Job)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    # Journals

    def log(self, submit: Submit) -> None:
        """Add one accepted submit; returns when it is on the disk."""
        self._append(self._submits, msgspec.json.encode(submit), durable=True)

    def submits(self) -> Iterator[bytes]:
        """Every accepted submit, oldest first, each as one line of JSON."""
        return _lines(self._submits)

    def log_visit(self, visit: dict[str, Any]) -> None:
        """Add one arrival at the address that plays another origin."""
        self._append(self._redirects, msgspec.json.encode(visit), durable=False)

    def visits(self) -> Iterator[bytes]:
        """Every arrival at the other origin, oldest first."""
        return _lines(self._redirects)

    def log_call(self, call: dict[str, Any]) -> None:
        """Add one try to say that a job has ended, and what was answered."""
        self._append(self._calls, msgspec.json.encode({"time": time.time(), **call}), durable=False)

    def calls(self) -> Iterator[bytes]:
        """Every such try, oldest first."""
        return _lines(self._calls)

    # Money

    def charge(self, cost: float) -> None:
        """Add to what the account has spent."""
        bill = {"time": time.time(), "cost": cost}
        self._append(self._bills, msgspec.json.encode(bill), durable=False)
        with self._writing:
            self._count(**bill)

    def spent(self, days: int | None = None) -> float:
        """What was charged in US dollars, in all or in the last `days` days, today included."""
        with self._writing:
            since = -1 if days is None else _day(time.time()) - days
            return round(sum(cost for day, cost in self._charged.items() if day > since), 8)

    def _count(self, time: float, cost: float) -> None:
        self._charged[_day(time)] = self._charged.get(_day(time), 0.0) + cost

    # What a request brought along

    def keep_input(self, data: bytes) -> str:
        """Keep the bytes of a reference picture and return their digest, by which `input` gives them back."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._inputs / digest
        if not path.exists():
            _write(path, data)
        return digest

    def input(self, digest: str) -> bytes:
        """The bytes kept under that digest. Raises FileNotFoundError."""
        return (self._inputs / _plain(digest)).read_bytes()

    # Faults that strike only once

    def first_time(self, *what: str) -> bool:
        """True the first time these words are said, false ever after, also across a restart."""
        name = hashlib.sha256("\0".join(what).encode()).hexdigest()
        try:
            (self._marks / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _append(self, journal: Path, line: bytes, *, durable: bool) -> None:
        with self._writing, journal.open("ab", buffering=0) as file:
            file.write(line + b"\n")
            if durable:
                os.fsync(file.fileno())

    def _keep_secret(self) -> bytes:
        path = self.folder / "secret"
        with suppress(FileNotFoundError):
            return path.read_bytes()
        _write(path, secrets.token_bytes(32))
        return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _heal(journal: Path) -> None:
    """End a line that a kill cut short, so that the next one does not grow onto it; readers skip the broken one."""
    journal.touch()
    with journal.open("rb+") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _lines(journal: Path) -> Iterator[bytes]:
    if not journal.exists():
        return
    with journal.open("rb") as file:
        for line in file:
            if _whole(line):
                yield line.rstrip()


def _whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return line.endswith(b"}\n")


def _plain(name: str) -> str:
    """The name when it cannot leave its folder; ids of ours are only letters, digits and dashes."""
    if not name.replace("-", "").isalnum() or not name.isascii() or len(name) > 100:
        raise ValueError(name)
    return name


def _day(moment: float) -> int:
    return int(moment // 86400)
