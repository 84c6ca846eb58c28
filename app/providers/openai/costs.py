"""What an answer costs: OpenAI reports tokens only, so their prices come from the model's description. Other servers have their
own prices, which some of them report."""

from decimal import Decimal
from typing import Any

from app.providers.coerce import amount, cost_nano, mapping, plausible_nano
from app.providers.openai import descriptions


def reported_cost(model: str, body: Any) -> int | None:
    """In nano-dollars; None when it is not reported."""
    return cost_nano(body)


def computed_cost(model: str, body: Any) -> int | None:
    """In nano-dollars; None when a price or a number of tokens is unknown."""
    described = descriptions.find(model)
    counts = _counts(mapping(mapping(body).get("usage")))
    if described is None or not counts or not counts.keys() <= described.pricing.keys():
        return None
    return plausible_nano(sum((Decimal(described.pricing[name]) * count for name, count in counts.items()), Decimal()))


def _counts(usage: dict[str, Any]) -> dict[str, Decimal]:
    """The number of tokens by the name of their price; empty when a number is missing or the parts do not add up."""
    details = mapping(usage.get("input_tokens_details"))
    counts = {
        "prompt": amount(usage.get("prompt_tokens", details.get("text_tokens"))),
        "completion": amount(usage.get("completion_tokens")),
        "image": amount(details.get("image_tokens")),
        "image_output": amount(usage.get("output_tokens")),
    }
    known = {name: count for name, count in counts.items() if count}
    if "input_tokens" not in usage:
        return known
    adds_up = amount(usage["input_tokens"]) == known.get("prompt", 0) + known.get("image", 0)
    return known if adds_up and "image_output" in known else {}
