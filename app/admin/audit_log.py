"""The audit log for people: the one place where the codes of actions become sentences."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.audit.schemas import Action, Entry

# For each action a sentence and its details, both filled in from the entry's detail.
SENTENCES: Final[Mapping[Action, tuple[str, str]]] = {
    Action.ROLE_CHANGED: ("Role changed", "to {role}"),
    Action.ACTIVATED: ("User activated", ""),
    Action.DEACTIVATED: ("User deactivated", ""),
    Action.USER_DELETED: ("User deleted", ""),
    Action.JOB_CANCELLED: ("Job cancelled", ""),
    Action.JOB_RETRIED: ("Job retried", "as {new_job_id}"),
    Action.JOB_DELETED: ("Job deleted", ""),
    Action.JOBS_PURGED: ("Old jobs deleted", "{count}: {statuses}, ended more than {older_than_days} days before"),
    Action.JOBS_TIMED_OUT: ("Overdue jobs marked as timed out", "{count}"),
    Action.MODELS_REFRESHED: ("Models refreshed", "{added} added, {removed} removed, {changed} changed"),
    Action.MODEL_ENABLED: ("Model enabled", ""),
    Action.MODEL_DISABLED: ("Model disabled", ""),
    Action.TOKENS_PURGED: ("Expired and revoked tokens deleted", "{count}"),
}


class Line(NamedTuple):
    """An entry in text: what was done, and details that may be empty."""

    sentence: str
    details: str


def line(entry: Entry) -> Line:
    """What the page says about this entry. Raises KeyError when its detail does not fit its action."""
    values = dict(entry.detail)
    if "statuses" in values:
        values["statuses"] = " or ".join(values["statuses"]) or "all states"
    sentence, details = SENTENCES[entry.action]
    return Line(sentence.format_map(values), details.format_map(values))
