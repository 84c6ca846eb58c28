"""The rules of accounts: who may have one, what proves it, and when that ends.

Everything that a request proves itself with is checked here at every request and against the person as they are now, so
a role change, a deactivation or a sign-out holds at once. What makes that cheap is `memory`, which each change has
forget the person it concerns. Functions with `tx` run in the writer's thread and do nothing but SQL.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

import msgspec

from app.accounts import repository, validation
from app.accounts.credential_cache import CredentialCache, KnownAddresses
from app.accounts.passwords import Passwords
from app.accounts.repository import PersonSigningIn, RefreshToken
from app.accounts.schemas import (
    ApiKey,
    Auth,
    AuthMethod,
    NewApiKey,
    Principal,
    Role,
    Session,
    SessionKind,
    Stats,
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
from app.base.paging import Page
from app.base.rate_limit import RateLimit
from app.base.secret import new_token, sha256_hex, uuid7
from app.db.database import Database, Duplicate, Transaction

SESSION_LIFE: Final = timedelta(days=30)
REUSE_LEEWAY: Final = timedelta(seconds=10)  # a used refresh token may come once more: its answer may have been lost
USE_NOTED: Final = timedelta(minutes=1)
KEY_PREFIX: Final = "atl_"
KEY_SHOWN: Final = 12  # characters of a key that may be seen again
SIGN_INS: Final = (10, 60)  # tries for each account, seconds

# What these keys of a person have spent in the month of that moment, in nano-dollars. The ledger stands above accounts.
Spending = Callable[[Transaction, str, Sequence[str], datetime], Mapping[str, int]]

WRONG: Final = "Email or password is wrong."
ENDED: Final = "This sign-in has ended. Sign in again."
DEACTIVATED: Final = "This account is deactivated. Ask an admin."
NOBODY: Final = "There is no such person."


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=HasId)


class Accounts:
    """People, and what proves them. `secret` signs the access tokens; `timer` shows the seconds by which tries are counted."""

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
        self._memory = CredentialCache()
        self._sign_ins = RateLimit(*SIGN_INS, timer=timer)
        self._homes = KnownAddresses()

    def close(self) -> None:
        self._passwords.close()

    # Having an account

    async def register(self, email: str, password: str, name: str = "") -> User:
        """A new account; the first one is the admin's. Denied when registration is closed to it, Conflict when the email
        is taken."""
        email, password, name = validation.validate_all(
            lambda: validation.email(email), lambda: validation.password(password), lambda: validation.name(name)
        )
        await self._database.read(self._check_registration, email)
        password_hash = await self._passwords.hash(password)
        try:
            return await self._database.write(self._register, uuid7(), email, name, password_hash, self._clock())
        except Duplicate:
            raise _taken() from None

    async def registration_open(self) -> bool:
        """Whether a newcomer may find an account here."""
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
        """Change what is given. A changed email or password needs the current password and ends every sign-in but the
        one that asks; API keys stay."""
        name = None if name is None else validation.name(name)
        email = None if email is None else validation.email(email)
        password = None if password is None else validation.password(password)
        person = await self._database.read(repository.person_securing, owner)
        if person is None:
            raise Missing(NOBODY)
        if password is None and (email is None or email == person.user.email):
            return await self._database.write(self._rename, owner, name)
        await self._check_current(person, current_password)
        password_hash = person.password_hash if password is None else await self._passwords.hash(password)
        try:
            return await self._database.write(
                self._secure, person, auth.session, name, email or person.user.email, password_hash, self._clock()
            )
        except Duplicate:
            raise _taken() from None

    # Signing in and out

    async def sign_in_page(self, email: str, password: str, agent: str = "", address: str = "") -> str:
        """A new page session: the token for its cookie."""
        person = await self._check(email, password, address)
        token = new_token()
        await self._open(person, password, SessionKind.PAGE, agent, token)
        return token

    async def login(self, email: str, password: str, agent: str = "", address: str = "") -> Tokens:
        """A new family of tokens for a program."""
        person = await self._check(email, password, address)
        token = new_token()
        session = await self._open(person, password, SessionKind.TOKEN, agent, token)
        return self._pair(session.user_id, session.id, token)

    async def refresh(self, token: str) -> Tokens:
        """A new pair for a refresh token, which is dead from then on. Denied for one that is not valid; one that was used
        before also ends its family, unless its answer may just have been lost (`GRACE`)."""
        fresh = new_token()
        rotated = await self._database.write(self._rotate, sha256_hex(token), sha256_hex(fresh), self._clock())
        if rotated is None:
            raise Denied("The refresh token is not valid, has expired or was used. Sign in again.", signed_in=False)
        return self._pair(rotated.user_id, rotated.family_id, fresh)

    async def logout(self, token: str) -> None:
        """End the family of this refresh token; nothing happens for one that is unknown."""
        await self._database.write(self._logout, sha256_hex(token), self._clock())

    async def sign_out(self, owner: str, auth: Auth) -> None:
        """End the sign-in that asks."""
        if auth.session:
            await self._database.write(self._end, owner, auth.session, self._clock())

    # Proving oneself, at every request

    async def by_session(self, token: str) -> Principal | None:
        """Whoever is signed in with this cookie."""
        mark = sha256_hex(token)
        known = await self._known(f"session {mark}", repository.known_by_session, mark)
        return known if known and await self._admits(known) else None

    async def by_bearer(self, token: str) -> Principal:
        """Whoever this access token or API key stands for; Denied says why it stands for nobody."""
        if token.startswith(KEY_PREFIX):
            return await self._by_key(token)
        claims = self._tokens.read(token, self._clock())
        known = await self._known(f"family {claims.sid}", repository.known_by_family, claims.sid)
        if known is None or known.user.id != claims.sub or not await self._admits(known):
            raise Denied(ENDED, signed_in=False)
        return known

    async def _by_key(self, key: str) -> Principal:
        mark = sha256_hex(key)
        known = await self._known(f"key {mark}", repository.known_by_key, mark)
        if known is None:
            raise Denied("The API key is not valid.", signed_in=False)
        if not await self._admits(known):
            raise Denied("The API key has expired." if known.user.is_active else DEACTIVATED, signed_in=False)
        return known

    async def _known(
        self, mark: str, find: Callable[[Transaction, str], Principal | None], proof: str
    ) -> Principal | None:
        """From memory, else from the database."""
        known = self._memory.find(mark)
        if known is None:
            epoch = self._memory.epoch
            known = await self._database.read(find, proof)
            if known is not None:
                self._memory.keep(mark, known, epoch)
        return known

    async def _admits(self, known: Principal) -> bool:
        """Whether this proof holds now. Its use is noted once a minute, so that a request does not cost a write."""
        credential, now = known.credential, self._clock()
        if not known.user.is_active or (credential.expires_at is not None and credential.expires_at <= now):
            return False
        if credential.last_used_at is None or now - credential.last_used_at >= USE_NOTED:
            credential.last_used_at = now
            note = repository.note_key_use if credential.how is AuthMethod.KEY else repository.note_session_use
            with suppress(AtelierError):  # a full disk must not keep anybody from reading
                await self._database.write(note, known.user.id, credential.id, now)
        return True

    # Where a person is signed in

    async def sessions(self, owner: str, *, after: str | None = None, limit: int = 24) -> Page[Session]:
        now = self._clock()

        def find(tx: Transaction) -> Page[Session]:
            found = repository.sessions(tx, owner, now, after, limit + 1)
            return _part(found, repository.count_sessions(tx, owner, now), limit)

        return await self._database.read(find)

    async def end_session(self, owner: str, session_id: str) -> None:
        if not await self._database.write(self._end, owner, session_id, self._clock()):
            raise Missing("You are not signed in there.")

    async def end_other_sessions(self, owner: str, auth: Auth) -> None:
        await self._database.write(self._end_all, owner, self._clock(), auth.session)

    # API keys

    async def keys(self, owner: str, *, after: str | None = None, limit: int = 24) -> Page[ApiKey]:
        """Newest first, with what each has spent this month."""
        now = self._clock()

        def find(tx: Transaction) -> Page[ApiKey]:
            found = repository.keys(tx, owner, after, limit + 1)
            spent = self._spending(tx, owner, [key.id for key in found], now)
            told = [msgspec.structs.replace(key, spent_nano=spent.get(key.id, 0)) for key in found]
            return _part(told, repository.count_keys(tx, owner), limit)

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
        """A new key, shown this once; `expires_at` is UTC without a zone, `monthly_cap` in USD, `models` the ids of those
        that it may use; None sets no limit."""
        now = self._clock()
        name = validation.name(name)
        if not name:
            raise validation.wrong("name", "is needed")
        if expires_at is not None and expires_at <= now:
            raise validation.wrong("expires_at", "must be in the future")
        secret = new_token(KEY_PREFIX)
        key = ApiKey(
            id=uuid7(),
            user_id=owner,
            name=name,
            prefix=secret[:KEY_SHOWN],
            created_at=now,
            expires_at=expires_at,
            monthly_cap_nano=None if monthly_cap is None else validation.cap(monthly_cap),
            allowed_models=None if models is None else validation.models(models),
        )
        await self._database.write(self._add_key, key, sha256_hex(secret))
        return NewApiKey(key, secret)

    async def remove_key(self, owner: str, key_id: str) -> None:
        if not await self._database.write(self._remove_key, owner, key_id):
            raise Missing("There is no such key.")

    # For admins and for the program itself

    async def people(self, *, q: str = "", after: str | None = None, limit: int = 24) -> Page[User]:
        """Newest first; `q` is a part of the email or the name."""
        part = q.strip().lower()

        def find(tx: Transaction) -> Page[User]:
            found = repository.people_any(tx, part, after, limit + 1)
            return _part(found, repository.count_any(tx, part), limit)

        return await self._database.read(find)

    async def people_by_id(self, ids: Sequence[str]) -> dict[str, User]:
        """Those of them who are still there."""
        found = await self._database.read(repository.people_by_id_any, ids) if ids else []
        return {user.id: user for user in found}

    async def set_role(self, user_id: str, role: Role, by: Actor = COMMAND_LINE) -> User:
        """Conflict for the last admin."""
        return await self._database.write(self._set_role, user_id, role, by)

    async def set_active(self, user_id: str, is_active: bool, by: Actor = COMMAND_LINE) -> User:
        """Deactivating ends every sign-in at once; the keys rest until the person is active again. Conflict for the last
        admin."""
        return await self._database.write(self._set_active, user_id, is_active, self._clock(), by)

    def remove(self, tx: Transaction, by: str, user_id: str) -> User:
        """Inside the caller's transaction, for the admin `by`: the person, their sign-ins, tokens and keys."""
        user = _somebody(repository.person_any(tx, user_id))
        if user.id == by:
            raise Conflict("You cannot delete your own account.")
        _keep_an_admin(tx, user)
        repository.remove_person(tx, user.id)
        tx.on_commit(self._memory.forget, user.id)
        return user

    async def promote(self, email: str) -> User:
        """Make the person with this email an admin (command line)."""
        return await self._database.write(self._promote, email.strip().lower())

    async def purge_tokens(self, by: Actor = COMMAND_LINE) -> int:
        """Delete expired and revoked refresh tokens, and expired sessions; how many tokens there were."""
        return await self._database.write(self._purge, self._clock(), by)

    async def sweep(self) -> None:
        """Housekeeping: what `purge_tokens` does, by itself and without a line in the log of what admins did."""
        await self._database.write(repository.purge_any, self._clock())

    async def stats(self) -> Stats:
        now = self._clock()

        def count(tx: Transaction) -> Stats:
            roles = repository.roles_any(tx)
            return Stats({role.value: roles.get(role.value, 0) for role in Role}, repository.tokens_any(tx, now))

        return await self._database.read(count)

    # Checking

    def _check_registration(self, tx: Transaction, email: str) -> bool:
        """Whether this is the first account of all; Denied or Conflict when there may be none."""
        first = not repository.exists_any(tx)
        rule = self.settings.registration
        if rule == "closed" and not first:
            raise Denied("Registration is closed. Ask an admin for an account.")
        if rule.startswith("domain:") and email.partition("@")[2] != rule.removeprefix("domain:"):
            raise Denied(f"Registration is open to addresses at {rule.removeprefix('domain:')} only.")
        if repository.person_by_email_any(tx, email):
            raise _taken()
        return first

    async def _check(self, email: str, password: str, address: str) -> PersonSigningIn:
        """Whose email and password these are. Unknown email and wrong password have one answer and take one time."""
        email = email.strip().lower()[: validation.EMAIL_LONGEST]
        self._count_try(email, address)
        person = await self._database.read(repository.person_signing_in, email)
        right = await self._passwords.verify(person.password_hash if person else None, password)
        if person is None or not right:
            raise Denied(WRONG, signed_in=False)
        if not person.user.is_active:
            raise Denied(DEACTIVATED)
        self._homes.add(email, address)
        return person

    async def _check_current(self, person: PersonSigningIn, current: str | None) -> None:
        if current is None:
            raise validation.wrong("current_password", "is needed to change the email or the password")
        self._count_try(person.user.email)
        if not await self._passwords.verify(person.password_hash, current):
            raise validation.wrong("current_password", "is not your password")

    def _count_try(self, email: str, address: str = "") -> None:
        """Where the person has signed in before, tries are counted by themselves: whoever tries from elsewhere again and
        again does not lock them out."""
        if self.settings.rate_limits:
            self._sign_ins.take(email, *([address] if (email, address) in self._homes else []))

    def _pair(self, user_id: str, family_id: str, refresh_token: str) -> Tokens:
        return Tokens(self._tokens.sign(user_id, family_id, self._clock()), refresh_token, LIFE_ACCESS)

    async def _open(self, person: PersonSigningIn, password: str, kind: SessionKind, agent: str, token: str) -> Session:
        password_hash = person.password_hash
        if password_hash is not None and self._passwords.outdated(password_hash):
            password_hash = await self._passwords.hash(password)
        now = self._clock()
        session = Session(
            id=uuid7(),
            user_id=person.user.id,
            kind=kind,
            agent=agent[:200],
            created_at=now,
            last_used_at=now,
            expires_at=now + SESSION_LIFE,
        )
        await self._database.write(self._start, person, password_hash, session, sha256_hex(token))
        return session

    # Inside a transaction

    def _register(
        self, tx: Transaction, user_id: str, email: str, name: str, password_hash: str, now: datetime
    ) -> User:
        role = Role.ADMIN if self._check_registration(tx, email) else Role.USER
        user = User(id=user_id, email=email, name=name, role=role, is_active=True, created_at=now)
        repository.add_person(tx, user, password_hash)
        return user

    def _start(
        self, tx: Transaction, person: PersonSigningIn, password_hash: str | None, session: Session, token_hash: str
    ) -> None:
        """Denied when email, password or state have changed since the password was checked."""
        now_known = repository.person_securing(tx, session.user_id)
        if (
            now_known is None
            or now_known.credentials_version != person.credentials_version
            or not now_known.user.is_active
        ):
            raise Denied(WRONG, signed_in=False)
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
        tx.on_commit(self._memory.forget, session.user_id)

    def _rotate(self, tx: Transaction, token_hash: str, fresh_hash: str, now: datetime) -> RefreshToken | None:
        """The new token, or None; a refusal is a result, because what it revokes must be committed."""
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
        fresh = RefreshToken(
            token_hash=fresh_hash,
            family_id=token.family_id,
            user_id=token.user_id,
            created_at=now,
            expires_at=now + SESSION_LIFE,
        )
        repository.use_refresh_token(tx, token.user_id, token_hash, token.used_at or now, fresh_hash)
        repository.add_refresh_token(tx, fresh)
        repository.prolong_session(tx, token.user_id, token.family_id, now, fresh.expires_at)
        tx.on_commit(self._memory.forget, token.user_id)
        return fresh

    def _logout(self, tx: Transaction, token_hash: str, now: datetime) -> None:
        token = repository.refresh_token(tx, token_hash)
        if token is not None:
            self._end(tx, token.user_id, token.family_id, now)

    def _rename(self, tx: Transaction, owner: str, name: str | None) -> User:
        user = _somebody(repository.person_any(tx, owner))
        if name is None or name == user.name:
            return user
        repository.rename_person(tx, owner, name)
        tx.on_commit(self._memory.forget, owner)
        return _somebody(repository.person_any(tx, owner))

    def _secure(
        self,
        tx: Transaction,
        person: PersonSigningIn,
        session_id: str,
        name: str | None,
        email: str,
        password_hash: str | None,
        now: datetime,
    ) -> User:
        owner = person.user.id
        now_known = repository.person_securing(tx, owner)
        if now_known is None:
            raise Missing(NOBODY)
        if now_known.credentials_version != person.credentials_version:
            raise validation.wrong("current_password", "was changed a moment ago")
        repository.secure_person(tx, owner, now_known.user.name if name is None else name, email, password_hash)
        self._end_all(tx, owner, now, session_id)
        return _somebody(repository.person_any(tx, owner))

    def _end(self, tx: Transaction, owner: str, session_id: str, now: datetime) -> bool:
        tx.on_commit(self._memory.forget, owner)
        return repository.end_session(tx, owner, session_id, now)

    def _end_all(self, tx: Transaction, owner: str, now: datetime, but: str) -> None:
        tx.on_commit(self._memory.forget, owner)
        repository.end_sessions(tx, owner, now, but=but)

    def _add_key(self, tx: Transaction, key: ApiKey, key_hash: str) -> None:
        _somebody(repository.person_any(tx, key.user_id))
        repository.add_key(tx, key, key_hash)

    def _remove_key(self, tx: Transaction, owner: str, key_id: str) -> bool:
        tx.on_commit(self._memory.forget, owner)
        return repository.remove_key(tx, owner, key_id)

    def _purge(self, tx: Transaction, now: datetime, by: Actor) -> int:
        deleted = repository.purge_any(tx, now)
        self._audit.record(tx, by, Action.TOKENS_PURGED, count=deleted)
        return deleted

    def _set_role(self, tx: Transaction, user_id: str, role: Role, by: Actor) -> User:
        user = _somebody(repository.person_any(tx, user_id))
        if role is not Role.ADMIN:
            _keep_an_admin(tx, user)
        repository.set_role_any(tx, user_id, role)
        self._audit.record(tx, by, Action.ROLE_CHANGED, user.email, role=role)
        tx.on_commit(self._memory.forget, user_id)
        return _somebody(repository.person_any(tx, user_id))

    def _set_active(self, tx: Transaction, user_id: str, is_active: bool, now: datetime, by: Actor) -> User:
        user = _somebody(repository.person_any(tx, user_id))
        if not is_active:
            _keep_an_admin(tx, user)
            self._end_all(tx, user_id, now, but="")
        repository.set_active_any(tx, user_id, is_active)
        self._audit.record(tx, by, Action.ACTIVATED if is_active else Action.DEACTIVATED, user.email)
        tx.on_commit(self._memory.forget, user_id)
        return _somebody(repository.person_any(tx, user_id))

    def _promote(self, tx: Transaction, email: str) -> User:
        user = repository.person_by_email_any(tx, email)
        if user is None:
            raise Missing(f"Nobody here has the email {email}.")
        return self._set_role(tx, user.id, Role.ADMIN, COMMAND_LINE)


def _keep_an_admin(tx: Transaction, user: User) -> None:
    """Conflict when nobody could administer any more without this person."""
    if user.is_admin and user.is_active and repository.active_admins_any(tx) == 1:
        raise Conflict("This is the last admin. Make somebody else an admin first.")


def _somebody(user: User | None) -> User:
    if user is None:
        raise Missing(NOBODY)
    return user


def _taken() -> Conflict:
    return Conflict("There is an account with this email already.", details={"fields": {"email": "is taken already"}})


def _part(found: list[Item], total: int, limit: int) -> Page[Item]:
    """`found` holds one item more than asked for when something follows."""
    items = found[:limit]
    return Page(items, total, items[-1].id if len(found) > limit else None)
