"""Implements the provider protocol with fal's queue."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from app.base.config import MB
from app.base.errors import Upstream
from app.providers.client import Client
from app.providers.contract import Chunk, ErrorCode, Failed, Failure, Kind, ModelOffer, Outcome, Request, UpstreamJob
from app.providers.errors import ClientError
from app.providers.fal.api import FalApi, FalTimeouts
from app.providers.fal.descriptions import described
from app.providers.fal.errors import detail_of
from app.providers.fal.inputs import InputFiles
from app.providers.fal.jobs import FalJobs
from app.providers.fal.live_schemas import LiveSchemas
from app.providers.fal.prices import Prices
from app.providers.fal.results import MAX_OUTPUTS, ResultFiles

_NOT_OFFERED = Failed(
    code=ErrorCode.NOT_OFFERED,
    message="This provider generates images and videos only. Choose another model.",
    cost_nano=0,
    carried_out=False,
)


class Fal:
    """`queue_url` and `rest_url` must be among the base URLs that `client` was built with."""

    name = "fal"
    can_cancel = True

    def __init__(
        self,
        client: Client,
        queue_url: str,
        rest_url: str,
        key: str | None,
        *,
        max_image_bytes: int,
        max_video_bytes: int,
        name: str = name,
        site_url: str | None = None,
        platform_url: str | None = None,
        timeouts: FalTimeouts | None = None,
        callback: Callable[[str], str] | None = None,
    ) -> None:
        """`site_url` is where the models' schemas are published, None to do without; `platform_url` is where prices are, by default
        with the files. `callback` returns the webhook URL for a
        job id; only public https URLs work. Raises ValueError when the key is not valid in a header."""
        self.name = name
        self._api = FalApi(client, queue_url, rest_url, key, timeouts)
        self._prices = Prices(client, platform_url or rest_url, key)
        results = ResultFiles(self._api, self._prices, max_image_bytes, max_video_bytes)
        max_result_bytes = MAX_OUTPUTS * max_image_bytes * 4 // 3 + MB  # base64 is a third larger than the images
        self._schemas = LiveSchemas(client, site_url) if site_url else None
        self._jobs = FalJobs(self._api, InputFiles(self._api), results, max_result_bytes, callback)

    async def test(self) -> None:
        """Ask for a place to upload a file to, which needs the key; nothing is uploaded."""
        try:
            response = await self._api.initiate_upload("test.txt", "text/plain")
        except ClientError as exc:
            raise Upstream(f"No answer: {exc}.") from None
        if response.status != 200:
            raise Upstream(f"Refused with status {detail_of(self._api, response)}")

    async def offers(self) -> Sequence[ModelOffer]:
        offers = list((await asyncio.to_thread(described)).values())
        return await self._prices.priced(await self._schemas.narrowed(offers) if self._schemas else offers)

    async def submit(self, request: Request, folder: Path) -> Outcome:
        if request.kind not in (Kind.IMAGE, Kind.VIDEO):
            return _NOT_OFFERED
        return await self._jobs.submit(request)

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        return await self._jobs.poll(upstream_job, folder)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        raise Failure(_NOT_OFFERED)
        yield Chunk()  # makes this a generator

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        return await self._jobs.cancel(upstream_job)

    async def cost_nano(self, generation_id: str) -> int | None:
        """Not needed: a result says what it cost."""
        return None

    def __repr__(self) -> str:
        return f"Fal({self._api.queue.base_url!r})"
