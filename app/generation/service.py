"""Validates generation requests and submits them as jobs."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import msgspec

from app.accounts.schemas import KeyLimits, User
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing
from app.base.ids import uuid7
from app.catalog.schemas import CostBasis, CostEstimate, Field, Model, Price
from app.catalog.service import Catalog
from app.db.transaction import Transaction
from app.generation import inputs, prompt_expansion
from app.generation.enhancer import Enhancer
from app.generation.inputs import MAX_INPUTS
from app.generation.schemas import Estimate, FormSettings, GenerationRequest, RequestedInput
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import Idempotency
from app.jobs.schemas import AcceptedJob, GenerationType, Job, JobInput, JobInputRole, JobWarning, LateResultPolicy
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.prompts.schemas import Prompt, PromptKind
from app.prompts.service import Prompts
from app.providers.contract import InputSlot, Kind

MAX_PROMPT: Final = 32_000  # characters
_LAST_USED: Final = 12  # jobs among which the model that a form begins with is looked for

_TYPES = {
    (Kind.TEXT, False): GenerationType.TEXT_TO_TEXT,
    (Kind.IMAGE, False): GenerationType.TEXT_TO_IMAGE,
    (Kind.IMAGE, True): GenerationType.IMAGE_TO_IMAGE,
    (Kind.VIDEO, False): GenerationType.TEXT_TO_VIDEO,
    (Kind.VIDEO, True): GenerationType.IMAGE_TO_VIDEO,
}

# Prepares a request, for example by storing an uploaded image. Called only if the request is not a repeated one.
Prepare = Callable[[], Awaitable[GenerationRequest]]

# The wildcard lists that these prompts of a user name, also by way of other lists, by name. Called only for prompts that hold a
# wildcard.
FindWildcards = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Sequence[str]]]]


async def _no_wildcards(owner: str, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
    return {}


class Generation:
    """Submits requests as jobs and provides the data of the create form."""

    def __init__(
        self,
        catalog: Catalog,
        library: Library,
        jobs: Jobs,
        idempotency: Idempotency,
        directives: Callable[[], Sequence[tuple[str, Sequence[str], str]]] = tuple,
        wildcards: FindWildcards = _no_wildcards,
        *,
        prompts: Prompts,
        enhancer_model: str | None = None,
    ) -> None:
        """`enhancer_model` is the id of the text model that rewrites prompts; None chooses the cheapest one."""
        self.enhancer = Enhancer(catalog, jobs, enhancer_model)
        self._prompts = prompts
        self._directives = directives
        self._wildcards = wildcards
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
            job = await self.job(owner, kind, request, from_image)
            if request.enhance:
                enhancement = await self.enhancer.enhance(owner, kind, job.prompt, key, limits)
                # The prompt of a repeated request may have been expanded differently.
                job = msgspec.structs.replace(
                    job, prompt=enhancement.prompt, enhanced_prompt=enhancement.text, enhanced_by=enhancement.id
                )
            if interactive:
                job = msgspec.structs.replace(job, priority=1)
            also_in_tx = partial(self._expect_previews, request.previews) if request.previews else None
            return await self._jobs.enqueue(job, key, limits=limits, also_in_tx=also_in_tx)

    async def stream_text(
        self, owner: str, request: GenerationRequest, *, limits: KeyLimits | None = None
    ) -> tuple[Job, AsyncIterator[str]]:
        """Like `submit`, with the text as an iterator of deltas. The job is enqueued when the first one is requested."""
        job = await self.job(owner, Kind.TEXT, request, from_image=False)
        return job, self._jobs.subscribe(job, limits=limits)

    def validate(
        self, kind: Kind, request: GenerationRequest, from_image: bool | None = None
    ) -> tuple[Model, Sequence[RequestedInput], dict[str, Any]]:
        """The model, inputs and parameters of a valid request, as far as it can be checked without reading anything. Raises
        Invalid with the wrong fields."""
        model = self._catalog.choose(request.model.strip(), kind)
        _check_prompt(request, model, from_image=bool(from_image))
        requested = inputs.requested(request, model, kind)
        inputs.check(requested, model, kind, from_image=from_image)
        return model, requested, self._catalog.parameters.check(model, request.params)

    async def job(self, owner: str, kind: Kind, request: GenerationRequest, from_image: bool | None = None) -> Job:
        """A valid request as a job that is not enqueued yet, with warnings about what was lost of its inputs. Raises Invalid."""
        model, requested, params = self.validate(kind, request, from_image)
        prompt = request.prompt
        if kind is not Kind.TEXT and not request.literal_prompt:
            prompt = self.expand(prompt, await self.wildcards(owner, [prompt]), request.params.get("seed"))
        prompt = prompt.strip()
        original = (request.original_prompt or "").strip() or prompt
        assets = await inputs.resolve(self._library, owner, requested)
        used = zip(requested, assets, strict=True)
        warnings = [JobWarning(None, lost.code, lost.message) for asset in assets for lost in asset.warnings]
        return Job(
            id=uuid7(),
            owner_id=owner,
            kind=kind,
            generation_type=_type(kind, requested),
            provider=model.provider,
            model=model.id,
            model_name=model.name,
            upstream_model=model.upstream_id,
            route=model.route,
            prompt=original,
            enhanced_prompt=prompt if prompt != original else None,
            enhanced_by=await self._enhancement(owner, request.enhanced_by) if prompt != original else None,
            system_prompt=(request.system_prompt or "").strip() or None,
            params=params,
            inputs=tuple(JobInput(each.role, asset.id, each.weight) for each, asset in used),
            warnings=tuple(warnings),
            parent_asset_id=request.parent_asset_id or inputs.edited(requested, assets),
            created_at=clock.now(),
        )

    async def _enhancement(self, owner: str, id: str | None) -> str | None:
        """The id, if it is that of a job of the user that rewrote a prompt."""
        job = await self._jobs.find_or_none(owner, id) if id else None
        return job.id if job and job.generation_type is GenerationType.PROMPT_ENHANCEMENT else None

    async def resolve(self, owner: str, requested: Sequence[RequestedInput]) -> list[RequestedInput]:
        """The same inputs with their assets, for many jobs that share them. Raises Invalid."""
        assets = await inputs.resolve(self._library, owner, requested)
        return [msgspec.structs.replace(each, upload=asset) for each, asset in zip(requested, assets, strict=True)]

    async def wildcards(self, owner: str, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The user's wildcard lists, if any of these prompts may name one."""
        return await self._wildcards(owner, prompts) if any("__" in prompt for prompt in prompts) else {}

    def expand(self, prompt: str, wildcards: Mapping[str, Sequence[str]], seed: object) -> str:
        """The prompt with its choices and wildcards decided by the seed, or by chance if there is none. Raises Invalid."""
        seed = seed if isinstance(seed, int) else secrets.randbits(64)
        with _expansion_errors():
            text = prompt_expansion.expand(prompt, wildcards, seed)
        if prompt.strip() and not text.strip():
            raise _invalid("prompt", "The chosen variant of the prompt is empty.")
        return text

    def count_variants(self, prompt: str, wildcards: Mapping[str, Sequence[str]]) -> int:
        """How many variants the choices and wildcards of a prompt have. Raises Invalid."""
        with _expansion_errors():
            return prompt_expansion.count(prompt, wildcards)

    def variants(self, prompt: str, wildcards: Mapping[str, Sequence[str]]) -> list[str]:
        """All variants of a prompt; count them first. Raises Invalid."""
        with _expansion_errors():
            return list(prompt_expansion.variants(prompt, wildcards))

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

    async def usual_model(self, owner: str, kind: Kind, *, with_image: bool = False) -> str | None:
        """The id of the model that a form begins with: the one that the user used last, else the admins' default."""
        used = (await self._jobs.newest(owner, kinds=[kind], limit=_LAST_USED)).items
        last = next((job.model for job in used if job.generation_type.has_inputs == with_image), None)
        default = self._catalog.preferences.default_model(_TYPES[kind, with_image].value)
        available = {model.id for model in self.models(kind, with_image=with_image)}
        return next((id for id in (last, default) if id in available), None)

    async def favorite_models(self, owner: str) -> set[str]:
        """The ids of the models that the user has marked."""
        return await self._catalog.preferences.favorites(owner)

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

    def to_form(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The inverse of `read_form`."""
        return self._catalog.parameters.to_form(params)

    def split_inputs(self, settings: FormSettings) -> tuple[JobInput | None, Sequence[JobInput]]:
        """The inputs of a job as the form has them: the single image, and all others."""
        roles = [each.role for each in settings.inputs[:1]]
        with suppress(Invalid):
            model = self._catalog.choose(settings.model, settings.kind)
            roles = [JobInputRole(inputs.single_role(model, settings.kind).value)]
        single = next((each for each in settings.inputs if each.role in roles), None)
        return single, [each for each in settings.inputs if each is not single]

    async def restore(self, owner: str, chunks: AsyncIterator[bytes]) -> tuple[FormSettings, int]:
        """The settings in a file that was downloaded here, and how many of its inputs are not in the user's library and were left out.
        Raises Invalid for any other file, WrongType and TooLarge."""
        found = await self._library.read_settings(chunks)
        if found is None or found.kind not in (Kind.TEXT, Kind.IMAGE, Kind.VIDEO):
            raise Invalid("This file holds no settings. Choose an image or video that was downloaded here.")
        own = [each for each in found.inputs[:MAX_INPUTS] if await self._library.has(owner, each.asset_id)]
        settings = FormSettings(
            kind=Kind(found.kind),
            model=found.model,
            prompt=found.prompt,
            enhanced_prompt=found.enhanced_prompt,
            enhanced_by=found.enhanced_by,
            system_prompt=found.system_prompt,
            params=found.params,
            inputs=tuple(JobInput(JobInputRole(each.role), each.asset_id, each.weight) for each in own),
        )
        return settings, len(found.inputs) - len(own)

    async def find_job(self, owner: str, job_id: str) -> Job:
        """A job of the user whose settings fill the form."""
        return await self._jobs.find(owner, job_id)

    async def templates(self, user: User, kind: Kind, limit: int = 12) -> Sequence[Prompt]:
        """Prompt templates that the form offers."""
        return (await self._prompts.search(user, kind=PromptKind.TEMPLATE, output=kind, limit=limit)).items

    async def template(self, user: User, id: str) -> Prompt:
        """A prompt template that the user can see. Raises Missing."""
        prompt = await self._prompts.find(user, id)
        if prompt.kind is not PromptKind.TEMPLATE:
            raise Missing("There is no such prompt template.")
        return prompt

    async def wildcard_names(self, owner: str) -> Sequence[str]:
        """The names of the wildcard lists that the user's prompts can use."""
        return await self._prompts.wildcard_names(owner)

    async def feed(self, owner: str, limit: int = 12) -> Sequence[Job]:
        """The user's latest jobs, without those that rewrite a prompt."""
        return (await self._jobs.newest(owner, limit=limit, enhancements=False)).items

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
    for name, text in (
        ("prompt", request.prompt),
        ("prompt", request.original_prompt or ""),
        ("system_prompt", request.system_prompt or ""),
    ):
        if len(text) > MAX_PROMPT:
            raise _invalid(name, f"Must be at most {MAX_PROMPT:,} characters; this has {len(text):,}.")
        if "\x00" in text:
            raise _invalid(name, "Must not contain null characters.")
    if not request.prompt.strip() and not optional:
        raise _invalid("prompt", "Enter a prompt.")


@contextmanager
def _expansion_errors() -> Iterator[None]:
    try:
        yield
    except prompt_expansion.ExpansionError as exc:
        raise _invalid("prompt", str(exc)) from None


def _invalid(field: str, message: str, *more: str) -> Invalid:
    return Invalid(message, fields=dict.fromkeys((field, *more), message))
