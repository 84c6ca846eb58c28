"""What went wrong, as HTTP: the only place that knows status codes.

Programs get the contract's envelope, people a page, htmx a fragment. Who asks is told by the path: `/api/`, `/v1/`,
`/health`, `/metrics` and `/webhooks/` are for programs, `/media/` is for whoever brings a bearer too.
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
from app.web.headers import request_id
from app.web.http_metrics import path_of

PROGRAMS = ("/api/", "/v1/", "/health", "/metrics", "/webhooks/")
EITHER = "/media/"  # for people by their cookie, and for programs by their bearer

# The contract's codes with their statuses; the README's table is compared with this one.
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
    400: "That did not work",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "That clashes",
    410: "No longer here",
    413: "Too large",
    415: "Wrong kind of file",
    429: "Too many requests",
    500: "Something broke",
    502: "The provider did not answer well",
    503: "Not ready",
}

_KEYED = re.compile(r"Object (missing required|contains unknown) field `([^`]+)`")

AnyRequest = Request[Any, Any, State]
logger = logging.get("web")


class Problem(msgspec.Struct):
    """The inside of the envelope."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Envelope(msgspec.Struct):
    """`{"error": {"code", "message", "details"}}`: every error that a program is told."""

    error: Problem


class OpenAIProblem(msgspec.Struct):
    """The inside of OpenAI's envelope, which `/v1` answers in."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIEnvelope(msgspec.Struct):
    error: OpenAIProblem


class ErrorResponse(msgspec.Struct, frozen=True):
    """One failure, ready to be written as JSON or HTML."""

    status: int
    problem: Problem
    headers: dict[str, str] = {}


def is_api_path(path: str) -> bool:
    return path.startswith(PROGRAMS) or path in ("/api", "/v1")


def _by_program(request: AnyRequest) -> bool:
    path = request.url.path
    return is_api_path(path) or (path.startswith(EITHER) and "Authorization" in request.headers)


def to_response(error: errors.AtelierError) -> ErrorResponse:
    """Status and envelope of one of our own errors."""
    code = error.code
    headers: dict[str, str] = {}
    if isinstance(error, errors.Denied) and not error.signed_in:
        code = "AUTHENTICATION_ERROR"
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.Exhausted):
        code = "QUOTA_EXCEEDED" if error.quota else code
        headers["Retry-After"] = str(error.retry_after)
    return ErrorResponse(CODES[code], Problem(code, error.message, error.details), headers)


def openai_problem(to_response: ErrorResponse) -> OpenAIProblem:
    """The same failure in OpenAI's words."""
    problem, details = to_response.problem, to_response.problem.details
    kind, code = _OPENAI.get(problem.code, ("server_error", None))
    param = details.get("param") or next(iter(details.get("fields", {})), None)
    if problem.code in _OWN_CODES and "code" in details:
        code = {"PROVIDER_REFUSED": "content_policy_violation"}.get(details["code"], str(details["code"]).lower())
    return OpenAIProblem(problem.message, kind, param, code)


_OPENAI = {
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
_OWN_CODES = ("VALIDATION_ERROR", "RESOURCE_NOT_FOUND", "UPSTREAM_ERROR")
# OpenAI's clients send a call again by themselves after these, unless they are told that it is not safe. Only where nothing
# was sent upstream it is.
_SENT_AGAIN = ("CONFLICT", "QUOTA_EXCEEDED", "INTERNAL_ERROR", "UPSTREAM_ERROR")


def _ours(request: AnyRequest, error: errors.AtelierError) -> Response[Any]:
    if isinstance(error, errors.Denied) and not error.signed_in and not _by_program(request):
        return _to_sign_in(request)
    return answer(request, to_response(error))


def _litestars(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What Litestar itself refuses: unknown routes, wrong methods, bodies that do not parse."""
    status = error.status_code
    if status == 404:
        return answer(request, ErrorResponse(404, Problem("RESOURCE_NOT_FOUND", "There is nothing at this address.")))
    if status == 405:
        methods = (error.headers or {}).get("allow", "").split(", ")
        problem = Problem("METHOD_NOT_ALLOWED", f"{request.method} is not possible here.")
        return answer(request, ErrorResponse(405, problem, {"Allow": allow(methods)}))
    if status == 413:
        return answer(request, ErrorResponse(413, Problem("FILE_TOO_LARGE", "This is larger than what is taken here.")))
    if isinstance(error, ValidationException):
        return answer(request, ErrorResponse(400, _invalid(error)))
    if status == 401:
        return _ours(request, errors.Denied("Sign in first.", signed_in=False))
    if status < 500:
        details = {"fields": {"body": "cannot be read"}} if isinstance(error.__cause__, SerializationException) else {}
        return answer(request, ErrorResponse(400, Problem("VALIDATION_ERROR", "The request cannot be read.", details)))
    return _bug(request, error)


def _invalid(error: ValidationException) -> Problem:
    fields: dict[str, str] = {}
    for item in error.extra if isinstance(error.extra, list) else []:
        if isinstance(item, Mapping):
            field, message = _field(str(item.get("key") or "data"), str(item.get("message", "is not valid")))
            fields[field] = message
    return Problem("VALIDATION_ERROR", "The request is not valid.", {"fields": fields} if fields else {})


def _field(key: str, message: str) -> tuple[str, str]:
    """The field that a message of msgspec is about. Litestar calls the whole body `data`."""
    if found := _KEYED.match(message):
        return found[2], "is needed" if found[1].startswith("missing") else "is not known here"
    if key != "data":
        return key, message
    return "body", "is needed" if message == "'data'" else message


def _bug(request: AnyRequest, error: Exception) -> Response[Any]:
    """Anything unforeseen: logged whole, shown as an id only."""
    logger.error("bug", method=request.method, path=path_of(request.scope), exc_info=error)
    message = f"Something broke on our side. If it goes on, tell the admin this number: {request_id(request.scope)}."
    return answer(
        request, ErrorResponse(500, Problem("INTERNAL_ERROR", message, {"request_id": request_id(request.scope)}))
    )


def answer(request: AnyRequest, to_response: ErrorResponse) -> Response[Any]:
    """The failure as whoever asks can read it."""
    headers = dict(to_response.headers)
    if request.url.path.startswith("/v1/"):
        headers["X-Should-Retry"] = (
            "false" if to_response.problem.code in _SENT_AGAIN or to_response.status < 429 else "true"
        )
        envelope = OpenAIEnvelope(openai_problem(to_response))
        return Response(envelope, status_code=to_response.status, headers=headers, media_type=MediaType.JSON)
    if _by_program(request):
        return Response(
            Envelope(to_response.problem), status_code=to_response.status, headers=headers, media_type=MediaType.JSON
        )
    # htmx swaps no failure in, whatever it asked for: it shows the sentence.
    template = "errors/_error.html" if "HX-Request" in request.headers else "errors/error.html"
    html = render.render(
        template,
        request,
        status=to_response.status,
        title=TITLES.get(to_response.status, "That did not work"),
        message=to_response.problem.message,
    )
    return Response(html, status_code=to_response.status, headers=headers, media_type=MediaType.HTML)


def _to_sign_in(request: AnyRequest) -> Response[Any]:
    """A page sends the person to sign in and back; a fragment tells htmx to do so from the page it stands on."""
    if render.partial(request):
        target = f"/login?next={quote(_current(request), safe='')}"
        return Response("", status_code=401, headers={"HX-Redirect": target}, media_type=MediaType.TEXT)
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"/login?next={quote(back, safe='')}" if request.method == "GET" and back != "/" else "/login"
    return Response("", status_code=303, headers={"Location": target}, media_type=MediaType.TEXT)


def _current(request: AnyRequest) -> str:
    """Path and query of the page that a fragment is asked for."""
    try:
        current = urlsplit(request.headers.get("HX-Current-URL", "/"))
    except ValueError:
        return "/"
    return current.path + (f"?{current.query}" if current.query else "")


def allow(methods: Iterable[str]) -> str:
    """The `Allow` header of a route that takes these; whatever takes GET takes HEAD (see `headers`)."""
    return ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])} - {""}))


async def set_allow_header(message: Message, scope: Scope) -> None:
    """`before_send` of the program: the `Allow` of an OPTIONS request. Litestar names only what it met first."""
    if message["type"] == "http.response.start" and scope["method"] == "OPTIONS" and message["status"] == 204:  # type: ignore[typeddict-item]
        routes = [route for route in scope["litestar_app"].routes if route.path_format == scope["path_template"]]
        methods = {str(method) for route in routes for method in getattr(route, "methods", ())}
        MutableScopeHeaders.from_message(message)["allow"] = allow(methods)


HANDLERS: ExceptionHandlersMap = {
    errors.AtelierError: _ours,
    HTTPException: _litestars,
    Exception: _bug,
}
