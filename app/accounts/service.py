"""Accounts: users and their credentials, in parts that each stand in a module of their own.

`CredentialCache` is shared by all parts: whatever changes a user or a credential removes the user from it. Functions that
take `tx` run on the database's writer thread and only execute SQL.
"""

from collections.abc import Callable
from datetime import datetime

from app.accounts import repository
from app.accounts.api_keys import ApiKeys, Spending
from app.accounts.attempt_limit import AttemptLimit
from app.accounts.authentication import Authentication
from app.accounts.credential_cache import CredentialCache
from app.accounts.passwords import Passwords
from app.accounts.profile import Profile
from app.accounts.registration import UserRegistration
from app.accounts.schemas import AccountStats, Role
from app.accounts.sessions import UserSessions
from app.accounts.sign_in import SignIn
from app.accounts.tokens import AccessTokens
from app.accounts.users import UserDirectory
from app.audit.service import Audit
from app.base import clock as clocks
from app.base.config import Settings
from app.db.database import Database
from app.db.transaction import Transaction


class Accounts:
    """Builds the parts. `secret` signs the access tokens; `timer` returns seconds for rate limiting."""

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
        self.settings = settings
        self._database = database
        self._clock = clock
        self._passwords = passwords or Passwords(
            memory_kib=settings.password_memory_kib, passes=settings.password_passes
        )
        audit, cache, tokens = Audit(database), CredentialCache(), AccessTokens(secret)
        attempts = AttemptLimit(enabled=settings.rate_limits, timer=timer)
        self.users = UserDirectory(database, audit, cache, clock)
        self.sessions = UserSessions(database, audit, tokens, cache, clock)
        self.api_keys = ApiKeys(database, cache, spending, clock)
        self.authentication = Authentication(database, tokens, cache, clock)
        self.registration = UserRegistration(database, settings.registration, self._passwords, clock)
        self.sign_in = SignIn(database, self._passwords, attempts, self.sessions)
        self.profile = Profile(database, self._passwords, attempts, cache, clock)

    def close(self) -> None:
        self._passwords.close()

    async def stats(self) -> AccountStats:
        now = self._clock()

        def count(tx: Transaction) -> AccountStats:
            roles = repository.roles_any(tx)
            return AccountStats({role.value: roles.get(role.value, 0) for role in Role}, repository.tokens_any(tx, now))

        return await self._database.read(count)
