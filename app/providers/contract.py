"""The one shape behind which every provider stands: what it is asked, what it answers, how it may fail.

A submit or a poll ends in one of four outcomes, and the worker needs no other knowledge of a provider:

    Done    finished; the media lie in files of ours, the cost is what the provider said
    Again   it did not happen and may be tried anew (counts as an attempt)
    Later   it goes on upstream; ask again with the ticket (a poll never counts as an attempt)
    Never   it will not happen, and why

Providers raise nothing for what a provider does; an exception out of here is a bug of ours. The exceptions are `stream`,
which raises `Failure`, and `offers`, which raises `Upstream`.
"""

import enum
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from app.base.money import nano_dollars as nano_dollars


class Kind(enum.StrEnum):
    """What is made."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"


class ErrorCode(enum.StrEnum):
    """Why a job failed (the contract's `error.code`)."""

    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    PROVIDER_FAILED = "PROVIDER_FAILED"
    PROVIDER_UNREACHABLE = "PROVIDER_UNREACHABLE"
    PROVIDER_EXPIRED = "PROVIDER_EXPIRED"
    TIMED_OUT = "TIMED_OUT"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    RESULT_INVALID = "RESULT_INVALID"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    STORAGE_FULL = "STORAGE_FULL"


class Picture(msgspec.Struct, frozen=True):
    """A picture that goes upstream with a request; `path` is a file of ours, already decoded and re-encoded."""

    path: Path
    mime: str
    role: str = "first_frame"  # first_frame | last_frame | reference


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; `content` is text, or a list of OpenAI-style parts. `more` are other fields of it in the
    same style (`tool_calls`, `tool_call_id`, `name`)."""

    role: str
    content: str | list[dict[str, Any]] | None
    more: dict[str, Any] = {}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What one job asks. `params` has been checked against the offer's schema; `model` is the provider's own id."""

    job_id: str
    kind: Kind
    model: str
    prompt: str
    params: dict[str, Any] = {}
    pictures: tuple[Picture, ...] = ()
    messages: tuple[Message, ...] = ()  # set for text instead of `prompt`, when there is more than one turn
    raw: bool = (
        False  # for text: the caller speaks OpenAI's format too, and wants `reply` and `choice` beside the words
    )
    route: str | None = None  # the offer's route, None when the catalogue does not know the model
    output_modalities: tuple[str, ...] = ()


class UpstreamJob(msgspec.Struct, frozen=True):
    """The provider's own job: stored before anything else is done with it. `cost_nano` is what it said at submit, if it did."""

    id: str
    polling_url: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens, where the provider counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class Media(msgspec.Struct, frozen=True):
    """One result in a temporary file of ours. What it really is, `storage.media` finds out."""

    path: Path
    said_mime: str | None = None


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    media: tuple[Media, ...] = ()
    text: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    generation_id: str | None = None
    reply: dict[str, Any] | None = None  # a `raw` request's choice (`message`, `finish_reason`) in OpenAI's format


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is the provider's own word; `progress` 0 to 100 when it gives one; `wait` seconds when it asks for them."""

    upstream_job: UpstreamJob
    state: str
    progress: int | None = None
    wait: float | None = None


class Retryable(msgspec.Struct, frozen=True, kw_only=True):
    """Certainly not done and not billed, so sending it anew is safe. `wait` in seconds is the provider's Retry-After."""

    code: ErrorCode
    message: str
    wait: float | None = None
    detail: str = ""  # for admins and logs only: may hold the provider's own words


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """`message` is one sentence for people that says what happened and what to do."""

    code: ErrorCode
    message: str
    cost_nano: int | None = None
    text: str | None = None
    detail: str = ""


Outcome = Completed | Pending | Retryable | Failed


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a streamed answer: some text, or the closing figures."""

    delta: str = ""
    usage: Usage | None = None
    cost_nano: int | None = None
    finish_reason: str | None = None
    generation_id: str | None = None
    choice: dict[str, Any] | None = None  # a `raw` request's `delta` in OpenAI's format


class Failure(Exception):
    """A stream that failed, before or after its first chunk."""

    def __init__(self, outcome: Retryable | Failed) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class ModelOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One model as the provider offers it. `parameters` is a JSON Schema (2020-12, `type: object`, closed) of what
    `params` may hold for this model, each property with a `title`, its bounds or `enum`, and a `default` where known."""

    id: str
    name: str
    description: str = ""
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    context_length: int | None = None
    pricing: dict[str, str] = {}  # what is priced -> decimal USD per unit
    parameters: dict[str, Any] = {}
    route: str = ""  # the provider's own word for how this model is asked
    created: int | None = None  # unix seconds


class Provider(Protocol):
    """A service upstream."""

    name: str
    can_cancel: bool  # whether `cancel` does anything upstream

    async def offers(self) -> Sequence[ModelOffer]:
        """Every model on offer now; raises `errors.Upstream` when the catalogue cannot be had."""
        ...

    async def submit(self, request: Request, folder: Path) -> Outcome:
        """Send the request once. Media are written into `folder`, which the caller makes and removes."""
        ...

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        """Look after a submitted job once; when it is finished, download its results into `folder`."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Text, piece by piece. Closing the iterator hangs up upstream."""
        ...

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        """Ask upstream to stop; True when it said that it will."""
        ...

    async def cost_nano(self, generation_id: str) -> int | None:
        """What an answer came to in nano-dollars that was cut off before it could say; None while nobody knows."""
        ...
