"""Validates generation requests and submits them as jobs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing
from app.base.ids import uuid7
from app.catalog.schemas import CostBasis, CostEstimate, Field, Model, Price
from app.catalog.service import Catalog
from app.db.transaction import Transaction
from app.generation import inputs
from app.generation.schemas import Estimate, GenerationRequest, RequestedInput
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import Idempotency
from app.jobs.schemas import AcceptedJob, GenerationType, Job, JobInput, JobInputRole, LateResultPolicy
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind, UploadWarning
from app.library.service import Library
from app.providers.contract import InputSlot, Kind

MAX_PROMPT: Final = 32_000  # characters

_TYPES = {
    (Kind.TEXT, False): GenerationType.TEXT_TO_TEXT,
    (Kind.IMAGE, False): GenerationType.TEXT_TO_IMAGE,
    (Kind.IMAGE, True): GenerationType.IMAGE_TO_IMAGE,
    (Kind.VIDEO, False): GenerationType.TEXT_TO_VIDEO,
    (Kind.VIDEO, True): GenerationType.IMAGE_TO_VIDEO,
}

# Prepares a request, for example by storing an uploaded image. Called only if the request is not a repeated one.
Prepare = Callable[[], Awaitable[GenerationRequest]]


class Generation:
    """Submits requests as jobs and provides the data of the create form."""

    def __init__(
        self,
        catalog: Catalog,
        library: Library,
        jobs: Jobs,
        idempotency: Idempotency,
        directives: Callable[[], Sequence[tuple[str, Sequence[str], str]]] = tuple,
    ) -> None:
        self._directives = directives
        self._catalog = catalog
        self._library = library
        self._jobs = jobs
        self._idempotency = idempotency

    async def submit(
        self,
        owner: str,
        kind: Kind,
        request: GenerationRequest | Prepare,
        *,
        from_image: bool | None = None,
        key: IdempotencyKey | None = None,
        limits: KeyLimits | None = None,
        interactive: bool = False,
    ) -> AcceptedJob:
        """Validate a request and enqueue it as a job. `from_image`: True requires an input image, False allows none, None
        allows one if the model does. A repeated request with the same `key` does nothing and returns the first job.
        `limits` are those of the API key. `interactive` requests, made on a page, run before the user's queued API
        requests. Raises Invalid with the wrong fields."""
        async with self._idempotency.first_result(key) as first:
            if first is not None:
                return AcceptedJob(await self._jobs.find(owner, first), repeated=True)
            if not isinstance(request, GenerationRequest):
                request = await request()
            job, warnings = await self._job(owner, kind, request, from_image)
            if interactive:
                job = msgspec.structs.replace(job, priority=1)
            also_in_tx = partial(self._expect_previews, request.previews) if request.previews else None
            accepted = await self._jobs.enqueue(job, key, limits=limits, also_in_tx=also_in_tx)
            return msgspec.structs.replace(accepted, warnings=tuple(warnings))

    async def stream_text(
        self, owner: str, request: GenerationRequest, *, limits: KeyLimits | None = None
    ) -> tuple[Job, AsyncIterator[str]]:
        """Like `submit`, with the text as an iterator of deltas. The job is enqueued when the first one is requested."""
        job, _ = await self._job(owner, Kind.TEXT, request, from_image=False)
        return job, self._jobs.subscribe(job, limits=limits)

    async def _job(
        self, owner: str, kind: Kind, request: GenerationRequest, from_image: bool | None
    ) -> tuple[Job, Sequence[UploadWarning]]:
        """A valid request as a job, and what of its inputs was lost."""
        model = self._catalog.choose(request.model.strip(), kind)
        _check_prompt(request, model, from_image=bool(from_image))
        requested = inputs.requested(request, model, kind)
        inputs.check(requested, model, kind, from_image=from_image)
        params = self._catalog.parameters.check(model, request.params)
        assets = await inputs.resolve(self._library, owner, requested)
        used = zip(requested, assets, strict=True)
        job = Job(
            id=uuid7(),
            owner_id=owner,
            kind=kind,
            generation_type=_type(kind, requested),
            provider=model.provider,
            model=model.id,
            model_name=model.name,
            upstream_model=model.upstream_id,
            route=model.route,
            prompt=request.prompt.strip(),
            system_prompt=(request.system_prompt or "").strip() or None,
            params=params,
            inputs=tuple(JobInput(each.role, asset.id, each.weight) for each, asset in used),
            parent_asset_id=request.parent_asset_id or inputs.edited(requested, assets),
            created_at=clock.now(),
        )
        return job, [warning for asset in assets for warning in asset.warnings]

    def _expect_previews(self, number: int, tx: Transaction, job: Job) -> None:
        tx.on_commit(self._jobs.waiters.previews.expect, job.id, number)

    async def withdraw(self, job: Job) -> None:
        """Cancel a queued job whose caller does not wait any longer. Its idempotency key can be used again, unless the job has been
        sent meanwhile; then its result is kept."""
        with suppress(Conflict, Missing):  # it has ended
            await self._jobs.cancel(job.owner_id, job.id, LateResultPolicy.KEEP, also_in_tx=self._forget_unsent)

    def _forget_unsent(self, tx: Transaction, job: Job) -> None:
        if job.late_result_policy is None:
            self._idempotency.forget(tx, job.id)

    async def wait(self, job: Job, seconds: float) -> Job:
        """The job when it has ended, or its current state after that time."""
        return await self._jobs.wait(job.owner_id, job.id, seconds)

    def models(self, kind: Kind, *, with_image: bool = False) -> Sequence[Model]:
        """Models for the create form, by name: those that accept an input image, or those that do not need one. For text,
        only models without other outputs; the API accepts all of them."""
        return [
            model
            for model in self._catalog.search(output=kind.value)
            if (model.accepts_image if with_image else not model.requires_image)
            and (kind is not Kind.TEXT or model.output_modalities == ("text",))
        ]

    def inpainting_models(self) -> Sequence[Model]:
        """Models that generate the part of an image that a mask marks, by name."""
        return [model for model in self._catalog.search(output=Kind.IMAGE.value) if inputs.mask_slot(model) is not None]

    def fields(self, model: Model, values: dict[str, Any], errors: dict[str, str] | None = None) -> list[Field]:
        return self._catalog.parameters.fields(model, values, errors)

    async def estimate(self, model: Model, params: Mapping[str, Any]) -> Estimate:
        """What a request with these parameters will cost: by the formula of the model, else as past jobs with the same settings,
        else by the provider's price list. Parameters that are not valid are left out."""
        valid = self._catalog.parameters.valid(model, params)
        cost = self._catalog.estimate(model, valid)
        if (cost is None or cost.basis is CostBasis.PRICES) and (past := await self._jobs.costs_of(model.id, valid)):
            cost = CostEstimate(min(past), max(past), CostBasis.HISTORY)
        median, p90 = await self._jobs.durations_of(model.id)
        return Estimate(cost=cost, median=median, p90=p90)

    def check(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, if all of them are valid. Raises Invalid with the wrong ones."""
        return self._catalog.parameters.check(model, params)

    def choose_model(self, id: str) -> Model:
        """The model of any kind of output that a request names. Raises Invalid."""
        return self._catalog.choose_any(id)

    def further_inputs(self, model: Model, kind: Kind) -> Sequence[InputSlot]:
        """The files that the model takes beside the single input image."""
        return inputs.further_slots(model, kind)

    def prices(self, model: Model) -> Sequence[Price]:
        """The main prices of a model."""
        return self._catalog.prices(model)

    def read_form(self, kind: Kind, form: dict[str, str]) -> dict[str, Any]:
        """Parameters of the selected model from a form; empty for an unknown model, which `submit` rejects."""
        try:
            return self._catalog.parameters.read_form(self._catalog.choose(form.get("model", ""), kind), form)
        except Invalid:
            return {}

    async def find_job(self, owner: str, job_id: str) -> Job:
        """A job of the user whose settings fill the form."""
        return await self._jobs.find(owner, job_id)

    async def feed(self, owner: str, limit: int = 12) -> Sequence[Job]:
        """The user's latest jobs."""
        return (await self._jobs.newest(owner, limit=limit)).items

    async def images(self, owner: str, limit: int = 12) -> Sequence[Asset]:
        """The user's latest images, to use as input."""
        return (await self._library.newest(owner, kind=AssetKind.IMAGE, limit=limit)).items

    async def upload(self, owner: str, chunks: AsyncIterator[bytes], name: str) -> Asset:
        """Store an uploaded input image in the library."""
        asset = await self._library.upload(owner, chunks, name)
        if asset.kind is not AssetKind.IMAGE:
            raise _invalid("image", "This is a video, now saved in your library. Choose an image.")
        return asset

    def directives(self, kind: Kind) -> Sequence[tuple[str, str]]:
        """Simulator commands for this kind of output, with descriptions; empty when the simulator is off."""
        return [(name, description) for name, kinds, description in self._directives() if kind.value in kinds]


def _type(kind: Kind, requested: Sequence[RequestedInput]) -> GenerationType:
    if any(each.role is JobInputRole.MASK for each in requested):
        return GenerationType.INPAINTING
    return _TYPES[kind, bool(requested)]


def _check_prompt(request: GenerationRequest, model: Model, *, from_image: bool) -> None:
    optional = from_image and model.requires_image
    for name, text in (("prompt", request.prompt), ("system_prompt", request.system_prompt or "")):
        if len(text) > MAX_PROMPT:
            raise _invalid(name, f"Must be at most {MAX_PROMPT:,} characters; this has {len(text):,}.")
        if "\x00" in text:
            raise _invalid(name, "Must not contain null characters.")
    if not request.prompt.strip() and not optional:
        raise _invalid("prompt", "Enter a prompt.")


def _invalid(field: str, message: str, *more: str) -> Invalid:
    return Invalid(message, fields=dict.fromkeys((field, *more), message))
