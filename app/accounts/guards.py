"""Who asks, at every request, and which routes want to know.

`Identify` runs before every route and only looks: pages are proved by the cookie and never by a bearer, the API by a
bearer and never by the cookie (so a foreign site cannot make a browser call it), media by either. A proof that does not
hold stops nobody by itself; the guards do, on the routes that name one, with the reason why it did not hold.
"""

import contextlib
from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State
from litestar.enums import ScopeType
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.accounts.schemas import Auth, Principal, User
from app.accounts.service import SESSION_LIFE, Accounts
from app.base.errors import Denied
from app.web.errors import EITHER, is_api_path

SignedIn = Request[User, Auth, State]  # the request of a handler behind a guard
AnyRequest = Request[Any, Any, State]

BEARER_ONLY: Final = ("/api/v1/", "/v1/", "/metrics")
SESSION: Final = "session"  # the cookie
_REFUSAL: Final = "atelier_refusal"


class Identify(ASGIMiddleware):
    """Sets `scope["user"]` (User or None) and `scope["auth"]` (Auth or None)."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        await identify(scope, scope["litestar_app"].state.accounts)
        await next_app(scope, receive, send)


async def identify_lost(_: Exception, scope: Scope) -> None:
    """`after_exception` of the program: who came to an address where nothing is, which no middleware sees, so that the page
    that says so is theirs. It is said in any case, to nobody if need be: this must not fail as well."""
    if scope["type"] == ScopeType.HTTP and "user" not in scope and not is_api_path(scope["path"]):
        with contextlib.suppress(Exception):
            await identify(scope, scope["litestar_app"].state.accounts)


async def identify(scope: Scope, accounts: Accounts) -> None:
    """What both do."""
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
    known: Principal | None = None
    try:
        known = await _known(connection, accounts)
    except Denied as refusal:
        scope[_REFUSAL] = refusal  # type: ignore[typeddict-unknown-key]
    scope["user"] = known.user if known else None
    scope["auth"] = known.auth if known else None


async def _known(connection: ASGIConnection[Any, Any, Any, Any], accounts: Accounts) -> Principal | None:
    path = connection.scope["path"]
    given = connection.headers.get("authorization")
    if path.startswith(BEARER_ONLY) or (given is not None and path.startswith(EITHER)):
        return None if given is None else await accounts.by_bearer(_bearer(given))
    token = connection.cookies.get(SESSION)
    return await accounts.by_session(token) if token else None


def _bearer(given: str) -> str:
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Denied("The Authorization header must be `Bearer` and a token or key.", signed_in=False)
    return token.strip()


async def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: anybody who is signed in."""
    if connection.scope.get("user") is None:
        refusal: Denied | None = connection.scope.get(_REFUSAL)  # type: ignore[assignment]
        raise refusal or Denied("Sign in first.", signed_in=False)


async def admin(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: admins, as they are at this moment."""
    await signed_in(connection, handler)
    if not connection.scope["user"].is_admin:
        raise Denied("This is for admins.")


async def unlimited(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: not an API key with limits. It would lead around them: to a key that has none, or to another's bill."""
    auth: Auth | None = connection.scope.get("auth")
    if auth is not None and auth.limits is not None and auth.limits.limited:
        raise Denied("An API key with limits may not do this.")


def may_use(auth: Auth, model_id: str) -> None:
    """Denied when the API key that asks is not for this model."""
    if auth.limits is not None and not auth.limits.admits(model_id):
        raise Denied(f"This API key may not use {model_id[:100]}.")


def person(request: AnyRequest) -> User | None:
    """Who asks, on a route that anybody may use."""
    user: User | None = request.scope.get("user")
    return user


def session_cookie(token: str | None) -> Cookie:
    """The cookie of a page session; without a token the one that takes it away."""
    return Cookie(
        key=SESSION,
        value=token or "",
        max_age=int(SESSION_LIFE.total_seconds()) if token else 0,
        path="/",
        httponly=True,
        samesite="lax",
    )
