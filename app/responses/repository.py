"""SQL of the stored responses."""

from datetime import datetime

import msgspec

from app.db.transaction import Transaction
from app.responses.schemas import StoredResponse

_COLUMNS = "id, previous_id, input, response, reasoning, created_at"


def add(tx: Transaction, owner: str, response: StoredResponse) -> None:
    """A response that is there already is left as it is: two repeated requests may end at the same time."""
    tx.execute(
        "responses",
        f"insert into responses (owner_id, {_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing",
        owner,
        response.id,
        response.previous_id,
        response.input,
        response.response,
        response.reasoning,
        response.created_at,
    )


def find(tx: Transaction, owner: str, id: str) -> StoredResponse | None:
    row = tx.row("responses", f"select {_COLUMNS} from responses where id = $1 and owner_id = $2", id, owner)
    return msgspec.convert(row, StoredResponse) if row else None


def delete(tx: Transaction, owner: str, id: str) -> bool:
    return tx.count("responses", "delete from responses where id = $1 and owner_id = $2", id, owner) > 0


def forget(tx: Transaction, owner: str) -> None:
    """Delete a user's responses."""
    tx.execute("responses", "delete from responses where owner_id = $1", owner)


def sweep_any(tx: Transaction, before: datetime) -> None:
    """Delete the responses that were created before that time."""
    tx.execute("responses", "delete from responses where created_at < $1", before)
