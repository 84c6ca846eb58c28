"""The shapes of the audit log."""

import enum
from datetime import datetime

import msgspec


class Action(enum.StrEnum):
    """What an admin can do to others."""

    ROLE = "role changed"
    ACTIVATED = "activated"
    DEACTIVATED = "deactivated"
    PERSON_DELETED = "person deleted"
    JOB_CANCELLED = "job cancelled"
    JOB_RETRIED = "job retried"
    JOB_DELETED = "job deleted"
    JOBS_PURGED = "jobs purged"
    JOBS_TIMED_OUT = "jobs marked as timed out"
    MODELS_REFRESHED = "models refreshed"
    MODEL_ON = "model switched on"
    MODEL_OFF = "model switched off"
    TOKENS_PURGED = "tokens purged"


class Actor(msgspec.Struct, frozen=True):
    """Who did it; without an id it was done on the machine itself."""

    id: str | None
    email: str


COMMAND_LINE = Actor(None, "command line")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line: `subject` names what it was done to, `note` says more."""

    id: str
    happened_at: datetime
    actor_id: str | None
    actor_email: str
    action: Action
    subject: str
    note: str
