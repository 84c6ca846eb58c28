"""The headers of a result for OpenAI-compatible clients: its model, its cost and the time it took."""

from litestar.types import Scope

from app.base.money import usd
from app.web.access_log import seconds_since


def result_headers(scope: Scope, model: str, provider_seconds: float, cost_nano: int | None) -> dict[str, str]:
    """The model, the cost if it is known already, and the milliseconds spent in Atelier rather than the provider."""
    cost = usd(cost_nano)
    return {
        "X-Atelier-Model": model,
        "X-Atelier-Overhead-Ms": f"{max(0.0, seconds_since(scope) - provider_seconds) * 1000:.1f}",
        **({"X-Atelier-Cost-Usd": cost} if cost is not None else {}),
    }
