"""SQL of the model catalog. Models have no owner."""

from datetime import datetime
from typing import Any

import msgspec

from app.catalog.schemas import DescribedModel, Description, Model, ModelDetails
from app.db.transaction import Row, Transaction

_encode = msgspec.json.Encoder().encode

_COLUMNS = (
    "id, upstream_id, provider, name, description, input_modalities, output_modalities, context_length, pricing,"
    " parameters, route, details, enabled"
)
_DESCRIBED = "model_id, base, enabled, description, version, changed_by, changed_at"


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


def described_any(tx: Transaction) -> list[DescribedModel]:
    return [_described(row) for row in tx.rows("model_descriptions", f"select {_DESCRIBED} from model_descriptions")]


def find_described_any(tx: Transaction, id: str) -> DescribedModel | None:
    row = tx.row("model_descriptions", f"select {_DESCRIBED} from model_descriptions where model_id = $1", id)
    return None if row is None else _described(row)


def put_described_any(tx: Transaction, row: DescribedModel) -> None:
    """Insert it, or replace that of the same model."""
    tx.execute(
        "model_descriptions",
        f"insert into model_descriptions ({_DESCRIBED}) values ($1, $2, $3, $4, $5, $6, $7)"
        " on conflict (model_id) do update set base = excluded.base, enabled = excluded.enabled,"
        " description = excluded.description, version = excluded.version, changed_by = excluded.changed_by,"
        " changed_at = excluded.changed_at",
        row.model_id,
        None if row.base is None else _json(row.base),
        row.enabled,
        _json(row.description),
        row.version,
        row.changed_by,
        row.changed_at,
    )


def remove_described_any(tx: Transaction, id: str) -> None:
    tx.execute("model_descriptions", "delete from model_descriptions where model_id = $1", id)


def defaults_any(tx: Transaction) -> dict[str, str]:
    """The ids of models, by the form that begins with them."""
    return {
        row["kind"]: row["model_id"] for row in tx.rows("default_models", "select kind, model_id from default_models")
    }


def set_default_any(tx: Transaction, kind: str, model_id: str) -> None:
    tx.execute(
        "default_models",
        "insert into default_models (kind, model_id) values ($1, $2)"
        " on conflict (kind) do update set model_id = excluded.model_id",
        kind,
        model_id,
    )


def unset_default_any(tx: Transaction, kind: str) -> None:
    tx.execute("default_models", "delete from default_models where kind = $1", kind)


def favorites(tx: Transaction, owner: str) -> set[str]:
    rows = tx.rows("favorite_models", "select model_id from favorite_models where user_id = $1", owner)
    return {row["model_id"] for row in rows}


def add_favorite(tx: Transaction, owner: str, model_id: str, now: datetime) -> None:
    tx.execute(
        "favorite_models",
        "insert into favorite_models (user_id, model_id, created_at) values ($1, $2, $3) on conflict do nothing",
        owner,
        model_id,
        now,
    )


def remove_favorite(tx: Transaction, owner: str, model_id: str) -> None:
    tx.execute("favorite_models", "delete from favorite_models where user_id = $1 and model_id = $2", owner, model_id)


def forget_user(tx: Transaction, owner: str) -> None:
    tx.execute("favorite_models", "delete from favorite_models where user_id = $1", owner)


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


def _described(row: Row) -> DescribedModel:
    base = None if row["base"] is None else msgspec.json.decode(row["base"], type=Model)
    description = msgspec.json.decode(row["description"], type=Description)
    return DescribedModel(**{**row, "base": base, "description": description})
