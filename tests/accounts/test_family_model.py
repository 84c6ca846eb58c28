"""Whatever people do with their tokens, in whatever order, exactly those work that the rules say: a model tells."""

import asyncio
import tempfile
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from app.accounts.schemas import Auth, How, Role
from app.accounts.service import Accounts
from app.base.errors import Conflict, Denied

from .studio import PASSWORD, Clock, accounts_over

T = TypeVar("T")
LIFE = timedelta(days=30)
ACCESS = timedelta(minutes=15)
GRACE = timedelta(seconds=10)
PEOPLE = ("ada@example.org", "bob@example.org")


class Family:
    """One sign-in of a program."""

    def __init__(self, person: str) -> None:
        self.person = person
        self.ended = False


class Token:
    """A refresh token as the rules see it."""

    def __init__(self, secret: str, family: Family, made: datetime) -> None:
        self.secret = secret
        self.family = family
        self.made = made
        self.used: datetime | None = None
        self.successor: Token | None = None
        self.dead = False
        self.forgotten = False


class Access:
    """An access token."""

    def __init__(self, secret: str, family: Family, made: datetime) -> None:
        self.secret = secret
        self.family = family
        self.made = made


class Families(RuleBasedStateMachine):
    """Two people who come and go, and whom admins promote, demote, deactivate and let in again."""

    tokens = Bundle("tokens")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.accounts = self.run(self.opened())
        self.passwords = dict.fromkeys(PEOPLE, PASSWORD)
        self.ids = {email: self.run(self.accounts.register(email, PASSWORD)).id for email in PEOPLE}
        self.active = dict.fromkeys(PEOPLE, True)
        self.roles = {PEOPLE[0]: Role.ADMIN, PEOPLE[1]: Role.USER}
        self.families: list[Family] = []
        self.accesses: list[Access] = []
        self.made_tokens: list[Token] = []
        self.made = 0

    async def opened(self) -> Accounts:
        return await accounts_over(Path(self.folder.name), self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.accounts.close()
            self.run(self.accounts._database.close())
            self.runner.close()
            self.folder.cleanup()

    def refused(self, work: Coroutine[Any, Any, Any]) -> bool:
        try:
            self.run(work)
        except Denied:
            return True
        return False

    def keep(self, access: str, refresh: str, family: Family) -> Token:
        self.accesses.append(Access(access, family, self.clock.now))
        token = Token(refresh, family, self.clock.now)
        self.made_tokens.append(token)
        return token

    def end(self, email: str, but: Family | None = None) -> None:
        for family in self.families:
            if family.person == email and family is not but:
                family.ended = True

    # What people do

    @rule(target=tokens, email=st.sampled_from(PEOPLE))
    def login(self, email: str) -> Any:
        work = self.accounts.login(email, self.passwords[email])
        if not self.active[email]:
            assert self.refused(work)
            return Token("never made", self._ended(email), self.clock.now)
        pair = self.run(work)
        family = Family(email)
        self.families.append(family)
        return self.keep(pair.access_token, pair.refresh_token, family)

    def _ended(self, email: str) -> Family:
        family = Family(email)
        family.ended = True
        return family

    @rule(target=tokens, token=tokens)
    def refresh(self, token: Token) -> Any:
        """With any token ever seen: fresh, used, dead, of an ended family."""
        work, now = self.accounts.refresh(token.secret), self.clock.now
        given = not token.family.ended and not token.dead and not token.forgotten
        if given and token.used is not None:
            successor = token.successor
            assert successor is not None
            if now - token.used <= GRACE and successor.used is None:
                successor.dead = True
            else:
                token.family.ended = True
                given = False
        elif given and now - token.made >= LIFE:
            given = False
        if not given:
            assert self.refused(work)
            return token
        pair = self.run(work)
        fresh = self.keep(pair.access_token, pair.refresh_token, token.family)
        token.used = token.used or now
        token.successor = fresh
        return fresh

    @rule(token=tokens)
    def logout(self, token: Token) -> None:
        self.run(self.accounts.logout(token.secret))
        if not token.forgotten:
            token.family.ended = True

    @rule(seconds=st.sampled_from([1, 9, 11, 600, 899, 901, 86_400 * 16, 86_400 * 29]))
    def wait(self, seconds: int) -> None:
        self.clock.pass_by(seconds=seconds)

    @rule(email=st.sampled_from(PEOPLE), token=tokens)
    def change_password(self, email: str, token: Token) -> None:
        """By an access token of the family of `token`, when that is one's own."""
        own = token.family if token.family.person == email and not token.family.ended else None
        auth = Auth(How.KEY, "a key")
        if own:
            auth = Auth(How.TOKEN, self._id(own))
        self.made += 1
        fresh = f"password number {self.made}"
        work = self.accounts.update(self.ids[email], auth, password=fresh, current_password=self.passwords[email])
        self.run(work)
        self.passwords[email] = fresh
        self.end(email, but=own)

    def _id(self, family: Family) -> str:
        (access, *_) = [access for access in self.accesses if access.family is family]
        self_made = self.accounts._tokens.read(access.secret, access.made)
        return self_made.sid

    def admins(self) -> list[str]:
        return [email for email in PEOPLE if self.roles[email] is Role.ADMIN and self.active[email]]

    @rule(email=st.sampled_from(PEOPLE), is_active=st.booleans())
    def set_active(self, email: str, is_active: bool) -> None:
        last = self.admins() == [email]
        try:
            self.run(self.accounts.set_active(self.ids[email], is_active))
        except Conflict:
            assert last
            assert not is_active
        else:
            assert is_active or not last
            self.active[email] = is_active
            if not is_active:
                self.end(email)

    @rule(email=st.sampled_from(PEOPLE), role=st.sampled_from(Role))
    def set_role(self, email: str, role: Role) -> None:
        last = self.admins() == [email]
        try:
            self.run(self.accounts.set_role(self.ids[email], role))
        except Conflict:
            assert last
            assert role is Role.USER
        else:
            assert role is Role.ADMIN or not last
            self.roles[email] = role

    @rule()
    def purge(self) -> None:
        self.run(self.accounts.purge_tokens())
        for token in self.made_tokens:
            token.forgotten |= self.clock.now - token.made >= LIFE or token.dead or token.family.ended

    # What must hold after each of it

    @invariant()
    def exactly_the_right_access_tokens_work(self) -> None:
        for access in getattr(self, "accesses", [])[-12:]:
            works = not access.family.ended and self.clock.now - access.made < ACCESS
            try:
                user = self.run(self.accounts.by_bearer(access.secret)).user
            except Denied:
                assert not works
            else:
                assert works
                assert (user.email, user.role) == (access.family.person, self.roles[access.family.person])


Families.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWhateverPeopleDoWithTheirTokensExactlyTheRightOnesWork = Families.TestCase
