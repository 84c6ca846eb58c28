"""What fal charges for each unit of a model, from its platform API; a finished job says how many units it was.

A price is asked for once an hour at most, and a job whose price cannot be had has an unknown cost, never zero.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from cachetools import TTLCache

from app.base import clock, logging
from app.base.money import nano_dollars
from app.providers.client import Client
from app.providers.coerce import mapping, rows, text
from app.providers.contract import ModelOffer
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError

_PATH: Final = "/v1/models/pricing"
_AT_ONCE: Final = 50  # models, the most that one request may name
_TIMEOUT: Final = 10.0  # seconds
_KEPT: Final = 3_600.0  # seconds
_ASKED: Final = 1_000  # models without a price that are remembered
_MAX_UNITS: Final = 1_000_000

# What units are called, in the singular, and the names under which the catalog shows and estimates them.
_NAMES: Final = {
    "image": "image_output",
    "second": "duration_seconds",
    "video second": "duration_seconds",
    "video": "video",
    "megapixel": "megapixel",
    "request": "request",
}

_log = logging.get("providers.fal")


class UnitPrice(NamedTuple):
    """USD per unit."""

    amount: Decimal
    unit: str


class Prices:
    """`platform_url` must be among the base URLs that `client` was built with. `timer` returns monotonic seconds."""

    def __init__(
        self, client: Client, platform_url: str, key: str | None, timer: Callable[[], float] = clock.steady
    ) -> None:
        self._client = client
        self._endpoint = ProviderEndpoint(platform_url, {"Authorization": f"Key {key}"} if key else {})
        self._prices: dict[str, UnitPrice] = {}
        self._asked: TTLCache[str, bool] = TTLCache(_ASKED, _KEPT, timer=timer)

    async def priced(self, offers: Iterable[ModelOffer]) -> list[ModelOffer]:
        """The models with their prices of today. One without a known price stays as it is described."""
        found = list(offers)
        await self._ask([offer.id for offer in found])
        return [_priced(offer, self._prices.get(offer.id)) for offer in found]

    async def cost_nano(self, model: str, units: str | None) -> int | None:
        """What a job of so many units cost."""
        amount = _number(units)
        if amount is None or amount > _MAX_UNITS or not model:
            return None
        if model not in self._prices:
            await self._ask([model])
        price = self._prices.get(model)
        return nano_dollars(price.amount * amount) if price is not None else None

    async def _ask(self, models: Sequence[str]) -> None:
        wanted = [model for model in dict.fromkeys(models) if model not in self._asked]
        parts = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        await asyncio.gather(*(self._read(part) for part in parts))

    async def _read(self, models: Sequence[str]) -> None:
        query = urlencode([("endpoint_id", model) for model in models])
        self._asked.update(dict.fromkeys(models, True))
        try:
            response = await self._client.request_json(
                "GET", f"{self._endpoint.base_url}{_PATH}?{query}", endpoint=self._endpoint, total=_TIMEOUT
            )
        except ClientError as exc:
            _log.info("prices not read", reason=str(exc))
            return
        if response.status != 200:
            _log.info("prices not read", status=response.status)
            return
        for row in map(mapping, rows(mapping(response.body).get("prices"))):
            amount = _number(row.get("unit_price"))
            if amount is not None and text(row.get("currency") or "USD") == "USD" and text(row.get("unit")):
                self._prices[text(row.get("endpoint_id"))] = UnitPrice(amount, _singular(text(row.get("unit"))))


def _priced(offer: ModelOffer, price: UnitPrice | None) -> ModelOffer:
    if price is None:
        return offer
    name = _NAMES.get(price.unit, f"per_{price.unit}".replace(" ", "_"))
    return msgspec.structs.replace(offer, pricing={name: f"{price.amount:f}"}, price="")


def _singular(unit: str) -> str:
    return unit.lower().replace("_", " ").replace("-", " ").strip().removesuffix("s")[:40]


def _number(value: object) -> Decimal | None:
    """A number that is not negative, from JSON or a header."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None
