"""API routes: health check and spending."""

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
    """Always `ok`; an unhealthy server responds with 503."""

    status: str


@get("/health", responses=error_responses(), summary="Health check", tags=["Health"])
async def health(request: Request[None, None, State], home: NamedDependency[Home]) -> Health:
    """Public, without details. Returns 503 when the database or a background task has failed."""
    tasks_alive: bool = request.app.state.background.alive
    if not (tasks_alive and await home.healthy()):
        raise Unready("The server is unhealthy. See its logs.")
    return Health("ok")


class MonthOut(msgspec.Struct, kw_only=True):
    """Spending of one `month`, such as `2026-11`: `subjects` is the number of jobs and chat responses, `unknown` the number
    of those whose cost is unknown."""

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
    """Months, newest first."""


@get(
    "/api/v1/users/me/spending",
    guards=[signed_in],
    responses=error_responses(400, 401),
    summary="Spending by month",
    tags=["Users"],
    security=BEARER,
)
async def spending(
    request: SignedIn,
    home: NamedDependency[Home],
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> Months:
    months = list(await home.months(request.user.id))
    return Months.of(paging.part_of(months, lambda month: month.month, paging.after(cursor), limit), MonthOut.of)


routes = [health, spending]
