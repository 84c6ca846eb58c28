"""A state-machine model of refresh tokens: after any sequence of actions, exactly the tokens that the rules allow work."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from app.accounts.schemas import Auth, AuthMethod, Role
from app.accounts.tokens import AccessTokens
from app.base.errors import Conflict, Denied
from app.db.duckdb.database import EmbeddedDatabase
from tests.studio import migrated_database

from .studio import PASSWORD, SECRET, Clock, accounts_over, clear

T = TypeVar("T")
LIFE = timedelta(days=30)
ACCESS = timedelta(minutes=15)
REUSE_LEEWAY = timedelta(seconds=10)
USERS = ("ada@example.org", "bob@example.org")


class Family:
    """The tokens of one session of an API client."""

    def __init__(self, email: str) -> None:
        self.email = email
        self.revoked = False


class Token:
    """A refresh token and its expected state."""

    def __init__(self, secret: str, family: Family, issued: datetime) -> None:
        self.secret = secret
        self.family = family
        self.issued = issued
        self.used: datetime | None = None
        self.successor: Token | None = None
        self.replaced = False
        self.purged = False


class Access:
    """An access token."""

    def __init__(self, secret: str, family: Family, issued: datetime) -> None:
        self.secret = secret
        self.family = family
        self.issued = issued


class Families(RuleBasedStateMachine):
    """Two users who sign in and out, and whom admins promote, demote, deactivate and reactivate."""

    tokens = Bundle("tokens")

    def __init__(self, runner: asyncio.Runner, database: EmbeddedDatabase) -> None:
        super().__init__()
        self.runner = runner
        self.database = database

    @initialize()
    def set_up(self) -> None:
        self.clock = Clock()
        self.run(self.database.write(clear))
        self.accounts = accounts_over(self.database, self.clock)
        self.passwords = dict.fromkeys(USERS, PASSWORD)
        self.ids = {email: self.run(self.accounts.registration.register(email, PASSWORD)).id for email in USERS}
        self.active = dict.fromkeys(USERS, True)
        self.roles = {USERS[0]: Role.ADMIN, USERS[1]: Role.USER}
        self.families: list[Family] = []
        self.accesses: list[Access] = []
        self.issued_tokens: list[Token] = []
        self.changes = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "accounts"):
            self.accounts.close()

    def is_denied(self, work: Coroutine[Any, Any, Any]) -> bool:
        try:
            self.run(work)
        except Denied:
            return True
        return False

    def keep(self, access: str, refresh: str, family: Family) -> Token:
        self.accesses.append(Access(access, family, self.clock.now))
        token = Token(refresh, family, self.clock.now)
        self.issued_tokens.append(token)
        return token

    def revoke(self, email: str, but: Family | None = None) -> None:
        for family in self.families:
            if family.email == email and family is not but:
                family.revoked = True

    # Actions

    @rule(target=tokens, email=st.sampled_from(USERS))
    def login(self, email: str) -> Any:
        work = self.accounts.sign_in.start_token_session(email, self.passwords[email])
        if not self.active[email]:
            assert self.is_denied(work)
            return Token("never issued", self.revoked_family(email), self.clock.now)
        pair = self.run(work)
        family = Family(email)
        self.families.append(family)
        return self.keep(pair.access_token, pair.refresh_token, family)

    def revoked_family(self, email: str) -> Family:
        family = Family(email)
        family.revoked = True
        return family

    @rule(target=tokens, token=tokens)
    def refresh(self, token: Token) -> Any:
        """With any token so far: unused, used, replaced, or of a revoked family."""
        work, now = self.accounts.sessions.refresh(token.secret), self.clock.now
        accepted = not token.family.revoked and not token.replaced and not token.purged
        if accepted and token.used is not None:
            successor = token.successor
            assert successor is not None
            if now - token.used <= REUSE_LEEWAY and successor.used is None:
                successor.replaced = True
            else:
                token.family.revoked = True
                accepted = False
        elif accepted and now - token.issued >= LIFE:
            accepted = False
        if not accepted:
            assert self.is_denied(work)
            return token
        pair = self.run(work)
        following = self.keep(pair.access_token, pair.refresh_token, token.family)
        token.used = token.used or now
        token.successor = following
        return following

    @rule(token=tokens)
    def logout(self, token: Token) -> None:
        self.run(self.accounts.sessions.end_by_token(token.secret))
        if not token.purged:
            token.family.revoked = True

    @rule(seconds=st.sampled_from([1, 9, 11, 600, 899, 901, 86_400 * 16, 86_400 * 29]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule(email=st.sampled_from(USERS), token=tokens)
    def change_password(self, email: str, token: Token) -> None:
        """With an access token of the family of `token` if it belongs to the user, else with an API key."""
        own = token.family if token.family.email == email and not token.family.revoked else None
        auth = Auth(AuthMethod.TOKEN, self.session_id(own)) if own else Auth(AuthMethod.KEY, "a key")
        self.changes += 1
        changed = f"password number {self.changes}"
        work = self.accounts.profile.update(
            self.ids[email], auth, password=changed, current_password=self.passwords[email]
        )
        self.run(work)
        self.passwords[email] = changed
        self.revoke(email, but=own)

    def session_id(self, family: Family) -> str:
        access = next(access for access in self.accesses if access.family is family)
        return AccessTokens(SECRET).read(access.secret, access.issued).sid

    def admins(self) -> list[str]:
        return [email for email in USERS if self.roles[email] is Role.ADMIN and self.active[email]]

    @rule(email=st.sampled_from(USERS), is_active=st.booleans())
    def set_active(self, email: str, is_active: bool) -> None:
        last = self.admins() == [email]
        try:
            self.run(self.accounts.users.set_active(self.ids[email], is_active))
        except Conflict:
            assert last
            assert not is_active
        else:
            assert is_active or not last
            self.active[email] = is_active
            if not is_active:
                self.revoke(email)

    @rule(email=st.sampled_from(USERS), role=st.sampled_from(Role))
    def set_role(self, email: str, role: Role) -> None:
        last = self.admins() == [email]
        try:
            self.run(self.accounts.users.set_role(self.ids[email], role))
        except Conflict:
            assert last
            assert role is Role.USER
        else:
            assert role is Role.ADMIN or not last
            self.roles[email] = role

    @rule()
    def purge(self) -> None:
        self.run(self.accounts.sessions.purge_tokens())
        for token in self.issued_tokens:
            token.purged |= self.clock.now - token.issued >= LIFE or token.replaced or token.family.revoked

    # Invariants

    @invariant()
    def exactly_the_allowed_access_tokens_work(self) -> None:
        if hasattr(self, "accounts"):
            self.run(self.check_access_tokens())

    async def check_access_tokens(self) -> None:
        for access in self.accesses[-12:]:
            works = not access.family.revoked and self.clock.now - access.issued < ACCESS
            try:
                user = (await self.accounts.authentication.by_bearer(access.secret)).user
            except Denied:
                assert not works
            else:
                assert works
                assert (user.email, user.role) == (access.family.email, self.roles[access.family.email])


async def opened(path: Path) -> EmbeddedDatabase:
    return EmbeddedDatabase(migrated_database(path))


def test_exactly_the_tokens_that_the_rules_allow_work(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(opened(tmp_path / "atelier.duckdb"))

        class Run(Families):
            def __init__(self) -> None:
                super().__init__(runner, database)

        try:
            run_state_machine_as_test(
                Run,
                settings=settings(
                    max_examples=30,
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow],
                ),
            )
        finally:
            runner.run(database.close())
