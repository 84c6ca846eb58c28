"""Adds, changes, tests and removes provider accounts. A change takes effect at once, without a restart."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from time import perf_counter
from typing import Final

import msgspec

from app.audit.schemas import Action, Actor
from app.audit.service import Audit
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing, Upstream
from app.db.database import Database
from app.db.transaction import Transaction
from app.provider_accounts import repository
from app.provider_accounts.encryption import KeyEncryption
from app.provider_accounts.schemas import (
    AccountChanges,
    ConnectionTest,
    NewProviderAccount,
    ProviderAccount,
    Source,
    StoredAccount,
)
from app.providers.contract import Provider
from app.providers.registry import DEFAULT_URLS, ProviderConfig, ProviderRegistry

MAX_KEY: Final = 4_096  # characters
MAX_URL: Final = 500
MAX_PRIORITY: Final = 1_000
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_HINT: Final = 4  # characters of a key that are shown
_UNREADABLE: Final = "The key was saved with another secret key and cannot be read. Enter it again."

# By provider, how many models there are and how many of them are enabled.
CountModels = Callable[[], Mapping[str, tuple[int, int]]]
# What was spent with each provider since then, in nano-dollars.
SpentSince = Callable[[datetime], Awaitable[Mapping[str, int]]]
# Starts or stops the built-in simulator and says which provider it is; None when it is stopped.
SwitchSimulator = Callable[[bool], Awaitable[ProviderConfig | None]]


class ProviderAccounts:
    """All accounts. The registry, which the other services use, always has those that are enabled."""

    def __init__(
        self,
        database: Database,
        audit: Audit,
        registry: ProviderRegistry,
        environment: Sequence[ProviderConfig],
        secret: str,
        *,
        simulator: str,
        switch_simulator: SwitchSimulator,
    ) -> None:
        """`environment` has the providers that the environment configures; `secret` is the secret key, from which the key for
        stored API keys is derived; `simulator` is the setting: auto, on or off."""
        self._database = database
        self._audit = audit
        self._registry = registry
        self._environment = {config.name: config for config in environment}
        self._encryption = KeyEncryption(secret)
        self._simulator = simulator
        self._switch_simulator = switch_simulator
        self._stored: dict[str, StoredAccount] = {}
        self._tests: dict[str, ConnectionTest] = {}
        self._waiting: set[str] = set()  # accounts that are off only because they have never answered
        self._changing = asyncio.Lock()  # each change starts from the result of the one before
        self._models: CountModels = dict
        self._spending: Sequence[SpentSince] = ()
        self._refresh: Callable[[], Awaitable[None]] | None = None
        self.simulated = False  # whether results come from the simulator

    def show(
        self, *, models: CountModels, spending: Sequence[SpentSince], refresh: Callable[[], Awaitable[None]]
    ) -> None:
        """What other features know of providers, and how to fetch their models after a change."""
        self._models = models
        self._spending = spending
        self._refresh = refresh

    async def load(self) -> None:
        """At startup, before anything asks a provider."""
        self._stored = {account.name: account for account in await self._database.read(repository.all_any)}
        await self._apply()

    async def accounts(self) -> Sequence[ProviderAccount]:
        """Those of the environment first, then by priority, with their models and what they cost this month."""
        since = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        spent: Counter[str] = Counter()
        for spent_since in self._spending:
            spent.update(await spent_since(since))
        models = self._models()
        return [
            msgspec.structs.replace(
                account,
                models=models.get(account.name, (0, 0))[0],
                models_enabled=models.get(account.name, (0, 0))[1],
                spent_nano=spent[account.name],
            )
            for account in self._accounts()
        ]

    async def find(self, name: str) -> ProviderAccount:
        """Raises Missing."""
        for account in await self.accounts():
            if account.name == name:
                return account
        raise Missing("There is no such provider.")

    def _accounts(self) -> Sequence[ProviderAccount]:
        return [
            *(self._of_environment(config) for config in self._environment.values()),
            *(self._of_row(account) for account in self._by_priority()),
        ]

    def _by_priority(self) -> list[StoredAccount]:
        return sorted(self._stored.values(), key=lambda account: (account.priority, account.name))

    async def add(self, actor: Actor, new: NewProviderAccount) -> ProviderAccount:
        """Test the connection, and save the account in any case: it is off until a test succeeds. Raises Invalid, Conflict."""
        name = new.name.strip().lower()
        if not _NAME.fullmatch(name):
            raise _invalid("name", "Use 1 to 31 lower-case letters, digits and hyphens, beginning with a letter.")
        if name in self._environment or name in self._stored:
            raise Conflict(f"There is a provider called {name} already. Choose another name.")
        base_url = _checked_url((new.base_url or "").strip() or DEFAULT_URLS.get(new.kind, ""))
        key = _checked_key(new.api_key)
        now = clock.now()
        account = StoredAccount(
            name=name,
            kind=new.kind,
            base_url=base_url,
            encrypted_key=self._encryption.encrypt(key) if key else None,
            key_hint=_hint(key),
            enabled=False,
            priority=max((row.priority for row in self._stored.values()), default=0) + 1,
            created_at=now,
            changed_at=now,
        )
        self._registry.build(self._config(account))  # refuses what no provider can be made of
        test = await self._test(self._config(account))
        account = msgspec.structs.replace(account, enabled=test.ok)

        def save(tx: Transaction) -> None:
            if not repository.add_any(tx, account):
                raise Conflict(f"There is a provider called {name} already. Choose another name.")
            self._audit.record(tx, actor, Action.PROVIDER_ADDED, name)

        async with self._changing:
            await self._database.write(save)
            self._tests[name] = test
            self._stored[name] = account
            if not test.ok:
                self._waiting.add(name)
            await self._apply()
        return await self._refreshed(name)

    async def change(self, actor: Actor, name: str, changes: AccountChanges) -> ProviderAccount:
        """An empty key keeps the old one. Raises Missing, Invalid, Conflict for an account of the environment."""
        async with self._changing:
            await self._change(actor, name, changes)
        return await self._refreshed(name)

    async def _change(self, actor: Actor, name: str, changes: AccountChanges) -> None:
        old = self._changeable(name)
        key = _checked_key(changes.api_key)
        if changes.priority is not None and not 0 <= changes.priority <= MAX_PRIORITY:
            raise _invalid("priority", f"The priority must be from 0 to {MAX_PRIORITY}.")
        account = StoredAccount(
            name=name,
            kind=old.kind,
            base_url=old.base_url if not changes.base_url else _checked_url(changes.base_url.strip()),
            encrypted_key=self._encryption.encrypt(key) if key else old.encrypted_key,
            key_hint=_hint(key) if key else old.key_hint,
            enabled=old.enabled if changes.enabled is None else changes.enabled,
            priority=old.priority if changes.priority is None else changes.priority,
            created_at=old.created_at,
            changed_at=clock.now(),
        )
        if account.base_url != old.base_url and old.encrypted_key and not key:
            # Otherwise a saved key could be sent to any server that an admin names.
            raise _invalid("api_key", "Enter the key again: it is not sent to another address by itself.")
        self._registry.build(self._config(account))

        def save(tx: Transaction) -> None:
            if not repository.change_any(tx, account):
                raise Missing("There is no such provider.")
            changed = [
                field for field in ("base_url", "enabled", "priority") if getattr(old, field) != getattr(account, field)
            ]
            self._audit.record(tx, actor, Action.PROVIDER_CHANGED, name, fields=changed + (["api_key"] if key else []))

        await self._database.write(save)
        self._stored[name] = account
        if changes.enabled is not None:
            self._waiting.discard(name)
        if key or account.base_url != old.base_url:
            self._tests.pop(name, None)
        await self._apply()

    async def remove(self, actor: Actor, name: str) -> None:

        def delete(tx: Transaction) -> None:
            if not repository.remove_any(tx, name):
                raise Missing("There is no such provider.")
            self._audit.record(tx, actor, Action.PROVIDER_REMOVED, name)

        async with self._changing:
            self._changeable(name)
            await self._database.write(delete)
            self._stored.pop(name, None)
            self._tests.pop(name, None)
            self._waiting.discard(name)
            await self._apply()
        await self._fetch_models()

    async def test(self, actor: Actor, name: str) -> ProviderAccount:
        """Test the connection. An account that is off because it has never answered is switched on by the first success; one that an
        admin switched off stays off."""
        await self.find(name)
        config = self._environment.get(name) or self._config(self._stored[name])
        test = await self._test(config)
        self._tests[name] = test
        if test.ok and name in self._waiting:
            return await self.change(actor, name, AccountChanges(enabled=True))
        return await self.find(name)

    def _changeable(self, name: str) -> StoredAccount:
        if name in self._environment:
            raise Conflict(f"{name} is configured in the server's environment and can only be changed there.")
        if name not in self._stored:
            raise Missing("There is no such provider.")
        return self._stored[name]

    async def _test(self, config: ProviderConfig) -> ConnectionTest:
        if self._is_unreadable(config.name):
            return ConnectionTest(clock.now(), False, 0, _UNREADABLE)
        provider: Provider = self._registry.build(config)
        began = perf_counter()
        try:
            with self._registry.reachable(config):
                await provider.test()
            ok, message = True, ""
        except Upstream as exc:
            ok, message = False, exc.message
        return ConnectionTest(clock.now(), ok, round((perf_counter() - began) * 1000), message)

    async def _apply(self) -> None:
        """Bring the registry, and the simulator, in line with the accounts."""
        configs = [
            *self._environment.values(),
            *(
                self._config(account)
                for account in self._by_priority()
                if account.enabled and account.name not in self._environment and not self._is_unreadable(account.name)
            ),
        ]
        self.simulated = self._simulator == "on" or (self._simulator == "auto" and not configs)
        simulator = await self._switch_simulator(self.simulated)
        self._registry.replace([simulator] if simulator else configs)

    async def _refreshed(self, name: str) -> ProviderAccount:
        """The account, once the models of all providers have been fetched."""
        await self._fetch_models()
        return await self.find(name)

    async def _fetch_models(self) -> None:
        if self._refresh is not None:
            with contextlib.suppress(Upstream):  # logged; the page shows what the test of the connection says
                await self._refresh()

    def _config(self, account: StoredAccount) -> ProviderConfig:
        key = self._encryption.decrypt(account.encrypted_key) if account.encrypted_key else None
        return ProviderConfig(name=account.name, kind=account.kind, base_url=account.base_url, key=key)

    def _is_unreadable(self, name: str) -> bool:
        account = self._stored.get(name)
        encrypted = account.encrypted_key if account else None
        return encrypted is not None and self._encryption.decrypt(encrypted) is None

    def _of_environment(self, config: ProviderConfig) -> ProviderAccount:
        return ProviderAccount(
            name=config.name,
            kind=config.kind,
            base_url=config.base_url,
            source=Source.ENVIRONMENT,
            key_hint=_hint(config.key),
            enabled=True,
            in_use=config.name in self._registry and not self.simulated,
            priority=0,
            tested=self._tests.get(config.name),
        )

    def _of_row(self, account: StoredAccount) -> ProviderAccount:
        hidden = account.name in self._environment
        problem = "An account of the environment has this name and is used instead." if hidden else ""
        return ProviderAccount(
            name=account.name,
            kind=account.kind,
            base_url=account.base_url,
            source=Source.STORED,
            key_hint=account.key_hint,
            enabled=account.enabled,
            in_use=not hidden and account.name in self._registry and not self.simulated,
            priority=account.priority,
            problem=problem or (_UNREADABLE if self._is_unreadable(account.name) else ""),
            tested=self._tests.get(account.name),
        )


def _checked_url(url: str) -> str:
    if not url:
        raise _invalid("base_url", "Enter the base URL of the server.")
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url) or not url.startswith(("http://", "https://")):
        raise _invalid("base_url", "Enter an http or https URL.")
    return url.rstrip("/")


def _checked_key(key: str | None) -> str | None:
    key = (key or "").strip()
    if key and (len(key) > MAX_KEY or not _PRINTABLE.fullmatch(key)):
        raise _invalid("api_key", "The key must be one line of plain ASCII, without spaces.")
    return key or None


def _hint(key: str | None) -> str:
    """The end of a key. A short one is not shown at all."""
    return f"…{key[-_HINT:]}" if key and len(key) >= 4 * _HINT else "…" if key else ""


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields={field: message})
