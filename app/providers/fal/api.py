"""The URLs, key and timeouts of fal's two services: the queue, where models run, and the REST service, for files and keys."""

from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from app.base.config import MB
from app.base.logging import masked
from app.providers.bodies import EncodedBody
from app.providers.client import Client
from app.providers.downloads import Download
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import AddressNotAllowed
from app.providers.responses import JsonResponse

_DETAIL = 2000  # characters of a provider's error message that are kept
_PREFIXES = ("workflows", "comfy")  # of ids in which owner and app are the second and third part


class FalTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds."""

    submit: float = 60
    poll: float = 30
    result: float = 120
    upload: float = 300
    download: float = 600


class FalApi:
    """Requests to fal. Every method raises `ClientError` and nothing else, except `download`, which also raises OSError."""

    def __init__(
        self, client: Client, queue_url: str, rest_url: str, key: str | None, timeouts: FalTimeouts | None = None
    ) -> None:
        """Raises ValueError, without the key, when the key is not valid in a header."""
        headers = {"Authorization": f"Key {key}"} if key else {}
        self.queue = ProviderEndpoint(queue_url, headers)
        self.rest = ProviderEndpoint(rest_url, headers)
        self.timeouts = timeouts or FalTimeouts()
        self._client = client
        self._key = key

    async def submit(self, model: str, content: bytes, **query: str) -> JsonResponse:
        url = f"{self.queue.base_url}/{quote(model)}" + (f"?{urlencode(query)}" if query else "")
        return await self._client.request_json(
            "POST",
            url,
            endpoint=self.queue,
            content=content,
            idle=self.timeouts.submit,
            total=self.timeouts.submit,
        )

    async def get(self, url: str, total: float, max_bytes: int = 32 * MB) -> JsonResponse:
        """`url` is one of the queue."""
        return await self._client.request_json(
            "GET", url, endpoint=self.queue, idle=min(total, 30), total=total, max_bytes=max_bytes
        )

    async def put(self, url: str) -> JsonResponse:
        """`url` is one of the queue."""
        return await self._client.request_json("PUT", url, endpoint=self.queue, total=self.timeouts.poll)

    async def initiate_upload(self, name: str, mime: str) -> JsonResponse:
        return await self._client.request_json(
            "POST",
            f"{self.rest.base_url}/storage/upload/initiate?storage_type=gcs",
            endpoint=self.rest,
            content=msgspec.json.encode({"file_name": name, "content_type": mime}),
            total=self.timeouts.poll,
        )

    async def upload(self, url: str, content: bytes, mime: str) -> JsonResponse:
        """Send a file to a signed URL, which is usually one of another host and never gets the key."""
        return await self._client.request_json(
            "PUT",
            url,
            endpoint=self.rest,
            content=EncodedBody(content, mime),
            with_key=False,
            total=self.timeouts.upload,
        )

    async def download(self, url: str, to: Path, max_bytes: int) -> Download:
        """Results are on another host and public to all who know the URL, so the key is never sent."""
        return await self._client.download(
            url, to, max_bytes=max_bytes, endpoint=self.queue, with_key=False, total=self.timeouts.download
        )

    def own(self, url: str) -> str | None:
        """The URL if it is one of the queue, else None. Only such a URL may be sent the key."""
        try:
            absolute = self.queue.absolute(url)
        except AddressNotAllowed:
            return None
        return absolute if url and self.queue.owns(absolute) else None

    def request_url(self, model: str, request_id: str) -> str:
        """The URL of a submitted request; the rest of the model's id, after owner and app, is not part of it."""
        parts = model.split("/")
        app = "/".join(parts[: 3 if parts[0] in _PREFIXES else 2])
        return f"{self.queue.base_url}/{quote(app)}/requests/{quote(request_id, safe='')}"

    def detail(self, message: str) -> str:
        """A provider's error message for admins: shortened, and without the API key."""
        if self._key:
            message = message.replace(self._key, "…")
        return masked(message)[:_DETAIL]
