"""Implements the provider protocol with the routes of OpenAI's API."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from app.providers.client import Client
from app.providers.coerce import mapping
from app.providers.contract import Chunk, Kind, ModelOffer, Operation, Outcome, Request, UpstreamJob
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError
from app.providers.openai import listing
from app.providers.openai.costs import computed_cost, reported_cost
from app.providers.openai.images import OpenAIImages
from app.providers.openai.requests import operation_body, video_body
from app.providers.openai_format.api import Api, Timeouts, segment
from app.providers.openai_format.chat import ChatClient
from app.providers.openai_format.chat_requests import ChatDialect
from app.providers.openai_format.operations import OperationsClient
from app.providers.openai_format.videos import VideoClient

HOST = "api.openai.com"


class OpenAI:
    """`base_url` must be one of the base URLs that `client` was built with. Several servers have different names; the
    ids of their models begin with the name and a colon."""

    can_cancel = False  # only a video that has ended can be deleted

    def __init__(
        self,
        client: Client,
        base_url: str,
        key: str | None,
        *,
        max_image_bytes: int,
        max_video_bytes: int,
        name: str = "openai",
        is_openai: bool | None = None,
        asks_for_base64: bool = False,
        asks_for_usage: bool = True,
        timeouts: Timeouts | None = None,
    ) -> None:
        """`is_openai` says whether the server is OpenAI's (or its simulator) or only compatible; None decides by the host. With
        `asks_for_base64`, image requests have a `response_format`, which OpenAI's own models refuse and some servers need. With
        `asks_for_usage`, a streamed text ends with its usage; some servers refuse the request for it and report it anyway.
        Raises ValueError when the key is not valid in a header."""
        endpoint = ProviderEndpoint(base_url, {"Authorization": f"Bearer {key}"} if key else {})
        if is_openai is None:
            is_openai = endpoint.origin.host == HOST
        self.name = name
        self._priced = is_openai
        self._api = Api(name, client, endpoint, timeouts or Timeouts(), key)
        dialect = ChatDialect(
            max_tokens="max_completion_tokens" if is_openai else "max_tokens", asks_for_usage=asks_for_usage
        )
        self._chat = ChatClient(self._api, dialect)
        cost = computed_cost if is_openai else reported_cost
        self._operations = OperationsClient(self._api, operation_body, cost)
        self._images = OpenAIImages(self._api, max_image_bytes, cost, asks_for_base64=asks_for_base64)
        self._videos = VideoClient(self._api, max_video_bytes, video_body)

    async def test(self) -> None:
        await self._api.test("/models")

    async def offers(self) -> Sequence[ModelOffer]:
        return await listing.offers(self._api, priced=self._priced)

    async def submit(self, request: Request, folder: Path) -> Outcome:
        if request.kind is Kind.TEXT:
            return await self._chat.submit(request)
        if request.kind is Kind.IMAGE:
            return await self._images.submit(request, folder)
        return await self._videos.submit(request)

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        return await self._videos.poll(upstream_job, folder)

    def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        return self._chat.stream(request) if request.operation is Operation.CHAT else self._operations.stream(request)

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        """Delete a video. OpenAI does that only once it has ended; other servers may also stop one that is in progress."""
        url = self._api.url(f"/videos/{segment(upstream_job.id)}")
        try:
            response = await self._api.delete(url, self._api.timeouts.poll)
        except ClientError:
            return False
        return response.status == 204 or (response.status == 200 and mapping(response.body).get("deleted") is not False)

    async def cost_nano(self, generation_id: str) -> int | None:
        """Not reported by this API."""
        return None

    def __repr__(self) -> str:
        return f"OpenAI({self.name!r}, {self._api.endpoint.base_url!r})"
