"""Accounts for programs: signing in, oneself, one's keys and sessions, and people for admins."""

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
from app.web.timestamps import Shown, Timestamp, to_iso, to_utc

BODY: Final = 64 * 1024  # bytes; nothing here is longer

Email = Annotated[
    str,
    msgspec.Meta(
        description="Unique without regard to case.",
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
        description="What the person is called here.",
        examples=["Ada Lovelace"],
        extra_json_schema={"extra": {"maxLength": 100}},
    ),
]
KeyName = Annotated[
    str,
    msgspec.Meta(
        description="What the key is for.",
        examples=["laptop"],
        extra_json_schema={"extra": {"minLength": 1, "maxLength": 100}},
    ),
]
Cap = Annotated[
    str,
    msgspec.Meta(
        description="What the key may spend in a calendar month (UTC), in USD; null for any amount.",
        examples=["25.00"],
        extra_json_schema={"extra": {"pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "maxLength": 13}},
    ),
]
Models = Annotated[
    list[str],
    msgspec.Meta(
        description="Ids of the models that the key may use; null for all. Others are refused with 403 and not listed.",
        examples=[["google/veo-3.1"]],
        extra_json_schema={"extra": {"minItems": 1, "maxItems": 200}},
    ),
]
Spent = Annotated[
    str,
    msgspec.Meta(
        description="What was spent with the key in this calendar month (UTC), in USD, as far as costs are known.",
        examples=["3.2"],
    ),
]
Search = Annotated[str, QueryParameter(description="A part of the email or the name.", max_length=100)]


class UserOut(msgspec.Struct, kw_only=True):
    """A person."""

    id: str
    email: Email
    name: Name
    role: Role
    is_active: bool
    created_at: Shown
    last_login_at: Shown | None

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
    """People, newest first."""


class KeyOut(msgspec.Struct, kw_only=True):
    """An API key, without the key itself; `prefix` is how it begins, `last_used_at` is kept to the minute."""

    id: str
    name: KeyName
    prefix: str
    created_at: Shown
    expires_at: Shown | None
    last_used_at: Shown | None
    monthly_cap_usd: Cap | None
    allowed_models: Models | None
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
    """A key just made. `key` is shown this once only."""

    id: str
    name: KeyName
    key: Annotated[str, msgspec.Meta(description="The bearer itself; it is not shown again.")]
    prefix: str
    created_at: Shown
    expires_at: Shown | None
    monthly_cap_usd: Cap | None
    allowed_models: Models | None
    spent_usd: Spent

    @classmethod
    def of(cls, made: NewApiKey) -> Self:
        key = KeyOut.of(made.key)
        return cls(
            id=key.id,
            name=key.name,
            key=made.secret,
            prefix=key.prefix,
            created_at=key.created_at,
            expires_at=key.expires_at,
            monthly_cap_usd=key.monthly_cap_usd,
            allowed_models=key.allowed_models,
            spent_usd=key.spent_usd,
        )


class SessionOut(msgspec.Struct, kw_only=True):
    """A place where the person is signed in: a browser (`page`) or a program (`token`). `current` is the one that asks."""

    id: str
    kind: SessionKind
    agent: Annotated[str, msgspec.Meta(description="What the browser or program calls itself.")]
    created_at: Shown
    last_used_at: Shown
    expires_at: Shown
    current: bool


class Sessions(PageOut[SessionOut]):
    """Sessions, newest first."""


class TokensOut(Redacted, frozen=True, kw_only=True):
    """`access_token` is the bearer for `expires_in` seconds; `refresh_token` is good for one new pair within 30 days."""

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


class RefreshToken(Redacted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    example: ClassVar = {"refresh_token": "the one that came with the access token"}

    refresh_token: str


class Profile(Redacted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays. A changed email or password needs `current_password`."""

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
    """A key with limits keeps within them everywhere, and makes no other keys."""

    example: ClassVar = {
        "name": "laptop",
        "expires_at": "2099-12-31T23:59:59Z",
        "monthly_cap_usd": "25.00",
        "allowed_models": ["google/veo-3.1"],
    }

    name: KeyName
    expires_at: Timestamp | None = None
    monthly_cap_usd: Cap | None = None
    allowed_models: Models | None = None


# Signing in


@post("/register", opt=REGISTRATION, summary="Make an account", responses=error_responses(400, 403, 409, 413))
async def register(data: JSONBody[Registration], accounts: NamedDependency[Accounts]) -> UserOut:
    """The first account of all becomes admin. 403 when registration is closed to this email, 409 when it is taken."""
    return UserOut.of(await accounts.register(data.email, data.password, data.name))


@post("/login", status_code=200, opt=SIGN_IN, summary="Sign in", responses=error_responses(400, 401, 403, 413))
async def login(data: JSONBody[Login], request: AnyRequest, accounts: NamedDependency[Accounts]) -> TokensOut:
    """A wrong password and an unknown email have one answer, 401; a deactivated account is told 403."""
    return TokensOut.of(await accounts.login(data.email, data.password, agent(request), address(request.scope)))


@post("/refresh", status_code=200, summary="Renew the tokens", responses=error_responses(400, 401, 413))
async def refresh(data: JSONBody[RefreshToken], accounts: NamedDependency[Accounts]) -> TokensOut:
    """The refresh token is dead from then on, and using it again ends the whole sign-in; but within 10 seconds, while its
    successor is unused, it is given another pair instead and the successor dies."""
    return TokensOut.of(await accounts.refresh(data.refresh_token))


@post("/logout", status_code=204, summary="Sign out", responses=error_responses(400, 413))
async def logout(data: JSONBody[RefreshToken], accounts: NamedDependency[Accounts]) -> None:
    """Ends the sign-in of this refresh token, its access tokens too."""
    await accounts.logout(data.refresh_token)


# Oneself


@get("/me", guards=[signed_in], summary="Yourself", responses=error_responses(401))
async def me(request: SignedIn) -> UserOut:
    return UserOut.of(request.user)


@put("/me", guards=[signed_in], summary="Change yourself", responses=error_responses(400, 401, 409, 413))
async def update_me(data: JSONBody[Profile], request: SignedIn, accounts: NamedDependency[Accounts]) -> UserOut:
    """A changed email or password needs `current_password` and ends every other sign-in; API keys stay."""
    user = await accounts.update(
        request.user.id,
        request.auth,
        name=given(data.name),
        email=given(data.email),
        password=given(data.password),
        current_password=given(data.current_password),
    )
    return UserOut.of(user)


@get("/me/keys", guards=[signed_in], summary="Your API keys", responses=error_responses(400, 401))
async def keys(
    request: SignedIn, accounts: NamedDependency[Accounts], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Keys:
    return Keys.of(await accounts.keys(request.user.id, after=after(cursor), limit=limit), KeyOut.of)


@post(
    "/me/keys", guards=[signed_in, unlimited], summary="Make an API key", responses=error_responses(400, 401, 403, 413)
)
async def add_key(data: JSONBody[KeyIn], request: SignedIn, accounts: NamedDependency[Accounts]) -> NewKeyOut:
    """The key is in this answer and never again. It can be given a monthly limit and the models that it is for: beyond
    the limit it is answered 429 `QUOTA_EXCEEDED` until the month ends, for other models 403. A key with limits makes no
    keys."""
    made = await accounts.add_key(
        request.user.id,
        data.name,
        to_utc(data.expires_at, "expires_at"),
        monthly_cap=data.monthly_cap_usd,
        models=data.allowed_models,
    )
    return NewKeyOut.of(made)


@delete(
    "/me/keys/{key_id:str}", guards=[signed_in], summary="Remove an API key", responses=error_responses(400, 401, 404)
)
async def remove_key(key_id: FromPath[str], request: SignedIn, accounts: NamedDependency[Accounts]) -> None:
    await accounts.remove_key(request.user.id, key_id)


@get("/me/sessions", guards=[signed_in], summary="Where you are signed in", responses=error_responses(400, 401))
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

    return Sessions.of(await accounts.sessions(request.user.id, after=after(cursor), limit=limit), show)


@delete("/me/sessions", guards=[signed_in], summary="Sign out everywhere else", responses=error_responses(401))
async def end_other_sessions(request: SignedIn, accounts: NamedDependency[Accounts]) -> None:
    """Ends every page session and every token but those of the sign-in that asks; an API key belongs to none."""
    await accounts.end_other_sessions(request.user.id, request.auth)


@delete(
    "/me/sessions/{session_id:str}",
    guards=[signed_in],
    summary="Sign out there",
    responses=error_responses(400, 401, 404),
)
async def end_session(session_id: FromPath[str], request: SignedIn, accounts: NamedDependency[Accounts]) -> None:
    await accounts.end_session(request.user.id, session_id)


# People, for admins


@get("/", guards=[admin], summary="People", responses=error_responses(400, 401, 403))
async def users(
    accounts: NamedDependency[Accounts], q: Search = "", limit: Limit = DEFAULT, cursor: Cursor = None
) -> Users:
    return Users.of(await accounts.people(q=q, after=after(cursor), limit=limit), UserOut.of)


@put(
    "/{user_id:str}/role", guards=[admin], summary="Set a role", responses=error_responses(400, 401, 403, 404, 409, 413)
)
async def set_role(
    user_id: FromPath[str], data: JSONBody[RoleIn], request: SignedIn, accounts: NamedDependency[Accounts]
) -> UserOut:
    """Holds on the person's very next request. 409 for the last admin."""
    return UserOut.of(await accounts.set_role(user_id, data.role, Actor(request.user.id, request.user.email)))


@put(
    "/{user_id:str}/active",
    guards=[admin],
    summary="Activate or deactivate",
    responses=error_responses(400, 401, 403, 404, 409, 413),
)
async def set_active(
    user_id: FromPath[str], data: JSONBody[ActiveIn], request: SignedIn, accounts: NamedDependency[Accounts]
) -> UserOut:
    """Deactivating signs the person out everywhere at once; keys rest until they are active again. 409 for the last
    admin."""
    return UserOut.of(await accounts.set_active(user_id, data.is_active, Actor(request.user.id, request.user.email)))


def agent(request: AnyRequest) -> str:
    return request.headers.get("user-agent", "")


def given(value: str | msgspec.UnsetType) -> str | None:
    return None if value is msgspec.UNSET else value


routes: Final = [
    Router(
        "/api/v1/auth",
        route_handlers=[register, login, refresh, logout],
        tags=["Signing in"],
        request_max_body_size=BODY,
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
        tags=["People"],
        security=BEARER,
        request_max_body_size=BODY,
    ),
]
