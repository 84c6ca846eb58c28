"""The data structures of provider accounts."""

import enum
from datetime import datetime

import msgspec

from app.providers.registry import ProviderKind


class Source(enum.StrEnum):
    """Where an account is configured. One of the environment wins over a stored one of the same name and cannot be changed."""

    ENVIRONMENT = "environment"
    STORED = "stored"


class StoredAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A row. `encrypted_key` is None for a server without a key."""

    name: str
    kind: ProviderKind
    base_url: str
    encrypted_key: str | None
    key_hint: str
    enabled: bool
    priority: int
    created_at: datetime
    changed_at: datetime


class ConnectionTest(msgspec.Struct, frozen=True):
    """The last test of a connection. `message` is why it failed, in the provider's own words where it gave any."""

    at: datetime
    ok: bool
    milliseconds: int
    message: str = ""


class ProviderAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account as admins see it, never with its key. `in_use`: its models are offered now. `problem` is why it cannot be used
    although it is enabled. `spent_nano` is what its jobs and answers of this month have cost, as far as it is known."""

    name: str
    kind: ProviderKind
    base_url: str
    source: Source
    key_hint: str
    enabled: bool
    in_use: bool
    priority: int
    problem: str = ""
    tested: ConnectionTest | None = None
    models: int = 0
    models_enabled: int = 0
    spent_nano: int = 0


class NewProviderAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account to add; without `base_url`, that of the provider itself."""

    name: str
    kind: ProviderKind
    base_url: str | None = None
    api_key: str | None = None


class AccountChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; None leaves it as it is."""

    base_url: str | None = None
    api_key: str | None = None
    enabled: bool | None = None
    priority: int | None = None
