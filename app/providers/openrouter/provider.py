"""Implements the provider protocol with the text, image and video routes."""

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path

from app.base.money import nano_dollars
from app.providers.client import Client
from app.providers.coerce import amount, mapping
from app.providers.contract import Chunk, Kind, ModelOffer, Operation, Outcome, Request, UpstreamJob
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError
from app.providers.openai_format.api import Api, Timeouts
from app.providers.openai_format.chat import ChatClient
from app.providers.openai_format.chat_requests import ChatDialect
from app.providers.openai_format.operations import OperationsClient, as_json
from app.providers.openai_format.videos import VideoClient
from app.providers.openrouter import catalog
from app.providers.openrouter.images import ImageClient
from app.providers.openrouter.video_requests import video_body


class OpenRouter:
    """`base_url` must be one of the base URLs that `client` was built with. `is_openrouter` says whether the server is
    OpenRouter (or its simulator) or only compatible; None decides by the host."""

    name = "openrouter"
    can_cancel = False

    def __init__(
        self,
        client: Client,
        base_url: str,
        key: str | None,
        *,
        name: str = name,
        max_image_bytes: int,
        max_video_bytes: int,
        referer: str | None = None,
        title: str | None = None,
        is_openrouter: bool | None = None,
        timeouts: Timeouts | None = None,
        callback: Callable[[str], str] | None = None,
    ) -> None:
        """`callback` returns the webhook URL for a job id; only https URLs work. Raises ValueError when the key is not valid
        in a header."""
        self.name = name
        headers = {
            "HTTP-Referer": referer,
            "X-OpenRouter-Title": title,
            "Authorization": f"Bearer {key}" if key else None,
        }
        endpoint = ProviderEndpoint(base_url, {name: value for name, value in headers.items() if value})
        if is_openrouter is None:
            host = endpoint.origin.host
            is_openrouter = host == "openrouter.ai" or host.endswith(".openrouter.ai")
        self._api = Api(self.name, client, endpoint, timeouts or Timeouts(), key)
        self._chat = ChatClient(self._api, ChatDialect())
        self._operations = OperationsClient(self._api, as_json)
        self._is_openrouter = is_openrouter
        self._images = ImageClient(self._api, max_image_bytes, is_openrouter=is_openrouter)
        self._videos = VideoClient(self._api, max_video_bytes, partial(video_body, callback=callback), numbered=True)

    async def test(self) -> None:
        """Compatible servers have no route for the key alone."""
        await self._api.test("/key" if self._is_openrouter else "/models")

    async def offers(self) -> Sequence[ModelOffer]:
        return await catalog.offers(self._api)

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
        """Not supported upstream: a submitted video is always generated and billed."""
        return False

    async def cost_nano(self, generation_id: str) -> int | None:
        """The cost of a generation in nano-dollars, for one whose response did not report it; None while it is unknown,
        which can be for some seconds."""
        try:
            response = await self._api.get(self._api.url("/generation", id=generation_id), self._api.timeouts.poll)
        except ClientError:
            return None
        return nano_dollars(amount(mapping(mapping(response.body).get("data")).get("total_cost")))

    def __repr__(self) -> str:
        return f"OpenRouter({self._api.endpoint.base_url!r})"
