"""The answer that a model is writing, in memory: one task adds to it, and any number of readers wait for updates."""

import asyncio
from time import perf_counter
from typing import Any

import msgspec

from app.base.errors import Invalid, Missing, Upstream
from app.chat.schemas import AnswerResult, Message, MessageStatus
from app.providers.contract import ErrorCode

_INVALID = (ErrorCode.PROVIDER_REFUSED, ErrorCode.REQUEST_REJECTED, ErrorCode.CONTEXT_LENGTH_EXCEEDED)


class StreamingAnswer:
    """One answer. `message` is its initial state, and its final state once it has ended."""

    reader: asyncio.Task[AnswerResult]  # reads from upstream; cancelling it closes the connection
    writing: asyncio.Task[None]  # the whole lifecycle, from creating the row to saving the result

    def __init__(self, message: Message, key: str | None = None) -> None:
        """`key` is the id of the API key that made the request."""
        self.message = message
        self.key = key
        self.pieces: list[str] = []
        self.size = 0
        self.saved = 0  # number of pieces saved
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.cancelled = False
        self.discard_text = False  # the user was deleted: keep the cost, discard the text
        self.reply: dict[str, Any] | None = None  # of a request with a body that does not stream: the whole answer
        self.media_type: str | None = None  # of an operation's answer, as the provider says; not trusted
        self._events: list[str | bytes] = []  # of one that streams: the events that its reader has not taken yet
        self.has_output = False  # whether anything was received
        self.reason = ""  # what the provider says is wrong with the request
        self.finish_reason: str | None = None
        self.generation_id: str | None = None  # the provider's id of this answer
        self.requested_at = 0.0  # when the request was sent (perf_counter)
        self.first_chunk_seconds = 0.0  # seconds from the request to the first chunk
        self.provider_seconds = 0.0  # seconds spent in provider requests
        self._updated = asyncio.Event()
        self._listeners = 0
        self._joined = ("", 0)

    # For the task that writes the answer

    def begin(self, reader: "asyncio.Task[AnswerResult]") -> None:
        """The row is saved and the provider request is running."""
        self.reader = reader
        self.started.set_result(None)
        if self.cancelled:
            reader.cancel()

    def fail(self, exc: Exception) -> None:
        """The answer could not start."""
        self.started.set_exception(exc)
        self.started.exception()  # mark as retrieved, in case no one is waiting
        self.ended.set()

    def add(self, piece: str, event: str | bytes | None = None) -> None:
        if not self.first_chunk_seconds:
            self.first_chunk_seconds = perf_counter() - self.requested_at
        if event is not None:
            self._events.append(event)
        if piece:
            self.pieces.append(piece)
            self.size += len(piece)
        if piece or event is not None:
            self.has_output = True
            self._notify()

    async def read(self) -> None:
        """Wait until the provider request ends, for any reason."""
        await asyncio.wait([self.reader])

    def end(self, message: Message) -> None:
        """The result is saved; notify the readers."""
        self.message = message
        self.ended.set()
        self._notify()

    # For readers

    def cancel_upstream(self) -> None:
        self.cancelled = True
        if self.started.done() and not self.ended.is_set():
            self.reader.cancel()

    @property
    def text(self) -> str:
        text, count = self._joined
        if count < len(self.pieces):
            text += "".join(self.pieces[count:])
            self._joined = (text, len(self.pieces))
        return text

    def now(self) -> Message:
        """The message with the text so far."""
        return self.message if self.ended.is_set() else msgspec.structs.replace(self.message, text=self.text)

    def take_events(self) -> list[Any]:
        """The events since the last call: text, or bytes of an operation's answer. Only one reader may take them."""
        events, self._events = self._events, []
        return events

    async def wait_for_update(self, seen: int, timeout: float) -> bool:
        """Wait until there are more than `seen` pieces or any events, or the answer has ended; False after `timeout` seconds
        without either."""
        self._listeners += 1
        try:
            async with asyncio.timeout(timeout):
                while len(self.pieces) <= seen and not self._events and not self.ended.is_set():
                    await self._updated.wait()
                return True
        except TimeoutError:
            return False
        finally:
            self._listeners -= 1

    def require_complete(self) -> Message:
        """The message of an answer that has ended. Raises Invalid when the provider refused or rejected the request, Missing when it
        does not offer the operation, Upstream when it failed."""
        message, error = self.message, self.message.error
        if message.status is MessageStatus.COMPLETE:
            return message
        if error is None:
            raise Upstream("The answer was stopped.", details={"id": message.id})
        details = {"id": message.id, "code": error.code.value}
        if error.code is ErrorCode.NOT_OFFERED:
            raise Missing(error.message, details=details)
        if self.reason:
            raise Invalid(f"The provider rejected the request: {self.reason}", details=details)
        if error.code in _INVALID:
            raise Invalid(error.message, details=details)
        raise Upstream(error.message, details=details, retry_after=error.retry_after)

    def _notify(self) -> None:
        if self._listeners:
            self._updated.set()
            self._updated = asyncio.Event()
