"""Data structures of accounts."""

import enum
from datetime import datetime

import msgspec


class Role(enum.StrEnum):
    USER = "user"
    ADMIN = "admin"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user account, without the password hash."""

    id: str
    email: str
    name: str
    role: Role
    is_active: bool
    created_at: datetime
    last_login_at: datetime | None = None

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN

    @property
    def initials(self) -> str:
        """One or two letters for the account menu."""
        words = (self.name or self.email.partition("@")[0]).replace(".", " ").split()
        return "".join(word[0] for word in words[:2]).upper() or "?"


class UserCredentials(msgspec.Struct, frozen=True):
    """A user with their password hash; `credentials_version` is incremented when the email or password changes."""

    user: User
    password_hash: str | None
    credentials_version: int

    def __repr__(self) -> str:
        return f"UserCredentials({self.user.id})"


class AuthMethod(enum.StrEnum):
    """The kind of credential that a request was authenticated with."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105
    KEY = "key"


class KeyLimits(msgspec.Struct, frozen=True):
    """Limits of an API key: `cap_nano` nano-dollars per calendar month (UTC), and the ids of the allowed `models`. None means
    no limit."""

    key_id: str
    cap_nano: int | None = None
    models: frozenset[str] | None = None

    @property
    def limited(self) -> bool:
        return self.cap_nano is not None or self.models is not None

    def allows(self, model_id: str) -> bool:
        return self.models is None or model_id in self.models


class Auth(msgspec.Struct, frozen=True):
    """How a request was authenticated. `id` is the id of the session or API key; only API keys have `limits`."""

    method: AuthMethod
    id: str
    limits: KeyLimits | None = None

    @property
    def session(self) -> str:
        """The id of the session; empty for an API key."""
        return "" if self.method is AuthMethod.KEY else self.id


class Credential(msgspec.Struct, kw_only=True):
    """A session or API key. `last_used_at` is accurate to one minute."""

    id: str
    method: AuthMethod
    expires_at: datetime | None
    last_used_at: datetime | None
    limits: KeyLimits | None = None


class Principal(msgspec.Struct, frozen=True):
    """An authenticated user, and the credential used."""

    user: User
    credential: Credential

    @property
    def auth(self) -> Auth:
        return Auth(self.credential.method, self.credential.id, self.credential.limits)


class SessionKind(enum.StrEnum):
    """`page`: a browser with a cookie. `token`: an API client with a family of refresh tokens."""

    PAGE = "page"
    TOKEN = "token"  # noqa: S105


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a browser or API client; `agent` is its `User-Agent` header."""

    id: str
    user_id: str
    kind: SessionKind
    agent: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class RefreshToken(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token, which can be exchanged once: then it is used and has a successor. `family_id` is the id of its session."""

    token_hash: str
    family_id: str
    user_id: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    successor_hash: str | None = None
    revoked_at: datetime | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret. `last_used_at` is accurate to one minute. `spent_nano` is the known spending in the
    current calendar month (UTC)."""

    id: str
    user_id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None
    monthly_cap_nano: int | None = None
    allowed_models: tuple[str, ...] | None = None
    spent_nano: int = 0


class Redacted(msgspec.Struct, frozen=True):
    """Base for structs that hold a secret: its repr shows no fields, so that secrets do not reach logs or tracebacks."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class NewApiKey(Redacted, frozen=True):
    """A newly created key with its `secret`, which is not stored."""

    key: ApiKey
    secret: str


class Tokens(Redacted, frozen=True):
    """The tokens of an API client. `expires_in` is the lifetime of the access token in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class AccountStats(msgspec.Struct, frozen=True):
    """Counts of `users` by role, and of refresh `tokens` by state: active, expired, revoked."""

    users: dict[str, int]
    tokens: dict[str, int]
