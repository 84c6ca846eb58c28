"""The jobs API: all kinds under `/jobs`, images and videos also under `/generate/…`."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody

from app.accounts.guards import may_use, signed_in
from app.base.clock import iso
from app.base.errors import Invalid, Missing
from app.idempotency.schemas import IdempotencyKey
from app.jobs import timeline
from app.jobs.schemas import CancelledJobs, EventType, Job, JobEvent, JobOut, JobState, JobStatus, LateResultPolicy
from app.jobs.service import Jobs
from app.providers.contract import Kind
from app.web import paging
from app.web.limits import CALLBACK, PAID
from app.web.openapi import BEARER, error_responses

ApiRequest = Request[Any, Any, State]


MAX_WEBHOOK_BODY: Final = 64 * 1024  # bytes
MAX_CANCELLED: Final = 1_000  # jobs of one request


class JobList(paging.PageOut[JobOut]):
    """A page of jobs."""


class JobEventOut(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a job's timeline: `event` is a code, `text` says it in words, and `detail` holds what belongs to the event."""

    at: str
    event: EventType
    text: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        shown = timeline.entry(event)
        text = f"{shown.sentence}: {shown.remark}" if shown.remark else shown.sentence
        return cls(at=iso(event.at), event=event.event, text=text, detail=event.detail)


class JobEventList(paging.PageOut[JobEventOut]):
    """A page of a job's timeline, oldest first."""


class CancelManyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `ids` or the `status` of the jobs to cancel, `queued` or `processing`. `keep_result`: whether results that still arrive
    are added to the library."""

    example: ClassVar = {"status": "queued"}

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_CANCELLED)] | None = None
    status: str | None = None
    keep_result: bool = False


class MoveIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`before`: the id of the queued job that is started next after this one; null for the end of the queue."""

    example: ClassVar = {"before": None}

    before: str | None = None


class CancelIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`keep_result`: whether a result that still arrives is added to the library."""

    example: ClassVar = {"keep_result": True}

    keep_result: bool = False


@get("/jobs", responses=error_responses(400, 401), summary="List jobs of all kinds, newest first")
async def index(
    request: ApiRequest,
    jobs: NamedDependency[Jobs],
    kind: FromQuery[Kind | None] = None,
    status: FromQuery[str | None] = None,
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> JobList:
    return await _list(request, jobs, [kind] if kind else (), status, limit, cursor)


@get("/jobs/{id:str}", responses=error_responses(400, 401, 404), summary="Get a job")
async def one(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> JobOut:
    return JobOut.of(await jobs.find(request.user.id, id))


@post("/jobs/{id:str}/cancel", status_code=200, responses=error_responses(400, 401, 404, 409), summary="Cancel a job")
async def cancel(
    request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs], data: JSONBody[CancelIn | None] = None
) -> JobOut:
    """What was already submitted may still be completed and charged; `keep_result` says what happens to its result."""
    return JobOut.of(await jobs.cancel(request.user.id, id, _late(data)))


@post("/jobs/cancel", status_code=200, responses=error_responses(400, 401, 413), summary="Cancel many jobs")
async def cancel_many(request: ApiRequest, jobs: NamedDependency[Jobs], data: JSONBody[CancelManyIn]) -> CancelledJobs:
    """`cancelled` counts the jobs that have ended, `requested` those whose provider was asked to stop, and `failed` lists those that
    could not be cancelled, each with an error code. What was already submitted may still be completed and charged."""
    late = LateResultPolicy.KEEP if data.keep_result else LateResultPolicy.DISCARD
    if (data.ids is None) == (data.status is None):
        raise Invalid("Give either ids or status.", fields={"ids": "give either ids or status"})
    if data.ids is not None:
        return await jobs.user_queue.cancel(request.user.id, data.ids, late)
    status = _status(data.status or "")
    if status.final:
        message = "must be queued or processing"
        raise Invalid(f"The status {message}.", fields={"status": message})
    return await jobs.user_queue.cancel_all(request.user.id, status, late)


@post(
    "/jobs/{id:str}/move",
    status_code=200,
    responses=error_responses(400, 401, 404, 409, 413),
    summary="Move a queued job within your queue",
)
async def move(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs], data: JSONBody[MoveIn]) -> JobOut:
    """The job is started directly before the other one, and takes on its priority. Jobs of other users are not affected."""
    return JobOut.of(await jobs.user_queue.move(request.user.id, id, data.before))


@post(
    "/jobs/{id:str}/pause",
    status_code=200,
    responses=error_responses(400, 401, 404, 409),
    summary="Pause a queued job",
)
async def pause(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> JobOut:
    """It is not started until it is resumed, also after a restart. A job that has been started cannot be paused."""
    return JobOut.of(await jobs.user_queue.pause(request.user.id, id, True))


@post(
    "/jobs/{id:str}/resume",
    status_code=200,
    responses=error_responses(400, 401, 404, 409),
    summary="Resume a paused job",
)
async def resume(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> JobOut:
    return JobOut.of(await jobs.user_queue.pause(request.user.id, id, False))


@get("/jobs/{id:str}/events", responses=error_responses(400, 401, 404), summary="Get the timeline of a job")
async def events(
    request: ApiRequest,
    id: FromPath[str],
    jobs: NamedDependency[Jobs],
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> JobEventList:
    found = await jobs.timeline(request.user.id, id, after=paging.after(cursor), limit=limit)
    return JobEventList.of(found, JobEventOut.of)


@post(
    "/jobs/{id:str}/retry",
    opt=PAID,
    responses={
        200: ResponseSpec(
            JobOut, description="The job that an earlier request with the same `Idempotency-Key` created."
        ),
        **error_responses(400, 401, 403, 404, 409),
    },
    summary="Retry a failed or cancelled job",
)
async def retry(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[JobOut]:
    key = IdempotencyKey.of(request.user.id, request.headers.get("Idempotency-Key"), request.url.path)
    may_use(request.auth, (await jobs.find(request.user.id, id)).model)
    accepted = await jobs.retry(request.user.id, id, key, limits=request.auth.limits)
    return Response(JobOut.of(accepted.job), status_code=200 if accepted.repeated else 201)


@get("/generate/images", responses=error_responses(400, 401), summary="List image jobs, newest first")
async def images(
    request: ApiRequest,
    jobs: NamedDependency[Jobs],
    status: FromQuery[str | None] = None,
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> JobList:
    return await _list(request, jobs, [Kind.IMAGE], status, limit, cursor)


@get("/generate/images/{id:str}", responses=error_responses(400, 401, 404), summary="Get an image job")
async def image(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> JobOut:
    return JobOut.of(await _of_kind(request, jobs, id, Kind.IMAGE))


@get("/generate/videos", responses=error_responses(400, 401), summary="List video jobs, newest first")
async def videos(
    request: ApiRequest,
    jobs: NamedDependency[Jobs],
    status: FromQuery[str | None] = None,
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> JobList:
    return await _list(request, jobs, [Kind.VIDEO], status, limit, cursor)


@get("/generate/videos/{id:str}", responses=error_responses(400, 401, 404), summary="Get a video job")
async def video(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> JobOut:
    return JobOut.of(await _of_kind(request, jobs, id, Kind.VIDEO))


@post(
    ["/generate/videos/{id:str}/cancel", "/generate/video/{id:str}/cancel"],
    status_code=200,
    responses=error_responses(400, 401, 404, 409),
    summary="Cancel a video job",
)
async def cancel_video(
    request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs], data: JSONBody[CancelIn | None] = None
) -> JobOut:
    """What was already submitted may still be completed and charged; `keep_result` says what happens to its result."""
    job = await _of_kind(request, jobs, id, Kind.VIDEO)
    return JobOut.of(await jobs.cancel(request.user.id, job.id, _late(data)))


@get(
    "/generate/video/{id:str}/status", responses=error_responses(400, 401, 404), summary="Get the status of a video job"
)
async def status(request: ApiRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> JobState:
    return JobState.of(await _of_kind(request, jobs, id, Kind.VIDEO))


@get(
    "/generate/video/status",
    responses=error_responses(400, 401, 404),
    summary="Get the status of a video job by `polling_url`",
)
async def status_by_url(
    request: ApiRequest, jobs: NamedDependency[Jobs], polling_url: FromQuery[str | None] = None
) -> JobState:
    """Accepts only a `polling_url` returned by this API, to identify the job; the URL is not fetched."""
    if polling_url is None:
        raise Invalid("polling_url is required.", fields={"polling_url": "is missing"})
    id = polling_url.removeprefix("/api/v1/generate/video/").removesuffix("/status")
    job = await _of_kind(request, jobs, id, Kind.VIDEO)
    if job.polling_url != polling_url:
        raise Missing("There is no such job.")
    return JobState.of(job)


@post(
    "/webhooks/{provider:str}/{token:str}",
    status_code=204,
    opt=CALLBACK,
    request_max_body_size=MAX_WEBHOOK_BODY,
    include_in_schema=False,
)
async def webhook(
    request: Request[None, None, State], provider: FromPath[str], token: FromPath[str], jobs: NamedDependency[Jobs]
) -> None:
    """Webhook for providers. It is authenticated by the secret token in the URL, and by the signature if there is
    one."""
    await jobs.on_webhook(provider, token, request.headers, await request.body())


async def _list(
    request: ApiRequest, jobs: Jobs, kinds: Sequence[Kind], status: str | None, limit: int, cursor: str | None
) -> JobList:
    statuses = [_status(status)] if status else ()
    before = paging.after(cursor)
    found = await jobs.newest(request.user.id, kinds=kinds, statuses=statuses, before=before, limit=limit)
    return JobList.of(found, JobOut.of)


def _late(data: CancelIn | None) -> LateResultPolicy:
    return LateResultPolicy.KEEP if data is not None and data.keep_result else LateResultPolicy.DISCARD


def _status(text: str) -> JobStatus:
    """`pending` is accepted as an alias of `queued`."""
    try:
        return JobStatus.QUEUED if text == "pending" else JobStatus(text)
    except ValueError:
        message = f"must be one of {', '.join(JobStatus)}"
        raise Invalid(f"The status {message}.", fields={"status": message}) from None


async def _of_kind(request: ApiRequest, jobs: Jobs, id: str, kind: Kind) -> Job:
    job = await jobs.find(request.user.id, id)
    if job.kind is not kind:
        raise Missing("There is no such job.")
    return job


routes = [
    Router(
        "/api/v1",
        route_handlers=[
            index,
            one,
            events,
            cancel,
            cancel_many,
            move,
            pause,
            resume,
            retry,
            images,
            image,
            videos,
            video,
            cancel_video,
            status,
            status_by_url,
        ],
        guards=[signed_in],
        security=BEARER,
        tags=["Jobs"],
    ),
    Router("/", route_handlers=[webhook]),
]
