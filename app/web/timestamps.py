"""Times at the API's door: inside they are UTC without a zone, outside ISO 8601 ending in Z.

In bodies they are `Moment`, where any zone is taken and none is an error, and `kept` turns them into ours; in answers they
are `Shown`, which `shown` makes of ours.
"""

from datetime import UTC, datetime
from typing import Annotated, overload

import msgspec

from app.base.clock import iso
from app.base.errors import Invalid

Timestamp = Annotated[
    datetime,
    msgspec.Meta(tz=True, description="ISO 8601 with a zone.", examples=["2026-11-20T09:30:00Z"]),
]
Shown = Annotated[
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
    """Outwards, like every time that a program is told."""
    return iso(moment) if moment else None


@overload
def to_utc(moment: datetime, field: str) -> datetime: ...
@overload
def to_utc(moment: None, field: str) -> None: ...
@overload
def to_utc(moment: datetime | None, field: str) -> datetime | None: ...
def to_utc(moment: datetime | None, field: str) -> datetime | None:
    """Inwards, what stands in `field`: UTC without a zone; Invalid beyond the years 1 to 9999."""
    try:
        return moment and moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise Invalid("There is no such time.", fields={field: "There is no such time."}) from None
