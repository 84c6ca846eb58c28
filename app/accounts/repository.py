"""SQL for users, sessions, refresh tokens and API keys.

Functions take the transaction, then the id of the owner. Those ending in `_any` are not limited to one owner: they serve
admins and background tasks. Functions that determine the owner take none: `credentials_by_email`, `known_by_session`,
`known_by_family`, `known_by_key` and `refresh_token`, the last four by a secret of the owner; and `add_user`.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from app.accounts.schemas import (
    ApiKey,
    AuthMethod,
    Credential,
    KeyLimits,
    Principal,
    RefreshToken,
    Role,
    Session,
    User,
    UserCredentials,
)
from app.base.text import folded
from app.db.transaction import Row, Transaction

USER = "id, email, name, role, is_active, created_at, last_login_at"
SESSION = "id, user_id, kind, agent, created_at, last_used_at, expires_at"
KEY = "id, user_id, name, prefix, created_at, expires_at, last_used_at, monthly_cap_nano, allowed_models"
LIMITS = ", c.monthly_cap_nano, c.allowed_models"

# Users


def add_user(tx: Transaction, user: User, password_hash: str) -> None:
    """Duplicate if the email is already in use."""
    tx.execute(
        "users",
        "insert into users (id, email, name, password_hash, role, is_active, created_at, credentials_version, search_text)"
        " values ($1, $2, $3, $4, $5, $6, $7, 1, $8)",
        user.id,
        user.email,
        user.name,
        password_hash,
        user.role.value,
        user.is_active,
        user.created_at,
        folded(f"{user.email} {user.name}"),
    )


def credentials_by_email(tx: Transaction, email: str) -> UserCredentials | None:
    row = tx.row("users", f"select {USER}, password_hash, credentials_version from users where email = $1", email)
    return None if row is None else _user_credentials(row)


def credentials(tx: Transaction, owner: str) -> UserCredentials | None:
    row = tx.row("users", f"select {USER}, password_hash, credentials_version from users where id = $1", owner)
    return None if row is None else _user_credentials(row)


def rename_user(tx: Transaction, owner: str, name: str) -> None:
    email: str = tx.value("users", "update users set name = $2 where id = $1 returning email", owner, name)
    search_text = folded(f"{email} {name}")
    tx.execute("users", "update users set search_text = $2 where id = $1", owner, search_text)


def set_credentials(tx: Transaction, owner: str, name: str, email: str, password_hash: str | None) -> None:
    """Set name, email and password hash. Duplicate if the email is already in use."""
    tx.execute(
        "users",
        "update users set name = $2, email = $3, password_hash = $4, search_text = $5,"
        " credentials_version = credentials_version + 1 where id = $1",
        owner,
        name,
        email,
        password_hash,
        folded(f"{email} {name}"),
    )


def note_login(tx: Transaction, owner: str, password_hash: str | None, now: datetime) -> None:
    """Record a sign-in. `password_hash` is of the same password, and differs if it was hashed with new parameters."""
    tx.execute(
        "users", "update users set last_login_at = $2, password_hash = $3 where id = $1", owner, now, password_hash
    )


def exists_any(tx: Transaction) -> bool:
    """Whether there is any account."""
    return tx.row("users", "select 1 as one from users limit 1") is not None


def user_any(tx: Transaction, user_id: str) -> User | None:
    row = tx.row("users", f"select {USER} from users where id = $1", user_id)
    return None if row is None else msgspec.convert(row, User)


def user_by_email_any(tx: Transaction, email: str) -> User | None:
    row = tx.row("users", f"select {USER} from users where email = $1", email)
    return None if row is None else msgspec.convert(row, User)


def users_by_id_any(tx: Transaction, ids: Sequence[str]) -> list[User]:
    return msgspec.convert(tx.rows("users", f"select {USER} from users where id = any($1)", list(ids)), list[User])


def users_any(tx: Transaction, q: str, after: str | None, limit: int) -> list[User]:
    """Newest first; `q` is part of the email or the name, or empty."""
    rows = tx.rows(
        "users",
        f"select {USER} from users where strpos(search_text, $1) > 0"
        " and (cast($2 as text) is null or id < $2) order by id desc limit $3",
        folded(q),
        after,
        limit,
    )
    return msgspec.convert(rows, list[User])


def count_any(tx: Transaction, q: str) -> int:
    count: int = tx.value("users", "select count(*) from users where strpos(search_text, $1) > 0", folded(q))
    return count


def roles_any(tx: Transaction) -> dict[str, int]:
    rows = tx.rows("users", "select role, count(*) as count from users group by role")
    return {row["role"]: row["count"] for row in rows}


def active_admins_any(tx: Transaction) -> int:
    count: int = tx.value("users", "select count(*) from users where role = 'admin' and is_active")
    return count


def set_role_any(tx: Transaction, user_id: str, role: Role) -> None:
    tx.execute("users", "update users set role = $2 where id = $1", user_id, role.value)


def set_active_any(tx: Transaction, user_id: str, is_active: bool) -> None:
    tx.execute("users", "update users set is_active = $2 where id = $1", user_id, is_active)


def delete_user(tx: Transaction, owner: str) -> None:
    """Delete the user and all their credentials."""
    tx.execute("refresh_tokens", "delete from refresh_tokens where user_id = $1", owner)
    tx.execute("sessions", "delete from sessions where user_id = $1", owner)
    tx.execute("api_keys", "delete from api_keys where user_id = $1", owner)
    tx.execute("users", "delete from users where id = $1", owner)


# Sessions: page sessions have a cookie token, sessions of API clients a family of refresh tokens


def add_session(tx: Transaction, session: Session, token_hash: str | None) -> None:
    tx.execute(
        "sessions",
        f"insert into sessions ({SESSION}, token_hash) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        session.id,
        session.user_id,
        session.kind.value,
        session.agent,
        session.created_at,
        session.last_used_at,
        session.expires_at,
        token_hash,
    )


def known_by_session(tx: Transaction, token_hash: str) -> Principal | None:
    return _known(tx, AuthMethod.SESSION, "sessions", "token_hash = $1", token_hash)


def known_by_family(tx: Transaction, family_id: str) -> Principal | None:
    return _known(tx, AuthMethod.TOKEN, "sessions", "c.id = $1", family_id)


def sessions(tx: Transaction, owner: str, now: datetime, after: str | None, limit: int) -> list[Session]:
    """Active sessions, newest first."""
    rows = tx.rows(
        "sessions",
        f"select {SESSION} from sessions where user_id = $1 and expires_at > $2 and (cast($3 as text) is null or id < $3)"
        " order by id desc limit $4",
        owner,
        now,
        after,
        limit,
    )
    return msgspec.convert(rows, list[Session])


def count_sessions(tx: Transaction, owner: str, now: datetime) -> int:
    count: int = tx.value(
        "sessions", "select count(*) from sessions where user_id = $1 and expires_at > $2", owner, now
    )
    return count


def extend_session(tx: Transaction, owner: str, session_id: str, now: datetime, expires_at: datetime) -> None:
    tx.execute(
        "sessions",
        "update sessions set last_used_at = $3, expires_at = $4 where user_id = $1 and id = $2",
        owner,
        session_id,
        now,
        expires_at,
    )


def note_session_use(tx: Transaction, owner: str, session_id: str, now: datetime) -> None:
    tx.execute(
        "sessions", "update sessions set last_used_at = $3 where user_id = $1 and id = $2", owner, session_id, now
    )


def end_session(tx: Transaction, owner: str, session_id: str, now: datetime) -> bool:
    """End a session and revoke its tokens; returns whether it existed."""
    ended = tx.rows("sessions", "delete from sessions where user_id = $1 and id = $2 returning id", owner, session_id)
    tx.execute(
        "refresh_tokens",
        "update refresh_tokens set revoked_at = $3 where user_id = $1 and family_id = $2 and revoked_at is null",
        owner,
        session_id,
        now,
    )
    return bool(ended)


def end_sessions(tx: Transaction, owner: str, now: datetime, *, keep: str) -> None:
    """End all sessions of the user except `keep`, and revoke their tokens."""
    tx.execute("sessions", "delete from sessions where user_id = $1 and id <> $2", owner, keep)
    tx.execute(
        "refresh_tokens",
        "update refresh_tokens set revoked_at = $3 where user_id = $1 and family_id <> $2 and revoked_at is null",
        owner,
        keep,
        now,
    )


# Refresh tokens


def add_refresh_token(tx: Transaction, token: RefreshToken) -> None:
    tx.execute(
        "refresh_tokens",
        "insert into refresh_tokens (token_hash, family_id, user_id, created_at, expires_at)"
        " values ($1, $2, $3, $4, $5)",
        token.token_hash,
        token.family_id,
        token.user_id,
        token.created_at,
        token.expires_at,
    )


def refresh_token(tx: Transaction, token_hash: str) -> RefreshToken | None:
    row = tx.row("refresh_tokens", "select * from refresh_tokens where token_hash = $1", token_hash)
    return None if row is None else msgspec.convert(row, RefreshToken)


def use_refresh_token(tx: Transaction, owner: str, token_hash: str, used_at: datetime, successor: str) -> None:
    tx.execute(
        "refresh_tokens",
        "update refresh_tokens set used_at = $3, successor_hash = $4 where user_id = $1 and token_hash = $2",
        owner,
        token_hash,
        used_at,
        successor,
    )


def revoke_refresh_token(tx: Transaction, owner: str, token_hash: str, now: datetime) -> None:
    tx.execute(
        "refresh_tokens",
        "update refresh_tokens set revoked_at = $3 where user_id = $1 and token_hash = $2",
        owner,
        token_hash,
        now,
    )


def purge_any(tx: Transaction, now: datetime) -> int:
    """Delete expired and revoked tokens. Used tokens of an active session stay, so that their reuse is detected."""
    tx.execute("sessions", "delete from sessions where expires_at <= $1", now)
    old = "from refresh_tokens where expires_at <= $1 or revoked_at is not null"
    deleted: int = tx.value("refresh_tokens", f"select count(*) {old}", now)
    tx.execute("refresh_tokens", f"delete {old}", now)
    return deleted


def tokens_any(tx: Transaction, now: datetime) -> dict[str, int]:
    """The numbers of active, expired and revoked tokens. Used tokens are not counted."""
    row = tx.row(
        "refresh_tokens",
        "select count(case when revoked_at is null and used_at is null and expires_at > $1 then 1 end) as active,"
        " count(case when revoked_at is null and expires_at <= $1 then 1 end) as expired,"
        " count(revoked_at) as revoked from refresh_tokens",
        now,
    )
    return dict(row or {})


# API keys


def add_key(tx: Transaction, key: ApiKey, key_hash: str) -> None:
    tx.execute(
        "api_keys",
        f"insert into api_keys ({KEY}, key_hash) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        key.id,
        key.user_id,
        key.name,
        key.prefix,
        key.created_at,
        key.expires_at,
        key.last_used_at,
        key.monthly_cap_nano,
        None if key.allowed_models is None else msgspec.json.encode(key.allowed_models).decode(),
        key_hash,
    )


def known_by_key(tx: Transaction, key_hash: str) -> Principal | None:
    return _known(tx, AuthMethod.KEY, "api_keys", "c.key_hash = $1", key_hash, LIMITS)


def keys(tx: Transaction, owner: str, after: str | None, limit: int) -> list[ApiKey]:
    """Newest first, including expired keys."""
    rows = tx.rows(
        "api_keys",
        f"select {KEY} from api_keys where user_id = $1 and (cast($2 as text) is null or id < $2) order by id desc limit $3",
        owner,
        after,
        limit,
    )
    return msgspec.convert([{**row, "allowed_models": _models(row)} for row in rows], list[ApiKey])


def count_keys(tx: Transaction, owner: str) -> int:
    count: int = tx.value("api_keys", "select count(*) from api_keys where user_id = $1", owner)
    return count


def key_limits(tx: Transaction, owner: str, key_id: str) -> KeyLimits | None:
    """None when there is no such key any more."""
    row = tx.row(
        "api_keys",
        "select id as credential_id, monthly_cap_nano, allowed_models from api_keys where user_id = $1 and id = $2",
        owner,
        key_id,
    )
    return None if row is None else _limits(row)


def note_key_use(tx: Transaction, owner: str, key_id: str, now: datetime) -> None:
    tx.execute("api_keys", "update api_keys set last_used_at = $3 where user_id = $1 and id = $2", owner, key_id, now)


def remove_key(tx: Transaction, owner: str, key_id: str) -> bool:
    """Whether the key existed."""
    return bool(tx.rows("api_keys", "delete from api_keys where user_id = $1 and id = $2 returning id", owner, key_id))


def _user_credentials(row: Row) -> UserCredentials:
    return UserCredentials(msgspec.convert(row, User), row["password_hash"], row["credentials_version"])


def _models(row: Row) -> list[str] | None:
    """The models that a key may use; None for all."""
    encoded = row["allowed_models"]
    return None if encoded is None else msgspec.json.decode(encoded, type=list[str])


def _limits(row: Row) -> KeyLimits:
    models = _models(row)
    return KeyLimits(row["credential_id"], row["monthly_cap_nano"], None if models is None else frozenset(models))


def _known(
    tx: Transaction, method: AuthMethod, table: str, condition: str, argument: str, limits: str = ""
) -> Principal | None:
    """A credential and its user, in one consistent query."""
    user_columns = ", ".join(f"u.{column}" for column in USER.split(", "))
    row = tx.row(
        (table, "users"),
        f"select {user_columns}, c.id as credential_id, c.expires_at, c.last_used_at{limits}"
        f" from {table} c join users u on u.id = c.user_id where {condition}",
        argument,
    )
    if row is None:
        return None
    credential = Credential(
        id=row["credential_id"],
        method=method,
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        limits=_limits(row) if limits else None,
    )
    return Principal(msgspec.convert(row, User), credential)
