"""The text of audit log entries."""

from datetime import datetime
from typing import Any

from app.admin import audit_log
from app.audit.schemas import Action, Entry


def line(action: Action, **detail: Any) -> audit_log.AuditLine:
    entry = Entry(
        id="1",
        happened_at=datetime(2026, 11, 20, 12, 0),
        actor_id=None,
        actor_email="command line",
        action=action,
        subject=None,
        detail=detail,
    )
    return audit_log.line(entry)


def test_every_action_has_a_sentence() -> None:
    assert [*audit_log.SENTENCES] == [*Action]
    assert all(sentence for sentence, _ in audit_log.SENTENCES.values())


def test_the_line_of_an_entry_is_filled_in_from_its_detail() -> None:
    assert line(Action.USER_DELETED) == ("User deleted", "")
    assert line(Action.ROLE_CHANGED, role="admin") == ("Role changed", "to admin")
    assert line(Action.MODELS_REFRESHED, added=1, removed=2, changed=3).details == "1 added, 2 removed, 3 changed"
    purged = line(Action.JOBS_PURGED, count=3, older_than_days=90, statuses=["failed", "cancelled"])
    assert purged == ("Old jobs deleted", "3: failed or cancelled, ended more than 90 days earlier")
    assert line(Action.JOBS_PURGED, count=3, older_than_days=0, statuses=[]).details.startswith("3: all states,")
