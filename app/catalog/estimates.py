"""What a request will cost, before it is sent: from the formula of the model's description, or from the provider's price list.

An estimate is what is known to be certain, or a range; where only tokens are priced it is unknown, never zero.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from app.base import logging
from app.base.money import nano_dollars
from app.catalog.price_formula import FormulaError, price
from app.catalog.prices import dollars, free
from app.catalog.schemas import CostBasis, CostEstimate, Model
from app.providers.contract import Kind

PER_IMAGE_FROM: Final = Decimal("0.001")  # cheaper image prices are per token

_DURATION: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)s?")
_PRICED_SETTINGS: Final = {"quality", "size", "image_size", "resolution"}

logger = logging.get("catalog")


def with_defaults(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the model's defaults in place of those that are missing; None where there is no default."""
    properties: Mapping[str, Mapping[str, Any]] = model.parameters.get("properties", {})
    defaults = {name: schema.get("default") for name, schema in properties.items()}
    return {"n": model.details.outputs.default, **defaults, **params}


def estimate(model: Model, params: Mapping[str, Any]) -> CostEstimate | None:
    """`params` are validated. None when the cost is unknown."""
    values = with_defaults(model, params)
    if model.details.price:
        return _by_formula(model, values)
    if free(model):
        return CostEstimate(0, 0, CostBasis.PRICES)
    if model.makes(Kind.VIDEO):
        return _by_seconds(model, values)
    return _by_images(model, values, params) if model.makes(Kind.IMAGE) else None


def _by_formula(model: Model, values: Mapping[str, Any]) -> CostEstimate | None:
    try:
        nano = _nano(price(model.details.price, values))
    except FormulaError as exc:
        logger.warning("price formula failed", model=model.id, reason=str(exc))
        return None
    return CostEstimate(nano, nano, CostBasis.FORMULA)


def _by_seconds(model: Model, values: Mapping[str, Any]) -> CostEstimate | None:
    """The prices per second of all conditions that the settings leave open, such as `duration_seconds_1080p`."""
    seconds = _seconds(model, values.get("duration"))
    names = [name for name in model.pricing if "second" in name]
    fitting = [name for name in names if _fits(name, values)] or names
    amounts = [dollars(name, Decimal(model.pricing[name])) for name in fitting]
    if not amounts or seconds is None:
        return None
    return CostEstimate(_nano(min(amounts) * seconds[0]), _nano(max(amounts) * seconds[1]), CostBasis.PRICES)


def _seconds(model: Model, chosen: Any) -> tuple[Decimal, Decimal] | None:
    """The shortest and the longest duration that the settings allow."""
    if (exact := _duration(chosen)) is not None:
        return exact, exact
    schema: Mapping[str, Any] = model.parameters.get("properties", {}).get("duration", {})
    allowed = [_duration(value) for value in schema.get("enum") or [schema.get("minimum"), schema.get("maximum")]]
    known = [value for value in allowed if value is not None]
    return (min(known), max(known)) if known and len(known) == len(allowed) else None


def _duration(value: Any) -> Decimal | None:
    """Seconds: models call them `5`, `"5"` or `"5s"`. None for anything else, such as `"auto"`."""
    found = _DURATION.fullmatch(str(value)) if not isinstance(value, bool) else None
    return Decimal(found[1]) if found else None


def _fits(name: str, values: Mapping[str, Any]) -> bool:
    """Whether nothing in a price's name contradicts the settings: `duration_seconds_with_audio_1080p`."""
    words = name.split("second", 1)[1].removeprefix("s").strip("_").split("_")
    resolution, audio = str(values.get("resolution") or "").lower(), values.get("generate_audio")
    named = [word.lower() for word in words if word[:1].isdigit()]
    if named and resolution and resolution not in named:
        return False
    if "audio" in words and isinstance(audio, bool):
        return audio == ("without" not in words)
    return True


def _by_images(model: Model, values: Mapping[str, Any], params: Mapping[str, Any]) -> CostEstimate | None:
    """Only where the price is per image, because tokens cannot be counted before, and only without settings such as the quality,
    which change a price that the list does not give."""
    if params.keys() & _PRICED_SETTINGS:
        return None
    amount, count = Decimal(model.pricing.get("image_output", "0")), values.get("n")
    if amount < PER_IMAGE_FROM or isinstance(count, bool) or not isinstance(count, int):
        return None
    nano = _nano(amount * count)
    return CostEstimate(nano, nano, CostBasis.PRICES)


def _nano(amount: Decimal) -> int:
    return nano_dollars(amount) or 0
