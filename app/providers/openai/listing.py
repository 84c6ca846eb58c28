"""The available models: OpenAI's list has only their ids, so a model that is not described is assumed to be for chat."""

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.base.errors import Upstream
from app.providers.coerce import amount, integer, mapping, text
from app.providers.contract import ModelOffer, ModelType
from app.providers.errors import ClientError
from app.providers.openai import descriptions
from app.providers.openai_format.api import Api
from app.providers.openai_format.chat_params import chat_params

_ID = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_FETCH_FAILED = "The provider's model list could not be fetched. The previous list is kept."
# Unknown: what a model does not accept, the provider refuses.
_CHAT_INPUTS = ("text", "image", "audio")


async def offers(api: Api, *, priced: bool) -> Sequence[ModelOffer]:
    """With `priced`, the prices of the descriptions hold. Raises `Upstream` when the list cannot be fetched."""
    try:
        response = await api.get(api.url("/models"), api.timeouts.catalog)
    except ClientError as exc:
        api.log.warning("model list request failed", exc=str(exc))
        raise Upstream(_FETCH_FAILED) from exc
    data = response.body if isinstance(response.body, list) else mapping(response.body).get("data")
    rows = [mapping(row) for row in data] if isinstance(data, list) else []
    await asyncio.to_thread(descriptions.known)
    found = {
        row["id"]: _offer(row, priced=priced)
        for row in rows
        if _ID.fullmatch(text(row.get("id"))) and not _is_shut_down(row)
    }
    if response.status != 200 or not found:  # an empty list would retire every model
        api.log.warning("model list request failed", response=api.detail(f"{response.status} {response.text}"))
        raise Upstream(_FETCH_FAILED)
    return list(found.values())


def _offer(row: dict[str, Any], *, priced: bool) -> ModelOffer:
    created = _positive(row.get("created"))
    described = descriptions.find(row["id"])
    if described is not None:
        prices = {} if priced else {"pricing": {}, "price": ""}
        return msgspec.structs.replace(described, created=created, **prices)
    return ModelOffer(
        id=row["id"],
        name=row["id"],
        input_modalities=_CHAT_INPUTS,
        context_length=_positive(row.get("context_length")) or _positive(row.get("max_model_len")),
        parameters=chat_params(row),
        route="chat",
        type=ModelType.TEXT_TO_TEXT,
        created=created,
    )


def _is_shut_down(row: dict[str, Any]) -> bool:
    """`shutdown_date` is a date or unix seconds."""
    given = row.get("shutdown_date")
    seconds = amount(given)
    if seconds is not None:
        return seconds <= int(time.time())
    try:
        date = datetime.fromisoformat(text(given))
    except ValueError:
        return False
    return (date if date.tzinfo else date.replace(tzinfo=UTC)) <= datetime.now(UTC)


def _positive(value: Any) -> int | None:
    number = integer(value)
    return number if number is not None and number > 0 else None
