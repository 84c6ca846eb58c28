"""The provider itself: the shape of the contract over the three kinds of route."""

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from app.providers.client import Client, ClientError, ProviderEndpoint
from app.providers.contract import Chunk, Kind, ModelOffer, Outcome, Request, UpstreamJob, nano_dollars
from app.providers.openrouter import catalog
from app.providers.openrouter.api import Api, Timeouts
from app.providers.openrouter.chat import Chat
from app.providers.openrouter.coerce import amount, mapping
from app.providers.openrouter.images import Images
from app.providers.openrouter.videos import Videos


class OpenRouter:
    """`base_url` must be among the base URLs that `client` was built with. `is_openrouter` tells a stand-in at another
    address from a server that is only compatible; None decides by the host. Caps are in bytes."""

    name = "openrouter"
    can_cancel = False

    def __init__(
        self,
        client: Client,
        base_url: str,
        key: str | None,
        *,
        max_image_bytes: int,
        max_video_bytes: int,
        referer: str | None = None,
        title: str | None = None,
        is_openrouter: bool | None = None,
        patience: Timeouts | None = None,
        callback: Callable[[str], str] | None = None,
    ) -> None:
        """`callback` gives the address, by our job's id, where the provider may say that a clip has ended; it must be https.
        ValueError when the key cannot be sent in a header."""
        named = {
            "HTTP-Referer": referer,
            "X-OpenRouter-Title": title,
            "Authorization": f"Bearer {key}" if key else None,
        }
        home = ProviderEndpoint(base_url, {name: value for name, value in named.items() if value})
        if is_openrouter is None:
            host = home.origin[1]
            is_openrouter = host == "openrouter.ai" or host.endswith(".openrouter.ai")
        self._api = Api(client, home, patience or Timeouts(), key)
        self._chat = Chat(self._api)
        self._images = Images(self._api, max_image_bytes, is_openrouter=is_openrouter)
        self._videos = Videos(self._api, max_video_bytes, callback)

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
        return self._chat.stream(request)

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        """There is no such call upstream: a clip that was handed in is made, and billed."""
        return False

    async def cost_nano(self, generation_id: str) -> int | None:
        """What a generation came to in nano-dollars, for one whose answer did not arrive or did not say; None while it
        is not known, which it can be for some seconds."""
        try:
            answer = await self._api.get(self._api.url("/generation", id=generation_id), self._api.patience.poll)
        except ClientError:
            return None
        return nano_dollars(amount(mapping(mapping(answer.body).get("data")).get("total_cost")))

    def __repr__(self) -> str:
        return f"OpenRouter({self._api.home.base_url!r})"
