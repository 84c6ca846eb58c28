"""Maps upstream errors to outcomes: whether the request may be retried, and which message the user sees.

A request is retried only if the provider did nothing. If it may have done the work, and would charge again for a retry, the
job fails with OUTCOME_UNKNOWN and the user decides.
"""

import email.utils
import re
import time
from typing import Any

from app.providers.contract import ErrorCode, Failed, Kind, Retryable
from app.providers.errors import Ambiguous, ClientError, NotSent, TimedOut, TooBig
from app.providers.openrouter.coerce import amount, mapping, text
from app.providers.responses import JsonResponse

_MAX_WAIT = 3600.0  # seconds
_BUDGET_WAIT = 30.0  # seconds, when the in-flight budget is used up and there is no Retry-After

_BUSY = (429, 503, 529)
_REJECTED = (400, 404, 413, 422)  # 404: no endpoint of the model supports what is asked
_REFUSAL_TYPES = ("content_policy_violation", "refusal")
_REFUSAL_CODES = ("content_policy_violation", "moderation_blocked", "content_filter", "content_policy")
_REFUSAL_WORDS = re.compile(
    r"(?i)moderat|content[ _-]?polic|safety|nsfw|prohibited|flagged|guardrail|sensitive content"
)

_PATH = re.compile(r"(?:[a-z]+:/)?/[\w.-]+/\S+")  # of a file, or a URL
_MAX_REASON = 500  # characters
_TOO_LONG = re.compile(
    r"(?i)context[ _-]?length|maximum context|context window|too many (input )?tokens|prompt is too long|token limit"
)

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

_MESSAGES = {
    400: "The provider did not accept these settings for this model. Change them and try again.",
    401: "The provider rejected the API key. Ask an administrator to check it.",
    403: "The API key has no access to this model. Ask an administrator or choose another model.",
    404: "The provider does not currently offer this model. Choose another model.",
    410: "The provider no longer offers this model. Choose another model.",
    413: "The request is too large for this model. Use a smaller image or a shorter prompt.",
    422: "The provider could not process these settings. Change them and try again.",
}
_MOVED = "The provider redirected the request. Ask an administrator to check the base URL."


def error_of(body: Any) -> dict[str, Any]:
    """The `error` object of a response body; empty when there is none. Some servers send it as plain text."""
    error = mapping(body).get("error")
    return {"message": error} if isinstance(error, str) and error else mapping(error)


def message_of(response: JsonResponse) -> str:
    return text(error_of(response.body).get("message")) or response.text


def failed(response: JsonResponse, kind: Kind, detail: str) -> Retryable | Failed:
    """The outcome of a submit that received an error status."""
    error = error_of(response.body)
    metadata = mapping(error.get("metadata"))
    busy = ErrorCode.PROVIDER_BUSY if kind is Kind.TEXT else ErrorCode.PROVIDER_FAILED
    if response.status in (400, 403, 422) and is_refusal(error, response.status):
        return refused(detail)
    if response.status == 402:
        if metadata.get("limit_source") == "openrouter_in_flight_budget":
            wait = retry_after(response.headers) or _BUDGET_WAIT
            return Retryable(code=busy, message=BUSY, wait=wait, detail=detail)
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=NO_CREDIT, detail=detail)
    if response.status in _BUSY:
        return Retryable(code=busy, message=BUSY, wait=retry_after(response.headers), detail=detail)
    if _not_carried_out(response.status, kind):
        return Retryable(
            code=ErrorCode.PROVIDER_FAILED, message=FAILED, wait=retry_after(response.headers), detail=detail
        )
    if response.status >= 500 or response.status in (408, 499):
        return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=UNKNOWN, detail=detail)
    if kind is Kind.TEXT and response.status in _REJECTED:
        if _TOO_LONG.search(f"{error.get('code')} {metadata.get('error_type')} {message_of(response)}"):
            return Failed(code=ErrorCode.CONTEXT_LENGTH_EXCEEDED, message=TOO_LONG, detail=detail)
        reason = _PATH.sub("…", detail.partition(" ")[2])[:_MAX_REASON]  # `detail` begins with the status
        return Failed(code=ErrorCode.REQUEST_REJECTED, message=_MESSAGES[response.status], reason=reason, detail=detail)
    message = _MOVED if 300 <= response.status < 400 else _MESSAGES.get(response.status, FAILED)
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=message, detail=detail)


def _not_carried_out(status: int, kind: Kind) -> bool:
    """502 is documented as not billed for text and images. 500 is safe for text only. For video, no status is safe."""
    return (status == 502 and kind is not Kind.VIDEO) or (status == 500 and kind is Kind.TEXT)


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


def is_refusal(error: dict[str, Any], status: int) -> bool:
    """Whether the content was refused, rather than the settings or the key."""
    metadata = mapping(error.get("metadata"))
    if metadata.get("error_type") in _REFUSAL_TYPES or error.get("code") in _REFUSAL_CODES:
        return True
    if any(metadata.get(name) for name in ("reasons", "flagged_input", "patterns")):
        return True
    return status == 403 and mentions_refusal(text(error.get("message")))


def mentions_refusal(message: str) -> bool:
    return bool(_REFUSAL_WORDS.search(message))


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
