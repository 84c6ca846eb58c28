"""How far one request got, which decides what its failure means: nothing was sent, or it may have been carried out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from app.providers.errors import AddressNotAllowed, Ambiguous, Broken, ClientError, NotSent, TimedOut

# What connecting, sending and reading raise; file errors are not among them.
CONNECTION_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError)


class ExchangeState:
    """The progress of one request to `host`. `deadline` is in loop time."""

    def __init__(self, host: str, deadline: float) -> None:
        self.host = host
        self.deadline = deadline
        self.sent = False
        self.answered = False

    @asynccontextmanager
    async def within_deadline(self) -> AsyncIterator[None]:
        """Apply the deadline, and translate connection errors in the block into ClientError."""
        try:
            async with asyncio.timeout_at(self.deadline):
                yield
        except CONNECTION_ERRORS as exc:
            raise self.to_client_error(exc) from None

    def to_client_error(self, exc: Exception) -> ClientError:
        """`exc` is one of CONNECTION_ERRORS. Its text is never shown, because it can contain the URL."""
        if isinstance(exc, TimeoutError):
            if not self.sent:
                return NotSent(f"{self.host} could not be reached in time")
            return TimedOut(f"{self.host} did not respond in time")
        if isinstance(exc, aiohttp.InvalidURL):
            return AddressNotAllowed(f"{self.host} is not a valid host")
        reason = type(exc.__cause__ or exc).__name__
        if not self.sent:
            return NotSent(f"{self.host} could not be reached ({reason})")
        if not self.answered:
            return Ambiguous(f"{self.host} closed the connection without a response ({reason})")
        return Broken(f"the response of {self.host} ended early ({reason})")
