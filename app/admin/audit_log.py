"""Text for audit log entries: the only place where action codes become sentences."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.audit.schemas import Action, Entry

# For each action a sentence and its details; both are templates that are filled in from the entry's `detail`.
SENTENCES: Final[Mapping[Action, tuple[str, str]]] = {
    Action.ROLE_CHANGED: ("Role changed", "to {role}"),
    Action.ACTIVATED: ("User activated", ""),
    Action.DEACTIVATED: ("User deactivated", ""),
    Action.USER_DELETED: ("User deleted", ""),
    Action.JOB_CANCELLED: ("Job cancelled", ""),
    Action.JOB_RETRIED: ("Job retried", "as {new_job_id}"),
    Action.JOB_DELETED: ("Job deleted", ""),
    Action.JOBS_PURGED: ("Old jobs deleted", "{count}: {statuses}, ended more than {older_than_days} days earlier"),
    Action.JOBS_TIMED_OUT: ("Overdue jobs marked as timed out", "{count}"),
    Action.MODELS_REFRESHED: ("Models refreshed", "{added} added, {removed} removed, {changed} changed"),
    Action.MODEL_ENABLED: ("Model enabled", ""),
    Action.MODEL_DISABLED: ("Model disabled", ""),
    Action.MODEL_DEFAULT_CHANGED: ("Default model changed", "for {forms}"),
    Action.MODEL_DESCRIBED: ("Model description saved", ""),
    Action.MODEL_ADDED: ("Model added", ""),
    Action.MODEL_RESET: ("Model description reset", ""),
    Action.MODEL_REMOVED: ("Model removed", ""),
    Action.TOKENS_PURGED: ("Expired and revoked tokens deleted", "{count}"),
    Action.PROVIDER_ADDED: ("Provider added", ""),
    Action.PROVIDER_CHANGED: ("Provider changed", "{fields}"),
    Action.PROVIDER_REMOVED: ("Provider removed", ""),
    Action.PROMPT_CHANGED: ("Shared prompt changed", ""),
    Action.PROMPT_DELETED: ("Shared prompt deleted", ""),
}


class AuditLine(NamedTuple):
    """An entry as text: what was done, and details, which may be empty."""

    sentence: str
    details: str


def line(entry: Entry) -> AuditLine:
    """The text of an entry. KeyError if its detail does not match its action."""
    values = dict(entry.detail)
    if "statuses" in values:
        values["statuses"] = " or ".join(values["statuses"]) or "all states"
    if "forms" in values:
        values["forms"] = ", ".join(form.replace("_", " ") for form in values["forms"]) or "nothing"
    if "fields" in values:
        values["fields"] = ", ".join(field.replace("_", " ") for field in values["fields"])
    sentence, details = SENTENCES[entry.action]
    return AuditLine(sentence.format_map(values), details.format_map(values))
