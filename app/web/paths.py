"""What holds for all routes below a path, in one table: how errors are shown, which credentials count, and what the layers
around the routes do, which run before a route is found."""

from collections import defaultdict
from enum import Enum, auto
from typing import Final

import msgspec


class ErrorFormat(Enum):
    """How an error is shown to the caller."""

    HTML = auto()  # a page, or a fragment for htmx
    JSON = auto()  # the envelope of this API
    OPENAI = auto()  # OpenAI's envelope


class Credentials(Enum):
    """Which credentials count."""

    COOKIE = auto()  # the session cookie
    BEARER = auto()  # a bearer token; a cookie is ignored, so that another site cannot make a browser call the API
    EITHER = auto()  # a bearer token if there is one, else the session cookie


class PathRule(msgspec.Struct, frozen=True, kw_only=True):
    """The rule for a path and everything below it. Where several match, the longest path counts."""

    path: str
    errors: ErrorFormat = ErrorFormat.HTML
    credentials: Credentials = Credentials.COOKIE
    handles_head: bool = False  # its routes answer HEAD without reading a file; for others see `head_requests`
    in_access_log: bool = True
    secret: bool = False  # the path contains a secret, so that logs show the route instead
    limits_concurrency: bool = False  # only a few POST requests run at once, see `sign_in_limit`

    @property
    def is_api(self) -> bool:
        """Whether API clients call it, not browsers."""
        return self.errors is not ErrorFormat.HTML


_JSON: Final = ErrorFormat.JSON
_BEARER: Final = Credentials.BEARER

PAGES: Final = PathRule(path="/")
RULES: Final = (
    PAGES,
    PathRule(path="/login", limits_concurrency=True),
    PathRule(path="/register", limits_concurrency=True),
    PathRule(path="/media", credentials=Credentials.EITHER, handles_head=True),
    PathRule(path="/static", handles_head=True, in_access_log=False),
    PathRule(path="/api", errors=_JSON),  # its documentation is a page
    PathRule(path="/api/v1", errors=_JSON, credentials=_BEARER),
    PathRule(path="/api/v1/auth/login", errors=_JSON, credentials=_BEARER, limits_concurrency=True),
    PathRule(path="/api/v1/auth/register", errors=_JSON, credentials=_BEARER, limits_concurrency=True),
    PathRule(path="/v1", errors=ErrorFormat.OPENAI, credentials=_BEARER),
    PathRule(path="/metrics", errors=_JSON, credentials=_BEARER),
    PathRule(path="/health", errors=_JSON),
    PathRule(path="/webhooks", errors=_JSON, secret=True),
)


def _by_first_segment() -> dict[str, list[PathRule]]:
    found: dict[str, list[PathRule]] = defaultdict(list)
    for rule in sorted(RULES, key=lambda rule: len(rule.path), reverse=True):
        found[_first_segment(rule.path)].append(rule)
    return dict(found)


def _first_segment(path: str) -> str:
    return path[1:].partition("/")[0]


def rule_for(path: str) -> PathRule:
    """The rule for the path of a request. Runs several times for each request, so it looks only at rules that can match."""
    for rule in _RULES.get(_first_segment(path), ()):
        if path.startswith(rule.path) and path[len(rule.path) : len(rule.path) + 1] in ("", "/"):
            return rule
    return PAGES


_RULES: Final = _by_first_segment()
