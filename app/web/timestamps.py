"""Timestamps of the API: naive UTC inside the application, ISO 8601 with a time zone outside.

Requests use `Timestamp`, which accepts any time zone but requires one, and `to_utc`; responses use `TimestampOut` and
`to_iso`.
"""

from datetime import UTC, datetime
from typing import Annotated, overload

import msgspec

from app.base.clock import iso
from app.base.errors import Invalid

Timestamp = Annotated[
    datetime,
    msgspec.Meta(tz=True, description="ISO 8601 with a time zone.", examples=["2026-11-20T09:30:00Z"]),
]
TimestampOut = Annotated[
    str,
    msgspec.Meta(
        description="ISO 8601 in UTC, with milliseconds.",
        examples=["2026-11-20T09:30:00.000Z"],
        extra_json_schema={"extra": {"format": "date-time"}},
    ),
]


@overload
def to_iso(moment: datetime) -> str: ...
@overload
def to_iso(moment: None) -> None: ...
@overload
def to_iso(moment: datetime | None) -> str | None: ...
def to_iso(moment: datetime | None) -> str | None:
    """A naive UTC time as an API timestamp."""
    return iso(moment) if moment else None


@overload
def to_utc(moment: datetime, field: str) -> datetime: ...
@overload
def to_utc(moment: None, field: str) -> None: ...
@overload
def to_utc(moment: datetime | None, field: str) -> datetime | None: ...
def to_utc(moment: datetime | None, field: str) -> datetime | None:
    """A timestamp from a request as naive UTC. Raises Invalid for `field` outside the years 1 to 9999."""
    try:
        return moment and moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        message = "must be a time between the years 1 and 9999"
        raise Invalid(f"`{field}` {message}.", fields={field: message}) from None
