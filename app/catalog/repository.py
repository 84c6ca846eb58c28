"""SQL of the model catalog. Models have no owner."""

from datetime import datetime
from typing import Any

import msgspec

from app.catalog.schemas import Model, ModelDetails
from app.db.transaction import Row, Transaction

_encode = msgspec.json.Encoder().encode

_COLUMNS = (
    "id, upstream_id, provider, name, description, input_modalities, output_modalities, context_length, pricing,"
    " parameters, route, details, enabled"
)


def all_any(tx: Transaction) -> list[Model]:
    """All models that providers still list, including disabled ones, by name."""
    return [
        _model(row)
        for row in tx.rows("models", f"select {_COLUMNS} from models where retired_at is null order by name, id")
    ]


def put_any(tx: Transaction, models: list[Model], now: datetime) -> None:
    """Insert or update models. `enabled` keeps its value."""
    columns: list[list[Any]] = [
        [model.id for model in models],
        [model.upstream_id for model in models],
        [model.provider for model in models],
        [model.name for model in models],
        [model.description for model in models],
        [_json(model.input_modalities) for model in models],
        [_json(model.output_modalities) for model in models],
        [model.context_length for model in models],
        [_json(model.pricing) for model in models],
        [_json(model.parameters) for model in models],
        [model.route for model in models],
        [_json(model.details) for model in models],
    ]
    tx.execute(
        "models",
        "insert into models (id, upstream_id, provider, name, description, input_modalities, output_modalities,"
        " context_length, pricing, parameters, route, details, first_seen_at, changed_at)"
        " select *, $13, $13 from (select unnest($1::text[]), unnest($2::text[]), unnest($3::text[]),"
        " unnest($4::text[]), unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::bigint[]),"
        " unnest($9::text[]), unnest($10::text[]), unnest($11::text[]), unnest($12::text[])) as rows"
        " on conflict (id) do update set upstream_id = excluded.upstream_id, name = excluded.name,"
        " description = excluded.description, input_modalities = excluded.input_modalities,"
        " output_modalities = excluded.output_modalities, context_length = excluded.context_length,"
        " pricing = excluded.pricing, parameters = excluded.parameters, route = excluded.route,"
        " details = excluded.details, changed_at = excluded.changed_at, retired_at = null",
        *columns,
        now,
    )


def retire_any(tx: Transaction, ids: list[str], now: datetime) -> None:
    tx.execute("models", "update models set retired_at = $2 where id in (select unnest($1::text[]))", ids, now)


def set_enabled_any(tx: Transaction, id: str, enabled: bool) -> bool:
    """Enable or disable a model. False when it does not exist."""
    found = tx.value(
        "models", "update models set enabled = $2 where id = $1 and retired_at is null returning id", id, enabled
    )
    return found is not None


def _json(value: object) -> str:
    return _encode(value).decode()


def _model(row: Row) -> Model:
    return msgspec.convert(
        {
            **row,
            "input_modalities": msgspec.json.decode(row["input_modalities"]),
            "output_modalities": msgspec.json.decode(row["output_modalities"]),
            "pricing": msgspec.json.decode(row["pricing"]),
            "parameters": msgspec.json.decode(row["parameters"]),
            "details": msgspec.json.decode(row["details"], type=ModelDetails),
        },
        Model,
    )
