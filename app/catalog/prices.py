"""What a model costs, in words: providers price by the token, the picture or the second, under names of their own."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from app.base.money import nano_dollars
from app.catalog.schemas import Model, Price

MILLION: Final = 1_000_000
BY_THE_MILLION: Final = Decimal("0.001")  # below this, in USD, a unit is counted by the million
UNITS: Final = {
    "prompt": ("token read", "tokens read"),
    "completion": ("token written", "tokens written"),
    "image_output": ("picture", "picture tokens"),
    "image_token": ("picture token", "picture tokens"),
    "image": ("picture read", "picture tokens read"),
    "audio": ("token of sound read", "tokens of sound read"),
    "audio_output": ("token of sound", "tokens of sound"),
    "input_cache_read": ("token read again", "tokens read again"),
    "input_cache_write": ("token remembered", "tokens remembered"),
    "internal_reasoning": ("token thought", "tokens thought"),
    "web_search": ("search of the web", "searches of the web"),
    "request": ("request", "requests"),
}
MAIN: Final = ("prompt", "completion", "image_output", "request")
# What a clip's price may depend on, as its name says it.
WITH: Final = {"with audio": "with sound", "without audio": "without sound"}
# A usual order, so that prices by the token and by the second can be put in one row: a page of text, a picture, a clip.
TOKENS, PICTURE_TOKENS, SECONDS = 1000, 4096, 5


def prices(model: Model) -> list[Price]:
    """Everything that is priced, in the provider's order."""
    return [_price(name, Decimal(text)) for name, text in model.pricing.items()]


def in_short(model: Model) -> list[Price]:
    """What matters for a choice: the main prices that are not nothing, and one range for all prices by the second."""
    if free(model):
        return []
    seconds = _by_the_second(model)
    if seconds:
        return [Price(_nano(min(seconds)), _nano(max(seconds)), "a second")]
    main = {name: text for name, text in model.pricing.items() if name in MAIN and Decimal(text)}
    return [_price(name, Decimal(text)) for name, text in (main or model.pricing).items()]


def free(model: Model) -> bool:
    """Whether all its prices are known to be nothing; a model without prices is not free but unknown."""
    return bool(model.pricing) and not any(Decimal(text) for text in model.pricing.values())


def usual(model: Model) -> Decimal | None:
    """USD for a usual order; None where it cannot be told."""
    if not model.pricing:
        return None
    if seconds := _by_the_second(model):
        return min(seconds) * SECONDS
    price = {name: Decimal(text) for name, text in model.pricing.items()}
    read, written = price.get("prompt", Decimal()), price.get("completion", Decimal())
    picture = price.get("image_output", Decimal())
    drawn = picture if picture >= BY_THE_MILLION else picture * PICTURE_TOKENS
    return (read + written) * TOKENS + drawn + price.get("request", Decimal())


def _by_the_second(model: Model) -> Sequence[Decimal]:
    return [_dollars(name, Decimal(text)) for name, text in model.pricing.items() if "second" in name]


def _price(name: str, amount: Decimal) -> Price:
    if "second" in name:
        nano = _nano(_dollars(name, amount))
        return Price(nano, nano, f"a second{_circumstances(name)}")
    one, many = UNITS.get(name, (name.removeprefix("per_").replace("_", " "),) * 2)
    by_the_million = amount < BY_THE_MILLION and name != "request"
    nano = _nano(amount * MILLION if by_the_million else amount)
    return Price(nano, nano, f"a million {many}" if by_the_million else f"a {one}")


def _dollars(name: str, amount: Decimal) -> Decimal:
    return amount / 100 if name.startswith("cents_") else amount


def _circumstances(name: str) -> str:
    """` with sound` or ` at 720p`, out of a name such as `duration_seconds_720p`."""
    rest = name.split("second", 1)[1].removeprefix("s").strip("_").replace("_", " ")
    if not rest or rest == "output":
        return ""
    return f" {WITH[rest]}" if rest in WITH else f" at {rest}" if rest[0].isdigit() else f" ({rest})"


def _nano(amount: Decimal) -> int:
    return nano_dollars(amount) or 0
