"""The pictures are real, pretty enough to show, and follow from prompt and seed alone."""

import time
from itertools import combinations

import pytest
from PIL import Image, ImageChops, ImageStat

from app.providers.simulator import pictures, scenery
from tests.providers.simulator.caller import opened, png, two_halves

PROMPTS = ("a lighthouse at dusk", "cyberpunk city in the rain", "a bowl of ramen", "abstract poster", "a forest path")


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference between two pictures, 0 to 255."""
    statistics = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return sum(statistics.mean) / 3


def test_a_picture_is_a_png_of_exactly_the_size_that_was_asked_for() -> None:
    for size in ((1024, 1024), (1344, 768), (300, 500), (2048, 512), (16, 16)):
        picture = opened(pictures.draw("a hill", 1, size))
        assert picture.format == "PNG"
        assert picture.size == size


def test_prompt_and_seed_decide_everything() -> None:
    first = pictures.draw("a hill", 1, (256, 256))
    assert first == pictures.draw("a hill", 1, (256, 256))
    assert first != pictures.draw("a hill", 2, (256, 256))
    assert first != pictures.draw("a dale", 1, (256, 256))


def test_different_prompts_look_different() -> None:
    drawn = [opened(pictures.draw(prompt, 0, (256, 256))) for prompt in PROMPTS]
    for one, other in combinations(drawn, 2):
        assert difference(one, other) > 15


@pytest.mark.parametrize("motif", sorted(scenery.MOTIFS))
def test_every_motif_fills_its_canvas_and_has_depth_to_move_in(motif: str) -> None:
    brush = scenery.Brush("test", motif, (320, 200))
    scene = scenery.MOTIFS[motif](brush)
    whole = scene.whole()
    assert whole.size == (320, 200)
    assert whole.mode == "RGB"
    assert len(whole.getcolors(320 * 200) or []) > 60
    assert max(layer.depth for layer in scene.layers) > 0.6
    assert all(layer.mask.size == layer.picture.size == (320, 200) for layer in scene.layers)


def test_the_words_of_the_prompt_choose_the_motif() -> None:
    night = opened(pictures.draw("a night in the mountains", 1, (128, 128)))
    snow = opened(pictures.draw("a winter day in the mountains", 1, (128, 128)))
    assert ImageStat.Stat(night.convert("L")).mean[0] < ImageStat.Stat(snow.convert("L")).mean[0] - 40


def test_the_prompt_stands_at_the_foot_of_the_picture() -> None:
    plain, signed = pictures.scene("a hill", 1, (512, 512)), pictures.scene("a hill", 1, (512, 512))
    pictures.caption(signed, "a hill")
    changed = ImageChops.difference(plain, signed).getbbox()
    assert changed is not None
    assert changed[1] > 512 * 0.8
    white = signed.crop((0, 440, 512, 512)).convert("L").point([0] * 225 + [255] * 31).getbbox()
    assert white is not None


def test_a_long_prompt_is_cut_after_three_lines() -> None:
    short = pictures.caption_strip("word " * 60, (512, 512))
    long = pictures.caption_strip("word " * 5000, (512, 512))
    assert long.height == short.height < 512 / 4


@pytest.mark.parametrize("prompt", ["", "日本の山", "a" * 3000, "line\nbreak\ttab", "🦊🦊", "\u202eright to left"])
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    assert opened(pictures.draw(prompt, 0, (128, 128))).size == (128, 128)


def test_a_given_picture_stays_visible_when_it_is_made_over() -> None:
    given = two_halves()
    made = opened(pictures.draw("autumn", 0, (320, 180), references=[png(given)]))
    other = opened(pictures.draw("autumn", 0, (320, 180)))
    assert difference(made, given) < difference(other, given)
    assert difference(made, given) > 5


def test_several_given_pictures_stand_side_by_side() -> None:
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    made = opened(pictures.draw("together", 0, (200, 100), references=[png(red), png(blue)])).convert("RGB")
    left, right = ImageStat.Stat(made.crop((0, 0, 90, 70))).mean, ImageStat.Stat(made.crop((110, 0, 200, 70))).mean
    assert left[0] - left[2] > right[0] - right[2]


@pytest.mark.parametrize("given", [b"", b"not a picture", b"\x89PNG\r\n\x1a\nbroken"])
def test_an_unreadable_picture_is_replaced_and_does_no_harm(given: bytes) -> None:
    assert not pictures.readable(given)
    assert opened(pictures.draw("harmless", 0, (64, 64), references=[given])).size == (64, 64)


def test_a_picture_of_a_megapixel_takes_a_fraction_of_a_second_of_one_core() -> None:
    pictures.draw("warm up", 0, (64, 64))
    start = time.thread_time()
    for prompt in PROMPTS:
        pictures.draw(prompt, 0, (1024, 1024))
    assert (time.thread_time() - start) / len(PROMPTS) < 0.35
