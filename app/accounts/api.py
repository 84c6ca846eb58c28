"""The accounts API: authentication, the signed-in user, API keys, sessions, and user administration."""

from typing import Annotated, ClassVar, Final, Self

import msgspec
from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.accounts.guards import AnyRequest, SignedIn, admin, signed_in, unlimited
from app.accounts.schemas import ApiKey, NewApiKey, Redacted, Role, Session, SessionKind, Tokens, User
from app.accounts.service import Accounts
from app.audit.schemas import Actor
from app.base.money import usd
from app.web.limits import REGISTRATION, SIGN_IN, address
from app.web.openapi import BEARER, error_responses
from app.web.paging import DEFAULT, Cursor, Limit, PageOut, after
from app.web.timestamps import Timestamp, TimestampOut, to_iso, to_utc

MAX_BODY: Final = 64 * 1024  # bytes

Email = Annotated[
    str,
    msgspec.Meta(
        description="Unique, ignoring case.",
        examples=["ada@example.org"],
        extra_json_schema={"extra": {"format": "email", "maxLength": 254}},
    ),
]
Password = Annotated[
    str,
    msgspec.Meta(
        description="8 to 128 characters.",
        examples=["correct horse battery"],
        extra_json_schema={"extra": {"minLength": 8, "maxLength": 128, "format": "password"}},
    ),
]
Name = Annotated[
    str,
    msgspec.Meta(
        description="Display name.",
        examples=["Ada Lovelace"],
        extra_json_schema={"extra": {"maxLength": 100}},
    ),
]
KeyName = Annotated[
    str,
    msgspec.Meta(
        description="A label for the key, such as the device or program that uses it.",
        examples=["laptop"],
        extra_json_schema={"extra": {"minLength": 1, "maxLength": 100}},
    ),
]
Cap = Annotated[
    str,
    msgspec.Meta(
        description="Spending limit per calendar month (UTC), in USD; null for no limit.",
        examples=["25.00"],
        extra_json_schema={"extra": {"pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "maxLength": 13}},
    ),
]
AllowedModels = Annotated[
    list[str],
    msgspec.Meta(
        description="Ids of the models that the key may use; null for all. Other models are not listed, and using one returns 403.",
        examples=[["google/veo-3.1"]],
        extra_json_schema={"extra": {"minItems": 1, "maxItems": 200}},
    ),
]
Spent = Annotated[
    str,
    msgspec.Meta(
        description="Known spending with this key in the current calendar month (UTC), in USD.",
        examples=["3.2"],
    ),
]
Search = Annotated[str, QueryParameter(description="Part of the email or the name.", max_length=100)]


class UserOut(msgspec.Struct, kw_only=True):
    """A user account."""

    id: str
    email: Email
    name: Name
    role: Role
    is_active: bool
    created_at: TimestampOut
    last_login_at: TimestampOut | None

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            id=user.id,
            email=user.email,
            name=user.name,
            role=user.role,
            is_active=user.is_active,
            created_at=to_iso(user.created_at),
            last_login_at=to_iso(user.last_login_at),
        )


class Users(PageOut[UserOut]):
    """Users, newest first."""


class KeyOut(msgspec.Struct, kw_only=True):
    """An API key without its secret. `prefix` is the start of the secret; `last_used_at` is accurate to one minute."""

    id: str
    name: KeyName
    prefix: str
    created_at: TimestampOut
    expires_at: TimestampOut | None
    last_used_at: TimestampOut | None
    monthly_cap_usd: Cap | None
    allowed_models: AllowedModels | None
    spent_usd: Spent

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            created_at=to_iso(key.created_at),
            expires_at=to_iso(key.expires_at),
            last_used_at=to_iso(key.last_used_at),
            monthly_cap_usd=usd(key.monthly_cap_nano),
            allowed_models=None if key.allowed_models is None else list(key.allowed_models),
            spent_usd=usd(key.spent_nano) or "0",
        )


class Keys(PageOut[KeyOut]):
    """API keys, newest first."""


class NewKeyOut(Redacted, frozen=True, kw_only=True):
    """A newly created API key. `key` is returned only in this response."""

    id: str
    name: KeyName
    key: Annotated[str, msgspec.Meta(description="The secret, to be sent as the bearer token. It is not shown again.")]
    prefix: str
    created_at: TimestampOut
    expires_at: TimestampOut | None
    monthly_cap_usd: Cap | None
    allowed_models: AllowedModels | None
    spent_usd: Spent

    @classmethod
    def of(cls, created: NewApiKey) -> Self:
        key = KeyOut.of(created.key)
        return cls(
            id=key.id,
            name=key.name,
            key=created.secret,
            prefix=key.prefix,
            created_at=key.created_at,
            expires_at=key.expires_at,
            monthly_cap_usd=key.monthly_cap_usd,
            allowed_models=key.allowed_models,
            spent_usd=key.spent_usd,
        )


class SessionOut(msgspec.Struct, kw_only=True):
    """A session of a browser (`page`) or of an API client (`token`). `current` marks the session that sent this request."""

    id: str
    kind: SessionKind
    agent: Annotated[str, msgspec.Meta(description="The `User-Agent` header of the browser or client.")]
    created_at: TimestampOut
    last_used_at: TimestampOut
    expires_at: TimestampOut
    current: bool


class Sessions(PageOut[SessionOut]):
    """Sessions, newest first."""


class TokensOut(Redacted, frozen=True, kw_only=True):
    """`access_token` is valid for `expires_in` seconds; `refresh_token` can be exchanged once, within 30 days, for a new pair."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105
    expires_in: int

    @classmethod
    def of(cls, tokens: Tokens) -> Self:
        return cls(access_token=tokens.access_token, refresh_token=tokens.refresh_token, expires_in=tokens.expires_in)


class Registration(Redacted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    example: ClassVar = {"email": "ada@example.org", "password": "correct horse battery", "name": "Ada Lovelace"}

    email: Email
    password: Password
    name: Name = ""


class Login(Redacted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    example: ClassVar = {"email": "ada@example.org", "password": "correct horse battery"}

    email: str
    password: str


class RefreshTokenIn(Redacted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    example: ClassVar = {"refresh_token": "zc5r0L1Z0t3o6eN8bq7wWcVJm2sYxT4uAfGkHdPiR9M"}

    refresh_token: str


class ProfileUpdate(Redacted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Omitted fields are unchanged. Changing the email or password requires `current_password`."""

    example: ClassVar = {"name": "Ada King"}

    name: Name | msgspec.UnsetType = msgspec.UNSET
    email: Email | msgspec.UnsetType = msgspec.UNSET
    password: Password | msgspec.UnsetType = msgspec.UNSET
    current_password: str | msgspec.UnsetType = msgspec.UNSET


class RoleIn(msgspec.Struct, forbid_unknown_fields=True):
    example: ClassVar = {"role": "admin"}

    role: Role


class ActiveIn(msgspec.Struct, forbid_unknown_fields=True):
    example: ClassVar = {"is_active": False}

    is_active: bool


class KeyIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The limits of a key apply to every route. A key with limits cannot create other keys."""

    example: ClassVar = {
        "name": "laptop",
        "expires_at": "2099-12-31T23:59:59Z",
        "monthly_cap_usd": "25.00",
        "allowed_models": ["google/veo-3.1"],
    }

    name: KeyName
    expires_at: Timestamp | None = None
    monthly_cap_usd: Cap | None = None
    allowed_models: AllowedModels | None = None


# Authentication


@post("/register", opt=REGISTRATION, summary="Create an account", responses=error_responses(400, 403, 409, 413))
async def register(data: JSONBody[Registration], accounts: NamedDependency[Accounts]) -> UserOut:
    """The first account becomes an admin. 403 if registration is closed to this email, 409 if the email is already in use."""
    return UserOut.of(await accounts.registration.register(data.email, data.password, data.name))


@post("/login", status_code=200, opt=SIGN_IN, summary="Sign in", responses=error_responses(400, 401, 403, 413))
async def login(data: JSONBody[Login], request: AnyRequest, accounts: NamedDependency[Accounts]) -> TokensOut:
    """A wrong password and an unknown email return the same 401; a deactivated account returns 403."""
    return TokensOut.of(
        await accounts.sign_in.start_token_session(data.email, data.password, agent(request), address(request.scope))
    )


@post("/refresh", status_code=200, summary="Refresh tokens", responses=error_responses(400, 401, 413))
async def refresh(data: JSONBody[RefreshTokenIn], accounts: NamedDependency[Accounts]) -> TokensOut:
    """Exchanges a refresh token for a new pair and invalidates it. Using it again ends the session, except within 10 seconds
    and while the new refresh token is unused: then another pair is issued and the unused token is revoked."""
    return TokensOut.of(await accounts.sessions.refresh(data.refresh_token))


@post("/logout", status_code=204, summary="Sign out", responses=error_responses(400, 413))
async def logout(data: JSONBody[RefreshTokenIn], accounts: NamedDependency[Accounts]) -> None:
    """Ends the session that this refresh token belongs to and revokes its access tokens."""
    await accounts.sessions.end_by_token(data.refresh_token)


# The signed-in user


@get("/me", guards=[signed_in], summary="Get your account", responses=error_responses(401))
async def me(request: SignedIn) -> UserOut:
    return UserOut.of(request.user)


@put("/me", guards=[signed_in], summary="Update your account", responses=error_responses(400, 401, 409, 413))
async def update_me(data: JSONBody[ProfileUpdate], request: SignedIn, accounts: NamedDependency[Accounts]) -> UserOut:
    """Changing the email or password requires `current_password` and ends all other sessions; API keys stay valid."""
    user = await accounts.profile.update(
        request.user.id,
        request.auth,
        name=given(data.name),
        email=given(data.email),
        password=given(data.password),
        current_password=given(data.current_password),
    )
    return UserOut.of(user)


@get("/me/keys", guards=[signed_in], summary="List your API keys", responses=error_responses(400, 401))
async def keys(
    request: SignedIn, accounts: NamedDependency[Accounts], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Keys:
    return Keys.of(await accounts.api_keys.newest(request.user.id, after=after(cursor), limit=limit), KeyOut.of)


@post(
    "/me/keys",
    guards=[signed_in, unlimited],
    summary="Create an API key",
    responses=error_responses(400, 401, 403, 413),
)
async def add_key(data: JSONBody[KeyIn], request: SignedIn, accounts: NamedDependency[Accounts]) -> NewKeyOut:
    """The secret is returned only in this response. A key can have a monthly spending limit, above which requests return
    429 `QUOTA_EXCEEDED` until the month ends, and a list of allowed models, outside which they return 403. A key with
    limits cannot create keys."""
    created = await accounts.api_keys.add(
        request.user.id,
        data.name,
        to_utc(data.expires_at, "expires_at"),
        monthly_cap=data.monthly_cap_usd,
        models=data.allowed_models,
    )
    return NewKeyOut.of(created)


@delete(
    "/me/keys/{key_id:str}", guards=[signed_in], summary="Delete an API key", responses=error_responses(400, 401, 404)
)
async def remove_key(key_id: FromPath[str], request: SignedIn, accounts: NamedDependency[Accounts]) -> None:
    await accounts.api_keys.remove(request.user.id, key_id)


@get("/me/sessions", guards=[signed_in], summary="List your active sessions", responses=error_responses(400, 401))
async def sessions(
    request: SignedIn, accounts: NamedDependency[Accounts], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Sessions:
    def show(session: Session) -> SessionOut:
        return SessionOut(
            id=session.id,
            kind=session.kind,
            agent=session.agent,
            created_at=to_iso(session.created_at),
            last_used_at=to_iso(session.last_used_at),
            expires_at=to_iso(session.expires_at),
            current=session.id == request.auth.session,
        )

    return Sessions.of(await accounts.sessions.newest(request.user.id, after=after(cursor), limit=limit), show)


@delete("/me/sessions", guards=[signed_in], summary="End all other sessions", responses=error_responses(401))
async def end_other_sessions(request: SignedIn, accounts: NamedDependency[Accounts]) -> None:
    """Ends every session except the one that sent this request. With an API key, which has no session, it ends all."""
    await accounts.sessions.end_others(request.user.id, request.auth)


@delete(
    "/me/sessions/{session_id:str}",
    guards=[signed_in],
    summary="End a session",
    responses=error_responses(400, 401, 404),
)
async def end_session(session_id: FromPath[str], request: SignedIn, accounts: NamedDependency[Accounts]) -> None:
    await accounts.sessions.end(request.user.id, session_id)


# User administration


@get("/", guards=[admin], summary="List users", responses=error_responses(400, 401, 403))
async def users(
    accounts: NamedDependency[Accounts], q: Search = "", limit: Limit = DEFAULT, cursor: Cursor = None
) -> Users:
    return Users.of(await accounts.users.newest(q=q, after=after(cursor), limit=limit), UserOut.of)


@put(
    "/{user_id:str}/role",
    guards=[admin],
    summary="Set the role of a user",
    responses=error_responses(400, 401, 403, 404, 409, 413),
)
async def set_role(
    user_id: FromPath[str], data: JSONBody[RoleIn], request: SignedIn, accounts: NamedDependency[Accounts]
) -> UserOut:
    """Takes effect on the user's next request. 409 for the last admin."""
    return UserOut.of(await accounts.users.set_role(user_id, data.role, Actor(request.user.id, request.user.email)))


@put(
    "/{user_id:str}/active",
    guards=[admin],
    summary="Activate or deactivate a user",
    responses=error_responses(400, 401, 403, 404, 409, 413),
)
async def set_active(
    user_id: FromPath[str], data: JSONBody[ActiveIn], request: SignedIn, accounts: NamedDependency[Accounts]
) -> UserOut:
    """Deactivating ends all sessions of the user and suspends their API keys until the user is activated again. 409 for
    the last admin."""
    return UserOut.of(
        await accounts.users.set_active(user_id, data.is_active, Actor(request.user.id, request.user.email))
    )


def agent(request: AnyRequest) -> str:
    return request.headers.get("user-agent", "")


def given(value: str | msgspec.UnsetType) -> str | None:
    return None if value is msgspec.UNSET else value


routes: Final = [
    Router(
        "/api/v1/auth",
        route_handlers=[register, login, refresh, logout],
        tags=["Authentication"],
        request_max_body_size=MAX_BODY,
    ),
    Router(
        "/api/v1/users",
        route_handlers=[
            me,
            update_me,
            keys,
            add_key,
            remove_key,
            sessions,
            end_other_sessions,
            end_session,
            users,
            set_role,
            set_active,
        ],
        tags=["Users"],
        security=BEARER,
        request_max_body_size=MAX_BODY,
    ),
]
