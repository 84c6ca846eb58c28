"""The data structures of the ledger."""

import enum

import msgspec


class Subject(enum.StrEnum):
    """A kind of work that costs money."""

    JOB = "job"
    ANSWER = "answer"
    CALL = "call"  # a request to a model that is part of other work, such as rewriting a prompt


class Month(msgspec.Struct, frozen=True):
    """The known costs of a user in one month (`2026-11`, UTC), the number of subjects, and how many have an unknown cost."""

    month: str
    spent_nano: int
    subjects: int
    unknown: int
