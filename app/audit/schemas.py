"""The data structures of the audit log."""

import enum
from datetime import datetime
from typing import Any

import msgspec


class Action(enum.StrEnum):
    """An admin's action. The comments name the keys of the entry's `detail`."""

    ROLE_CHANGED = "user.role_changed"  # role
    ACTIVATED = "user.activated"
    DEACTIVATED = "user.deactivated"
    USER_DELETED = "user.deleted"
    JOB_CANCELLED = "job.cancelled"
    JOB_RETRIED = "job.retried"  # new_job_id
    JOB_DELETED = "job.deleted"
    JOBS_PURGED = "jobs.purged"  # count, older_than_days, statuses: list, empty means all
    JOBS_TIMED_OUT = "jobs.timed_out"  # count
    MODELS_REFRESHED = "models.refreshed"  # added, removed, changed: counts
    MODEL_ENABLED = "model.enabled"
    MODEL_DISABLED = "model.disabled"
    MODEL_DEFAULT_CHANGED = "model.default_changed"  # forms: list, empty means none
    MODEL_DESCRIBED = "model.described"
    MODEL_ADDED = "model.added"
    MODEL_RESET = "model.reset"
    MODEL_REMOVED = "model.removed"
    TOKENS_PURGED = "tokens.purged"  # count
    PROVIDER_ADDED = "provider.added"
    PROVIDER_CHANGED = "provider.changed"  # fields: the names of those that changed
    PROVIDER_REMOVED = "provider.removed"
    PROMPT_CHANGED = "prompt.changed"  # a shared one of another user
    PROMPT_DELETED = "prompt.deleted"


class Actor(msgspec.Struct, frozen=True):
    """Who did it; no id means the command line."""

    id: str | None
    email: str


COMMAND_LINE = Actor(None, "command line")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One action. `subject` is the email of a user or the id of a job or model, the name of a provider or prompt, None when the action concerns many."""

    id: str
    happened_at: datetime
    actor_id: str | None
    actor_email: str
    action: Action
    subject: str | None
    detail: dict[str, Any] = {}
