"""Administration, for programs. Deleting a person stands here too, because it reaches into every feature."""

from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
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
from app.base.once import once
from app.catalog.schemas import Model, ModelOut
from app.jobs.schemas import JobOut, Status
from app.providers.contract import Kind
from app.web import paging
from app.web.limits import PAID
from app.web.openapi import BEARER, error_responses
from app.web.timestamps import Shown, to_iso

Words = Annotated[str, QueryParameter(description="Words of the prompt, name or email.", max_length=200)]
VIDEOS: Final = (Kind.VIDEO,)


class StatsOut(msgspec.Struct, kw_only=True):
    """People by role, refresh tokens by state, jobs by state, and what everything cost as far as it is known."""

    users: dict[str, int]
    tokens: dict[str, int]
    jobs: dict[str, int]
    cost_usd: str | None


class LoopOut(msgspec.Struct, kw_only=True):
    """A loop of the background; `broken` names what broke it since its last beat."""

    name: str
    last_beat: Shown
    alive: bool
    broken: str | None


class DiskOut(msgspec.Struct, kw_only=True):
    stored_bytes: int
    free_bytes: int


class StallOut(msgspec.Struct, kw_only=True):
    """The event loop stood still for `ms`, of which its thread worked for `cpu_ms`; `where` is what it was doing, innermost
    first."""

    at: Shown
    ms: float
    cpu_ms: float
    where: list[str]

    @classmethod
    def of(cls, stall: LoopBlock) -> Self:
        ms, cpu_ms = round(stall.seconds * 1000, 1), round(stall.cpu * 1000, 1)
        return cls(at=to_iso(stall.at), ms=ms, cpu_ms=cpu_ms, where=list(stall.where))


class HealthOut(msgspec.Struct, kw_only=True):
    """`longest_stall_ms` is of the last hour; `stalls` are the last hundred of 25 ms or more, newest first."""

    loops: list[LoopOut]
    longest_stall_ms: float
    stalls: list[StallOut]
    disk: DiskOut
    versions: dict[str, str]


class Deleted(msgspec.Struct):
    """How many were deleted, or would be."""

    deleted: int


class Failed(msgspec.Struct):
    """How many were marked as failed."""

    failed: int


class Refreshed(msgspec.Struct):
    """How many models came, went and changed."""

    added: int
    removed: int
    changed: int


class OwnedJobOut(JobOut, frozen=True, kw_only=True):
    """A job and whose it is; `user_email` is null once the person is gone."""

    user_email: str | None


class OwnedJobs(paging.PageOut[OwnedJobOut]):
    """Everybody's jobs, newest first."""


class AdminModelOut(ModelOut, frozen=True, kw_only=True):
    """A cached model; `enabled` tells whether people may use it."""

    enabled: bool


class AdminModels(paging.PageOut[AdminModelOut]):
    """All cached models, by name."""


class EntryOut(msgspec.Struct, kw_only=True):
    """One action of an admin: `action` is a code such as `user.role_changed`; `subject` the email of a user or the id of a
    job or model, null when the action concerns many; `detail` says more, depending on the action."""

    id: str
    happened_at: Shown
    actor_id: str | None
    actor_email: str
    action: Action
    subject: str | None
    detail: dict[str, Any]


class Entries(paging.PageOut[EntryOut]):
    """The audit log, newest first."""


class EnabledIn(msgspec.Struct, forbid_unknown_fields=True):
    example: ClassVar = {"enabled": True}

    enabled: bool


class PurgeIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Ended jobs that ended longer ago than that. A dry run only counts."""

    example: ClassVar = {"older_than_days": 30, "statuses": ["failed", "cancelled"], "dry_run": True}

    older_than_days: int
    statuses: list[Status] = []
    dry_run: bool = False


@get("/stats", responses=error_responses(401, 403), summary="Everything in figures")
async def stats(admin: NamedDependency[Admin]) -> StatsOut:
    found = await admin.stats()
    return StatsOut(users=found.users, tokens=found.tokens, jobs=found.jobs, cost_usd=usd(found.cost_nano))


@get("/health", responses=error_responses(401, 403), summary="Loops, disk and versions")
async def health(request: Request[Any, Any, State], admin: NamedDependency[Admin]) -> HealthOut:
    beats = request.app.state.background.beats()
    disk = await admin.disk()
    return HealthOut(
        loops=[
            LoopOut(name=beat.name, last_beat=to_iso(beat.last), alive=beat.alive, broken=beat.broken) for beat in beats
        ],
        longest_stall_ms=round(admin.longest_stall() * 1000, 1),
        stalls=[StallOut.of(stall) for stall in admin.stalls()],
        disk=DiskOut(stored_bytes=disk.stored, free_bytes=disk.free),
        versions=dict(admin.versions()),
    )


@get(
    "/metrics",
    responses=error_responses(401, 403),
    media_type=MEDIA_TYPE,
    summary="Everything measured, for Prometheus",
)
async def metrics(admin: NamedDependency[Admin]) -> Response[bytes]:
    """With the bearer of an admin, which for a collector is best an API key."""
    return Response(await admin.metrics(), media_type=MEDIA_TYPE)


@get("/health/db", responses=error_responses(401, 403), summary="Whether the database answers")
async def database_health(admin: NamedDependency[Admin]) -> DatabaseHealth:
    return await admin.database_health()


@post("/tokens/purge", status_code=200, responses=error_responses(401, 403), summary="Delete dead refresh tokens")
async def purge_tokens(request: SignedIn, admin: NamedDependency[Admin]) -> Deleted:
    return Deleted(await admin.purge_tokens(actor(request)))


@get("/jobs", responses=error_responses(400, 401, 403), summary="Everybody's jobs")
async def jobs(
    admin: NamedDependency[Admin],
    kind: FromQuery[Kind | None] = None,
    status: FromQuery[str | None] = None,
    user: Words = "",
    q: Words = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> OwnedJobs:
    part = await admin.jobs(
        kinds=[kind] if kind else (),
        statuses=statuses(status),
        user=user,
        q=q,
        before=paging.after(cursor),
        limit=limit,
    )
    return OwnedJobs.of(part, owned)


@get("/videos", responses=error_responses(400, 401, 403), summary="Everybody's clip jobs")
async def videos(
    admin: NamedDependency[Admin],
    status: FromQuery[str | None] = None,
    user: Words = "",
    q: Words = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> OwnedJobs:
    part = await admin.jobs(
        kinds=VIDEOS, statuses=statuses(status), user=user, q=q, before=paging.after(cursor), limit=limit
    )
    return OwnedJobs.of(part, owned)


@post(
    ["/videos/{id:str}/cancel", "/jobs/{id:str}/cancel"],
    status_code=200,
    responses=error_responses(400, 401, 403, 404, 409),
    summary="Cancel anybody's job",
)
async def cancel(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> OwnedJobOut:
    return owned(await admin.cancel(actor(request), id, named(request)))


@post(
    ["/videos/{id:str}/retry", "/jobs/{id:str}/retry"],
    guards=[unlimited],
    opt=PAID,
    responses={
        200: ResponseSpec(OwnedJobOut, description="What the same `Idempotency-Key` asked for before."),
        **error_responses(400, 401, 403, 404, 409),
    },
    summary="Try anybody's failed or cancelled job again",
)
async def retry(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[OwnedJobOut]:
    """The new job belongs to the same person; an `Idempotency-Key` to the admin who asks."""
    key = once(request.headers.get("Idempotency-Key"), request.url.path, caller=request.user.id)
    retried = await admin.retry(actor(request), id, named(request), key)
    return Response(owned(retried.job), status_code=200 if retried.repeated else 201)


@delete(
    ["/videos/{id:str}", "/jobs/{id:str}"],
    responses=error_responses(400, 401, 403, 404),
    summary="Delete anybody's job for good",
)
async def remove(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> None:
    """What it made goes too; what it cost stays counted."""
    await admin.delete(actor(request), id, named(request))


@post(
    ["/videos/purge", "/jobs/purge"],
    status_code=200,
    responses=error_responses(400, 401, 403, 413),
    summary="Delete old ended jobs for good",
)
async def purge(request: SignedIn, data: JSONBody[PurgeIn], admin: NamedDependency[Admin]) -> Deleted:
    deleted = await admin.purge(
        actor(request), data.older_than_days, statuses=data.statuses, kinds=named(request), dry_run=data.dry_run
    )
    return Deleted(deleted)


@post(
    ["/videos/timed-out", "/jobs/timed-out"],
    status_code=200,
    responses=error_responses(401, 403),
    summary="Fail processing jobs that are past their deadline",
)
async def time_out(request: SignedIn, admin: NamedDependency[Admin]) -> Failed:
    return Failed(await admin.time_out(actor(request), named(request)))


@get("/models", responses=error_responses(400, 401, 403), summary="All cached models")
async def models(
    admin: NamedDependency[Admin],
    q: Words = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> AdminModels:
    found = list(admin.models(q))
    return AdminModels.of(paging.part_of(found, lambda model: model.id, paging.after(cursor), limit), of_model)


@put(
    "/models/{id:path}",
    responses=error_responses(400, 401, 403, 404, 413),
    summary="Offer a model to people, or no longer",
)
async def switch_model(
    request: SignedIn, id: FromPath[str], data: JSONBody[EnabledIn], admin: NamedDependency[Admin]
) -> AdminModelOut:
    """Ids hold slashes: `/admin/models/google/veo-3.1`, or with the slash as `%2F`."""
    return of_model(await admin.switch_model(actor(request), id.removeprefix("/"), data.enabled))


@post("/models/refresh", status_code=200, responses=error_responses(401, 403, 502), summary="Ask the providers now")
async def refresh_models(request: SignedIn, admin: NamedDependency[Admin]) -> Refreshed:
    changes = await admin.refresh_models(actor(request))
    return Refreshed(len(changes.added), len(changes.removed), len(changes.changed))


@get("/audit", responses=error_responses(400, 401, 403), summary="Who changed what")
async def log(
    admin: NamedDependency[Admin], limit: paging.Limit = paging.DEFAULT, cursor: paging.Cursor = None
) -> Entries:
    return Entries.of(await admin.log(before=paging.after(cursor), limit=limit), entry)


@delete("/{user_id:str}", responses=error_responses(400, 401, 403, 404, 409), summary="Delete a person")
async def delete_person(request: SignedIn, user_id: FromPath[str], admin: NamedDependency[Admin]) -> None:
    """With their sign-ins, keys, conversations and media; their jobs are cancelled. 409 for oneself and the last admin."""
    await admin.delete_person(actor(request), user_id)


def actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


def named(request: SignedIn) -> tuple[Kind, ...]:
    """Under `/videos` only clips are to be found."""
    return VIDEOS if "/admin/videos" in request.url.path else ()


def statuses(text: str | None) -> list[Status]:
    """`pending` is taken as an older name of `queued`."""
    try:
        return [Status.QUEUED if text == "pending" else Status(text)] if text else []
    except ValueError:
        message = f"must be one of {', '.join(Status)}"
        raise Invalid(f"The status {message}.", fields={"status": message}) from None


def owned(found: OwnedJob) -> OwnedJobOut:
    return OwnedJobOut(**msgspec.structs.asdict(JobOut.of(found.job)), user_email=found.user_email)


def of_model(model: Model) -> AdminModelOut:
    return AdminModelOut(**msgspec.structs.asdict(ModelOut.of(model)), enabled=model.enabled)


def entry(one: Entry) -> EntryOut:
    return EntryOut(
        id=one.id,
        happened_at=to_iso(one.happened_at),
        actor_id=one.actor_id,
        actor_email=one.actor_email,
        action=one.action,
        subject=one.subject,
        detail=one.detail,
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
            models,
            switch_model,
            refresh_models,
            log,
        ],
        guards=[admins],
        security=BEARER,
        tags=["Administration"],
    ),
    Router("/", route_handlers=[metrics], guards=[admins], security=BEARER, tags=["Health"]),
    Router("/api/v1/users", route_handlers=[delete_person], guards=[admins], security=BEARER, tags=["Administration"]),
]
