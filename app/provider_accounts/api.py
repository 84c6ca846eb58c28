"""The API of provider accounts, for admins."""

from typing import ClassVar, Final, Self

import msgspec
from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.accounts.guards import SignedIn
from app.accounts.guards import admin as admins
from app.audit.schemas import Actor
from app.base.money import usd
from app.provider_accounts.schemas import AccountChanges, ConnectionTest, NewProviderAccount, ProviderAccount, Source
from app.provider_accounts.service import ProviderAccounts
from app.providers.registry import ProviderKind
from app.web.openapi import BEARER, error_responses
from app.web.timestamps import TimestampOut, to_iso


class ConnectionTestOut(msgspec.Struct, kw_only=True):
    """The last test of the connection; `message` is why it failed."""

    tested_at: TimestampOut
    ok: bool
    ms: int
    message: str

    @classmethod
    def of(cls, test: ConnectionTest) -> Self:
        return cls(tested_at=to_iso(test.at), ok=test.ok, ms=test.milliseconds, message=test.message)


class ProviderOut(msgspec.Struct, kw_only=True):
    """A provider. `source` is `environment` (fixed there) or `stored`; `key_hint` is the end of the key; `in_use`: its models
    are offered now; `spent_usd` is what it cost in the current calendar month (UTC), as far as it is known."""

    name: str
    kind: ProviderKind
    base_url: str
    source: Source
    key_hint: str
    enabled: bool
    in_use: bool
    priority: int
    problem: str
    last_test: ConnectionTestOut | None
    models: int
    models_enabled: int
    spent_usd: str

    @classmethod
    def of(cls, account: ProviderAccount) -> Self:
        return cls(
            name=account.name,
            kind=account.kind,
            base_url=account.base_url,
            source=account.source,
            key_hint=account.key_hint,
            enabled=account.enabled,
            in_use=account.in_use,
            priority=account.priority,
            problem=account.problem,
            last_test=ConnectionTestOut.of(account.tested) if account.tested else None,
            models=account.models,
            models_enabled=account.models_enabled,
            spent_usd=usd(account.spent_nano) or "0",
        )


class ProvidersOut(msgspec.Struct, kw_only=True):
    """All providers: those of the environment, then by priority. `simulated`: results come from the built-in simulator."""

    items: list[ProviderOut]
    total: int
    next: None = None
    simulated: bool


class NewProviderIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A provider to add. Without `base_url`, the provider's own; a server on loopback or in the local network is allowed."""

    example: ClassVar = {"name": "rack-2", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-1234"}

    name: str
    kind: ProviderKind
    base_url: str | None = None
    api_key: str | None = None


class ProviderChangesIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change; fields that are left out stay. The provider with the lowest `priority` comes first."""

    example: ClassVar = {"priority": 1}

    base_url: str | None = None
    api_key: str | None = None
    enabled: bool | None = None
    priority: int | None = None


@get("/", responses=error_responses(401, 403), summary="List the providers")
async def providers(provider_accounts: NamedDependency[ProviderAccounts]) -> ProvidersOut:
    """Keys are never returned."""
    items = [ProviderOut.of(account) for account in await provider_accounts.accounts()]
    return ProvidersOut(items=items, total=len(items), simulated=provider_accounts.simulated)


@post("/", responses=error_responses(400, 401, 403, 409, 413), summary="Add a provider")
async def add(
    request: SignedIn, data: JSONBody[NewProviderIn], provider_accounts: NamedDependency[ProviderAccounts]
) -> ProviderOut:
    """The connection is tested first. The provider is saved in any case, and off until a test succeeds."""
    new = NewProviderAccount(name=data.name, kind=data.kind, base_url=data.base_url, api_key=data.api_key)
    return ProviderOut.of(await provider_accounts.add(_actor(request), new))


@put("/{name:str}", responses=error_responses(400, 401, 403, 404, 409, 413), summary="Change a provider")
async def change(
    request: SignedIn,
    name: FromPath[str],
    data: JSONBody[ProviderChangesIn],
    provider_accounts: NamedDependency[ProviderAccounts],
) -> ProviderOut:
    changes = AccountChanges(base_url=data.base_url, api_key=data.api_key, enabled=data.enabled, priority=data.priority)
    return ProviderOut.of(await provider_accounts.change(_actor(request), name, changes))


@delete("/{name:str}", responses=error_responses(401, 403, 404, 409), summary="Remove a provider")
async def remove(request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]) -> None:
    """Its key is deleted. Jobs that it has not finished fail."""
    await provider_accounts.remove(_actor(request), name)


@post(
    "/{name:str}/test",
    status_code=200,
    responses=error_responses(401, 403, 404),
    summary="Test the connection to a provider",
)
async def test(
    request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]
) -> ProviderOut:
    """Costs nothing. The first success switches on a provider that has never answered."""
    return ProviderOut.of(await provider_accounts.test(_actor(request), name))


def _actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


routes: Final = [
    Router(
        "/api/v1/admin/providers",
        route_handlers=[providers, add, change, remove, test],
        guards=[admins],
        security=BEARER,
        tags=["Administration"],
    )
]
