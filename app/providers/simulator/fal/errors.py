"""Error responses in the service's format: `detail` as a sentence, or as a list of what is wrong with the input."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from app.providers.simulator.openai_format.errors import ErrorAnswer

DOCS = "https://docs.fal.ai/errors#"
Detail = str | list[dict[str, Any]]


class FalErrorAnswer(Exception):
    """An error response with its status, detail, type and headers."""

    def __init__(
        self, status: int, detail: Detail, error_type: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail
        self.error_type = error_type
        self.headers = {**(headers or {}), **({"X-Fal-Error-Type": error_type} if error_type else {})}

    @property
    def body(self) -> dict[str, Any]:
        return {"detail": self.detail, **({"error_type": self.error_type} if self.error_type else {})}


def problem(kind: str, message: str, *location: str) -> dict[str, Any]:
    """One entry of a `detail` list; `location` names the input's field."""
    return {"loc": ["body", *location], "msg": message, "type": kind, "url": f"{DOCS}{kind}"}


def _fal_error(_: Request[Any, Any, Any], answer: FalErrorAnswer) -> Response[Any]:
    return Response(answer.body, status_code=answer.status, headers=answer.headers)


def _unreadable_body(_: Request[Any, Any, Any], answer: ErrorAnswer) -> Response[Any]:
    return Response({"detail": answer.message}, status_code=answer.status)


def _from_framework(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return Response({"detail": error.detail}, status_code=error.status_code, headers=dict(error.headers or {}))


HANDLERS: ExceptionHandlersMap = {
    FalErrorAnswer: _fal_error,
    ErrorAnswer: _unreadable_body,
    HTTPException: _from_framework,
}
