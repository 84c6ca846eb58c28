"""Maps errors to HTTP responses; the only place that knows status codes.

API clients get the JSON envelope, browsers a page and htmx a fragment. The path decides (see `paths`); where cookies and
bearer tokens count, a request with a token gets JSON.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from litestar import MediaType, Request, Response
from litestar.datastructures import MutableScopeHeaders, State
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.types import ExceptionHandlersMap, Message, Scope

from app.base import errors, logging
from app.web import render
from app.web.access_log import logged_path
from app.web.paths import Credentials, ErrorFormat, rule_for
from app.web.request_id import request_id

# The API's error codes and their statuses; a test compares this table with the one in the README.
CODES: dict[str, int] = {
    "VALIDATION_ERROR": 400,
    "AUTHENTICATION_ERROR": 401,
    "FORBIDDEN": 403,
    "RESOURCE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "GONE": 410,
    "FILE_TOO_LARGE": 413,
    "INVALID_FILE_TYPE": 415,
    "RATE_LIMITED": 429,
    "QUOTA_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "UPSTREAM_ERROR": 502,
    "SERVICE_UNAVAILABLE": 503,
}

TITLES = {
    400: "Request failed",
    401: "Sign in required",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflicts with the current state",
    410: "No longer available",
    413: "Payload too large",
    415: "Unsupported file type",
    429: "Too many requests",
    500: "Internal error",
    502: "Provider error",
    503: "Service unavailable",
}

_KEYED = re.compile(r"Object (missing required|contains unknown) field `([^`]+)`")

AnyRequest = Request[Any, Any, State]
logger = logging.get("web")


class Problem(msgspec.Struct):
    """The content of the error envelope."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Envelope(msgspec.Struct):
    """`{"error": {"code", "message", "details"}}`: the format of every API error."""

    error: Problem


class OpenAIProblem(msgspec.Struct):
    """The content of OpenAI's error envelope, used below `/v1`."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIEnvelope(msgspec.Struct):
    error: OpenAIProblem


class ErrorResponse(msgspec.Struct, frozen=True):
    """An error ready to be rendered as JSON or HTML."""

    status: int
    problem: Problem
    headers: dict[str, str] = {}


def _format(request: AnyRequest) -> ErrorFormat:
    rule = rule_for(request.scope["path"])
    if rule.credentials is Credentials.EITHER and "Authorization" in request.headers:
        return ErrorFormat.JSON
    return rule.errors


def to_response(error: errors.AtelierError) -> ErrorResponse:
    """The status, headers and envelope of an application error."""
    code = error.code
    headers: dict[str, str] = {}
    if isinstance(error, errors.Denied) and not error.signed_in:
        code = "AUTHENTICATION_ERROR"
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.Exhausted):
        code = "QUOTA_EXCEEDED" if error.quota else code
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Upstream) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return ErrorResponse(CODES[code], Problem(code, error.message, error.details), headers)


def openai_problem(response: ErrorResponse) -> OpenAIProblem:
    """The same error in OpenAI's format."""
    problem, details = response.problem, response.problem.details
    type_, code = _OPENAI.get("RATE_LIMITED" if _is_busy(response) else problem.code, ("server_error", None))
    param = details.get("param") or next(iter(details.get("fields", {})), None)
    if problem.code in _CODES_WITH_DETAIL and "code" in details and not _is_busy(response):
        code = {"PROVIDER_REFUSED": "content_policy_violation"}.get(details["code"], str(details["code"]).lower())
    return OpenAIProblem(problem.message, type_, param, code)


def _is_busy(response: ErrorResponse) -> bool:
    """Whether the provider limits requests. Nothing was carried out, so OpenAI's clients get a 429 and may retry."""
    return response.problem.details.get("code") == "PROVIDER_BUSY"


_OPENAI: Mapping[str, tuple[str, str | None]] = {
    "VALIDATION_ERROR": ("invalid_request_error", None),
    "AUTHENTICATION_ERROR": ("invalid_request_error", "invalid_api_key"),
    "FORBIDDEN": ("invalid_request_error", "forbidden"),
    "RESOURCE_NOT_FOUND": ("invalid_request_error", None),
    "METHOD_NOT_ALLOWED": ("invalid_request_error", "method_not_supported"),
    "CONFLICT": ("invalid_request_error", "conflict"),
    "FILE_TOO_LARGE": ("invalid_request_error", "file_too_large"),
    "INVALID_FILE_TYPE": ("invalid_request_error", "invalid_file_type"),
    "RATE_LIMITED": ("rate_limit_error", "rate_limit_exceeded"),
    "QUOTA_EXCEEDED": ("insufficient_quota", "insufficient_quota"),
}
_CODES_WITH_DETAIL = ("VALIDATION_ERROR", "RESOURCE_NOT_FOUND", "UPSTREAM_ERROR")
# OpenAI's clients retry these automatically unless `X-Should-Retry` says no. A retry is safe only when nothing has been
# sent upstream.
_NOT_RETRYABLE = ("CONFLICT", "QUOTA_EXCEEDED", "INTERNAL_ERROR", "UPSTREAM_ERROR")


def _handle_app_error(request: AnyRequest, error: errors.AtelierError) -> Response[Any]:
    if isinstance(error, errors.Denied) and not error.signed_in and _format(request) is ErrorFormat.HTML:
        return _to_sign_in(request)
    return answer(request, to_response(error))


def _handle_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Errors raised by Litestar itself: unknown routes, wrong methods, bodies that do not parse."""
    status = error.status_code
    if status == 404:
        return answer(request, ErrorResponse(404, Problem("RESOURCE_NOT_FOUND", "There is nothing at this address.")))
    if status == 405:
        methods = (error.headers or {}).get("allow", "").split(", ")
        problem = Problem("METHOD_NOT_ALLOWED", f"{request.method} is not allowed for this address.")
        return answer(request, ErrorResponse(405, problem, {"Allow": allow(methods)}))
    if status == 413:
        return answer(request, ErrorResponse(413, Problem("FILE_TOO_LARGE", "The request body is too large.")))
    if isinstance(error, ValidationException):
        return answer(request, ErrorResponse(400, _invalid(error)))
    if status == 401:
        return _handle_app_error(request, errors.Denied("Sign in first.", signed_in=False))
    if status < 500:
        details = (
            {"fields": {"body": "could not be parsed"}} if isinstance(error.__cause__, SerializationException) else {}
        )
        return answer(
            request, ErrorResponse(400, Problem("VALIDATION_ERROR", "The request could not be parsed.", details))
        )
    return _handle_unexpected(request, error)


def _invalid(error: ValidationException) -> Problem:
    fields: dict[str, str] = {}
    for item in error.extra if isinstance(error.extra, list) else []:
        if isinstance(item, Mapping):
            field, message = _field(str(item.get("key") or "data"), str(item.get("message", "is not valid")))
            fields[field] = message
    return Problem("VALIDATION_ERROR", "The request is not valid.", {"fields": fields} if fields else {})


def _field(key: str, message: str) -> tuple[str, str]:
    """The field name and message of a msgspec error. Litestar calls the whole body `data`."""
    if found := _KEYED.match(message):
        return found[2], "is required" if found[1].startswith("missing") else "is not a known field"
    if key != "data":
        return key, message
    return "body", "is required" if message == "'data'" else message


def _handle_unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    """An unexpected exception: logged with its traceback, reported to the caller by request id only."""
    logger.error("unhandled exception", method=request.method, path=logged_path(request.scope), exc_info=error)
    message = (
        f"An internal error occurred. If it persists, report this request id to an admin: {request_id(request.scope)}."
    )
    return answer(
        request, ErrorResponse(500, Problem("INTERNAL_ERROR", message, {"request_id": request_id(request.scope)}))
    )


def answer(request: AnyRequest, response: ErrorResponse) -> Response[Any]:
    """The error as JSON for API clients, or as HTML for browsers."""
    headers = dict(response.headers)
    format = _format(request)
    if format is ErrorFormat.OPENAI:
        busy = _is_busy(response)
        retryable = busy or (response.problem.code not in _NOT_RETRYABLE and response.status >= 429)
        headers["X-Should-Retry"] = "true" if retryable else "false"
        envelope = OpenAIEnvelope(openai_problem(response))
        status = 429 if busy else response.status
        return Response(envelope, status_code=status, headers=headers, media_type=MediaType.JSON)
    if format is ErrorFormat.JSON:
        return Response(
            Envelope(response.problem), status_code=response.status, headers=headers, media_type=MediaType.JSON
        )
    # htmx does not swap error responses in; the page shows the message as a notice.
    template = "errors/_error.html" if "HX-Request" in request.headers else "errors/error.html"
    html = render.render(
        template,
        request,
        status=response.status,
        title=TITLES.get(response.status, "Request failed"),
        message=response.problem.message,
    )
    return Response(html, status_code=response.status, headers=headers, media_type=MediaType.HTML)


def _to_sign_in(request: AnyRequest) -> Response[Any]:
    """Redirect to the sign-in page and back afterwards. For a fragment, tell htmx to redirect the page that contains it."""
    if render.partial(request):
        target = f"/login?next={quote(_current(request), safe='')}"
        return Response("", status_code=401, headers={"HX-Redirect": target}, media_type=MediaType.TEXT)
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"/login?next={quote(back, safe='')}" if request.method == "GET" and back != "/" else "/login"
    return Response("", status_code=303, headers={"Location": target}, media_type=MediaType.TEXT)


def _current(request: AnyRequest) -> str:
    """The path and query of the page that requested a fragment."""
    try:
        current = urlsplit(request.headers.get("HX-Current-URL", "/"))
    except ValueError:
        return "/"
    return current.path + (f"?{current.query}" if current.query else "")


def allow(methods: Iterable[str]) -> str:
    """The `Allow` header for these methods. A route that allows GET also allows HEAD (see `head_requests`)."""
    return ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])} - {""}))


async def set_allow_header(message: Message, scope: Scope) -> None:
    """`before_send` hook: set `Allow` on OPTIONS responses. Litestar lists only the first handler's methods."""
    if message["type"] == "http.response.start" and scope["method"] == "OPTIONS" and message["status"] == 204:  # type: ignore[typeddict-item]
        routes = [route for route in scope["litestar_app"].routes if route.path_format == scope["path_template"]]
        methods = {str(method) for route in routes for method in getattr(route, "methods", ())}
        MutableScopeHeaders.from_message(message)["allow"] = allow(methods)


HANDLERS: ExceptionHandlersMap = {
    errors.AtelierError: _handle_app_error,
    HTTPException: _handle_http_exception,
    Exception: _handle_unexpected,
}
