"""Registration: visitors create their own accounts, if the settings allow it."""

from collections.abc import Callable
from datetime import datetime

from app.accounts import repository, validation
from app.accounts.passwords import Passwords
from app.accounts.schemas import Role, User
from app.accounts.users import email_taken
from app.base.errors import Denied, Invalid
from app.base.ids import uuid7
from app.db.database import Database
from app.db.transaction import Duplicate, Transaction


class UserRegistration:
    """`rule` is the setting: `open`, `closed`, or `domain:` and the domain of the emails that can register."""

    def __init__(self, database: Database, rule: str, passwords: Passwords, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._rule = rule
        self._passwords = passwords
        self._clock = clock

    async def is_open(self) -> bool:
        """Whether a visitor can register."""
        return self._rule != "closed" or not await self._database.read(repository.exists_any)

    async def register(self, email: str, password: str, name: str = "") -> User:
        """Create an account; the first one becomes an admin. Denied if registration is closed to this email, Conflict if
        the email is already in use."""
        errors: list[Invalid] = []
        with validation.collect(errors):
            email = validation.email(email)
        with validation.collect(errors):
            self._passwords.check_length(password)
        with validation.collect(errors):
            name = validation.name(name)
        validation.raise_all(errors)
        await self._database.read(self._check, email)
        password_hash = await self._passwords.hash(password)
        try:
            return await self._database.write(self._register, uuid7(), email, name, password_hash, self._clock())
        except Duplicate:
            raise email_taken() from None

    def _check(self, tx: Transaction, email: str) -> bool:
        """Whether this would be the first account. Denied or Conflict if the email cannot register."""
        first = not repository.exists_any(tx)
        if self._rule == "closed" and not first:
            raise Denied("Registration is closed. Ask an admin for an account.")
        domain = self._rule.removeprefix("domain:")
        if domain != self._rule and email.partition("@")[2] != domain:
            raise Denied(f"Registration is only open to email addresses at {domain}.")
        if repository.user_by_email_any(tx, email):
            raise email_taken()
        return first

    def _register(
        self, tx: Transaction, user_id: str, email: str, name: str, password_hash: str, now: datetime
    ) -> User:
        role = Role.ADMIN if self._check(tx, email) else Role.USER
        user = User(id=user_id, email=email, name=name, role=role, is_active=True, created_at=now)
        repository.add_user(tx, user, password_hash)
        return user
