"""The shapes of upkeep."""

import msgspec


class Question(msgspec.Struct, frozen=True):
    """What must never be found: `sql` answers with the ids of what is wrong, `fault` says it of one of them (`{id}`)."""

    fault: str
    sql: str


class Faults(msgspec.Struct, frozen=True):
    """What one question found: how many in all, and the first ids."""

    fault: str
    count: int
    ids: list[str]


class Named(msgspec.Struct, frozen=True):
    """A file that the library names: its key, its size in bytes where that was written down, and one row that names it."""

    key: str
    bytes: int | None
    asset: str
