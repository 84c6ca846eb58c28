"""Error responses in OpenAI's envelope: the outcome of a request that the provider answered with an error."""

import re
from collections.abc import Collection
from typing import Any

from app.providers import failures
from app.providers.coerce import mapping, text
from app.providers.contract import ErrorCode, Failed, Kind, Retryable
from app.providers.responses import JsonResponse

_BUDGET_WAIT = 30.0  # seconds, when the in-flight budget is used up and there is no Retry-After

TEXT_UNBILLED = (500, 502)
_BUSY = (429, 503, 529)
_SPENT = (  # a limit that waiting does not lift, although the status says so
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
)
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


def failed(response: JsonResponse, kind: Kind, detail: str, *, unbilled: Collection[int] = ()) -> Retryable | Failed:
    """The outcome of a submit that received an error status. `unbilled` are the statuses of 500 and above, beyond those that mean
    overloaded, of which the provider says that nothing was done."""
    error = error_of(response.body)
    metadata = mapping(error.get("metadata"))
    busy = ErrorCode.PROVIDER_BUSY if kind is Kind.TEXT else ErrorCode.PROVIDER_FAILED
    if response.status in (400, 403, 422) and is_refusal(error, response.status):
        return failures.refused(detail)
    if response.status == 402:
        if metadata.get("limit_source") == "openrouter_in_flight_budget":
            wait = failures.retry_after(response.headers) or _BUDGET_WAIT
            return Retryable(code=busy, message=failures.BUSY, wait=wait, detail=detail)
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.NO_CREDIT, detail=detail)
    if response.status == 429 and (error.get("code") in _SPENT or error.get("type") in _SPENT):
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.NO_CREDIT, detail=detail)
    if response.status in _BUSY:
        return Retryable(code=busy, message=failures.BUSY, wait=failures.retry_after(response.headers), detail=detail)
    if response.status in unbilled:
        return Retryable(
            code=ErrorCode.PROVIDER_FAILED,
            message=failures.FAILED,
            wait=failures.retry_after(response.headers),
            detail=detail,
        )
    if response.status >= 500 or response.status in (408, 499):
        return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=failures.UNKNOWN, detail=detail)
    if kind is Kind.TEXT and response.status in _REJECTED:
        if _TOO_LONG.search(f"{error.get('code')} {metadata.get('error_type')} {message_of(response)}"):
            return Failed(code=ErrorCode.CONTEXT_LENGTH_EXCEEDED, message=failures.TOO_LONG, detail=detail)
        reason = _PATH.sub("…", detail.partition(" ")[2])[:_MAX_REASON]  # `detail` begins with the status
        return Failed(code=ErrorCode.REQUEST_REJECTED, message=_MESSAGES[response.status], reason=reason, detail=detail)
    message = _MOVED if 300 <= response.status < 400 else _MESSAGES.get(response.status, failures.FAILED)
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=message, detail=detail)


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
