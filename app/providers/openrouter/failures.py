"""What an answer that is no success means: may it be sent anew, and what is a person told.

An error is safe to repeat when the provider says that it did nothing. Where it may have done the work, and would charge
for it again, the job ends as OUTCOME_UNKNOWN and a person decides.
"""

import email.utils
import re
import time
from typing import Any

from app.providers.client import Ambiguous, Answer, ClientError, NotSent, TimedOut, TooBig
from app.providers.contract import ErrorCode, Failed, Kind, Retryable
from app.providers.openrouter.coerce import amount, mapping, text

_MAX_WAIT = 3600.0  # seconds
_BUDGET_WAIT = 30.0  # seconds, when an in-flight budget is full and the answer does not say for how long

_BUSY = (429, 503, 529)
_REFUSAL_TYPES = ("content_policy_violation", "refusal")
_REFUSAL_CODES = ("content_policy_violation", "moderation_blocked", "content_filter", "content_policy")
_REFUSAL_WORDS = re.compile(
    r"(?i)moderat|content[ _-]?polic|safety|nsfw|prohibited|flagged|guardrail|sensitive content"
)

REFUSED = "The provider refused this content. Change the prompt or the picture and try again."
UNKNOWN = (
    "The provider did not confirm this request: it may have been carried out and charged. "
    "Try again only if a second charge would be acceptable."
)
UNREADABLE = "The provider's answer could not be read. It may have been charged; try again or choose another model."
FAILED = "The provider could not carry out this request. Try again later or choose another model."
UNREACHABLE = "The provider could not be reached, and nothing was sent. Try again in a while."
BUSY = "The provider is taking no more requests just now. Try again in a minute."
TOO_BIG = "The result is larger than this studio accepts. Ask for a smaller one."
EXPIRED = "The provider no longer has this result. Start it anew."
TIMED_OUT = "The provider stopped answering in the middle. What arrived is kept; try again."
BROKE_OFF = "The provider's answer broke off in the middle. What arrived is kept; try again."
NO_CREDIT = "The studio's account at the provider has no credit left. Ask an administrator to top it up."

_MEANINGS = {
    400: "The provider did not accept these settings for this model. Change them and try again.",
    401: "The provider did not accept the studio's key. Ask an administrator to check it.",
    403: "The studio's key may not use this model. Ask an administrator, or choose another model.",
    404: "The provider does not offer this model at present. Choose another one.",
    410: "The provider no longer offers this model. Choose another one.",
    413: "The request is too large for this model. Use a smaller picture or a shorter prompt.",
    422: "The provider could not work with these settings. Change them and try again.",
}
_MOVED = "The provider's address has moved. Ask an administrator to check the base URL."


def error_of(body: Any) -> dict[str, Any]:
    """The `error` of an answer's body as an object, empty when there is none; it is seen as bare text too."""
    error = mapping(body).get("error")
    return {"message": error} if isinstance(error, str) and error else mapping(error)


def message_of(answer: Answer) -> str:
    return text(error_of(answer.body).get("message")) or answer.text


def failed(answer: Answer, kind: Kind, detail: str) -> Retryable | Failed:
    """What a submit came to that was answered with an error status."""
    error = error_of(answer.body)
    metadata = mapping(error.get("metadata"))
    if answer.status in (400, 403, 422) and is_refusal(error, answer.status):
        return Failed(code=ErrorCode.PROVIDER_REFUSED, message=REFUSED, detail=detail)
    if answer.status == 402:
        if metadata.get("limit_source") == "openrouter_in_flight_budget":
            wait = retry_after(answer.headers) or _BUDGET_WAIT
            return Retryable(code=ErrorCode.PROVIDER_FAILED, message=BUSY, wait=wait, detail=detail)
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=NO_CREDIT, detail=detail)
    if answer.status in _BUSY:
        return Retryable(code=ErrorCode.PROVIDER_FAILED, message=BUSY, wait=retry_after(answer.headers), detail=detail)
    if _was_not_carried_out(answer.status, kind):
        return Retryable(
            code=ErrorCode.PROVIDER_FAILED, message=FAILED, wait=retry_after(answer.headers), detail=detail
        )
    if answer.status >= 500 or answer.status in (408, 499):
        return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=UNKNOWN, detail=detail)
    message = _MOVED if 300 <= answer.status < 400 else _MEANINGS.get(answer.status, FAILED)
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=message, detail=detail)


def _was_not_carried_out(status: int, kind: Kind) -> bool:
    """502 is unbilled for text and pictures by contract; a masked 500 is safe for text alone. For clips nothing is."""
    return (status == 502 and kind is not Kind.VIDEO) or (status == 500 and kind is Kind.TEXT)


def unanswered(problem: ClientError) -> Retryable | Failed:
    """What a submit came to that got no answer, or only part of one."""
    detail = str(problem)
    if isinstance(problem, NotSent):
        return Retryable(code=ErrorCode.PROVIDER_UNREACHABLE, message=UNREACHABLE, detail=detail)
    if isinstance(problem, TooBig):
        return Failed(code=ErrorCode.RESULT_TOO_LARGE, message=TOO_BIG, detail=detail)
    return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=UNKNOWN, detail=detail)


def broken_off(problem: Ambiguous, cost: int | None) -> Failed:
    """What a streamed answer came to that stopped in the middle."""
    late = isinstance(problem, TimedOut)
    return Failed(
        code=ErrorCode.TIMED_OUT if late else ErrorCode.PROVIDER_FAILED,
        message=TIMED_OUT if late else BROKE_OFF,
        cost_nano=cost,
        detail=str(problem),
    )


def is_refusal(error: dict[str, Any], status: int) -> bool:
    """Whether the content was refused, as against the settings or the key."""
    metadata = mapping(error.get("metadata"))
    if metadata.get("error_type") in _REFUSAL_TYPES or error.get("code") in _REFUSAL_CODES:
        return True
    if any(metadata.get(name) for name in ("reasons", "flagged_input", "patterns")):
        return True
    return status == 403 and speaks_of_refusal(text(error.get("message")))


def speaks_of_refusal(words: str) -> bool:
    return bool(_REFUSAL_WORDS.search(words))


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds that the provider asks us to wait, at most an hour; None when it does not say."""
    milliseconds = amount(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(float(milliseconds) / 1000)
    said = headers.get("retry-after", "")
    seconds = amount(said)
    if seconds is not None:
        return _bounded(float(seconds))
    try:
        return _bounded(email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return _until_reset(headers)


def _until_reset(headers: dict[str, str]) -> float | None:
    reset = amount(headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    moment = float(reset)
    return _bounded((moment / 1000 if moment > 1e10 else moment) - time.time())  # seconds or milliseconds


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _MAX_WAIT)
