"""Error responses in OpenAI's envelope: the same causes have other statuses and codes than at OpenRouter."""

from typing import Any, NamedTuple

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from app.providers.simulator.openai_format.errors import ErrorAnswer


class ErrorKind(NamedTuple):
    """How a cause is reported; a status of None is that of the error."""

    status: int | None
    type: str
    code: str | None


_KINDS = {
    "authentication": ErrorKind(401, "invalid_request_error", "invalid_api_key"),
    "content_policy_violation": ErrorKind(400, "image_generation_user_error", "moderation_blocked"),
    "context_length_exceeded": ErrorKind(400, "invalid_request_error", "context_length_exceeded"),
    "invalid_type": ErrorKind(400, "invalid_request_error", "invalid_type"),
    "model_not_found": ErrorKind(404, "invalid_request_error", "model_not_found"),
    "payment_required": ErrorKind(429, "insufficient_quota", "insufficient_quota"),
    "provider_overloaded": ErrorKind(429, "server_error", "slow_down"),
    "rate_limit_exceeded": ErrorKind(429, "requests", "rate_limit_exceeded"),
    "unsupported_parameter": ErrorKind(400, "invalid_request_error", "unsupported_parameter"),
}
_PASSING = "openrouter_in_flight_budget"


def envelope(answer: ErrorAnswer) -> dict[str, Any]:
    """The `error` of a response."""
    kind = _kind(answer)
    return {"message": answer.message, "type": kind.type, "param": None, "code": kind.code}


def _kind(answer: ErrorAnswer) -> ErrorKind:
    if answer.metadata.get("limit_source") == _PASSING:
        return _KINDS["rate_limit_exceeded"]
    default = ErrorKind(None, "server_error" if answer.status >= 500 else "invalid_request_error", None)
    return _KINDS.get(answer.error_type or "", default)


def _error_answer(_: Request[Any, Any, Any], answer: ErrorAnswer) -> Response[Any]:
    headers = {name: value for name, value in answer.headers.items() if not name.startswith("X-RateLimit")}
    status = _kind(answer).status or answer.status
    return Response({"error": envelope(answer)}, status_code=status, headers=headers)


def _from_framework(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    answer = ErrorAnswer(error.status_code, error.detail)
    return Response({"error": envelope(answer)}, status_code=error.status_code, headers=dict(error.headers or {}))


def _from_bug(_: Request[Any, Any, Any], __: Exception) -> Response[Any]:
    return Response({"error": envelope(ErrorAnswer(500, "The server had an error"))}, status_code=500)


HANDLERS: ExceptionHandlersMap = {
    ErrorAnswer: _error_answer,
    HTTPException: _from_framework,
    Exception: _from_bug,
}
