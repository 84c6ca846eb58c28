"""Images of the simulator are real, varied, and depend on prompt and seed only."""

from itertools import combinations

from PIL import Image, ImageChops, ImageStat

from app.providers.simulator import images, painting
from tests.kit import Cases
from tests.providers.simulator.kit import difference, open_image, png, two_halves

PROMPTS = ("a lighthouse at dusk", "cyberpunk city in the rain", "a bowl of ramen", "abstract poster", "a forest path")


def test_an_image_is_a_png_of_exactly_the_requested_size() -> None:
    for size in ((1344, 768), (300, 500), (1024, 256), (16, 16)):
        image = open_image(images.generate("a hill", 1, size))
        image.load()
        assert (image.format, image.size) == ("PNG", size)


def test_prompt_and_seed_determine_the_image() -> None:
    first = images.generate("a hill", 1, (256, 256))
    assert first == images.generate("a hill", 1, (256, 256))
    assert first != images.generate("a hill", 2, (256, 256))
    assert first != images.generate("a dale", 1, (256, 256))


def test_different_prompts_look_different() -> None:
    drawn = [open_image(images.generate(prompt, 0, (256, 256))) for prompt in PROMPTS]
    for one, other in combinations(drawn, 2):
        assert difference(one, other) > 15


def test_every_kind_of_ridge_in_every_palette_fills_the_image() -> None:
    with Cases() as cases:
        for kinds in painting.PROFILES:
            for colours in painting.PALETTES:
                prompt = f"{kinds.split()[0]} {colours.split()[0]}"
                with cases.case(prompt):
                    image = painting.paint(prompt, 1, (160, 100))
                    assert (image.size, image.mode) == ((160, 100), "RGB")
                    assert len(image.getcolors(160 * 100) or []) > 60


def test_words_of_the_prompt_choose_the_colours() -> None:
    night = open_image(images.generate("a night in the mountains", 1, (128, 128)))
    snow = open_image(images.generate("a winter day in the mountains", 1, (128, 128)))
    assert ImageStat.Stat(night.convert("L")).mean[0] < ImageStat.Stat(snow.convert("L")).mean[0] - 40


def test_the_prompt_is_written_at_the_bottom_of_the_image() -> None:
    plain, signed = images.landscape("a hill", 1, (512, 512)), open_image(images.generate("a hill", 1, (512, 512)))
    changed = ImageChops.difference(plain, signed).getbbox()
    assert changed is not None
    assert changed[1] > 512 * 0.8
    white = signed.crop((0, 440, 512, 512)).convert("L").point([0] * 225 + [255] * 31).getbbox()
    assert white is not None


def test_a_long_prompt_is_cut_after_three_lines() -> None:
    short = images.caption("word " * 60, (512, 512))
    long = images.caption("word " * 5000, (512, 512))
    assert long.height == short.height < 512 / 4


def test_any_prompt_can_be_drawn() -> None:
    table: list[str] = ["", "日本の山", "a" * 3000, "line\nbreak\ttab", "🦊🦊", "\u202eright to left"]
    with Cases() as cases:
        for prompt in table:
            with cases.case(prompt):
                assert open_image(images.generate(prompt, 0, (128, 128))).size == (128, 128)


def test_an_input_image_stays_visible_in_the_result() -> None:
    reference = two_halves()
    made = open_image(images.generate("autumn", 0, (320, 180), references=[png(reference)]))
    other = open_image(images.generate("autumn", 0, (320, 180)))
    assert difference(made, reference) < difference(other, reference)
    assert difference(made, reference) > 5


def test_several_input_images_stand_side_by_side() -> None:
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    made = open_image(images.generate("together", 0, (200, 100), references=[png(red), png(blue)])).convert("RGB")
    left, right = ImageStat.Stat(made.crop((0, 0, 90, 70))).mean, ImageStat.Stat(made.crop((110, 0, 200, 70))).mean
    assert left[0] - left[2] > right[0] - right[2]


def test_an_unreadable_input_image_is_replaced() -> None:
    table: list[bytes] = [b"", b"not an image", b"\x89PNG\r\n\x1a\nbroken"]
    with Cases() as cases:
        for data in table:
            with cases.case(data):
                assert not images.is_readable(data)
                assert open_image(images.generate("harmless", 0, (64, 64), references=[data])).size == (64, 64)
