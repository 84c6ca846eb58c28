"""Signing in: who proves their identity gets a session."""

import msgspec

from app.accounts import repository, validation
from app.accounts.attempt_limit import AttemptLimit
from app.accounts.passwords import Passwords
from app.accounts.schemas import Tokens, UserCredentials
from app.accounts.sessions import WRONG_CREDENTIALS, UserSessions
from app.accounts.users import DEACTIVATED
from app.base.errors import Denied
from app.db.database import Database


class SignIn:
    def __init__(
        self, database: Database, passwords: Passwords, attempts: AttemptLimit, sessions: UserSessions
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions

    async def start_page_session(self, email: str, password: str, agent: str = "", address: str = "") -> str:
        """Sign in a browser; returns the token for its cookie."""
        return await self._sessions.start_page(await self._verify(email, password, address), agent)

    async def start_token_session(self, email: str, password: str, agent: str = "", address: str = "") -> Tokens:
        """Sign in an API client."""
        return await self._sessions.start_family(await self._verify(email, password, address), agent)

    async def _verify(self, email: str, password: str, address: str) -> UserCredentials:
        """The user of this email and password, with a hash that has the current parameters. An unknown email and a wrong
        password give the same error after the same time."""
        email = email.strip().lower()[: validation.MAX_EMAIL]
        self._attempts.count(email, address)
        credentials = await self._database.read(repository.credentials_by_email, email)
        password_hash = credentials.password_hash if credentials else None
        matches = await self._passwords.verify(password_hash, password)
        if credentials is None or password_hash is None or not matches:
            raise Denied(WRONG_CREDENTIALS, signed_in=False)
        if not credentials.user.is_active:
            raise Denied(DEACTIVATED)
        self._attempts.remember(email, address)
        if self._passwords.outdated(password_hash):
            password_hash = await self._passwords.hash(password)
        return msgspec.structs.replace(credentials, password_hash=password_hash)
