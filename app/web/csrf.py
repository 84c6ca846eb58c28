"""Whether one of our own pages asked for a change: two walls, each of which would do by itself.

A browser says from where a request comes (`Sec-Fetch-Site`); one that comes from elsewhere changes nothing. And every form
carries a token that must be the one in the cookie, which no other site can read. The token goes out with the first page
that has a form, and with nothing that a shared cache may keep.
"""

import hmac
import re
import secrets
from typing import Any, Final

from litestar import Request
from litestar.datastructures import MutableScopeHeaders, State
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.base.errors import Denied
from app.web import forms
from app.web.errors import is_api_path

AnyRequest = Request[Any, Any, State]

COOKIE: Final = "csrf"
FIELD: Final = "_csrf_token"
HEADER: Final = "X-CSRFToken"
SAFE: Final = ("GET", "HEAD", "OPTIONS")
OWN: Final = ("same-origin", "none")  # `none` is the person themselves, by a bookmark or a reload
STRANGERS: Final = 64 * 1024  # bytes that are read for somebody who is not signed in where one must be
ELSEWHERE: Final = "This came from another site. Open the page here and do it there."
OUTDATED: Final = "This form is out of date. Go back, reload the page and send it again."

_KEPT: Final = "atelier_form_token"  # where the scope of a request keeps it
_SHAPE: Final = re.compile(r"[\w-]{43}\.[0-9a-f]{64}", re.ASCII)


class Csrf:
    """Makes and knows the tokens. `secret` signs them, so that a cookie planted by somebody else is not one of ours."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def token(self, request: AnyRequest) -> str:
        """The token for the forms of this answer: the browser's own, or a new one whose cookie goes out with it."""
        kept: str | None = request.scope.get(_KEPT)  # type: ignore[assignment]
        if kept is None:
            kept = self._own(request) or self.new_token()
            request.scope[_KEPT] = kept  # type: ignore[typeddict-unknown-key]
        return kept

    def matches(self, request: AnyRequest, given: object) -> bool:
        own = self._own(request)
        return (
            own is not None
            and isinstance(given, str)
            and hmac.compare_digest(own.encode(), given.encode("utf-8", "replace"))
        )

    def for_page(self, request: AnyRequest) -> tuple[str, str | None]:
        """The token for the forms of this answer, and the `Set-Cookie` that must go with it when the browser lacks it."""
        token = self.token(request)
        return token, None if token == self._own(request) else f"{COOKIE}={token}; HttpOnly; Path=/; SameSite=lax"

    async def send_cookie(self, message: Message, scope: Scope) -> None:
        """`before_send` of the program: the cookie of a token that a page of this answer carries and the browser lacks."""
        if message["type"] == "http.response.start" and _KEPT in scope:
            _, cookie = self.for_page(Request(scope))
            if cookie:
                MutableScopeHeaders.from_message(message).add("set-cookie", cookie)

    def new_token(self) -> str:
        """A token for a browser that has none yet."""
        value = secrets.token_urlsafe(32)
        return f"{value}.{self._signature(value)}"

    def _own(self, request: AnyRequest) -> str | None:
        """The token of the cookie, when it is one of ours."""
        token = request.cookies.get(COOKIE, "")
        if not _SHAPE.fullmatch(token):
            return None
        value, _, signature = token.partition(".")
        return token if hmac.compare_digest(signature, self._signature(value)) else None

    def _signature(self, value: str) -> str:
        return hmac.new(self._secret, value.encode(), "sha256").hexdigest()


class CsrfMiddleware(ASGIMiddleware):
    """Stands behind whoever finds out who asks, and before the routes of the pages."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, csrf: Csrf) -> None:
        self._csrf = csrf

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope["method"] in SAFE or is_api_path(scope["path"]):  # type: ignore[typeddict-item]
            await next_app(scope, receive, send)
            return
        request: AnyRequest = Request(scope, receive, send)
        try:
            await self._check(request)
            await next_app(scope, receive, send)
        finally:
            await forms.close(request)

    async def _check(self, request: AnyRequest) -> None:
        if request.headers.get("Sec-Fetch-Site", "none") not in OWN:
            raise Denied(ELSEWHERE)
        if _closed(request) and _long(request):
            raise Denied("Sign in first.", signed_in=False)
        form = await forms.parsed(request)
        if not self._csrf.matches(request, request.headers.get(HEADER) or form.get(FIELD)):
            raise Denied(OUTDATED)


def _long(request: AnyRequest) -> bool:
    """Whether the body is long, or may be: its sender need not say."""
    return "transfer-encoding" in request.headers or (request.content_length or 0) > STRANGERS


def _closed(request: AnyRequest) -> bool:
    """Whether this route is only for people who are signed in, and nobody is."""
    return request.scope.get("user") is None and bool(request.route_handler.resolve_guards())
