"""Whether the program is well, for whoever watches it."""

from typing import Self

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from app.accounts.guards import SignedIn, signed_in
from app.base.errors import Unready
from app.base.money import usd
from app.home.service import Home
from app.ledger.schemas import Month
from app.web import paging
from app.web.openapi import BEARER, error_responses


class Health(msgspec.Struct):
    """`ok`, as long as there is an answer at all."""

    status: str


@get("/health", responses=error_responses(), summary="Whether the program is well", tags=["Health"])
async def health(request: Request[None, None, State], home: NamedDependency[Home]) -> Health:
    """Public, and without details: 503 when the database or a loop is dead."""
    loops_alive: bool = request.app.state.background.alive
    if not (loops_alive and await home.well()):
        raise Unready("Something here is out of order.")
    return Health("ok")


class MonthOut(msgspec.Struct, kw_only=True):
    """One month, as `2026-11`: what was spent as far as it is known, on how many jobs and answers, and of how many the
    cost was never told."""

    month: str
    spent_usd: str
    subjects: int
    unknown: int

    @classmethod
    def of(cls, month: Month) -> Self:
        return cls(
            month=month.month,
            spent_usd=usd(month.spent_nano) or "0",
            subjects=month.subjects,
            unknown=month.unknown,
        )


class Months(paging.PageOut[MonthOut]):
    """Months, the newest first."""


@get(
    "/api/v1/users/me/spending",
    guards=[signed_in],
    responses=error_responses(400, 401),
    summary="What you spent, month by month",
    tags=["People"],
    security=BEARER,
)
async def spending(
    request: SignedIn,
    home: NamedDependency[Home],
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> Months:
    found = list(await home.months(request.user.id))
    return Months.of(paging.part_of(found, lambda month: month.month, paging.after(cursor), limit), MonthOut.of)


routes = [health, spending]
