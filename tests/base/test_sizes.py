"""How numbers of bytes are shown."""

from app.base.sizes import format_size

SIZES = {
    0: "0 B",
    1000: "1000 B",
    1500: "1.5 kB",
    10 * 1024 * 1024: "10 MB",
    1536 * 1024: "1.5 MB",
    2_500_000: "2.4 MB",
    5 * 1024**4: "5120 GB",
}


def test_a_size_has_the_unit_that_suits_it() -> None:
    assert {count: format_size(count) for count in SIZES} == SIZES
