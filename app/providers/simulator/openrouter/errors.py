"""Error responses in OpenRouter's envelope."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from app.providers.simulator.openai_format.errors import ErrorAnswer

PROVIDER_ERROR = {"code": 502, "message": "Provider returned error", "metadata": {"error_type": "provider_unavailable"}}
"""The `error` of a response with a success status."""


def envelope(answer: ErrorAnswer) -> dict[str, Any]:
    """The `error` of a response."""
    error: dict[str, Any] = {"code": answer.status, "message": answer.message}
    details = {"error_type": answer.error_type, **answer.metadata} if answer.error_type else answer.metadata
    return {**error, "metadata": details} if details else error


def _error_answer(_: Request[Any, Any, Any], answer: ErrorAnswer) -> Response[Any]:
    return Response({"error": envelope(answer)}, status_code=answer.status, headers=answer.headers)


def _from_framework(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    headers = dict((error.headers or {}).items())
    content = {"error": {"code": error.status_code, "message": error.detail}}
    return Response(content, status_code=error.status_code, headers=headers)


def _from_bug(_: Request[Any, Any, Any], __: Exception) -> Response[Any]:
    return Response({"error": {"code": 500, "message": "Internal Server Error"}}, status_code=500)


HANDLERS: ExceptionHandlersMap = {
    ErrorAnswer: _error_answer,
    HTTPException: _from_framework,
    Exception: _from_bug,
}
