"""Authentication of requests: a session cookie, access token or API key becomes a `Principal`.

The credentials of every request are checked against the current state of the user, so that a role change, a deactivation
or a sign-out takes effect at once. `CredentialCache` keeps this cheap.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from app.accounts import repository
from app.accounts.api_keys import KEY_PREFIX
from app.accounts.credential_cache import CredentialCache
from app.accounts.schemas import AuthMethod, Principal
from app.accounts.tokens import AccessTokens
from app.accounts.users import DEACTIVATED
from app.base.errors import AtelierError, Denied
from app.base.hashing import sha256_hex
from app.db.database import Database
from app.db.transaction import Transaction

LAST_USED_PRECISION: Final = timedelta(minutes=1)


class Authentication:
    def __init__(
        self, database: Database, tokens: AccessTokens, cache: CredentialCache, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._cache = cache
        self._clock = clock

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
            raise Denied("The session has ended. Sign in again.", signed_in=False)
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
