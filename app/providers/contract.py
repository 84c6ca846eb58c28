"""The protocol that every provider implements: requests, outcomes and failures.

`submit` and `poll` return one of four outcomes, which are all that the worker knows about a provider:

    Completed   finished; the results are in local files, the cost is as reported by the provider
    Retryable   not carried out; safe to send again (counts as an attempt)
    Pending     still running upstream; poll again with the `UpstreamJob` (a poll never counts as an attempt)
    Failed      final, with the reason

Upstream errors are returned as outcomes, not raised, so any exception is a bug in the provider module. Two methods
differ: `stream` raises `Failure`; `offers` and `test` raise `Upstream`.
"""

import enum
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

_IMAGE_STARTS: Final = (("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("UklGR", "webp"))  # of files in base64


class Kind(enum.StrEnum):
    """The kind of output. No provider is asked for AUDIO or RENDER yet."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    RENDER = "render"  # a file that Atelier renders itself, such as a storyboard's animatic


class Operation(enum.StrEnum):
    """What a request in OpenAI's format asks for; a text request is a chat completion otherwise."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    MODERATIONS = "moderations"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"  # its body has the recording as `input_audio`: `data` in base64, and `format`


class ErrorCode(enum.StrEnum):
    """Why a job failed: `error.code` in the API."""

    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    PROVIDER_FAILED = "PROVIDER_FAILED"
    PROVIDER_UNREACHABLE = "PROVIDER_UNREACHABLE"
    PROVIDER_BUSY = "PROVIDER_BUSY"  # limits requests or is overloaded; nothing was done
    REQUEST_REJECTED = "REQUEST_REJECTED"  # the provider does not accept the settings
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    NOT_OFFERED = "NOT_OFFERED"  # the provider has no such operation, or not for this model
    PROVIDER_EXPIRED = "PROVIDER_EXPIRED"
    TIMED_OUT = "TIMED_OUT"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    RESULT_INVALID = "RESULT_INVALID"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    STORAGE_FULL = "STORAGE_FULL"


class InputImage(msgspec.Struct, frozen=True):
    """An image that is sent with a request. `path` is a local file that has already been decoded and re-encoded."""

    path: Path
    mime: str
    role: str = "first_frame"  # an InputRole


class Turn(msgspec.Struct, frozen=True):
    """One turn of a conversation. `content` is text or a list of OpenAI-style parts."""

    role: str
    content: str | list[dict[str, Any]]


class Preview(msgspec.Struct, frozen=True):
    """An image in base64, as far as it is generated. `index` counts the previews of a request from 0."""

    index: int
    base64: str

    @property
    def format(self) -> str | None:
        """png, jpeg or webp, by its first bytes; None if it is something else."""
        return next((name for start, name in _IMAGE_STARTS if self.base64.startswith(start)), None)

    def decoded(self) -> bytes:
        """The image; empty if it is not valid base64. Blocks."""
        try:
            return b64decode(self.base64 + "=" * (-len(self.base64) % 4))
        except ValueError:
            return b""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What one job requests. `params` is already validated against the offer's schema; `model` is the provider's model id."""

    job_id: str
    kind: Kind
    model: str
    prompt: str
    params: dict[str, Any] = {}
    images: tuple[InputImage, ...] = ()
    messages: tuple[Turn, ...] = ()  # text only: replaces `prompt` when there is more than one turn
    # Text only: a whole request in OpenAI's format, which is sent as it is except for the model. It replaces `prompt`, `messages`
    # and `params`, and the answer is also returned as it came: `Completed.reply`, `Chunk.event`. An operation other than CHAT
    # is always streamed, in pieces of bytes.
    body: dict[str, Any] | None = None
    operation: Operation = Operation.CHAT
    route: str | None = None  # the offer's route, None when the model is not in the catalog
    # As an admin described the model; None when the provider's own description holds.
    inputs: "tuple[InputSlot, ...] | None" = None
    outputs: "Outputs | None" = None
    output_modalities: tuple[str, ...] = ()
    # Image only: how many previews are wanted, and what is called with each. A provider that has none ignores both.
    previews: int = 0
    on_preview: Callable[[Preview], None] | None = None


class UpstreamJob(msgspec.Struct, frozen=True):
    """The job at the provider. It is stored before anything else is done with it, so that a crash cannot lose it."""

    id: str
    polling_url: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Token counts, where the provider reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class ResultFile(msgspec.Struct, frozen=True):
    """One result in a temporary local file. `reported_mime` is not trusted: `storage.media` detects the real type."""

    path: Path
    reported_mime: str | None = None


class MissingOutput(msgspec.Struct, frozen=True):
    """An output that cannot be had although the job has finished, and why. `index` counts all outputs of the job from 0; `message` is
    for the user."""

    index: int
    code: ErrorCode
    message: str


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """`missing` are the outputs that are not in `media` although the provider generated them, or should have."""

    media: tuple[ResultFile, ...] = ()
    missing: tuple[MissingOutput, ...] = ()
    text: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    generation_id: str | None = None
    finish_reason: str | None = None  # text only: the provider's word for why it ended
    reply: dict[str, Any] | None = None  # of a request with `body`: the whole answer

    @property
    def outputs(self) -> list[tuple[int, Path]]:
        """The files with their numbers among all outputs."""
        missing = {each.index for each in self.missing}
        present = [index for index in range(len(self.media) + len(missing)) if index not in missing]
        return [(index, file.path) for index, file in zip(present, self.media, strict=True)]


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is the provider's own name for it, `progress` is 0 to 100, `wait` is the requested delay in seconds.
    `poll_within` asks for the next poll within so many seconds, where results come faster than the usual interval."""

    upstream_job: UpstreamJob
    state: str
    progress: int | None = None
    wait: float | None = None
    poll_within: float | None = None


class Retryable(msgspec.Struct, frozen=True, kw_only=True):
    """Not carried out and not billed, so sending it again is safe. `wait` is the provider's Retry-After in seconds."""

    code: ErrorCode
    message: str
    wait: float | None = None
    detail: str = ""  # for admins and logs only: may quote the provider


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """`message` is for the user: what happened and what to do, in one or two sentences. `reason` is what the provider says is wrong
    with a request, for a caller who wrote that request."""

    code: ErrorCode
    message: str
    cost_nano: int | None = None
    text: str | None = None
    carried_out: bool = True  # False when the provider certainly did nothing
    reason: str = ""
    detail: str = ""


Outcome = Completed | Pending | Retryable | Failed


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a streamed response: text, or the final usage data."""

    delta: str = ""
    usage: Usage | None = None
    cost_nano: int | None = None
    finish_reason: str | None = None
    generation_id: str | None = None
    event: str | bytes | None = (
        None  # of a request with `body`: the event's JSON, or bytes of the answer to an operation
    )
    media_type: str | None = None  # of the answer to an operation; not trusted
    usage_only: bool = False  # the event has no choice; OpenAI's clients get it only on request


class Failure(Exception):
    """An outcome as an exception, for code that cannot return it: a stream failed, before or after its first chunk."""

    def __init__(self, outcome: Retryable | Failed) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class ModelType(enum.StrEnum):
    """What a model makes from what."""

    TEXT_TO_TEXT = "text_to_text"
    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"
    INPAINTING = "inpainting"
    TEXT_TO_VIDEO = "text_to_video"
    IMAGE_TO_VIDEO = "image_to_video"
    HYBRID = "hybrid"  # with or without an input image


class InputRole(enum.StrEnum):
    """What an input file is for."""

    IMAGE = "image"
    MASK = "mask"
    FIRST_FRAME = "first_frame"
    LAST_FRAME = "last_frame"
    REFERENCE = "reference"
    AUDIO = "audio"
    VIDEO = "video"


class MaskPolarity(enum.StrEnum):
    """Which pixels of a mask mark what is generated."""

    WHITE = "white"
    BLACK = "black"
    TRANSPARENT = "transparent"


class InputSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input files that a model takes in one role. `formats` are media types, empty for every one that Atelier takes; sizes are in
    pixels; `field` is the provider's name for the input; `polarity` is that of a mask, None for white. An image that does not fit is changed before it
    is sent."""

    role: InputRole
    required: bool = False
    max: int = 1
    formats: tuple[str, ...] = ()
    max_bytes: int | None = None
    min_width: int | None = None
    min_height: int | None = None
    max_width: int | None = None
    max_height: int | None = None
    field: str = ""
    polarity: MaskPolarity | None = None


class Outputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many results one job has; `field` is the provider's name for the number."""

    default: int = 1
    max: int = 1
    field: str = ""


class ModelHelp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gallery says about a model."""

    what_is: str = ""
    use_cases: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()


class ModelOffer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the provider; files in the repository describe models in this shape as JSON. `parameters` is the JSON Schema
    (2020-12, `type: object`, no additional properties) of `params` for this model. Each property has a `title`, bounds or an
    `enum`, and a `default` where known. `price` is a formula over the parameters in USD, empty when only `pricing` is known."""

    id: str
    name: str
    description: str = ""
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    context_length: int | None = None
    pricing: dict[str, str] = {}  # price name -> decimal USD per unit
    parameters: dict[str, Any] = {}
    route: str = ""  # which of the provider's routes serves this model
    created: int | None = None  # unix seconds
    type: ModelType | None = None
    inputs: tuple[InputSlot, ...] = ()
    outputs: Outputs = Outputs()
    price: str = ""
    button: str = ""
    help: ModelHelp = ModelHelp()


class Provider(Protocol):
    """An upstream AI service."""

    name: str
    can_cancel: bool  # whether `cancel` does anything upstream

    async def test(self) -> None:
        """Ask the provider for something that costs nothing and needs the key. Raises `errors.Upstream` with the reason, in the
        provider's words where it gives any."""
        ...

    async def offers(self) -> Sequence[ModelOffer]:
        """Every model available now. Raises `errors.Upstream` when the catalog cannot be fetched."""
        ...

    async def submit(self, request: Request, folder: Path) -> Outcome:
        """Send the request once. Results are written into `folder`, which the caller creates and removes."""
        ...

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        """Check a submitted job once. If it has finished, download its results into `folder`."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream text. Closing the iterator closes the upstream connection."""
        ...

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        """Request cancellation upstream. True when the provider accepted it."""
        ...

    async def cost_nano(self, generation_id: str) -> int | None:
        """The cost in nano-dollars of a generation whose response ended before reporting it; None while it is unknown."""
        ...
