"""The one clock: UTC without a zone, as the database keeps it."""

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """UTC, naive, whole microseconds."""
    return datetime.now(UTC).replace(tzinfo=None)


def after(seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds)


def unix(moment: datetime) -> float:
    """Seconds since 1970."""
    return moment.replace(tzinfo=UTC).timestamp()


def iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds, ending in Z: `2026-11-20T09:30:00.000Z`."""
    return moment.isoformat(timespec="milliseconds") + "Z"
