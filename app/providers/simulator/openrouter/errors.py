"""Error responses in the service's format."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

PROVIDER_ERROR = {"code": 502, "message": "Provider returned error", "metadata": {"error_type": "provider_unavailable"}}
"""The `error` of a response with a success status."""


class ErrorAnswer(Exception):
    """An error response with its status, message, metadata and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        error_type: str | None = None,
        headers: dict[str, str] | None = None,
        **metadata: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        details = {"error_type": error_type, **metadata} if error_type else metadata
        self.error: dict[str, Any] = {"code": status, "message": message}
        if details:
            self.error["metadata"] = details


def bad_request(message: str, error_type: str = "invalid_request", **metadata: Any) -> ErrorAnswer:
    """The request is invalid (400)."""
    return ErrorAnswer(400, message, error_type, **metadata)


def provider_failed(model_name: str) -> ErrorAnswer:
    """The provider of the model failed (502)."""
    return ErrorAnswer(
        502,
        "Provider returned error",
        "provider_unavailable",
        provider_name=model_name.partition(":")[0],
        provider_code="internal",
        raw="the simulated provider failed",
    )


def not_found(message: str, **metadata: Any) -> ErrorAnswer:
    """The resource does not exist (404)."""
    return ErrorAnswer(404, message, "not_found", **metadata)


def _error_answer(_: Request[Any, Any, Any], answer: ErrorAnswer) -> Response[Any]:
    return Response({"error": answer.error}, status_code=answer.status, headers=answer.headers)


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
