"""Executes requests of OpenAI-compatible clients with the services of chat, generation, jobs and library."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.config import MB
from app.base.errors import Conflict, Invalid, Missing, TooLarge, Upstream
from app.base.paging import Page
from app.base.sizes import format_size
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat.schemas import ChatRequest
from app.chat.service import Chat, StreamingAnswer
from app.gateway import chat, images, openai_params, operations, videos
from app.generation.schemas import GenerationRequest
from app.generation.service import Generation
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import AcceptedJob, Job, JobStatus, LateResultPolicy
from app.jobs.service import Jobs
from app.library.schemas import Asset, AssetKind
from app.library.service import Library
from app.providers.contract import ErrorCode, Kind, Operation

MAX_INLINED: Final = 24 * MB  # of the user's own images in one chat request, as much as a body may have
KEEP_ALIVE: Final = 15.0  # seconds after which a stream that waits for an image says so
IMAGE_TIMEOUT: Final = 900.0  # seconds; an image request returns its result, not a job

Body = Mapping[str, Any]


class UploadedImage(msgspec.Struct, frozen=True):
    """An image uploaded in this form field. `content_hash` is that of its bytes."""

    field: str
    chunks: AsyncIterator[bytes]
    name: str
    content_hash: str


class Gateway:
    """The OpenAI-compatible API. Methods that take `limits` enforce the limits of the API key."""

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
        """The models that the API key may use."""
        return [model for model in self._catalog.search() if limits is None or limits.allows(model.id)]

    def model(self, id: str, limits: KeyLimits | None) -> Model:
        """The model. Raises Missing if it does not exist or the API key may not use it."""
        if limits is not None and not limits.allows(id):
            raise openai_params.model_not_found(id)
        try:
            return self._catalog.find(id)
        except Missing:
            raise openai_params.model_not_found(id) from None

    # Chat

    async def parse_chat(self, owner: str, body: Body, *, streamed: bool) -> ChatRequest:
        """Read a chat request, with the user's own images in it. Raises Invalid or Missing with the name of the invalid field."""
        request = chat.parse_request(body, self._catalog, streamed=streamed)
        ids = {id for part in chat.parts(body["messages"]) if (id := chat.asset_id(part, self._origin))}
        if not ids:
            return request
        assets = [await self._image(owner, id) for id in ids]
        if sum(asset.bytes for asset in assets) > MAX_INLINED:
            raise openai_params.invalid("messages", f"Your images must be at most {format_size(MAX_INLINED)} together.")
        images = {asset.id: await asyncio.to_thread(_data_url, asset, self._library.path(asset)) for asset in assets}
        return msgspec.structs.replace(request, body=chat.with_images(body, images, self._origin))

    async def _image(self, owner: str, id: str) -> Asset:
        with suppress(Missing):
            asset = await self._library.find(owner, id)
            if asset.kind is AssetKind.IMAGE:
                return asset
        raise openai_params.invalid("messages", f"/media/{id} is not an image in your library.")

    async def complete(self, owner: str, body: Body, key: str | None, limits: KeyLimits | None) -> StreamingAnswer:
        """The complete answer. Cancelling the call cancels the generation."""

        async def parse() -> ChatRequest:
            return await self.parse_chat(owner, body, streamed=False)

        return await self._chat.completions.complete(
            owner, parse, IdempotencyKey.of(owner, key, "/v1/chat", body), limits=limits
        )

    async def stream_raw(
        self, owner: str, request: ChatRequest, limits: KeyLimits | None
    ) -> tuple[StreamingAnswer, AsyncGenerator[Sequence[str], None]]:
        """The answer as a stream. Closing the iterator cancels the generation."""
        return await self._chat.completions.stream_raw(owner, request, limits=limits)

    # Embeddings, moderations, speech, transcriptions

    async def operate(
        self, owner: str, operation: Operation, body: Body, limits: KeyLimits | None
    ) -> tuple[StreamingAnswer, AsyncGenerator[Sequence[bytes], None]]:
        """The answer in pieces. Closing the iterator stops it."""
        request = operations.parse_request(operation, body, self._catalog)
        return await self._chat.completions.stream_raw(owner, request, limits=limits)

    # Images

    async def generate_images(
        self, owner: str, body: Body, key: str | None, limits: KeyLimits | None, upload: UploadedImage | None = None
    ) -> Job:
        """`start_images`, then `finish_images`."""
        return await self.finish_images(await self.start_images(owner, body, key, limits, upload))

    async def start_images(
        self, owner: str, body: Body, key: str | None, limits: KeyLimits | None, upload: UploadedImage | None = None
    ) -> Job:
        """The unfinished job of a request for images. Raises what is wrong with the request."""

        async def prepare() -> GenerationRequest:
            return await self._with_upload(owner, images.parse_request(body, self._catalog), upload)

        request_key = _request_key(owner, key, "images", body, upload)
        return (await self._generation.submit(owner, Kind.IMAGE, prepare, key=request_key, limits=limits)).job

    async def finish_images(self, started: Job) -> Job:
        """The completed job. Raises Invalid if the provider refused and Upstream if it failed.

        Cancelling the call cancels the job. If it completes anyway, its result has been paid for and is kept.
        """
        try:
            job = await self._generation.wait(started, IMAGE_TIMEOUT)
        except asyncio.CancelledError:
            with suppress(Conflict, Missing):  # it has ended already
                await self._jobs.cancel(started.owner_id, started.id, LateResultPolicy.KEEP)
            raise
        if job.status is JobStatus.QUEUED and job.run_at is not None:  # longer than a client waits
            wait = (job.run_at - clock.now()).total_seconds()
            await self._generation.withdraw(job)  # the client will ask again
            details = {"job_id": job.id, "code": ErrorCode.PROVIDER_BUSY.value}
            raise Upstream("The provider is overloaded or limits requests.", details=details, retry_after=wait)
        _check(job)
        return job

    async def image_events(self, kind: str, job: Job) -> AsyncGenerator[dict[str, Any] | None, None]:
        """The events of a streamed answer: each preview as it arrives, then each image; None when nothing has arrived for a
        while. Raises like `finish_images`. Closing the iterator cancels the job."""
        finishing = asyncio.create_task(self.finish_images(job))
        try:
            with self._jobs.waiters.previews.reading(job.id) as previews:
                finishing.add_done_callback(lambda _: previews.put_nowait(None))
                while not finishing.done() or not previews.empty():
                    try:
                        preview = await asyncio.wait_for(previews.get(), KEEP_ALIVE)
                    except TimeoutError:
                        yield None
                        continue
                    if preview is not None:  # else the job has ended
                        yield images.preview_event(kind, job, preview)
            for event in await asyncio.to_thread(images.events, kind, finishing.result(), self._library):
                yield event
        finally:
            finishing.cancel()
            await asyncio.wait({finishing})  # not gather: the server cancels this task again while it waits

    async def image_response(self, job: Job, body: Body) -> bytes:
        """The response body with the images in base64, or with their URLs if the request asks for `url`."""
        library = None if body.get("response_format") == "url" else self._library
        return await asyncio.to_thread(images.response_body, job, library, self._origin)

    # Videos

    async def create_video(
        self, owner: str, body: Body, key: str | None, limits: KeyLimits | None, upload: UploadedImage | None = None
    ) -> AcceptedJob:
        async def prepare() -> GenerationRequest:
            request = videos.parse_request(body, self._catalog, uploaded=upload is not None)
            return await self._with_upload(owner, request, upload)

        from_image = upload is not None or body.get("input_reference") is not None
        request_key = _request_key(owner, key, "videos", body, upload)
        with videos.openai_field_names():
            return await self._generation.submit(
                owner, Kind.VIDEO, prepare, from_image=from_image, key=request_key, limits=limits
            )

    async def video(self, owner: str, id: str) -> Job:
        job = await self._jobs.find(owner, id)
        if job.kind is not Kind.VIDEO:
            raise Missing("Video not found.")
        return job

    async def videos(self, owner: str, after: str | None, limit: int, *, oldest_first: bool) -> Page[Job]:
        """A page of videos after the one with this id."""
        return await self._jobs.newest(owner, kinds=[Kind.VIDEO], before=after, limit=limit, oldest_first=oldest_first)

    async def content(self, owner: str, id: str, *, thumbnail: bool) -> tuple[Asset, Path]:
        """The asset of a completed video, and the path of its file or thumbnail."""
        job = await self.video(owner, id)
        if not job.assets:
            raise Missing("The video has no content because it is not completed.")
        asset = await self._library.find(owner, job.assets[0].id)
        return asset, self._library.path(asset, thumbnail=thumbnail)

    async def delete(self, owner: str, id: str) -> None:
        """Raises Conflict while the video is in progress."""
        await self._jobs.delete(owner, (await self.video(owner, id)).id)

    async def _with_upload(
        self, owner: str, request: GenerationRequest, upload: UploadedImage | None
    ) -> GenerationRequest:
        if upload is None:
            return request
        try:
            asset = await self._generation.upload(owner, upload.chunks, upload.name)
        except TooLarge:
            raise
        except Invalid as exc:  # reported as an invalid field, as OpenAI does
            raise openai_params.invalid(upload.field, exc.message) from None
        return msgspec.structs.replace(request, upload=asset)


def _data_url(asset: Asset, path: Path) -> str:
    """Blocks."""
    try:
        return f"data:{asset.mime};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    except FileNotFoundError:
        raise openai_params.invalid("messages", f"The file of {asset.url} has been deleted.") from None


def _request_key(
    owner: str, key: str | None, route: str, body: Body, upload: UploadedImage | None
) -> IdempotencyKey | None:
    """An uploaded file is compared by its content."""
    content = {**body, "upload": upload.content_hash if upload else None}
    return IdempotencyKey.of(owner, key, f"/v1/{route}", content)


def _check(job: Job) -> None:
    """Raise the error of a job that has not completed."""
    details = {"job_id": job.id}
    if job.status is JobStatus.CANCELLED:
        raise Upstream("The job was cancelled.", details={**details, "code": "CANCELLED"})
    if job.error is not None:
        refused = job.error.code is ErrorCode.PROVIDER_REFUSED
        raise (Invalid if refused else Upstream)(job.error.message, details={**details, "code": job.error.code.value})
    if not job.final:
        raise Upstream("The provider has not responded in time. Check the job later.", details=details)
