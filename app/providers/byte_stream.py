"""A response of any type that is passed on in pieces as it arrives, within a limit."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.providers.exchange import CONNECTION_ERRORS
from app.providers.responses import JsonResponse, Response


class ByteStream:
    """The response. One that is an error or JSON is short: read it with `json_response()`, any other with `pieces()`."""

    def __init__(self, response: Response, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self.headers = response.headers
        self.is_json = response.status != 200 or response.mime == "application/json"

    @property
    def media_type(self) -> str:
        """The content type with its parameters, as the server sent it."""
        return self.headers.get("content-type", "")

    async def json_response(self) -> JsonResponse:
        async with self._response.exchange.within_deadline():
            return await self._response.read_json(self._max_bytes)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Raises ClientError."""
        try:
            async with aclosing(self._response.limited_chunks(self._max_bytes)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except CONNECTION_ERRORS as exc:
            raise self._response.exchange.to_client_error(exc) from None
