"""Money in whole nano-dollars, so that sums are exact; decimals only at the boundaries (providers, API, pages)."""

from decimal import Decimal
from typing import Final

NANO: Final = 1_000_000_000


def nano_dollars(usd: Decimal | str | float | None) -> int | None:
    """An amount in USD as whole nano-dollars; None (unknown) stays None and never becomes 0."""
    if usd is None:
        return None
    return int((Decimal(str(usd)) * NANO).to_integral_value())


def usd(nano: int | None) -> str | None:
    """An exact decimal string in USD, for the API; None for unknown."""
    if nano is None:
        return None
    text = f"{Decimal(nano) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
