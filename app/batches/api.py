"""API for batches."""

from typing import Any, ClassVar, Self

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from app.accounts.guards import may_use, signed_in
from app.base.clock import iso
from app.base.errors import Invalid
from app.base.money import usd
from app.batches.schemas import Batch, BatchStatus, Choices, NewBatch
from app.batches.service import Batches
from app.generation.schemas import InputIn
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import JobOut, JobStatus, LateResultPolicy
from app.providers.contract import Kind
from app.web import paging
from app.web.limits import PAID
from app.web.openapi import BEARER, error_responses

ApiRequest = Request[Any, Any, State]


class BatchIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each prompt with each model and each combination of the values in `matrix`, at most 500 jobs. `params` are the same for all of
    them. `choices` says what becomes of `{a|b}` and `__wildcards__` in prompts: `all` combinations, or one by the seed of each
    job (`random`)."""

    example: ClassVar = {
        "kind": "image",
        "model": "bytedance-seed/seedream-5",
        "prompt": "A {red|green} boat",
        "matrix": {"seed": [1, 2]},
    }

    kind: Kind
    model: str | None = None
    models: list[str] | None = None
    prompt: str | None = None
    prompts: list[str] | None = None
    system_prompt: str | None = None
    matrix: dict[str, list[Any]] = {}
    params: dict[str, Any] = {}
    inputs: list[InputIn] = []
    choices: Choices = Choices.ALL


class CancelBatchIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`keep_result`: whether results that still arrive are added to the library."""

    example: ClassVar = {"keep_result": True}

    keep_result: bool = False


class AcceptedBatchOut(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that was accepted. `cost_usd` is what it will cost at most; null when that is not known for every job."""

    id: str
    total: int
    cost_usd: str | None


class CountersOut(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs are in each status; a retry takes the place of the job that it repeats."""

    queued: int
    processing: int
    completed: int
    failed: int
    cancelled: int


class BatchOut(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. `request` is what was asked for; `estimated_cost_usd` is what it was expected to cost at most, `cost_usd` what it
    has cost until now, including retries; null when unknown."""

    id: str
    kind: Kind
    status: BatchStatus
    total: int
    counters: CountersOut
    request: dict[str, Any]
    estimated_cost_usd: str | None
    cost_usd: str | None
    created_at: str

    @classmethod
    def of(cls, batch: Batch, **more: Any) -> Self:
        return cls(
            id=batch.id,
            kind=batch.kind,
            status=batch.status,
            total=batch.total,
            counters=CountersOut(**{status.value: batch.counters[status] for status in JobStatus}),
            request=batch.request,
            estimated_cost_usd=usd(batch.estimated_nano),
            cost_usd=usd(batch.spent_nano),
            created_at=iso(batch.created_at),
            **more,
        )


class BatchWithJobsOut(BatchOut, frozen=True, kw_only=True):
    """A batch with the newest job of each place, in their order; jobs that were deleted are left out."""

    jobs: list[JobOut]


class BatchList(paging.PageOut[BatchOut]):
    """A page of batches."""


@post(
    "/batch",
    status_code=202,
    opt=PAID,
    responses={
        200: ResponseSpec(AcceptedBatchOut, description="The existing batch of this `Idempotency-Key`."),
        **error_responses(400, 401, 403, 409, 413, 415),
    },
    summary="Generate many variants",
)
async def submit(
    request: ApiRequest, data: JSONBody[BatchIn], batches: NamedDependency[Batches]
) -> Response[AcceptedBatchOut]:
    """All jobs are accepted, or none: an error names the first wrong one."""
    new = _new_batch(data)
    for model in new.models:
        may_use(request.auth, model.strip())
    key = IdempotencyKey.of(request.user.id, request.headers.get("Idempotency-Key"), request.url.path, data)
    accepted = await batches.submit(request.user.id, new, key=key, limits=request.auth.limits)
    batch = accepted.batch
    out = AcceptedBatchOut(id=batch.id, total=batch.total, cost_usd=usd(batch.estimated_nano))
    return Response(out, status_code=200 if accepted.repeated else 202)


@get("/batches", responses=error_responses(400, 401), summary="List batches, newest first")
async def index(
    request: ApiRequest,
    batches: NamedDependency[Batches],
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> BatchList:
    found = await batches.newest(request.user.id, before=paging.after(cursor), limit=limit)
    return BatchList.of(found, BatchOut.of)


@get("/batches/{id:str}", responses=error_responses(400, 401, 404), summary="Get a batch and its jobs")
async def one(request: ApiRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> BatchWithJobsOut:
    batch, places = await batches.find_with_jobs(request.user.id, id)
    return BatchWithJobsOut.of(batch, jobs=[JobOut.of(place.job) for place in places if place.job])


@post(
    "/batches/{id:str}/pause", status_code=200, responses=error_responses(400, 401, 404, 409), summary="Pause a batch"
)
async def pause(request: ApiRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> BatchOut:
    """No more of its jobs are started until it is resumed; those that are processing go on."""
    return BatchOut.of(await batches.pause(request.user.id, id))


@post(
    "/batches/{id:str}/resume", status_code=200, responses=error_responses(400, 401, 404, 409), summary="Resume a batch"
)
async def resume(request: ApiRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> BatchOut:
    return BatchOut.of(await batches.resume(request.user.id, id))


@post(
    "/batches/{id:str}/cancel",
    status_code=200,
    responses=error_responses(400, 401, 404, 409),
    summary="Cancel the unfinished jobs of a batch",
)
async def cancel(
    request: ApiRequest,
    id: FromPath[str],
    batches: NamedDependency[Batches],
    data: JSONBody[CancelBatchIn | None] = None,
) -> BatchOut:
    """What was already submitted may still be completed and charged; `keep_result` says what happens to its result."""
    late = LateResultPolicy.KEEP if data is not None and data.keep_result else LateResultPolicy.DISCARD
    return BatchOut.of(await batches.cancel(request.user.id, id, late))


@post(
    "/batches/{id:str}/retry",
    status_code=200,
    opt=PAID,
    responses=error_responses(400, 401, 403, 404, 409),
    summary="Retry the failed jobs of a batch",
)
async def retry(request: ApiRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> BatchOut:
    """Each retry is a new job in the place of the one that failed."""
    for model in (await batches.find(request.user.id, id)).request["models"]:
        may_use(request.auth, model)
    return BatchOut.of(await batches.retry_failed(request.user.id, id, limits=request.auth.limits))


def _new_batch(data: BatchIn) -> NewBatch:
    """The validated body. Raises Invalid when a field and its plural are both given."""
    for one, many in (("model", "models"), ("prompt", "prompts")):
        if getattr(data, one) is not None and getattr(data, many) is not None:
            raise Invalid(f"Send either {one} or {many}.", fields={many: f"cannot be combined with {one}"})
    models = data.models if data.models is not None else [data.model] if data.model else []
    prompts = data.prompts if data.prompts is not None else [data.prompt] if data.prompt is not None else []
    return NewBatch(
        kind=data.kind,
        models=tuple(models),
        prompts=tuple(prompts),
        system_prompt=data.system_prompt,
        matrix=data.matrix,
        params={name: value for name, value in data.params.items() if value is not None},
        inputs=tuple(each.requested(f"inputs.{index}") for index, each in enumerate(data.inputs)),
        choices=data.choices,
    )


routes = [
    Router(
        "/api/v1/generate",
        route_handlers=[submit, index, one, pause, resume, cancel, retry],
        guards=[signed_in],
        security=BEARER,
        tags=["Batches"],
    )
]
