"""Money in whole nano-dollars."""

from decimal import Decimal

from app.base.money import nano_dollars, usd

AMOUNTS: list[tuple[str | float | Decimal | None, int | None, str | None]] = [
    ("0.0061", 6_100_000, "0.0061"),
    (0.1, 100_000_000, "0.1"),
    (Decimal("3.200000001"), 3_200_000_001, "3.200000001"),
    ("1e-9", 1, "0.000000001"),
    (0, 0, "0"),
    ("12", 12_000_000_000, "12"),
    (None, None, None),
]


def test_money_is_exact_and_unknown_stays_unknown() -> None:
    failures = [amount for amount, nano, text in AMOUNTS if (nano_dollars(amount), usd(nano)) != (nano, text)]
    assert not failures
