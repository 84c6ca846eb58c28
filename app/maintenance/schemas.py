"""Data types of backup, restore and the doctor."""

import hashlib
from typing import Final

import msgspec

from app.db.transaction import Tables

FORMAT: Final = 1


class Invariant(msgspec.Struct, frozen=True):
    """A check that must find nothing: `sql` selects the ids of violating rows, `message` describes one of them (`{id}`).
    `tables` are those that it reads."""

    tables: Tables
    message: str
    sql: str


class Violations(msgspec.Struct, frozen=True):
    """The violations of one invariant: their count and the first ids."""

    message: str
    count: int
    ids: list[str]


class ReferencedFile(msgspec.Struct, frozen=True):
    """A stored file that the library references: its key, its size in bytes if known, and one asset that references it."""

    key: str
    bytes: int | None
    asset: str


class AppliedMigration(msgspec.Struct, frozen=True):
    """A migration that was applied to a database."""

    name: str
    checksum: str


class DatabaseContent(msgspec.Struct, frozen=True):
    """The content of a database copy: row counts by table, migrations, and referenced files."""

    rows: dict[str, int]
    migrations: list[AppliedMigration]
    referenced: list[ReferencedFile]


class ManifestEntry(msgspec.Struct, frozen=True):
    """A file of a backup: its path in the backup, size in bytes, and SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a backup. It is written last, so a backup without a manifest is incomplete. `made_at` is the time of
    the database copy; `left_out` lists files that were missing or damaged already; `secret` says whether the secret key
    is included; `seal` is the SHA-256 of the other fields."""

    format: int
    program: str
    made_at: str
    migrations: list[AppliedMigration]
    rows: dict[str, int]
    secret: bool
    files: list[ManifestEntry]
    left_out: list[str] = []
    seal: str = ""

    def sealed(self) -> "Manifest":
        return msgspec.structs.replace(self, seal=self._seal())

    @property
    def intact(self) -> bool:
        return self.seal == self._seal()

    def _seal(self) -> str:
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, seal=""))).hexdigest()


class CommandResult(msgspec.Struct, frozen=True):
    """The output of a command, and whether it succeeded."""

    ok: bool
    text: str
