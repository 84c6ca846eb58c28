"""The shapes of the ledger."""

import enum

import msgspec


class Subject(enum.StrEnum):
    """What costs something."""

    JOB = "job"
    ANSWER = "answer"


class Month(msgspec.Struct, frozen=True):
    """What a person spent in one month (`2026-11`, UTC), as far as costs are known, and on how many subjects."""

    month: str
    spent_nano: int
    subjects: int
    unknown: int


class Fault(msgspec.Struct, frozen=True):
    """A subject whose entries do not add up, and how."""

    subject_id: str
    what: str
