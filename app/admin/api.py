"""The administration API. It includes deleting a user, because that affects every feature."""

from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from app.accounts.guards import SignedIn, unlimited
from app.accounts.guards import admin as admins
from app.admin.schemas import DatabaseHealth, OwnedJob
from app.admin.service import Admin
from app.audit.schemas import Action, Actor, Entry
from app.base.errors import Invalid
from app.base.loop_watchdog import LoopBlock
from app.base.metrics import MEDIA_TYPE
from app.base.money import usd
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import JobOut, JobStatus
from app.providers.contract import Kind
from app.web import paging
from app.web.limits import PAID
from app.web.openapi import BEARER, error_responses
from app.web.timestamps import TimestampOut, to_iso

SearchTerms = Annotated[
    str, QueryParameter(description="Search terms, matched against the prompt, name or email.", max_length=200)
]
VIDEOS: Final = (Kind.VIDEO,)


class StatsOut(msgspec.Struct, kw_only=True):
    """Counts of users by role, refresh tokens by state and jobs by state, and the total known cost."""

    users: dict[str, int]
    tokens: dict[str, int]
    jobs: dict[str, int]
    cost_usd: str | None


class BackgroundTaskOut(msgspec.Struct, kw_only=True):
    """A background task. `last_beat` is the time of its last successful run; `broken` is the class of the latest error since
    then."""

    name: str
    last_beat: TimestampOut
    alive: bool
    broken: str | None


class DiskOut(msgspec.Struct, kw_only=True):
    stored_bytes: int
    free_bytes: int


class LoopBlockOut(msgspec.Struct, kw_only=True):
    """The event loop was blocked for `ms`, of which its thread used the CPU for `cpu_ms`; `where` is its call stack,
    innermost first."""

    at: TimestampOut
    ms: float
    cpu_ms: float
    where: list[str]

    @classmethod
    def of(cls, block: LoopBlock) -> Self:
        ms, cpu_ms = round(block.seconds * 1000, 1), round(block.cpu * 1000, 1)
        return cls(at=to_iso(block.at), ms=ms, cpu_ms=cpu_ms, where=list(block.where))


class HealthOut(msgspec.Struct, kw_only=True):
    """`longest_block_ms` is the longest block of the event loop in the last hour; `event_loop_blocks` are the last 100 of
    at least 25 ms, newest first."""

    background_tasks: list[BackgroundTaskOut]
    longest_block_ms: float
    event_loop_blocks: list[LoopBlockOut]
    disk: DiskOut
    versions: dict[str, str]


class DeletedCount(msgspec.Struct):
    """The number of deleted items; in a dry run, of those that would be deleted."""

    deleted: int


class FailedCount(msgspec.Struct):
    """The number of jobs marked as failed."""

    failed: int


class OwnedJobOut(JobOut, frozen=True, kw_only=True):
    """A job with the email of its owner; `user_email` is null if the user was deleted."""

    user_email: str | None


class OwnedJobs(paging.PageOut[OwnedJobOut]):
    """Jobs of all users, newest first."""


class EntryOut(msgspec.Struct, kw_only=True):
    """One action of an admin. `action` is a code such as `user.role_changed`; `subject` is the email of a user or the id of
    a job or model, null if the action affects many; `detail` depends on the action."""

    id: str
    happened_at: TimestampOut
    actor_id: str | None
    actor_email: str
    action: Action
    subject: str | None
    detail: dict[str, Any]


class Entries(paging.PageOut[EntryOut]):
    """The audit log, newest first."""


class PurgeIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Selects jobs in a final state that ended more than `older_than_days` ago. A dry run only counts them."""

    example: ClassVar = {"older_than_days": 30, "statuses": ["failed", "cancelled"], "dry_run": True}

    older_than_days: int
    statuses: list[JobStatus] = []
    dry_run: bool = False


@get("/stats", responses=error_responses(401, 403), summary="Get statistics")
async def stats(admin: NamedDependency[Admin]) -> StatsOut:
    found = await admin.stats()
    return StatsOut(users=found.users, tokens=found.tokens, jobs=found.jobs, cost_usd=usd(found.cost_nano))


@get("/health", responses=error_responses(401, 403), summary="Background tasks, disk and versions")
async def health(request: Request[Any, Any, State], admin: NamedDependency[Admin]) -> HealthOut:
    disk = await admin.disk()
    return HealthOut(
        background_tasks=[
            BackgroundTaskOut(name=task.name, last_beat=to_iso(task.last_success), alive=task.alive, broken=task.error)
            for task in request.app.state.background.health()
        ],
        longest_block_ms=round(admin.longest_loop_block() * 1000, 1),
        event_loop_blocks=[LoopBlockOut.of(block) for block in admin.loop_blocks()],
        disk=DiskOut(stored_bytes=disk.stored, free_bytes=disk.free),
        versions=dict(admin.versions()),
    )


@get(
    "/metrics",
    responses=error_responses(401, 403),
    media_type=MEDIA_TYPE,
    summary="Get metrics in the Prometheus format",
)
async def metrics(admin: NamedDependency[Admin]) -> Response[bytes]:
    """Requires the bearer token of an admin; for a scraper, use an API key."""
    return Response(await admin.metrics(), media_type=MEDIA_TYPE)


@get("/health/db", responses=error_responses(401, 403), summary="Check the database")
async def database_health(admin: NamedDependency[Admin]) -> DatabaseHealth:
    return await admin.database_health()


@post(
    "/tokens/purge",
    status_code=200,
    responses=error_responses(401, 403),
    summary="Delete expired and revoked refresh tokens",
)
async def purge_tokens(request: SignedIn, admin: NamedDependency[Admin]) -> DeletedCount:
    return DeletedCount(await admin.purge_tokens(actor(request)))


@get("/jobs", responses=error_responses(400, 401, 403), summary="List the jobs of all users")
async def jobs(
    admin: NamedDependency[Admin],
    kind: FromQuery[Kind | None] = None,
    status: FromQuery[str | None] = None,
    user: SearchTerms = "",
    q: SearchTerms = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> OwnedJobs:
    found = await admin.jobs(
        kinds=[kind] if kind else (),
        statuses=statuses(status),
        user=user,
        q=q,
        before=paging.after(cursor),
        limit=limit,
    )
    return OwnedJobs.of(found, to_owned_job)


@get("/videos", responses=error_responses(400, 401, 403), summary="List the video jobs of all users")
async def videos(
    admin: NamedDependency[Admin],
    status: FromQuery[str | None] = None,
    user: SearchTerms = "",
    q: SearchTerms = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> OwnedJobs:
    found = await admin.jobs(
        kinds=VIDEOS, statuses=statuses(status), user=user, q=q, before=paging.after(cursor), limit=limit
    )
    return OwnedJobs.of(found, to_owned_job)


@post(
    ["/videos/{id:str}/cancel", "/jobs/{id:str}/cancel"],
    status_code=200,
    responses=error_responses(400, 401, 403, 404, 409),
    summary="Cancel a job of any user",
)
async def cancel(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> OwnedJobOut:
    return to_owned_job(await admin.cancel(actor(request), id, kinds_of(request)))


@post(
    ["/videos/{id:str}/retry", "/jobs/{id:str}/retry"],
    guards=[unlimited],
    opt=PAID,
    responses={
        200: ResponseSpec(OwnedJobOut, description="The job of an earlier request with the same `Idempotency-Key`."),
        **error_responses(400, 401, 403, 404, 409),
    },
    summary="Retry a failed or cancelled job of any user",
)
async def retry(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[OwnedJobOut]:
    """The new job belongs to the same user. The `Idempotency-Key` is scoped to the admin."""
    key = IdempotencyKey.of(request.user.id, request.headers.get("Idempotency-Key"), request.url.path)
    retried = await admin.retry(actor(request), id, kinds_of(request), key)
    return Response(to_owned_job(retried.job), status_code=200 if retried.repeated else 201)


@delete(
    ["/videos/{id:str}", "/jobs/{id:str}"],
    responses=error_responses(400, 401, 403, 404),
    summary="Permanently delete a job of any user",
)
async def remove(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> None:
    """Its results are deleted too; its cost remains in the spending statistics."""
    await admin.delete(actor(request), id, kinds_of(request))


@post(
    ["/videos/purge", "/jobs/purge"],
    status_code=200,
    responses=error_responses(400, 401, 403, 413),
    summary="Permanently delete old finished jobs",
)
async def purge(request: SignedIn, data: JSONBody[PurgeIn], admin: NamedDependency[Admin]) -> DeletedCount:
    deleted = await admin.purge(
        actor(request), data.older_than_days, statuses=data.statuses, kinds=kinds_of(request), dry_run=data.dry_run
    )
    return DeletedCount(deleted)


@post(
    ["/videos/timed-out", "/jobs/timed-out"],
    status_code=200,
    responses=error_responses(401, 403),
    summary="Mark overdue jobs as failed",
)
async def time_out(request: SignedIn, admin: NamedDependency[Admin]) -> FailedCount:
    return FailedCount(await admin.time_out(actor(request), kinds_of(request)))


@get("/audit", responses=error_responses(400, 401, 403), summary="List the audit log")
async def log(
    admin: NamedDependency[Admin], limit: paging.Limit = paging.DEFAULT, cursor: paging.Cursor = None
) -> Entries:
    return Entries.of(await admin.log(before=paging.after(cursor), limit=limit), to_entry)


@delete("/{user_id:str}", responses=error_responses(400, 401, 403, 404, 409), summary="Delete a user")
async def delete_user(request: SignedIn, user_id: FromPath[str], admin: NamedDependency[Admin]) -> None:
    """Also deletes their sessions, keys, conversations and media, and cancels their jobs. 409 for your own account and for
    the last admin."""
    await admin.delete_user(actor(request), user_id)


def actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


def kinds_of(request: SignedIn) -> tuple[Kind, ...]:
    """The job kinds of this route: only videos under `/videos`, else all."""
    return VIDEOS if "/admin/videos" in request.url.path else ()


def statuses(text: str | None) -> list[JobStatus]:
    """Parse the status filter; `pending` is accepted as an alias of `queued`."""
    try:
        return [JobStatus.QUEUED if text == "pending" else JobStatus(text)] if text else []
    except ValueError:
        message = f"must be one of {', '.join(JobStatus)}"
        raise Invalid(f"The status {message}.", fields={"status": message}) from None


def to_owned_job(found: OwnedJob) -> OwnedJobOut:
    return OwnedJobOut(**msgspec.structs.asdict(JobOut.of(found.job)), user_email=found.user_email)


def to_entry(entry: Entry) -> EntryOut:
    return EntryOut(
        id=entry.id,
        happened_at=to_iso(entry.happened_at),
        actor_id=entry.actor_id,
        actor_email=entry.actor_email,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
    )


routes: Final = [
    Router(
        "/api/v1/admin",
        route_handlers=[
            stats,
            health,
            database_health,
            purge_tokens,
            jobs,
            videos,
            cancel,
            retry,
            remove,
            purge,
            time_out,
            log,
        ],
        guards=[admins],
        security=BEARER,
        tags=["Administration"],
    ),
    Router("/", route_handlers=[metrics], guards=[admins], security=BEARER, tags=["Health"]),
    Router("/api/v1/users", route_handlers=[delete_user], guards=[admins], security=BEARER, tags=["Administration"]),
]
