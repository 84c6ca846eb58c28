"""Users as admins see them: finding them, their roles, activation and deletion."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from app.accounts import repository
from app.accounts.credential_cache import CredentialCache
from app.accounts.schemas import Role, User
from app.audit.schemas import COMMAND_LINE, Action, Actor
from app.audit.service import Audit
from app.base.errors import Conflict, Missing
from app.base.paging import Page
from app.db.database import Database
from app.db.transaction import Transaction

DEACTIVATED: Final = "This account is deactivated. Contact an admin."


class UserDirectory:
    def __init__(self, database: Database, audit: Audit, cache: CredentialCache, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._audit = audit
        self._cache = cache
        self._clock = clock

    async def newest(self, *, q: str = "", after: str | None = None, limit: int = 24) -> Page[User]:
        """Newest first; `q` matches part of the email or the name."""
        term = q.strip()

        def find(tx: Transaction) -> Page[User]:
            return Page.of(repository.users_any(tx, term, after, limit + 1), repository.count_any(tx, term), limit)

        return await self._database.read(find)

    async def by_id(self, ids: Sequence[str]) -> dict[str, User]:
        """Those that exist, by id."""
        found = await self._database.read(repository.users_by_id_any, ids) if ids else []
        return {user.id: user for user in found}

    async def set_role(self, user_id: str, role: Role, by: Actor = COMMAND_LINE) -> User:
        """Change the role. Conflict for the last admin."""
        return await self._database.write(self._set_role, user_id, role, by)

    async def promote(self, email: str) -> User:
        """Make the user with this email an admin (command line)."""
        return await self._database.write(self._promote, email.strip().lower())

    async def set_active(self, user_id: str, is_active: bool, by: Actor = COMMAND_LINE) -> User:
        """Activate or deactivate. Deactivating ends all sessions and suspends the API keys until the user is activated again.
        Conflict for the last admin."""
        return await self._database.write(self._set_active, user_id, is_active, self._clock(), by)

    def remove(self, tx: Transaction, by: str, user_id: str) -> User:
        """Inside the caller's transaction, for the admin with the id `by`: delete the user with their sessions, tokens and
        keys."""
        user = existing_user(tx, user_id)
        if user.id == by:
            raise Conflict("You cannot delete your own account.")
        _require_other_admin(tx, user)
        repository.delete_user(tx, user.id)
        tx.on_commit(self._cache.invalidate, user.id)
        return user

    def _set_role(self, tx: Transaction, user_id: str, role: Role, by: Actor) -> User:
        user = existing_user(tx, user_id)
        if role is not Role.ADMIN:
            _require_other_admin(tx, user)
        repository.set_role_any(tx, user_id, role)
        self._audit.record(tx, by, Action.ROLE_CHANGED, user.email, role=role)
        tx.on_commit(self._cache.invalidate, user_id)
        return existing_user(tx, user_id)

    def _promote(self, tx: Transaction, email: str) -> User:
        user = repository.user_by_email_any(tx, email)
        if user is None:
            raise Missing(f"There is no user with the email {email}.")
        return self._set_role(tx, user.id, Role.ADMIN, COMMAND_LINE)

    def _set_active(self, tx: Transaction, user_id: str, is_active: bool, now: datetime, by: Actor) -> User:
        user = existing_user(tx, user_id)
        if not is_active:
            _require_other_admin(tx, user)
            repository.end_sessions(tx, user_id, now, keep="")
        repository.set_active_any(tx, user_id, is_active)
        self._audit.record(tx, by, Action.ACTIVATED if is_active else Action.DEACTIVATED, user.email)
        tx.on_commit(self._cache.invalidate, user_id)
        return existing_user(tx, user_id)


def existing_user(tx: Transaction, user_id: str) -> User:
    """Missing if there is no such user."""
    user = repository.user_any(tx, user_id)
    if user is None:
        raise user_missing()
    return user


def user_missing() -> Missing:
    return Missing("User not found.")


def email_taken() -> Conflict:
    return Conflict("An account with this email already exists.", details={"fields": {"email": "is already in use"}})


def _require_other_admin(tx: Transaction, user: User) -> None:
    """Conflict if this user is the last active admin."""
    if user.is_admin and user.is_active and repository.active_admins_any(tx) == 1:
        raise Conflict("This is the last admin. Make another user an admin first.")
