"""The shapes of accounts."""

import enum
from datetime import datetime

import msgspec


class Role(enum.StrEnum):
    USER = "user"
    ADMIN = "admin"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person. The password's hash stays in the repository."""

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


class AuthMethod(enum.StrEnum):
    """What a request proves itself with."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105
    KEY = "key"


class KeyLimits(msgspec.Struct, frozen=True):
    """What an API key may do: spend `cap_nano` nano-dollars in a calendar month (UTC), None for any amount, and use these
    `models` by their ids, None for all."""

    key_id: str
    cap_nano: int | None = None
    models: frozenset[str] | None = None

    @property
    def limited(self) -> bool:
        return self.cap_nano is not None or self.models is not None

    def admits(self, model_id: str) -> bool:
        return self.models is None or model_id in self.models


class Auth(msgspec.Struct, frozen=True):
    """How this request is signed in; `id` is that of the page session, the refresh family or the API key, and only the
    last has an `allowance`."""

    how: AuthMethod
    id: str
    limits: KeyLimits | None = None

    @property
    def session(self) -> str:
        """The session that goes on when all others end; an API key belongs to none."""
        return "" if self.how is AuthMethod.KEY else self.id


class Credential(msgspec.Struct, kw_only=True):
    """What a cookie, an access token or an API key stands for. `last_used_at` is its last use, kept to the minute."""

    id: str
    how: AuthMethod
    expires_at: datetime | None
    last_used_at: datetime | None
    limits: KeyLimits | None = None


class Principal(msgspec.Struct, frozen=True):
    """Somebody who has proved who they are."""

    user: User
    credential: Credential

    @property
    def auth(self) -> Auth:
        return Auth(self.credential.how, self.credential.id, self.credential.limits)


class SessionKind(enum.StrEnum):
    """A browser with a cookie, or a program with a family of refresh tokens."""

    PAGE = "page"
    TOKEN = "token"  # noqa: S105


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a person is signed in; `agent` is what the browser or program calls itself."""

    id: str
    user_id: str
    kind: SessionKind
    agent: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A personal API key, without the key; `last_used_at` is kept to the minute. `spent_nano` is what it has spent in this
    calendar month (UTC), as far as costs are known."""

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
    """A shape that holds a secret: its repr shows nothing, so that no log or traceback can."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class NewApiKey(Redacted, frozen=True):
    """A key just made: the only time that `secret`, the key itself, is there to be seen."""

    key: ApiKey
    secret: str


class Tokens(Redacted, frozen=True):
    """What a program signs in with. `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Stats(msgspec.Struct, frozen=True):
    """`users` by role; refresh `tokens` that are active, expired or revoked."""

    users: dict[str, int]
    tokens: dict[str, int]
