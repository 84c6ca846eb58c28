"""Money in whole nano-dollars, so that sums are exact; decimals only at the edges."""

from decimal import Decimal
from typing import Final

NANO: Final = 1_000_000_000


def nano_dollars(usd: Decimal | str | float | None) -> int | None:
    """Whole nano-dollars of a figure in USD; None stays None, because unknown is never 0."""
    if usd is None:
        return None
    return int((Decimal(str(usd)) * NANO).to_integral_value())


def usd(nano: int | None) -> str | None:
    """An exact decimal string in USD for programs; None for unknown."""
    if nano is None:
        return None
    text = f"{Decimal(nano) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
