"""CSRF protection for the pages: two checks, each sufficient by itself.

A browser reports where a request comes from (`Sec-Fetch-Site`), and cross-site changes are rejected. In addition, every
form carries a signed token that must equal the one in the cookie, which other sites cannot read. The cookie is set with
the first page that contains a form, and never with a response that a shared cache may store.
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
from app.web.paths import rule_for

AnyRequest = Request[Any, Any, State]

COOKIE: Final = "csrf"
FIELD: Final = "_csrf_token"
HEADER: Final = "X-CSRFToken"
SAFE: Final = ("GET", "HEAD", "OPTIONS")
ALLOWED_SITES: Final = ("same-origin", "none")  # `none`: the user, by a bookmark or a reload
MAX_SIGNED_OUT_BODY: Final = 64 * 1024  # bytes read from a signed-out user on a route that requires sign-in
CROSS_SITE: Final = "This request came from another site. Open the page here and try again."
OUTDATED: Final = "This form has expired. Go back, reload the page and send it again."

_SCOPE_KEY: Final = "atelier_form_token"  # where the request scope holds the token
_FORMAT: Final = re.compile(r"[\w-]{43}\.[0-9a-f]{64}", re.ASCII)


class Csrf:
    """Creates and verifies the tokens. They are signed with `secret`, so that a planted cookie is not accepted."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def token(self, request: AnyRequest) -> str:
        """The token for the forms of this response: the one in the cookie, or a new one that is set with the response."""
        token: str | None = request.scope.get(_SCOPE_KEY)  # type: ignore[assignment]
        if token is None:
            token = self._cookie_token(request) or self.new_token()
            request.scope[_SCOPE_KEY] = token  # type: ignore[typeddict-unknown-key]
        return token

    def matches(self, request: AnyRequest, candidate: object) -> bool:
        expected = self._cookie_token(request)
        return (
            expected is not None
            and isinstance(candidate, str)
            and hmac.compare_digest(expected.encode(), candidate.encode("utf-8", "replace"))
        )

    def for_page(self, request: AnyRequest) -> tuple[str, str | None]:
        """The token for the forms of this response, and the `Set-Cookie` header for it when the browser has none."""
        token = self.token(request)
        is_known = token == request.cookies.get(COOKIE)
        return token, None if is_known else f"{COOKIE}={token}; HttpOnly; Path=/; SameSite=lax"

    def new_token(self) -> str:
        """A new signed token."""
        value = secrets.token_urlsafe(32)
        return f"{value}.{self._signature(value)}"

    def _cookie_token(self, request: AnyRequest) -> str | None:
        """The token in the cookie; None when it is missing or its signature is wrong."""
        token = request.cookies.get(COOKIE, "")
        if not _FORMAT.fullmatch(token):
            return None
        value, _, signature = token.partition(".")
        return token if hmac.compare_digest(signature, self._signature(value)) else None

    def _signature(self, value: str) -> str:
        return hmac.new(self._secret, value.encode(), "sha256").hexdigest()


async def send_cookie(message: Message, scope: Scope) -> None:
    """`before_send` hook: set the cookie when a page of this response carries a token that the browser does not have."""
    if message["type"] == "http.response.start" and _SCOPE_KEY in scope:
        _, cookie = scope["litestar_app"].state.csrf.for_page(Request(scope))
        if cookie:
            MutableScopeHeaders.from_message(message).add("set-cookie", cookie)


class CsrfMiddleware(ASGIMiddleware):
    """Runs after authentication and before the page routes."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope["method"] in SAFE or rule_for(scope["path"]).is_api:  # type: ignore[typeddict-item]
            await next_app(scope, receive, send)
            return
        request: AnyRequest = Request(scope, receive, send)
        try:
            await self._check(request)
            await next_app(scope, receive, send)
        finally:
            await forms.close(request)

    async def _check(self, request: AnyRequest) -> None:
        if request.headers.get("Sec-Fetch-Site", "none") not in ALLOWED_SITES:
            raise Denied(CROSS_SITE)
        if _requires_sign_in(request) and _is_large(request):
            raise Denied("Sign in first.", signed_in=False)
        form = await forms.parsed(request)
        if not request.app.state.csrf.matches(request, request.headers.get(HEADER) or form.get(FIELD)):
            raise Denied(OUTDATED)


def _is_large(request: AnyRequest) -> bool:
    """Whether the body is large, or may be because its length is not declared."""
    return "transfer-encoding" in request.headers or (request.content_length or 0) > MAX_SIGNED_OUT_BODY


def _requires_sign_in(request: AnyRequest) -> bool:
    """Whether the route requires sign-in and the caller is not signed in."""
    return request.scope.get("user") is None and bool(request.route_handler.resolve_guards())
