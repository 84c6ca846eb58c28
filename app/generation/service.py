"""The rules of asking: what a request must hold before it becomes a job."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.errors import Invalid, Missing
from app.base.once import Once
from app.base.secret import uuid7
from app.catalog.schemas import Field, Model, Price
from app.catalog.service import Catalog
from app.generation.schemas import GenerationRequest
from app.jobs.schemas import Accepted, GenerationType, Job
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.providers.contract import Kind

MAX_PROMPT: Final = 32_000  # characters

_TYPES = {
    (Kind.TEXT, False): GenerationType.TEXT_TO_TEXT,
    (Kind.IMAGE, False): GenerationType.TEXT_TO_IMAGE,
    (Kind.IMAGE, True): GenerationType.IMAGE_TO_IMAGE,
    (Kind.VIDEO, False): GenerationType.TEXT_TO_VIDEO,
    (Kind.VIDEO, True): GenerationType.IMAGE_TO_VIDEO,
}


class Generation:
    """Turns wishes into jobs, and knows what a form must offer."""

    def __init__(
        self,
        catalog: Catalog,
        library: Library,
        jobs: Jobs,
        directives: Sequence[tuple[str, Sequence[str], str]] = (),
    ) -> None:
        self._directives = directives
        self._catalog = catalog
        self._library = library
        self._jobs = jobs

    async def make(
        self,
        owner: str,
        kind: Kind,
        wish: GenerationRequest,
        *,
        from_picture: bool | None = None,
        once: Once | None = None,
        limits: KeyLimits | None = None,
        in_person: bool = False,
    ) -> Accepted:
        """Check the wish and accept it as a job. `from_picture` True asks for a picture, False takes none, None takes
        one when the model does. `allowance` is that of the API key which asks. What somebody asks for `in_person`, and waits
        for at the screen, goes before what their programs have queued. Invalid names every wrong field."""
        job = await self._job(owner, kind, wish, from_picture)
        if in_person:
            job = msgspec.structs.replace(job, priority=1)
        return await self._jobs.enqueue(job, once, limits=limits)

    async def write(
        self, owner: str, wish: GenerationRequest, *, limits: KeyLimits | None = None
    ) -> tuple[Job, AsyncIterator[str]]:
        """The same for a text whose words are wanted as they come; it is accepted when the first one is asked for."""
        job = await self._job(owner, Kind.TEXT, wish, from_picture=False)
        return job, self._jobs.subscribe(job, limits=limits)

    async def _job(self, owner: str, kind: Kind, wish: GenerationRequest, from_picture: bool | None) -> Job:
        model = self._catalog.choose(wish.model.strip(), kind)
        _check_prompt(wish, model, from_picture=bool(from_picture))
        _check_picture(wish, model, from_picture)
        params = self._catalog.check(model, wish.params)
        picture = await self._picture(owner, wish)
        return Job(
            id=uuid7(),
            owner_id=owner,
            kind=kind,
            generation_type=_TYPES[kind, picture is not None],
            provider=model.provider,
            model=model.id,
            model_name=model.name,
            upstream_model=model.upstream_id,
            route=model.route,
            prompt=wish.prompt.strip(),
            system_prompt=(wish.system_prompt or "").strip() or None,
            params=params,
            input_asset_id=picture.id if picture else None,
            created_at=clock.now(),
        )

    async def wait(self, job: Job, seconds: float) -> Job:
        """The job once it has ended, or as it stands after that time."""
        return await self._jobs.wait(job.owner_id, job.id, seconds)

    def models(self, kind: Kind, *, with_picture: bool = False) -> Sequence[Model]:
        """The models that a form for this offers, by name: those that start from a picture, or those that need none.
        For texts only models that make nothing else; the others can be asked for words by the API."""
        return [
            model
            for model in self._catalog.search(output=kind.value)
            if (model.takes_picture if with_picture else not model.needs_picture)
            and (kind is not Kind.TEXT or model.output_modalities == ("text",))
        ]

    def fields(self, model: Model, values: dict[str, Any], errors: dict[str, str] | None = None) -> list[Field]:
        return self._catalog.fields(model, values, errors)

    def usual_cost(self, model: Model) -> int | None:
        """What the last job of this model cost, in nano-dollars; None when none has told."""
        return self._jobs.usual_cost(model.id)

    def prices(self, model: Model) -> Sequence[Price]:
        """What matters of its prices for a choice."""
        return self._catalog.prices(model)

    def read_form(self, kind: Kind, form: dict[str, str]) -> dict[str, Any]:
        """The parameters of the chosen model out of a form; none when the model is not known (`make` will say so)."""
        try:
            return self._catalog.read_form(self._catalog.choose(form.get("model", ""), kind), form)
        except Invalid:
            return {}

    async def again(self, owner: str, job_id: str) -> Job:
        """An own job whose settings shall stand in the form once more."""
        return await self._jobs.find(owner, job_id)

    async def feed(self, owner: str, limit: int = 12) -> Sequence[Job]:
        """The person's latest jobs."""
        return (await self._jobs.newest(owner, limit=limit)).items

    async def pictures(self, owner: str, limit: int = 12) -> Sequence[Asset]:
        """The latest pictures, to start from."""
        return (await self._library.newest(owner, kind=AssetKind.IMAGE, limit=limit)).items

    async def upload(self, owner: str, chunks: AsyncIterator[bytes], name: str) -> Asset:
        """Take a picture to start from; it lands in the library."""
        asset = await self._library.upload(owner, chunks, name)
        if asset.kind is not AssetKind.IMAGE:
            raise _wrong("picture", "This is a clip: choose a picture. It is in your library now.")
        return asset

    def directives(self, kind: Kind) -> Sequence[tuple[str, str]]:
        """The words in a prompt by which the simulator can be made to fail, each with what it does; none without it."""
        return [(name, sentence) for name, kinds, sentence in self._directives if kind.value in kinds]

    async def _picture(self, owner: str, wish: GenerationRequest) -> Asset | None:
        if wish.upload is not None:
            return wish.upload
        if wish.image_asset_id:
            try:
                asset = await self._library.find(owner, wish.image_asset_id)
            except Missing:
                raise _wrong("image_asset_id", "There is no such picture in your library.") from None
            if asset.kind is not AssetKind.IMAGE:
                raise _wrong("image_asset_id", "This is a clip: choose a picture.")
            return asset
        if wish.image_url:
            return await self._library.fetch(owner, wish.image_url)
        return None


def _check_prompt(wish: GenerationRequest, model: Model, *, from_picture: bool) -> None:
    optional = from_picture and model.needs_picture
    for name, text in (("prompt", wish.prompt), ("system_prompt", wish.system_prompt or "")):
        if len(text) > MAX_PROMPT:
            raise _wrong(name, f"This has {len(text):,} characters; at most {MAX_PROMPT:,} are taken.")
        if "\x00" in text:
            raise _wrong(name, "This holds a character that is not text.")
    if not wish.prompt.strip() and not optional:
        raise _wrong("prompt", "Write a prompt first.")


def _check_picture(wish: GenerationRequest, model: Model, from_picture: bool | None) -> None:
    if from_picture and not wish.names_picture:
        raise _wrong("picture", "Choose a picture to start from.", "image_url")
    if (wish.names_picture and not model.takes_picture) or (from_picture and not model.takes_picture):
        raise _wrong("model", f"{model.name} does not start from a picture.")
    if model.needs_picture and not wish.names_picture:
        raise _wrong("picture", f"{model.name} needs a picture to start from.", "image_url")
    if sum(map(bool, (wish.image_url, wish.image_asset_id, wish.upload))) > 1:
        raise _wrong("picture", "Name one picture only: a file, one of the library, or an address.", "image_url")


def _wrong(field: str, message: str, *more: str) -> Invalid:
    return Invalid(message, fields=dict.fromkeys((field, *more), message))
