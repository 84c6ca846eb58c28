"""What an upstream error means: whether the request may be sent again, and which message the user sees.

A request is sent again only if the provider did nothing. If it may have done the work, and would charge again, the job
fails with OUTCOME_UNKNOWN and the user decides.
"""

import email.utils
import time

from app.providers.coerce import amount
from app.providers.contract import ErrorCode, Failed, Retryable
from app.providers.errors import Ambiguous, ClientError, NotSent, TimedOut, TooBig

_MAX_WAIT = 3600.0  # seconds

REFUSED = "The provider refused this content. Change the prompt or the image and try again."
UNKNOWN = (
    "The provider did not confirm this request. It may have been carried out and charged. "
    "Try again only if a second charge is acceptable."
)
UNREADABLE = "The provider's response could not be read and may have been charged. Try again or choose another model."
FAILED = "The provider failed to process this request. Try again later or choose another model."
UNREACHABLE = "The provider could not be reached and nothing was sent. Try again later."
BUSY = "The provider is overloaded or limits requests. Try again in a minute."
TOO_BIG = "The result is too large. Request a smaller one."
EXPIRED = "The provider no longer has this result. Generate it again."
TIMED_OUT = "The provider stopped responding. The part received is kept; try again."
INTERRUPTED = "The provider's response ended early. The part received is kept; try again."
TOO_LONG = "The conversation is too long for this model. Start a new one, remove messages, or choose a model with a larger context."
NO_CREDIT = "The provider account has no credit left. Ask an administrator to add credit."


def no_response(exc: ClientError) -> Retryable | Failed:
    """The outcome of a submit that received no response, or only part of one."""
    detail = str(exc)
    if isinstance(exc, NotSent):
        return Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message=UNREACHABLE, detail=detail)
    if isinstance(exc, TooBig):
        return Failed(code=ErrorCode.RESULT_TOO_LARGE, message=TOO_BIG, detail=detail)
    return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=UNKNOWN, detail=detail)


def refused(detail: str, cost: int | None = None, output: str | None = None) -> Failed:
    """The content was refused; `output` is what the model answered instead."""
    return Failed(code=ErrorCode.PROVIDER_REFUSED, message=REFUSED, cost_nano=cost, text=output or None, detail=detail)


def expired(detail: str, cost: int | None = None) -> Failed:
    """The provider no longer has the result."""
    return Failed(code=ErrorCode.PROVIDER_EXPIRED, message=EXPIRED, cost_nano=cost, detail=detail)


def interrupted(exc: Ambiguous, cost: int | None) -> Failed:
    """The outcome of a stream that ended early."""
    timed_out = isinstance(exc, TimedOut)
    return Failed(
        code=ErrorCode.TIMED_OUT if timed_out else ErrorCode.PROVIDER_FAILED,
        message=TIMED_OUT if timed_out else INTERRUPTED,
        cost_nano=cost,
        detail=str(exc),
    )


def retry_after(headers: dict[str, str]) -> float | None:
    """The delay in seconds requested by the provider, at most an hour; None when it requests none."""
    milliseconds = amount(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(float(milliseconds) / 1000)
    value = headers.get("retry-after", "")
    seconds = amount(value)
    if seconds is not None:
        return _bounded(float(seconds))
    try:
        return _bounded(email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return _until_reset(headers)


def _until_reset(headers: dict[str, str]) -> float | None:
    reset = amount(headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    at = float(reset)  # seconds or milliseconds
    return _bounded((at / 1000 if at > 1e10 else at) - time.time())


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _MAX_WAIT)
