"""Times at the API's door: inside they are UTC without a zone, outside ISO 8601 ending in Z.

Fields of API structs are `Moment` (in bodies too, where any zone is taken and none is an error); `shown` and `kept` turn
one kind into the other.
"""

from datetime import UTC, datetime
from typing import Annotated, overload

import msgspec

from app.base.errors import Invalid

Moment = Annotated[
    datetime,
    msgspec.Meta(tz=True, description="ISO 8601 with a zone; answers are in UTC.", examples=["2026-11-20T09:30:00Z"]),
]


@overload
def shown(moment: datetime) -> datetime: ...
@overload
def shown(moment: None) -> None: ...
@overload
def shown(moment: datetime | None) -> datetime | None: ...
def shown(moment: datetime | None) -> datetime | None:
    """Outwards: with its zone, in whole milliseconds. msgspec writes it with a Z."""
    return moment and moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)


@overload
def kept(moment: datetime) -> datetime: ...
@overload
def kept(moment: None) -> None: ...
@overload
def kept(moment: datetime | None) -> datetime | None: ...
def kept(moment: datetime | None) -> datetime | None:
    """Inwards: UTC without a zone; Invalid beyond the years 1 to 9999."""
    try:
        return moment and moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise Invalid("There is no such time.") from None
