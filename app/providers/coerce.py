"""Lenient readers for untrusted JSON: a value of the wrong type is treated as missing, and nothing raises."""

from decimal import Decimal, InvalidOperation
from typing import Any

from app.base.money import nano_dollars
from app.providers.contract import Usage

_MAX_COST = Decimal(1_000_000)  # dollars; a higher cost for one job is treated as an upstream error


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def texts(value: Any) -> list[str]:
    return [item for item in rows(value) if isinstance(item, str) and item]


def integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def amount(value: Any) -> Decimal | None:
    """A non-negative number, given as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None


def cost_nano(body: Any) -> int | None:
    """`usage.cost` in nano-dollars; None when it is not reported."""
    return plausible_nano(amount(mapping(mapping(body).get("usage")).get("cost")))


def plausible_nano(cost: Decimal | None) -> int | None:
    """A cost in dollars as nano-dollars; None when it is unknown or cannot be right."""
    return nano_dollars(cost) if cost is not None and cost <= _MAX_COST else None


def usage(body: Any) -> Usage | None:
    """Token counts; OpenAI calls them by other names for images and recordings than for text."""
    reported = mapping(mapping(body).get("usage"))
    if not reported:
        return None
    counts = Usage(
        prompt_tokens=integer(reported.get("prompt_tokens", reported.get("input_tokens"))),
        completion_tokens=integer(reported.get("completion_tokens", reported.get("output_tokens"))),
        total_tokens=integer(reported.get("total_tokens")),
    )
    return counts if counts != Usage() else None
