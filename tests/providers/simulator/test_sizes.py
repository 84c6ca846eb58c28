"""Words about size mean pixels."""

import pytest

from app.providers.simulator.sizes import clip_size, picture_size, pixels, same_shape


@pytest.mark.parametrize(
    ("ratio", "tier", "size"),
    [
        (None, None, (1024, 1024)),
        ("auto", "1K", (1024, 1024)),
        ("16:9", "1K", (1344, 768)),
        ("9:16", "2K", (1536, 2688)),
        ("1:1", "4K", (4096, 4096)),
        ("1:1", "512", (512, 512)),
        ("4:1", "1K", (2048, 512)),
        ("9:19.5", None, (688, 1504)),
    ],
)
def test_a_picture_has_the_shape_of_its_ratio_and_the_area_of_its_tier(
    ratio: str | None, tier: str | None, size: tuple[int, int]
) -> None:
    assert picture_size(ratio, tier) == size


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [
        (None, None, (1280, 720)),
        ("16:9", "1080p", (1920, 1080)),
        ("9:16", "720p", (720, 1280)),
        ("1:1", "480p", (480, 480)),
        ("16:9", "480p", (854, 480)),
        ("21:9", "720p", (1680, 720)),
        ("3:4", "768p", (768, 1024)),
    ],
)
def test_a_clip_has_its_resolution_on_the_shorter_side(
    ratio: str | None, resolution: str | None, size: tuple[int, int]
) -> None:
    assert clip_size(ratio, resolution) == size
    assert all(side % 2 == 0 for side in size)


@pytest.mark.parametrize("text", ["", "1024", "1024x", "9x9", "99999x10", "1024X768", "1e3x1e3"])
def test_what_is_no_size_is_none(text: str) -> None:
    assert pixels(text) is None


def test_a_size_has_the_shape_it_has() -> None:
    assert pixels("1536x1024") == (1536, 1024)
    assert same_shape((1536, 1024), "3:2")
    assert not same_shape((1536, 1024), "1:1")
