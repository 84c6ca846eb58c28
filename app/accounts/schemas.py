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


class How(enum.StrEnum):
    """What a request proves itself with."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105
    KEY = "key"


class Auth(msgspec.Struct, frozen=True):
    """How this request is signed in; `id` is that of the page session, the refresh family or the API key."""

    how: How
    id: str

    @property
    def session(self) -> str:
        """The session that goes on when all others end; an API key belongs to none."""
        return "" if self.how is How.KEY else self.id


class Credential(msgspec.Struct, kw_only=True):
    """What a cookie, an access token or an API key stands for. `seen_at` is its last use, kept to the minute."""

    id: str
    how: How
    expires_at: datetime | None
    seen_at: datetime | None


class Known(msgspec.Struct, frozen=True):
    """Somebody who has proved who they are."""

    user: User
    credential: Credential

    @property
    def auth(self) -> Auth:
        return Auth(self.credential.how, self.credential.id)


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
    seen_at: datetime
    expires_at: datetime


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A personal API key, without the key; `last_used_at` is kept to the minute."""

    id: str
    user_id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None


class Silent(msgspec.Struct, frozen=True):
    """A shape that holds a secret: its repr shows nothing, so that no log or traceback can."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class NewApiKey(Silent, frozen=True):
    """A key just made: the only time that `secret`, the key itself, is there to be seen."""

    key: ApiKey
    secret: str


class Tokens(Silent, frozen=True):
    """What a program signs in with. `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Stats(msgspec.Struct, frozen=True):
    """`users` by role; refresh `tokens` that are active, expired or revoked."""

    users: dict[str, int]
    tokens: dict[str, int]
