"""Model prices as text. Providers price per token, image, second or request, under names of their own."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from app.base.money import nano_dollars
from app.catalog.schemas import Model, Price

MILLION: Final = 1_000_000
PER_MILLION_BELOW: Final = Decimal("0.001")  # cheaper units, in USD, are priced per million
UNITS: Final = {  # singular, and what is counted in millions
    "prompt": ("input token", "input tokens"),
    "completion": ("output token", "output tokens"),
    "image_output": ("image", "image output tokens"),
    "image_token": ("image token", "image tokens"),
    "image": ("input image", "image input tokens"),
    "audio": ("audio input token", "audio input tokens"),
    "audio_output": ("audio output token", "audio output tokens"),
    "input_cache_read": ("cached input token", "cached input tokens"),
    "input_cache_write": ("cache write token", "cache write tokens"),
    "internal_reasoning": ("reasoning token", "reasoning tokens"),
    "web_search": ("web search", "web searches"),
    "request": ("request", "requests"),
}
MAIN: Final = ("prompt", "completion", "image_output", "request")
AUDIO: Final = ("with audio", "without audio")  # conditions of video prices
# A typical request, to compare prices per token with prices per second: a page of text, one image or one video.
TOKENS, IMAGE_TOKENS, SECONDS = 1000, 4096, 5


def prices(model: Model) -> list[Price]:
    """All prices, in the provider's order."""
    return [_price(name, Decimal(text)) for name, text in model.pricing.items()]


def summary(model: Model) -> list[Price]:
    """The main prices above zero; all prices per second are merged into one range."""
    if free(model):
        return []
    seconds = _prices_per_second(model)
    if seconds:
        return [Price(_nano(min(seconds)), _nano(max(seconds)), "per second")]
    main = {name: text for name, text in model.pricing.items() if name in MAIN and Decimal(text)}
    return [_price(name, Decimal(text)) for name, text in (main or model.pricing).items()]


def free(model: Model) -> bool:
    """Whether all prices are zero. A model without prices is not free: its price is unknown."""
    return bool(model.pricing) and not any(Decimal(text) for text in model.pricing.values())


def typical_cost(model: Model) -> Decimal | None:
    """USD for a typical request; None when the prices are unknown."""
    if not model.pricing:
        return None
    if seconds := _prices_per_second(model):
        return min(seconds) * SECONDS
    price = {name: Decimal(text) for name, text in model.pricing.items()}
    tokens = price.get("prompt", Decimal()) + price.get("completion", Decimal())
    image = price.get("image_output", Decimal())
    per_image = image if image >= PER_MILLION_BELOW else image * IMAGE_TOKENS
    return tokens * TOKENS + per_image + price.get("request", Decimal())


def _prices_per_second(model: Model) -> Sequence[Decimal]:
    return [dollars(name, Decimal(text)) for name, text in model.pricing.items() if "second" in name]


def _price(name: str, amount: Decimal) -> Price:
    if "second" in name:
        nano = _nano(dollars(name, amount))
        return Price(nano, nano, f"per second{_condition(name)}")
    one, many = UNITS.get(name, (name.removeprefix("per_").replace("_", " "),) * 2)
    per_million = amount < PER_MILLION_BELOW and name != "request"
    nano = _nano(amount * MILLION if per_million else amount)
    return Price(nano, nano, f"per 1M {many}" if per_million else f"per {one}")


def dollars(name: str, amount: Decimal) -> Decimal:
    return amount / 100 if name.startswith("cents_") else amount


def _condition(name: str) -> str:
    """The suffix of a name such as `duration_seconds_720p` as text: ` with audio` or ` at 720p`."""
    rest = name.split("second", 1)[1].removeprefix("s").strip("_").replace("_", " ")
    if not rest or rest == "output":
        return ""
    return f" {rest}" if rest in AUDIO else f" at {rest}" if rest[0].isdigit() else f" ({rest})"


def _nano(amount: Decimal) -> int:
    return nano_dollars(amount) or 0
