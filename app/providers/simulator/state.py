"""State that survives a kill of the simulator: jobs, the log of paid submits, and the reference images it received.

Tests about money read `submits.jsonl`, so a submit is synced to disk before it is answered or processed. Everything here
blocks; `runtime.Runtime` runs it in threads. Only the daily cost totals are kept in memory.
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

from app.base.data_dir import fsync_path

Kind = Literal["text", "image", "video", "embeddings", "speech", "transcription", "moderation"]
Phase = Literal["waiting", "running", "ended"]

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class SimulatedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request. Its state is derived from these times and the clock, so a restart changes nothing.

    Times are Unix seconds. `ends_at` is None for a job that never ends. `outcome` is the final state as the simulated
    service names it.
    """

    id: str
    kind: Kind
    model: str
    prompt: str
    created_at: float
    starts_at: float
    ends_at: float | None
    outcome: str = "completed"
    seed: int
    cost: float
    usage: dict[str, Any] = {}
    request: dict[str, Any] = {}
    streamed: bool = False
    cancelled: bool = False

    def phase(self, now: float) -> Phase:
        """The phase of this job at `now`."""
        if now < self.starts_at:
            return "waiting"
        return "ended" if self.ends_at is not None and now >= self.ends_at else "running"


class SubmitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the submit log: a request that was accepted for processing."""

    time: float
    endpoint: str
    model: str
    prompt: str
    id: str
    digest: str
    request: dict[str, Any]


def new_id(prefix: str, now: float) -> str:
    """An id in OpenRouter's format: prefix, Unix seconds, twenty letters or digits."""
    return f"{prefix}-{int(now)}-{''.join(secrets.choice(ID_ALPHABET) for _ in range(20))}"


class JobStore:
    """Files under one folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.videos = folder / "videos"
        self._jobs = folder / "jobs"
        self._inputs = folder / "inputs"
        self._marks = folder / "marks"
        self._submits = folder / "submits.jsonl"
        self._redirects = folder / "redirects.jsonl"
        self._bills = folder / "bills.jsonl"
        self._webhooks = folder / "webhooks.jsonl"
        self._lock = threading.Lock()
        self._charged: dict[int, float] = {}
        self.secret = b""

    def open(self) -> None:
        """Create the folders, repair or delete incomplete files, and sum up earlier charges."""
        for folder in (self.videos, self._jobs, self._inputs, self._marks):
            folder.mkdir(parents=True, exist_ok=True)
        for log in (self._submits, self._redirects, self._bills, self._webhooks):
            _repair(log)
        for leftover in self.folder.glob("*/*.part"):
            leftover.unlink(missing_ok=True)
        self._charged = {}
        for line in _lines(self._bills):
            self._count(**msgspec.json.decode(line))
        self.secret = self._load_secret()

    # Jobs

    def save(self, job: SimulatedJob) -> None:
        """Write the job atomically: a reader, or a restart after a kill, sees either the old or the new version."""
        _write(self._jobs / f"{_safe_name(job.id)}.json", msgspec.json.encode(job))

    def job(self, id: str) -> SimulatedJob | None:
        """The job, or None if there is no job with this id."""
        try:
            return msgspec.json.decode((self._jobs / f"{_safe_name(id)}.json").read_bytes(), type=SimulatedJob)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    # Logs

    def log_submit(self, submit: SubmitRecord) -> None:
        """Append an accepted submit; returns once it is synced to disk."""
        self._append(self._submits, msgspec.json.encode(submit), durable=True)

    def submits(self) -> Iterator[bytes]:
        """All accepted submits, oldest first, one line of JSON each."""
        return _lines(self._submits)

    def log_visit(self, request: dict[str, Any]) -> None:
        """Append a request that arrived at the other origin."""
        self._append(self._redirects, msgspec.json.encode(request), durable=False)

    def visits(self) -> Iterator[bytes]:
        """All requests that arrived at the other origin, oldest first."""
        return _lines(self._redirects)

    def log_webhook(self, attempt: dict[str, Any]) -> None:
        """Append one delivery attempt of a webhook, with the status of the response."""
        self._append(self._webhooks, msgspec.json.encode({"time": time.time(), **attempt}), durable=False)

    def webhook_attempts(self) -> Iterator[bytes]:
        """All delivery attempts, oldest first."""
        return _lines(self._webhooks)

    # Money

    def charge(self, cost: float) -> None:
        """Add to the total that the account has spent."""
        bill = {"time": time.time(), "cost": cost}
        self._append(self._bills, msgspec.json.encode(bill), durable=False)
        with self._lock:
            self._count(**bill)

    def spent(self, days: int | None = None) -> float:
        """US dollars charged in total, or in the last `days` days including today."""
        with self._lock:
            since = -1 if days is None else _day(time.time()) - days
            return round(sum(cost for day, cost in self._charged.items() if day > since), 8)

    def _count(self, time: float, cost: float) -> None:
        self._charged[_day(time)] = self._charged.get(_day(time), 0.0) + cost

    # Inputs

    def save_input(self, data: bytes, name: str | None = None) -> str:
        """Save the bytes of a reference image and return their name: their SHA-256 digest, unless another is given."""
        name = name or hashlib.sha256(data).hexdigest()
        path = self._inputs / _safe_name(name)
        if not path.exists():
            _write(path, data)
        return name

    def read_input(self, name: str) -> bytes:
        """The bytes saved under this name. Raises FileNotFoundError."""
        return (self._inputs / _safe_name(name)).read_bytes()

    # Faults that occur only once

    def first_time(self, *key: str) -> bool:
        """True for the first call with this key and false for every later one, also after a restart."""
        name = hashlib.sha256("\0".join(key).encode()).hexdigest()
        try:
            (self._marks / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _append(self, log: Path, line: bytes, *, durable: bool) -> None:
        with self._lock, log.open("ab", buffering=0) as file:
            file.write(line + b"\n")
            if durable:
                os.fsync(file.fileno())

    def _load_secret(self) -> bytes:
        path = self.folder / "secret"
        with suppress(FileNotFoundError):
            return path.read_bytes()
        _write(path, secrets.token_bytes(32))
        return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
    try:
        part.write_bytes(data)
        fsync_path(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _repair(log: Path) -> None:
    """Terminate a line that a kill cut short, so that the next one starts on its own line. Readers skip the broken line."""
    log.touch()
    with log.open("rb+") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _lines(log: Path) -> Iterator[bytes]:
    if not log.exists():
        return
    with log.open("rb") as file:
        for line in file:
            if _is_complete(line):
                yield line.rstrip()


def _is_complete(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return line.endswith(b"}\n")


def _safe_name(name: str) -> str:
    """The name, if it cannot escape its folder: our ids contain only letters, digits and dashes."""
    if not name.replace("-", "").isalnum() or not name.isascii() or len(name) > 100:
        raise ValueError(name)
    return name


def _day(timestamp: float) -> int:
    return int(timestamp // 86400)
