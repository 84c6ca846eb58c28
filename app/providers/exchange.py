"""How far one request got, which decides what its failure means: nothing was sent, or it may have been carried out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.providers.connections import ConnectionLost, Unreachable
from app.providers.errors import Ambiguous, Broken, ClientError, NotSent, TimedOut


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
        except (Unreachable, ConnectionLost, TimeoutError) as exc:
            raise self.to_client_error(exc) from None

    def to_client_error(self, exc: Unreachable | ConnectionLost | TimeoutError) -> ClientError:
        if isinstance(exc, TimeoutError):
            if not self.sent:
                return NotSent(f"{self.host} could not be reached in time")
            return TimedOut(f"{self.host} did not respond in time")
        if not self.sent:
            return NotSent(f"{self.host} could not be reached ({exc})")
        if not self.answered:
            return Ambiguous(f"{self.host} closed the connection without a response ({exc})")
        return Broken(f"the response of {self.host} ended early ({exc})")
