"""The text of a job's timeline: the one place that turns event codes into sentences."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from app.jobs.schemas import CancelStage, EventType, JobEvent

# For each event a sentence and a remark; both are templates filled from the event's detail.
SENTENCES: Final[Mapping[EventType, tuple[str, str]]] = {
    EventType.QUEUED: ("Queued", ""),
    EventType.STARTED: ("Started", "attempt {attempt}"),
    EventType.RESULT_REQUESTED: ("Started", "asking the provider for the result that was already paid for"),
    EventType.SUBMITTED: ("Submitted to the provider", "status: {state}"),
    EventType.PROGRESSED: ("Provider status changed", "to {state}"),
    EventType.DOWNLOADED: ("Result downloaded", ""),
    EventType.RETRY_SCHEDULED: ("Retry scheduled for {run_at:%H:%M:%S}", "{message}"),
    EventType.PAUSED: ("Paused", ""),
    EventType.RESUMED: ("Resumed", ""),
    EventType.MOVED: ("Moved to {to_provider}", "{from_provider} could not be reached; nothing was sent"),
    EventType.RECOVERED: ("Resumed after a restart", ""),
    EventType.COMPLETED: ("Completed", ""),
    EventType.FAILED: ("Failed", "{message}"),
    EventType.CANCEL_REQUESTED: ("Cancellation requested from the provider", ""),
    EventType.CANCELLED: ("Cancelled", "{stage}"),
    EventType.LATE_RESULT_RECORDED: ("Result received after the cancellation and kept", ""),
    EventType.FOLLOW_UP_ENDED: ("Nothing more is expected from the provider", ""),
}
CANCEL_STAGES: Final[Mapping[CancelStage, str]] = {
    CancelStage.NOT_SUBMITTED: "before it was submitted",
    CancelStage.SUBMITTED: "after it was submitted; it may still be charged",
    CancelStage.STOPPED: "the provider was asked to stop",
    CancelStage.FINISHED: "the result had already arrived and was discarded",
}


class TimelineEntry(NamedTuple):
    """An event as text: what happened, and a remark that may be empty."""

    sentence: str
    remark: str


def entry(event: JobEvent) -> TimelineEntry:
    """The text of an event. Raises KeyError or ValueError if its detail does not match its code."""
    values = dict(event.detail)
    if "stage" in values:
        values["stage"] = CANCEL_STAGES[CancelStage(values["stage"])]
    if "state" in values:
        values["state"] = values["state"].replace("_", " ")
    if "run_at" in values:
        values["run_at"] = datetime.fromisoformat(values["run_at"])
    sentence, remark = SENTENCES[event.event]
    return TimelineEntry(sentence.format_map(values), remark.format_map(values))
