"""Authentication of every request, and the guards that routes use.

The `Identify` middleware runs before every route. Pages accept only the session cookie; the API accepts only a bearer
token, so that another site cannot make a browser call it; media accept both. Invalid credentials do not reject a request
by themselves: the guards of the route do, with the reason why the credentials were not accepted.
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
from app.accounts.service import Accounts
from app.accounts.sessions import SESSION_LIFE
from app.base.errors import Denied
from app.web.paths import Credentials, rule_for

SignedIn = Request[User, Auth, State]  # the request of a handler behind a guard
AnyRequest = Request[Any, Any, State]

SESSION: Final = "session"  # the cookie
_AUTH_ERROR: Final = "atelier_auth_error"


class Identify(ASGIMiddleware):
    """Sets `scope["user"]` (User or None) and `scope["auth"]` (Auth or None)."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        await identify(scope, scope["litestar_app"].state.accounts)
        await next_app(scope, receive, send)


async def identify_on_error(_: Exception, scope: Scope) -> None:
    """The application's `after_exception` hook. Middleware does not run for an unknown path, so the user is identified here
    for the error page. Errors are ignored: the page must be rendered in any case."""
    if scope["type"] == ScopeType.HTTP and "user" not in scope and not rule_for(scope["path"]).is_api:
        with contextlib.suppress(Exception):
            await identify(scope, scope["litestar_app"].state.accounts)


async def identify(scope: Scope, accounts: Accounts) -> None:
    """Authenticate the request and set `user` and `auth` in its scope."""
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
    principal: Principal | None = None
    try:
        principal = await _authenticate(connection, accounts)
    except Denied as exc:
        scope[_AUTH_ERROR] = exc  # type: ignore[typeddict-unknown-key]
    scope["user"] = principal.user if principal else None
    scope["auth"] = principal.auth if principal else None


async def _authenticate(connection: ASGIConnection[Any, Any, Any, Any], accounts: Accounts) -> Principal | None:
    accepted = rule_for(connection.scope["path"]).credentials
    authorization = connection.headers.get("authorization")
    if accepted is Credentials.BEARER or (accepted is Credentials.EITHER and authorization is not None):
        return None if authorization is None else await accounts.authentication.by_bearer(_bearer(authorization))
    token = connection.cookies.get(SESSION)
    return await accounts.authentication.by_session(token) if token else None


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Denied(
            "The Authorization header must be `Bearer` followed by an access token or API key.", signed_in=False
        )
    return token.strip()


async def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: any signed-in user."""
    if connection.scope.get("user") is None:
        error: Denied | None = connection.scope.get(_AUTH_ERROR)  # type: ignore[assignment]
        raise error or Denied("Sign in to continue.", signed_in=False)


async def admin(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: admins only."""
    await signed_in(connection, handler)
    if not connection.scope["user"].is_admin:
        raise Denied("Only admins can do this.")


async def unlimited(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: rejects API keys with limits, where the route would bypass them: by creating a key without limits, or by
    spending on another user's account."""
    auth: Auth | None = connection.scope.get("auth")
    if auth is not None and auth.limits is not None and auth.limits.limited:
        raise Denied("An API key with limits cannot do this.")


def may_use(auth: Auth, model_id: str) -> None:
    """Raise Denied if the API key of the request does not allow this model."""
    if auth.limits is not None and not auth.limits.allows(model_id):
        raise Denied(f"This API key cannot use {model_id[:100]}.")


def current_user(request: AnyRequest) -> User | None:
    """The user of a request on a public route, if signed in."""
    user: User | None = request.scope.get("user")
    return user


def session_cookie(token: str | None) -> Cookie:
    """The cookie of a page session; without a token, the cookie that deletes it."""
    return Cookie(
        key=SESSION,
        value=token or "",
        max_age=int(SESSION_LIFE.total_seconds()) if token else 0,
        path="/",
        httponly=True,
        samesite="lax",
    )
