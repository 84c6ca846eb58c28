"""What OpenAI's clients can ask for, carried out by the features that everybody else uses."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base.errors import Conflict, Invalid, Missing, TooLarge, Upstream
from app.base.once import Once, once
from app.base.paging import Page
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat.schemas import ChatRequest
from app.chat.service import Chat, StreamingAnswer
from app.gateway import chat, images, openai_params, videos
from app.generation.schemas import GenerationRequest
from app.generation.service import Generation
from app.jobs.schemas import Accepted, Job, LateResultPolicy, Status
from app.jobs.service import Jobs
from app.library.schemas import Asset
from app.library.service import Library
from app.providers.contract import ErrorCode, Kind

PATIENCE: Final = 900.0  # seconds: a picture is answered in the call itself

Body = Mapping[str, Any]


class Upload(msgspec.Struct, frozen=True):
    """A file that came in this field of a form."""

    field: str
    chunks: AsyncIterator[bytes]
    name: str


class Gateway:
    """Programs that speak OpenAI's language."""

    def __init__(
        self, catalog: Catalog, chat: Chat, generation: Generation, jobs: Jobs, library: Library, origin: str
    ) -> None:
        self._catalog = catalog
        self._chat = chat
        self._generation = generation
        self._jobs = jobs
        self._library = library
        self._origin = origin.rstrip("/")

    # Models

    def models(self, limits: KeyLimits | None) -> Sequence[Model]:
        """Those that the key which asks may use."""
        return [model for model in self._catalog.search() if limits is None or limits.admits(model.id)]

    def model(self, id: str, limits: KeyLimits | None) -> Model:
        """Missing also for one that the key which asks may not use."""
        if limits is not None and not limits.admits(id):
            raise openai_params.not_there(id)
        try:
            return self._catalog.find(id)
        except Missing:
            raise openai_params.not_there(id) from None

    # Conversations

    def ask(self, body: Body, *, streamed: bool) -> ChatRequest:
        """The question of a request; Invalid or Missing names the field that is wrong."""
        return chat.ask(body, self._catalog, self._chat, streamed=streamed)

    async def complete(
        self, owner: str, ask: ChatRequest, body: Body, key: str | None, limits: KeyLimits | None
    ) -> StreamingAnswer:
        """The whole answer; whoever is cancelled while waiting hangs up."""
        return await self._chat.complete(owner, ask, once(key, "/v1/chat", body), limits=limits)

    async def stream_raw(
        self, owner: str, ask: ChatRequest, limits: KeyLimits | None
    ) -> tuple[StreamingAnswer, AsyncGenerator[Sequence[dict[str, Any]], None]]:
        """The answer as it comes; closing the iterator hangs up."""
        return await self._chat.stream_raw(owner, ask, limits=limits)

    # Pictures

    async def draw(
        self, owner: str, body: Body, key: str | None, limits: KeyLimits | None, upload: Upload | None = None
    ) -> Job:
        """The completed job; Invalid when the provider refused, Upstream when it failed. Whoever is cancelled while
        waiting cancels the job; what is made of it all the same is paid for, so it is kept."""
        wish = await self._with(owner, images.wish(body, self._catalog), upload)
        once = _once(key, "images", body, wish)
        accepted = await self._generation.make(owner, Kind.IMAGE, wish, once=once, limits=limits)
        try:
            job = await self._generation.wait(accepted.job, PATIENCE)
        except asyncio.CancelledError:
            with suppress(Conflict, Missing):  # it had ended
                await self._jobs.cancel(owner, accepted.job.id, LateResultPolicy.KEEP)
            raise
        _check(job)
        return job

    async def pictures(self, job: Job, body: Body) -> bytes:
        """The answer to a request for pictures, in base64 unless it wants their addresses."""
        library = None if body.get("response_format") == "url" else self._library
        return await asyncio.to_thread(images.answer, job, library, self._origin)

    # Clips

    async def film(
        self, owner: str, body: Body, key: str | None, limits: KeyLimits | None, upload: Upload | None = None
    ) -> Accepted:
        wish = videos.wish(body, self._catalog, uploaded=upload is not None)
        wish = await self._with(owner, wish, upload)
        once = _once(key, "videos", body, wish)
        with videos.named():
            return await self._generation.make(
                owner, Kind.VIDEO, wish, from_picture=wish.names_picture, once=once, limits=limits
            )

    async def video(self, owner: str, id: str) -> Job:
        job = await self._jobs.find(owner, id)
        if job.kind is not Kind.VIDEO:
            raise Missing("There is no such video.")
        return job

    async def videos(self, owner: str, after: str | None, limit: int, *, oldest_first: bool) -> Page[Job]:
        """Those after the one with that id."""
        return await self._jobs.newest(owner, kinds=[Kind.VIDEO], before=after, limit=limit, oldest_first=oldest_first)

    async def content(self, owner: str, id: str, *, thumbnail: bool) -> tuple[Asset, Path]:
        """The clip of a completed job, and where its bytes lie."""
        job = await self.video(owner, id)
        if not job.assets:
            raise Missing("This video has no content: it is not completed.")
        clip = await self._library.find(owner, job.assets[0].id)
        return clip, self._library.path(clip, thumbnail=thumbnail)

    async def delete(self, owner: str, id: str) -> None:
        """Conflict while it is being made."""
        await self._jobs.delete(owner, (await self.video(owner, id)).id)

    async def _with(self, owner: str, wish: GenerationRequest, upload: Upload | None) -> GenerationRequest:
        if upload is None:
            return wish
        try:
            asset = await self._generation.upload(owner, upload.chunks, upload.name)
        except TooLarge:
            raise
        except Invalid as exc:  # in OpenAI's format no picture is as wrong as any other value
            raise openai_params.wrong(upload.field, exc.message) from None
        return msgspec.structs.replace(wish, upload=asset)


def _once(key: str | None, door: str, body: Body, wish: GenerationRequest) -> Once | None:
    """A picture that came as a file counts by its content."""
    return once(key, f"/v1/{door}", {**body, "upload": wish.upload.key if wish.upload else None})


def _check(job: Job) -> None:
    """A job that has failed is its caller's error."""
    details = {"job_id": job.id}
    if job.status is Status.CANCELLED:
        raise Upstream("The job was cancelled.", details={**details, "code": "CANCELLED"})
    if job.error is not None:
        refused = job.error.code is ErrorCode.PROVIDER_REFUSED
        raise (Invalid if refused else Upstream)(job.error.message, details={**details, "code": job.error.code.value})
    if not job.final:
        raise Upstream("The provider has not answered yet; look at the job later.", details=details)
