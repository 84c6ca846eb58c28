"""Aspect ratios and resolutions in pixels."""

from app.providers.simulator.sizes import image_size_in_pixels, matches_ratio, pixels, video_size_in_pixels
from tests.kit import Cases


def test_an_image_has_the_shape_of_its_ratio_and_the_area_of_its_tier() -> None:
    table: list[tuple[str | None, str | None, tuple[int, int]]] = [
        (None, None, (1024, 1024)),
        ("auto", "1K", (1024, 1024)),
        ("16:9", "1K", (1344, 768)),
        ("9:16", "2K", (1536, 2688)),
        ("1:1", "4K", (4096, 4096)),
        ("1:1", "512", (512, 512)),
        ("4:1", "1K", (2048, 512)),
        ("9:19.5", None, (688, 1504)),
    ]
    with Cases() as cases:
        for ratio, tier, size in table:
            with cases.case(ratio, tier):
                assert image_size_in_pixels(ratio, tier) == size


def test_a_video_has_its_resolution_on_the_shorter_side() -> None:
    table: list[tuple[str | None, str | None, tuple[int, int]]] = [
        (None, None, (1280, 720)),
        ("16:9", "1080p", (1920, 1080)),
        ("9:16", "720p", (720, 1280)),
        ("1:1", "480p", (480, 480)),
        ("16:9", "480p", (854, 480)),
        ("21:9", "720p", (1680, 720)),
        ("3:4", "768p", (768, 1024)),
    ]
    with Cases() as cases:
        for ratio, resolution, size in table:
            with cases.case(ratio, resolution):
                assert video_size_in_pixels(ratio, resolution) == size
                assert all(side % 2 == 0 for side in size)


def test_an_invalid_size_is_none() -> None:
    table: list[str] = ["", "1024", "1024x", "9x9", "99999x10", "1024X768", "1e3x1e3"]
    with Cases() as cases:
        for text in table:
            with cases.case(repr(text)):
                assert pixels(text) is None


def test_a_size_is_compared_with_a_ratio() -> None:
    assert pixels("1536x1024") == (1536, 1024)
    assert matches_ratio((1536, 1024), "3:2")
    assert not matches_ratio((1536, 1024), "1:1")
