"""The shapes of upkeep."""

import hashlib
from typing import Final

import msgspec

FORMAT: Final = 1


class Invariant(msgspec.Struct, frozen=True):
    """What must never be found: `sql` answers with the ids of what is wrong, `fault` says it of one of them (`{id}`)."""

    fault: str
    sql: str


class Faults(msgspec.Struct, frozen=True):
    """What one question found: how many in all, and the first ids."""

    fault: str
    count: int
    ids: list[str]


class ReferencedFile(msgspec.Struct, frozen=True):
    """A file that the library names: its key, its size in bytes where that was written down, and one row that names it."""

    key: str
    bytes: int | None
    asset: str


class Applied(msgspec.Struct, frozen=True):
    """A migration that a database has been through."""

    name: str
    checksum: str


class Content(msgspec.Struct, frozen=True):
    """What a copy of the database holds: the rows of each table, its migrations, the files it names."""

    rows: dict[str, int]
    migrations: list[Applied]
    named: list[ReferencedFile]


class ManifestEntry(msgspec.Struct, frozen=True):
    """A file of a backup: its path in the backup, its size in bytes, the SHA-256 of its content in hex."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. It is written last, so a backup without one is not complete. `made_at` is the moment of which
    the backup is; `left_out` says which files it could not hold, because they were missing or damaged already; `secret`
    tells whether the secret key is in it; `seal` is the SHA-256 of all the rest."""

    format: int
    program: str
    made_at: str
    migrations: list[Applied]
    rows: dict[str, int]
    secret: bool
    files: list[ManifestEntry]
    left_out: list[str] = []
    seal: str = ""

    def sealed(self) -> "Manifest":
        return msgspec.structs.replace(self, seal=self._seal())

    @property
    def sound(self) -> bool:
        return self.seal == self._seal()

    def _seal(self) -> str:
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, seal=""))).hexdigest()


class CommandResult(msgspec.Struct, frozen=True):
    """What the person at the command line is told, and whether all is well."""

    ok: bool
    text: str
