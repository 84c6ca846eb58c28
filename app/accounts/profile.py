"""What users change about their own account: display name, email and password."""

from collections.abc import Callable
from datetime import datetime

from app.accounts import repository, validation
from app.accounts.attempt_limit import AttemptLimit
from app.accounts.credential_cache import CredentialCache
from app.accounts.passwords import Passwords
from app.accounts.schemas import Auth, User, UserCredentials
from app.accounts.users import email_taken, existing_user, user_missing
from app.db.database import Database
from app.db.transaction import Duplicate, Transaction


class Profile:
    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        attempts: AttemptLimit,
        cache: CredentialCache,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._cache = cache
        self._clock = clock

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
        if password is not None:
            self._passwords.check_length(password)
        current = await self._database.read(repository.credentials, owner)
        if current is None:
            raise user_missing()
        if password is None and (email is None or email == current.user.email):
            return await self._database.write(self._rename, owner, name)
        if current_password is None:
            raise validation.wrong("current_password", "is required to change the email or password")
        self._attempts.count(current.user.email)
        if not await self._passwords.verify(current.password_hash, current_password):
            raise validation.wrong("current_password", "is incorrect")
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
            raise email_taken() from None

    def _rename(self, tx: Transaction, owner: str, name: str | None) -> User:
        user = existing_user(tx, owner)
        if name is None or name == user.name:
            return user
        repository.rename_user(tx, owner, name)
        tx.on_commit(self._cache.invalidate, owner)
        return existing_user(tx, owner)

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
            raise user_missing()
        if current.credentials_version != verified.credentials_version:
            raise validation.wrong("current_password", "has just been changed; enter the new one")
        repository.set_credentials(tx, owner, current.user.name if name is None else name, email, password_hash)
        repository.end_sessions(tx, owner, now, keep=session_id)
        tx.on_commit(self._cache.invalidate, owner)
        return existing_user(tx, owner)
