"""SQL of provider accounts. They belong to the installation, not to a user."""

from app.db.transaction import Row, Transaction
from app.provider_accounts.schemas import StoredAccount
from app.providers.registry import ProviderKind

_COLUMNS = "name, kind, base_url, encrypted_key, key_hint, enabled, priority, created_at, changed_at"


def all_any(tx: Transaction) -> list[StoredAccount]:
    """The lowest priority number first."""
    rows = tx.rows("provider_accounts", f"select {_COLUMNS} from provider_accounts order by priority, name")
    return [_account(row) for row in rows]


def add_any(tx: Transaction, account: StoredAccount) -> bool:
    """False when the name is taken."""
    found = tx.value(
        "provider_accounts",
        f"insert into provider_accounts ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " on conflict do nothing returning name",
        account.name,
        account.kind.value,
        account.base_url,
        account.encrypted_key,
        account.key_hint,
        account.enabled,
        account.priority,
        account.created_at,
        account.changed_at,
    )
    return found is not None


def change_any(tx: Transaction, account: StoredAccount) -> bool:
    """Replace everything that can change; False when there is no such account."""
    found = tx.value(
        "provider_accounts",
        "update provider_accounts set base_url = $2, encrypted_key = $3, key_hint = $4, enabled = $5, priority = $6,"
        " changed_at = $7 where name = $1 returning name",
        account.name,
        account.base_url,
        account.encrypted_key,
        account.key_hint,
        account.enabled,
        account.priority,
        account.changed_at,
    )
    return found is not None


def remove_any(tx: Transaction, name: str) -> bool:
    sql = "delete from provider_accounts where name = $1 returning name"
    return tx.value("provider_accounts", sql, name) is not None


def _account(row: Row) -> StoredAccount:
    return StoredAccount(**{**row, "kind": ProviderKind(row["kind"])})
