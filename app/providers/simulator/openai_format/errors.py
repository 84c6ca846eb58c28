"""Error responses: what they say. Each persona has its own envelope."""

from typing import Any


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
        self.message = message
        self.error_type = error_type
        self.headers = headers or {}
        self.metadata = metadata


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
