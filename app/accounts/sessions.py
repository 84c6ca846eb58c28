"""Sessions: those of browsers, which have a cookie, and those of API clients, which have a family of refresh tokens.

Each use of a refresh token replaces it. Using one again ends the session, because two clients then hold the same token and
one of them may have stolen it (RFC 9700, section 4.14.2).
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from app.accounts import repository
from app.accounts.credential_cache import CredentialCache
from app.accounts.schemas import Auth, RefreshToken, Session, SessionKind, Tokens, UserCredentials
from app.accounts.tokens import LIFE as LIFE_ACCESS
from app.accounts.tokens import AccessTokens
from app.audit.schemas import COMMAND_LINE, Action, Actor
from app.audit.service import Audit
from app.base.errors import Denied, Missing
from app.base.hashing import new_token, sha256_hex
from app.base.ids import uuid7
from app.base.paging import Page
from app.db.database import Database
from app.db.transaction import Transaction

SESSION_LIFE: Final = timedelta(days=30)
# A used refresh token is accepted again for this long, because the response to its first use may have been lost.
REUSE_LEEWAY: Final = timedelta(seconds=10)
WRONG_CREDENTIALS: Final = "The email or password is incorrect."


class UserSessions:
    def __init__(
        self,
        database: Database,
        audit: Audit,
        tokens: AccessTokens,
        cache: CredentialCache,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._audit = audit
        self._tokens = tokens
        self._cache = cache
        self._clock = clock

    async def newest(self, owner: str, *, after: str | None = None, limit: int = 24) -> Page[Session]:
        """Active sessions, newest first."""
        now = self._clock()

        def find(tx: Transaction) -> Page[Session]:
            found = repository.sessions(tx, owner, now, after, limit + 1)
            return Page.of(found, repository.count_sessions(tx, owner, now), limit)

        return await self._database.read(find)

    # Starting

    async def start_page(self, verified: UserCredentials, agent: str) -> str:
        """Start a page session; returns the token for its cookie."""
        token = new_token()
        await self._start(verified, SessionKind.PAGE, agent, token)
        return token

    async def start_family(self, verified: UserCredentials, agent: str) -> Tokens:
        """Start a session of an API client: a new family of refresh tokens."""
        token = new_token()
        session = await self._start(verified, SessionKind.TOKEN, agent, token)
        return self._tokens_for(session.user_id, session.id, token)

    async def _start(self, verified: UserCredentials, kind: SessionKind, agent: str, token: str) -> Session:
        now = self._clock()
        session = Session(
            id=uuid7(),
            user_id=verified.user.id,
            kind=kind,
            agent=agent[:200],
            created_at=now,
            last_used_at=now,
            expires_at=now + SESSION_LIFE,
        )
        await self._database.write(self._add, verified, session, sha256_hex(token))
        return session

    def _add(self, tx: Transaction, verified: UserCredentials, session: Session, token_hash: str) -> None:
        """Denied if the email, password or state of the user has changed since the password was verified."""
        current = repository.credentials(tx, session.user_id)
        if current is None or current.credentials_version != verified.credentials_version or not current.user.is_active:
            raise Denied(WRONG_CREDENTIALS, signed_in=False)
        repository.note_login(tx, session.user_id, verified.password_hash, session.created_at)
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

    # Refreshing

    async def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for a new pair and invalidate it. Denied if it is not valid. If it was used before, the
        session is ended as well, unless that was within `REUSE_LEEWAY`."""
        successor = new_token()
        rotated = await self._database.write(self._rotate, sha256_hex(token), sha256_hex(successor), self._clock())
        if rotated is None:
            raise Denied("The refresh token is invalid, expired or already used. Sign in again.", signed_in=False)
        return self._tokens_for(rotated.user_id, rotated.family_id, successor)

    def _tokens_for(self, user_id: str, family_id: str, refresh_token: str) -> Tokens:
        return Tokens(self._tokens.sign(user_id, family_id, self._clock()), refresh_token, LIFE_ACCESS)

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

    # Ending

    async def end(self, owner: str, session_id: str) -> None:
        if not await self._database.write(self._end, owner, session_id, self._clock()):
            raise Missing("Session not found. It may have ended already.")

    async def end_current(self, owner: str, auth: Auth) -> None:
        """End the session of `auth`."""
        if auth.session:
            await self._database.write(self._end, owner, auth.session, self._clock())

    async def end_others(self, owner: str, auth: Auth) -> None:
        """End all sessions except that of `auth`."""
        await self._database.write(self._end_others, owner, self._clock(), auth.session)

    async def end_by_token(self, token: str) -> None:
        """End the session of this refresh token. Unknown tokens are ignored."""
        await self._database.write(self._end_by_token, sha256_hex(token), self._clock())

    def _end(self, tx: Transaction, owner: str, session_id: str, now: datetime) -> bool:
        tx.on_commit(self._cache.invalidate, owner)
        return repository.end_session(tx, owner, session_id, now)

    def _end_others(self, tx: Transaction, owner: str, now: datetime, keep: str) -> None:
        tx.on_commit(self._cache.invalidate, owner)
        repository.end_sessions(tx, owner, now, keep=keep)

    def _end_by_token(self, tx: Transaction, token_hash: str, now: datetime) -> None:
        token = repository.refresh_token(tx, token_hash)
        if token is not None:
            self._end(tx, token.user_id, token.family_id, now)

    # Deleting what has expired

    async def purge_tokens(self, by: Actor = COMMAND_LINE) -> int:
        """Delete expired and revoked refresh tokens and expired sessions; returns the number of tokens."""
        return await self._database.write(self._purge, self._clock(), by)

    async def sweep(self) -> None:
        """`purge_tokens` as a background task, without an entry in the audit log."""
        await self._database.write(repository.purge_any, self._clock())

    def _purge(self, tx: Transaction, now: datetime, by: Actor) -> int:
        deleted = repository.purge_any(tx, now)
        self._audit.record(tx, by, Action.TOKENS_PURGED, count=deleted)
        return deleted
