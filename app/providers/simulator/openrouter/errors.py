"""How this service says no: one envelope, whatever went wrong."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap


class Refusal(Exception):
    """An answer in the service's error envelope, with its status, words, metadata and headers."""

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
        told = {"error_type": error_type, **metadata} if error_type else metadata
        self.error: dict[str, Any] = {"code": status, "message": message}
        if told:
            self.error["metadata"] = told


def bad(message: str, error_type: str = "invalid_request", **metadata: Any) -> Refusal:
    """The request itself is wrong."""
    return Refusal(400, message, error_type, **metadata)


def missing(message: str, **metadata: Any) -> Refusal:
    """There is no such thing here."""
    return Refusal(404, message, "not_found", **metadata)


def _refused(_: Request[Any, Any, Any], refusal: Refusal) -> Response[Any]:
    return Response({"error": refusal.error}, status_code=refusal.status, headers=refusal.headers)


def _from_framework(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    headers = dict((error.headers or {}).items())
    content = {"error": {"code": error.status_code, "message": error.detail}}
    return Response(content, status_code=error.status_code, headers=headers)


def _from_bug(_: Request[Any, Any, Any], __: Exception) -> Response[Any]:
    return Response({"error": {"code": 500, "message": "Internal Server Error"}}, status_code=500)


HANDLERS: ExceptionHandlersMap = {
    Refusal: _refused,
    HTTPException: _from_framework,
    Exception: _from_bug,
}
