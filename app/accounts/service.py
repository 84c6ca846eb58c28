"""Accounts: registration, authentication, sessions, API keys and user administration.

The credentials of every request are checked against the current state of the user, so that a role change, a deactivation
or a sign-out takes effect at once. `CredentialCache` keeps this cheap; every change removes the user from it. Functions
that take `tx` run on the database's writer thread and only execute SQL.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

import msgspec

from app.accounts import repository, validation
from app.accounts.credential_cache import CredentialCache, KnownAddresses
from app.accounts.passwords import Passwords
from app.accounts.repository import RefreshToken, UserCredentials
from app.accounts.schemas import (
    AccountStats,
    ApiKey,
    Auth,
    AuthMethod,
    NewApiKey,
    Principal,
    Role,
    Session,
    SessionKind,
    Tokens,
    User,
)
from app.accounts.tokens import LIFE as LIFE_ACCESS
from app.accounts.tokens import AccessTokens
from app.audit.schemas import COMMAND_LINE, Action, Actor
from app.audit.service import Audit
from app.base import clock as clocks
from app.base.config import Settings
from app.base.errors import AtelierError, Conflict, Denied, Missing
from app.base.hashing import new_token, sha256_hex
from app.base.ids import uuid7
from app.base.paging import Page
from app.base.rate_limit import RateLimit
from app.db.database import Database, Duplicate, Transaction

SESSION_LIFE: Final = timedelta(days=30)
# A used refresh token is accepted again for this long, because the response to its first use may have been lost.
REUSE_LEEWAY: Final = timedelta(seconds=10)
LAST_USED_PRECISION: Final = timedelta(minutes=1)
KEY_PREFIX: Final = "atl_"
KEY_PREFIX_LENGTH: Final = 12  # characters of a key that are stored and shown
SIGN_INS: Final = (10, 60)  # attempts per account, seconds

# What these keys of a user have spent in the month of the given time, in nano-dollars. A callback, because the ledger
# depends on accounts.
Spending = Callable[[Transaction, str, Sequence[str], datetime], Mapping[str, int]]

WRONG_CREDENTIALS: Final = "The email or password is incorrect."
SESSION_ENDED: Final = "The session has ended. Sign in again."
DEACTIVATED: Final = "This account is deactivated. Contact an admin."
NO_USER: Final = "User not found."


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=HasId)


class Accounts:
    """User accounts and their credentials. `secret` signs the access tokens; `timer` returns seconds for rate limiting."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        secret: str,
        *,
        clock: Callable[[], datetime] = clocks.now,
        timer: Callable[[], float] = clocks.steady,
        passwords: Passwords | None = None,
        spending: Spending = lambda tx, owner, keys, now: {},
    ) -> None:
        self._audit = Audit(database)
        self.settings = settings
        self._database = database
        self._clock = clock
        self._spending = spending
        self._passwords = passwords or Passwords(
            memory_kib=settings.password_memory_kib, passes=settings.password_passes
        )
        self._tokens = AccessTokens(secret)
        self._cache = CredentialCache()
        self._sign_ins = RateLimit(*SIGN_INS, timer=timer)
        self._known_addresses = KnownAddresses()

    def close(self) -> None:
        self._passwords.close()

    # Registration and profile

    async def register(self, email: str, password: str, name: str = "") -> User:
        """Create an account; the first one becomes an admin. Denied if registration is closed to this email, Conflict if
        the email is already in use."""
        email, password, name = validation.validate_all(
            lambda: validation.email(email), lambda: validation.password(password), lambda: validation.name(name)
        )
        await self._database.read(self._check_registration, email)
        password_hash = await self._passwords.hash(password)
        try:
            return await self._database.write(self._register, uuid7(), email, name, password_hash, self._clock())
        except Duplicate:
            raise _email_taken() from None

    async def registration_open(self) -> bool:
        """Whether a visitor can register."""
        return self.settings.registration != "closed" or not await self._database.read(repository.exists_any)

    async def update(
        self,
        owner: str,
        auth: Auth,
        *,
        name: str | None = None,
        email: str | None = None,
        password: str | None = None,
        current_password: str | None = None,
    ) -> User:
        """Change the given fields. Changing the email or password requires the current password and ends all sessions but
        the one of `auth`; API keys stay valid."""
        name = None if name is None else validation.name(name)
        email = None if email is None else validation.email(email)
        password = None if password is None else validation.password(password)
        current = await self._database.read(repository.credentials, owner)
        if current is None:
            raise Missing(NO_USER)
        if password is None and (email is None or email == current.user.email):
            return await self._database.write(self._rename, owner, name)
        await self._check_current(current, current_password)
        password_hash = current.password_hash if password is None else await self._passwords.hash(password)
        try:
            return await self._database.write(
                self._update_credentials,
                current,
                auth.session,
                name,
                email or current.user.email,
                password_hash,
                self._clock(),
            )
        except Duplicate:
            raise _email_taken() from None

    # Signing in and out

    async def sign_in_page(self, email: str, password: str, agent: str = "", address: str = "") -> str:
        """Start a page session and return the token for its cookie."""
        credentials = await self._check(email, password, address)
        token = new_token()
        await self._create_session(credentials, password, SessionKind.PAGE, agent, token)
        return token

    async def login(self, email: str, password: str, agent: str = "", address: str = "") -> Tokens:
        """Start a session of an API client: a new family of refresh tokens."""
        credentials = await self._check(email, password, address)
        token = new_token()
        session = await self._create_session(credentials, password, SessionKind.TOKEN, agent, token)
        return self._tokens_for(session.user_id, session.id, token)

    async def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for a new pair and invalidate it. Denied if it is not valid. If it was used before, the
        session is ended as well, unless that was within `REUSE_LEEWAY`."""
        successor = new_token()
        rotated = await self._database.write(self._rotate, sha256_hex(token), sha256_hex(successor), self._clock())
        if rotated is None:
            raise Denied("The refresh token is invalid, expired or already used. Sign in again.", signed_in=False)
        return self._tokens_for(rotated.user_id, rotated.family_id, successor)

    async def logout(self, token: str) -> None:
        """End the session of this refresh token. Unknown tokens are ignored."""
        await self._database.write(self._end_by_token, sha256_hex(token), self._clock())

    async def sign_out(self, owner: str, auth: Auth) -> None:
        """End the session of `auth`."""
        if auth.session:
            await self._database.write(self._end, owner, auth.session, self._clock())

    # Authentication of requests

    async def by_session(self, token: str) -> Principal | None:
        """The principal of a session cookie; None if it is not valid."""
        token_hash = sha256_hex(token)
        principal = await self._find(f"session {token_hash}", repository.known_by_session, token_hash)
        return principal if principal and await self._is_valid(principal) else None

    async def by_bearer(self, token: str) -> Principal:
        """The principal of an access token or API key; Denied says why it is not accepted."""
        if token.startswith(KEY_PREFIX):
            return await self._by_key(token)
        claims = self._tokens.read(token, self._clock())
        principal = await self._find(f"family {claims.sid}", repository.known_by_family, claims.sid)
        if principal is None or principal.user.id != claims.sub or not await self._is_valid(principal):
            raise Denied(SESSION_ENDED, signed_in=False)
        return principal

    async def _by_key(self, key: str) -> Principal:
        key_hash = sha256_hex(key)
        principal = await self._find(f"key {key_hash}", repository.known_by_key, key_hash)
        if principal is None:
            raise Denied("The API key is not valid.", signed_in=False)
        if not await self._is_valid(principal):
            raise Denied("The API key has expired." if principal.user.is_active else DEACTIVATED, signed_in=False)
        return principal

    async def _find(
        self, cache_key: str, query: Callable[[Transaction, str], Principal | None], argument: str
    ) -> Principal | None:
        """The principal, from the cache or else from the database."""
        principal = self._cache.find(cache_key)
        if principal is None:
            generation = self._cache.generation
            principal = await self._database.read(query, argument)
            if principal is not None:
                self._cache.store(cache_key, principal, generation)
        return principal

    async def _is_valid(self, principal: Principal) -> bool:
        """Whether the user is active and the credential has not expired. Its last use is written at most once a minute, so
        that most requests need no write."""
        credential, now = principal.credential, self._clock()
        if not principal.user.is_active or (credential.expires_at is not None and credential.expires_at <= now):
            return False
        if credential.last_used_at is None or now - credential.last_used_at >= LAST_USED_PRECISION:
            credential.last_used_at = now
            note = repository.note_key_use if credential.method is AuthMethod.KEY else repository.note_session_use
            with suppress(AtelierError):  # a full disk must not prevent reading
                await self._database.write(note, principal.user.id, credential.id, now)
        return True

    # Sessions

    async def sessions(self, owner: str, *, after: str | None = None, limit: int = 24) -> Page[Session]:
        now = self._clock()

        def find(tx: Transaction) -> Page[Session]:
            found = repository.sessions(tx, owner, now, after, limit + 1)
            return _page(found, repository.count_sessions(tx, owner, now), limit)

        return await self._database.read(find)

    async def end_session(self, owner: str, session_id: str) -> None:
        if not await self._database.write(self._end, owner, session_id, self._clock()):
            raise Missing("Session not found. It may have ended already.")

    async def end_other_sessions(self, owner: str, auth: Auth) -> None:
        await self._database.write(self._end_all, owner, self._clock(), auth.session)

    # API keys

    async def keys(self, owner: str, *, after: str | None = None, limit: int = 24) -> Page[ApiKey]:
        """Newest first, each with its spending this month."""
        now = self._clock()

        def find(tx: Transaction) -> Page[ApiKey]:
            found = repository.keys(tx, owner, after, limit + 1)
            spent = self._spending(tx, owner, [key.id for key in found], now)
            items = [msgspec.structs.replace(key, spent_nano=spent.get(key.id, 0)) for key in found]
            return _page(items, repository.count_keys(tx, owner), limit)

        return await self._database.read(find)

    async def add_key(
        self,
        owner: str,
        name: str,
        expires_at: datetime | None = None,
        *,
        monthly_cap: str | None = None,
        models: Sequence[str] | None = None,
    ) -> NewApiKey:
        """Create a key; its secret is available only in the result. `expires_at` is a naive UTC time, `monthly_cap` is in
        USD, `models` are the ids of the allowed models; None means no limit."""
        now = self._clock()
        name = validation.name(name)
        if not name:
            raise validation.wrong("name", "is required")
        if expires_at is not None and expires_at <= now:
            raise validation.wrong("expires_at", "must be in the future")
        secret = new_token(KEY_PREFIX)
        key = ApiKey(
            id=uuid7(),
            user_id=owner,
            name=name,
            prefix=secret[:KEY_PREFIX_LENGTH],
            created_at=now,
            expires_at=expires_at,
            monthly_cap_nano=None if monthly_cap is None else validation.cap(monthly_cap),
            allowed_models=None if models is None else validation.models(models),
        )
        await self._database.write(self._add_key, key, sha256_hex(secret))
        return NewApiKey(key, secret)

    async def remove_key(self, owner: str, key_id: str) -> None:
        if not await self._database.write(self._remove_key, owner, key_id):
            raise Missing("API key not found.")

    # Administration

    async def users(self, *, q: str = "", after: str | None = None, limit: int = 24) -> Page[User]:
        """Newest first; `q` matches part of the email or the name."""
        term = q.strip().lower()

        def find(tx: Transaction) -> Page[User]:
            found = repository.users_any(tx, term, after, limit + 1)
            return _page(found, repository.count_any(tx, term), limit)

        return await self._database.read(find)

    async def users_by_id(self, ids: Sequence[str]) -> dict[str, User]:
        """Those that exist, by id."""
        found = await self._database.read(repository.users_by_id_any, ids) if ids else []
        return {user.id: user for user in found}

    async def set_role(self, user_id: str, role: Role, by: Actor = COMMAND_LINE) -> User:
        """Change the role. Conflict for the last admin."""
        return await self._database.write(self._set_role, user_id, role, by)

    async def set_active(self, user_id: str, is_active: bool, by: Actor = COMMAND_LINE) -> User:
        """Activate or deactivate. Deactivating ends all sessions and suspends the API keys until the user is activated again.
        Conflict for the last admin."""
        return await self._database.write(self._set_active, user_id, is_active, self._clock(), by)

    def remove(self, tx: Transaction, by: str, user_id: str) -> User:
        """Inside the caller's transaction, for the admin with the id `by`: delete the user with their sessions, tokens and
        keys."""
        user = _require(repository.user_any(tx, user_id))
        if user.id == by:
            raise Conflict("You cannot delete your own account.")
        _require_other_admin(tx, user)
        repository.delete_user(tx, user.id)
        tx.on_commit(self._cache.invalidate, user.id)
        return user

    async def promote(self, email: str) -> User:
        """Make the user with this email an admin (command line)."""
        return await self._database.write(self._promote, email.strip().lower())

    async def purge_tokens(self, by: Actor = COMMAND_LINE) -> int:
        """Delete expired and revoked refresh tokens and expired sessions; returns the number of tokens."""
        return await self._database.write(self._purge, self._clock(), by)

    async def sweep(self) -> None:
        """`purge_tokens` as a background task, without an entry in the audit log."""
        await self._database.write(repository.purge_any, self._clock())

    async def stats(self) -> AccountStats:
        now = self._clock()

        def count(tx: Transaction) -> AccountStats:
            roles = repository.roles_any(tx)
            return AccountStats({role.value: roles.get(role.value, 0) for role in Role}, repository.tokens_any(tx, now))

        return await self._database.read(count)

    # Checks

    def _check_registration(self, tx: Transaction, email: str) -> bool:
        """Whether this would be the first account. Denied or Conflict if the email cannot register."""
        first = not repository.exists_any(tx)
        rule = self.settings.registration
        if rule == "closed" and not first:
            raise Denied("Registration is closed. Ask an admin for an account.")
        if rule.startswith("domain:") and email.partition("@")[2] != rule.removeprefix("domain:"):
            raise Denied(f"Registration is only open to email addresses at {rule.removeprefix('domain:')}.")
        if repository.user_by_email_any(tx, email):
            raise _email_taken()
        return first

    async def _check(self, email: str, password: str, address: str) -> UserCredentials:
        """Verify email and password. An unknown email and a wrong password give the same error after the same time."""
        email = email.strip().lower()[: validation.MAX_EMAIL]
        self._count_attempt(email, address)
        credentials = await self._database.read(repository.credentials_by_email, email)
        matches = await self._passwords.verify(credentials.password_hash if credentials else None, password)
        if credentials is None or not matches:
            raise Denied(WRONG_CREDENTIALS, signed_in=False)
        if not credentials.user.is_active:
            raise Denied(DEACTIVATED)
        self._known_addresses.add(email, address)
        return credentials

    async def _check_current(self, credentials: UserCredentials, password: str | None) -> None:
        if password is None:
            raise validation.wrong("current_password", "is required to change the email or password")
        self._count_attempt(credentials.user.email)
        if not await self._passwords.verify(credentials.password_hash, password):
            raise validation.wrong("current_password", "is incorrect")

    def _count_attempt(self, email: str, address: str = "") -> None:
        """Rate-limit attempts per account. Addresses from which the user has signed in before are counted separately, so
        that an attacker elsewhere cannot lock the user out."""
        if self.settings.rate_limits:
            self._sign_ins.take(email, *([address] if (email, address) in self._known_addresses else []))

    def _tokens_for(self, user_id: str, family_id: str, refresh_token: str) -> Tokens:
        return Tokens(self._tokens.sign(user_id, family_id, self._clock()), refresh_token, LIFE_ACCESS)

    async def _create_session(
        self, credentials: UserCredentials, password: str, kind: SessionKind, agent: str, token: str
    ) -> Session:
        password_hash = credentials.password_hash
        if password_hash is not None and self._passwords.outdated(password_hash):
            password_hash = await self._passwords.hash(password)
        now = self._clock()
        session = Session(
            id=uuid7(),
            user_id=credentials.user.id,
            kind=kind,
            agent=agent[:200],
            created_at=now,
            last_used_at=now,
            expires_at=now + SESSION_LIFE,
        )
        await self._database.write(self._start, credentials, password_hash, session, sha256_hex(token))
        return session

    # Transaction functions

    def _register(
        self, tx: Transaction, user_id: str, email: str, name: str, password_hash: str, now: datetime
    ) -> User:
        role = Role.ADMIN if self._check_registration(tx, email) else Role.USER
        user = User(id=user_id, email=email, name=name, role=role, is_active=True, created_at=now)
        repository.add_user(tx, user, password_hash)
        return user

    def _start(
        self,
        tx: Transaction,
        verified: UserCredentials,
        password_hash: str | None,
        session: Session,
        token_hash: str,
    ) -> None:
        """Denied if the email, password or state of the user has changed since the password was verified."""
        current = repository.credentials(tx, session.user_id)
        if current is None or current.credentials_version != verified.credentials_version or not current.user.is_active:
            raise Denied(WRONG_CREDENTIALS, signed_in=False)
        repository.note_login(tx, session.user_id, password_hash, session.created_at)
        if session.kind is SessionKind.PAGE:
            repository.add_session(tx, session, token_hash)
        else:
            repository.add_session(tx, session, None)
            token = RefreshToken(
                token_hash=token_hash,
                family_id=session.id,
                user_id=session.user_id,
                created_at=session.created_at,
                expires_at=session.expires_at,
            )
            repository.add_refresh_token(tx, token)
        tx.on_commit(self._cache.invalidate, session.user_id)

    def _rotate(self, tx: Transaction, token_hash: str, successor_hash: str, now: datetime) -> RefreshToken | None:
        """The new token, or None if the old one is not valid. It does not raise, because what it revokes must be committed."""
        token = repository.refresh_token(tx, token_hash)
        if token is None or token.revoked_at is not None:
            return None
        if token.used_at is not None:
            successor = repository.refresh_token(tx, token.successor_hash or "")
            if now - token.used_at > REUSE_LEEWAY or successor is None or successor.used_at is not None:
                self._end(tx, token.user_id, token.family_id, now)
                return None
            repository.revoke_refresh_token(tx, token.user_id, successor.token_hash, now)
        elif token.expires_at <= now:
            return None
        rotated = RefreshToken(
            token_hash=successor_hash,
            family_id=token.family_id,
            user_id=token.user_id,
            created_at=now,
            expires_at=now + SESSION_LIFE,
        )
        repository.use_refresh_token(tx, token.user_id, token_hash, token.used_at or now, successor_hash)
        repository.add_refresh_token(tx, rotated)
        repository.extend_session(tx, token.user_id, token.family_id, now, rotated.expires_at)
        tx.on_commit(self._cache.invalidate, token.user_id)
        return rotated

    def _end_by_token(self, tx: Transaction, token_hash: str, now: datetime) -> None:
        token = repository.refresh_token(tx, token_hash)
        if token is not None:
            self._end(tx, token.user_id, token.family_id, now)

    def _rename(self, tx: Transaction, owner: str, name: str | None) -> User:
        user = _require(repository.user_any(tx, owner))
        if name is None or name == user.name:
            return user
        repository.rename_user(tx, owner, name)
        tx.on_commit(self._cache.invalidate, owner)
        return _require(repository.user_any(tx, owner))

    def _update_credentials(
        self,
        tx: Transaction,
        verified: UserCredentials,
        session_id: str,
        name: str | None,
        email: str,
        password_hash: str | None,
        now: datetime,
    ) -> User:
        owner = verified.user.id
        current = repository.credentials(tx, owner)
        if current is None:
            raise Missing(NO_USER)
        if current.credentials_version != verified.credentials_version:
            raise validation.wrong("current_password", "has just been changed; enter the new one")
        repository.set_credentials(tx, owner, current.user.name if name is None else name, email, password_hash)
        self._end_all(tx, owner, now, session_id)
        return _require(repository.user_any(tx, owner))

    def _end(self, tx: Transaction, owner: str, session_id: str, now: datetime) -> bool:
        tx.on_commit(self._cache.invalidate, owner)
        return repository.end_session(tx, owner, session_id, now)

    def _end_all(self, tx: Transaction, owner: str, now: datetime, keep: str) -> None:
        tx.on_commit(self._cache.invalidate, owner)
        repository.end_sessions(tx, owner, now, keep=keep)

    def _add_key(self, tx: Transaction, key: ApiKey, key_hash: str) -> None:
        _require(repository.user_any(tx, key.user_id))
        repository.add_key(tx, key, key_hash)

    def _remove_key(self, tx: Transaction, owner: str, key_id: str) -> bool:
        tx.on_commit(self._cache.invalidate, owner)
        return repository.remove_key(tx, owner, key_id)

    def _purge(self, tx: Transaction, now: datetime, by: Actor) -> int:
        deleted = repository.purge_any(tx, now)
        self._audit.record(tx, by, Action.TOKENS_PURGED, count=deleted)
        return deleted

    def _set_role(self, tx: Transaction, user_id: str, role: Role, by: Actor) -> User:
        user = _require(repository.user_any(tx, user_id))
        if role is not Role.ADMIN:
            _require_other_admin(tx, user)
        repository.set_role_any(tx, user_id, role)
        self._audit.record(tx, by, Action.ROLE_CHANGED, user.email, role=role)
        tx.on_commit(self._cache.invalidate, user_id)
        return _require(repository.user_any(tx, user_id))

    def _set_active(self, tx: Transaction, user_id: str, is_active: bool, now: datetime, by: Actor) -> User:
        user = _require(repository.user_any(tx, user_id))
        if not is_active:
            _require_other_admin(tx, user)
            self._end_all(tx, user_id, now, keep="")
        repository.set_active_any(tx, user_id, is_active)
        self._audit.record(tx, by, Action.ACTIVATED if is_active else Action.DEACTIVATED, user.email)
        tx.on_commit(self._cache.invalidate, user_id)
        return _require(repository.user_any(tx, user_id))

    def _promote(self, tx: Transaction, email: str) -> User:
        user = repository.user_by_email_any(tx, email)
        if user is None:
            raise Missing(f"There is no user with the email {email}.")
        return self._set_role(tx, user.id, Role.ADMIN, COMMAND_LINE)


def _require_other_admin(tx: Transaction, user: User) -> None:
    """Conflict if this user is the last active admin."""
    if user.is_admin and user.is_active and repository.active_admins_any(tx) == 1:
        raise Conflict("This is the last admin. Make another user an admin first.")


def _require(user: User | None) -> User:
    if user is None:
        raise Missing(NO_USER)
    return user


def _email_taken() -> Conflict:
    return Conflict("An account with this email already exists.", details={"fields": {"email": "is already in use"}})


def _page(found: list[Item], total: int, limit: int) -> Page[Item]:
    """`found` has one item more than `limit` if there is a next page."""
    items = found[:limit]
    return Page(items, total, items[-1].id if len(found) > limit else None)
