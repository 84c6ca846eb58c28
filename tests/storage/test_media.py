"""Real pictures and clips: what is said of them, what is kept of an upload, and how they look when they are small."""

import asyncio
import contextlib
import io
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageStat
from PIL.Image import Transpose

from app.base import errors
from app.storage import media, pictures
from app.storage.media import Facts, Media
from tests.storage import samples
from tests.storage.samples import SIZE, clip, drawing, encoded

REAL: dict[str, tuple[Callable[[], bytes], str, str, str, str]] = {
    "PNG": (samples.png, "image", "image/png", ".png", ".png"),
    "PNG with alpha": (lambda: samples.png(mode="RGBA"), "image", "image/png", ".png", ".png"),
    "JPEG": (samples.jpeg, "image", "image/jpeg", ".jpg", ".jpg"),
    "progressive JPEG": (lambda: encoded(drawing(), "JPEG", progressive=True), "image", "image/jpeg", ".jpg", ".jpg"),
    "JPEG in print colours": (lambda: samples.jpeg(mode="CMYK"), "image", "image/jpeg", ".jpg", ".jpg"),
    "WebP": (samples.webp, "image", "image/webp", ".webp", ".webp"),
    "WebP with alpha": (lambda: samples.webp(mode="RGBA"), "image", "image/webp", ".webp", ".webp"),
    "lossless WebP": (lambda: encoded(drawing(), "WEBP", lossless=True), "image", "image/webp", ".webp", ".webp"),
    "animated WebP": (lambda: samples.animated("WEBP"), "image", "image/webp", ".webp", ".webp"),
    "GIF": (samples.gif, "image", "image/gif", ".gif", ".png"),
    "animated GIF": (lambda: samples.animated("GIF"), "image", "image/gif", ".gif", ".png"),
    "animated PNG": (lambda: samples.animated("PNG"), "image", "image/png", ".png", ".png"),
    "AVIF": (samples.avif, "image", "image/avif", ".avif", ".png"),
    "H.264 in MP4": (clip, "video", "video/mp4", ".mp4", ".mp4"),
    "H.265 in MP4": (lambda: clip(codec="libx265"), "video", "video/mp4", ".mp4", ".mp4"),
    "AV1 in MP4": (lambda: clip(codec="libsvtav1"), "video", "video/mp4", ".mp4", ".mp4"),
    "silent MP4": (lambda: clip(sound=None), "video", "video/mp4", ".mp4", ".mp4"),
    "MP4 in pieces": (
        lambda: clip(options=(("movflags", "frag_keyframe+empty_moov"),)), "video", "video/mp4", ".mp4", ".mp4",
    ),
    "VP9 in WebM": (lambda: clip("webm"), "video", "video/webm", ".webm", ".webm"),
    "VP8 in WebM": (lambda: clip("webm", codec="libvpx"), "video", "video/webm", ".webm", ".webm"),
    "WebM as browsers record it": (
        lambda: clip("webm", options=(("live", "1"),)), "video", "video/webm", ".webm", ".webm",
    ),
}  # fmt: skip
EVERY_REAL = pytest.mark.parametrize("name", REAL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def at(tmp_path: Path, data: bytes, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def opened(path: Path) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of a colour, 0 to 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


@EVERY_REAL
def test_the_facts_of_a_file_are_what_it_really_is(tmp_path: Path, name: str) -> None:
    make, kind, mime, suffix, _ = REAL[name]
    facts = media.inspect(at(tmp_path, make(), "misleading.txt"))
    assert (facts.kind, facts.mime, facts.suffix, facts.width, facts.height) == (kind, mime, suffix, *SIZE)
    assert facts.bytes == len(make())
    assert facts.duration == (None if kind == "image" else pytest.approx(1.0, abs=0.09))


@EVERY_REAL
def test_a_cleaned_file_is_a_sound_one_that_shows_the_same(tmp_path: Path, folder: Path, name: str) -> None:
    make, kind, _, _, suffix = REAL[name]
    path, facts = media.clean(at(tmp_path, make()), folder)
    assert path.parent == folder
    assert facts == media.inspect(path)
    assert (facts.kind, facts.suffix, facts.width, facts.height) == (kind, suffix, *SIZE)
    if kind == "image":
        assert difference(opened(path), drawing()) < 12


@EVERY_REAL
def test_a_thumbnail_shows_the_same(tmp_path: Path, folder: Path, name: str) -> None:
    path = at(tmp_path, REAL[name][0]())
    small, width, height = media.thumbnail(path, media.inspect(path), folder)
    assert (width, height) == SIZE
    with opened(small) as image:
        assert (image.format, image.size) == ("WEBP", SIZE)
        # A tenth into the clip, give or take a frame: the picture changes with every one.
        shown = [drawing(shift=shift) for shift in ((1, 2, 3) if REAL[name][1] == "video" else (0,))]
        assert min(difference(image, each) for each in shown) < 12


@EVERY_REAL
def test_no_damage_to_a_file_is_met_with_anything_but_a_refusal(tmp_path: Path, folder: Path, name: str) -> None:
    chance = random.Random(name)
    whole = REAL[name][0]()
    path = tmp_path / "damaged"
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 3, 30))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(errors.Invalid):
            media.thumbnail(path, media.inspect(path), folder)
        with contextlib.suppress(errors.Invalid):
            media.clean(path, folder)


def test_a_missing_file_is_not_called_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        media.inspect(tmp_path / "nowhere.png")


@pytest.mark.parametrize("make", [samples.png, samples.jpeg, samples.webp, samples.gif, samples.avif])
def test_a_picture_may_have_as_many_pixels_as_allowed_and_no_more(
    tmp_path: Path, folder: Path, make: Callable[[], bytes]
) -> None:
    path = at(tmp_path, make())
    pixels = SIZE[0] * SIZE[1]
    facts = media.inspect(path, pixels)
    for verb in (
        lambda: media.inspect(path, pixels - 1),
        lambda: media.clean(path, folder, pixels - 1),
        lambda: media.thumbnail(path, facts, folder, pixels - 1),
    ):
        with pytest.raises(errors.TooLarge, match="96 × 64 pixels"):
            verb()


UPRIGHT_AGAIN = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}  # how a camera held like that would have stored the drawing


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT_AGAIN)
def test_a_picture_taken_with_the_camera_turned_is_shown_upright(
    tmp_path: Path, folder: Path, form: str, orientation: int
) -> None:
    turn = UPRIGHT_AGAIN[orientation]
    taken = drawing() if turn is None else drawing().transpose(turn)
    path = at(tmp_path, encoded(taken, form, exif=samples.exif(orientation), quality=95))
    facts = media.inspect(path)
    cleaned, kept = media.clean(path, folder)
    small, *size = media.thumbnail(path, facts, folder)
    assert (facts.width, facts.height) == (kept.width, kept.height) == tuple(size) == SIZE
    assert difference(opened(cleaned), drawing()) < 12
    assert difference(opened(small), drawing()) < 12
    assert opened(cleaned).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_colour_profile_is_applied_and_left_out(tmp_path: Path, folder: Path, form: str) -> None:
    orange = Image.new("RGB", (64, 64), (230, 60, 30))
    profile = samples.swapped_profile()
    path = at(tmp_path, encoded(orange, form, icc_profile=profile, quality=95))
    for made in (media.clean(path, folder)[0], media.thumbnail(path, media.inspect(path), folder)[0]):
        with opened(made) as image:
            red, green, _ = image.convert("RGB").getpixel((32, 32))  # type: ignore[misc]
            assert (red, green) == (pytest.approx(60, abs=8), pytest.approx(230, abs=8))
            assert "icc_profile" not in image.info


def test_a_colour_profile_that_is_broken_is_left_out(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, encoded(drawing(), "PNG", icc_profile=b"not a profile"))
    with opened(media.clean(path, folder)[0]) as image:
        assert difference(image, drawing()) == 0
        assert "icc_profile" not in image.info


def palette_with_transparency() -> bytes:
    """Opaque above, see-through below."""
    image = Image.new("P", (40, 40))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 20, 40, 40))
    return encoded(image, "PNG", transparency=1)


@pytest.mark.parametrize(
    "data",
    [
        palette_with_transparency(),
        encoded(Image.merge("LA", (Image.new("L", (40, 40)), Image.linear_gradient("L").resize((40, 40)).point(lambda v: 255 if v < 128 else 0))), "PNG"),
        samples.png(mode="RGBA"),
        samples.webp(mode="RGBA"),
    ],
    ids=["palette", "grey", "PNG", "WebP"],
)  # fmt: skip
def test_what_one_can_see_through_stays_so(tmp_path: Path, folder: Path, data: bytes) -> None:
    expected = Image.open(io.BytesIO(data)).convert("RGBA").getchannel("A")
    path = at(tmp_path, data)
    for made in (media.clean(path, folder)[0], media.thumbnail(path, media.inspect(path), folder)[0]):
        with opened(made) as image:
            assert image.mode == "RGBA"
            assert ImageStat.Stat(ImageChops.difference(image.getchannel("A"), expected)).mean[0] < 1


def test_a_grey_picture_of_sixteen_bits_keeps_its_shades(tmp_path: Path, folder: Path) -> None:
    deep = Image.frombytes("I;16", (256, 1), b"".join((shade * 256).to_bytes(2, "little") for shade in range(256)))
    path = at(tmp_path, encoded(deep.resize((256, 16)), "PNG"))
    with opened(media.clean(path, folder)[0]) as image:
        assert [image.getpixel((shade, 8)) for shade in range(256)] == list(range(256))
    small, _, _ = media.thumbnail(path, media.inspect(path), folder)
    with opened(small) as image:
        assert image.convert("L").getpixel((128, 8)) == pytest.approx(128, abs=6)


def test_a_grey_picture_of_sixteen_bits_with_one_transparent_shade_is_accepted(tmp_path: Path, folder: Path) -> None:
    deep = Image.new("I;16", (8, 8), 40_000)
    path = at(tmp_path, encoded(deep, "PNG", transparency=40_000))
    with opened(media.clean(path, folder)[0]) as image:
        assert image.getpixel((4, 4)) == 40_000 // 256


def test_a_grey_picture_with_one_transparent_shade_has_a_thumbnail_one_can_see_through(
    tmp_path: Path, folder: Path
) -> None:
    path = at(tmp_path, encoded(Image.new("L", (1280, 64), 7), "PNG", transparency=7))
    small, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert opened(small).convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_a_black_and_white_picture_stays_so(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, encoded(drawing(mode="1"), "PNG"))
    with opened(media.clean(path, folder)[0]) as image:
        assert difference(image, drawing(mode="1")) == 0


@pytest.mark.parametrize(
    ("size", "small"),
    [((1600, 800), (640, 320)), ((800, 1600), (320, 640)), ((641, 641), (640, 640)), ((3000, 2), (640, 1)), ((9, 7), (9, 7))],
)  # fmt: skip
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_thumbnail_is_640_pixels_long_at_most_and_never_enlarged(
    tmp_path: Path, folder: Path, form: str, size: tuple[int, int], small: tuple[int, int]
) -> None:
    path = at(tmp_path, encoded(drawing(size), form))
    made, width, height = media.thumbnail(path, media.inspect(path), folder)
    assert (width, height) == opened(made).size == small


def test_a_clip_of_another_size_has_a_thumbnail_of_640_pixels(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, clip(size=(1280, 720), frames=1, sound=None))
    made, width, height = media.thumbnail(path, media.inspect(path), folder)
    assert (width, height) == opened(made).size == (640, 360)
    assert difference(opened(made), drawing((640, 360))) < 12


def test_an_animation_too_wide_for_a_webp_still_becomes_a_png(tmp_path: Path, folder: Path) -> None:
    data = bytearray(samples.animated("WEBP"))
    data[24:27] = (16_384 - 1).to_bytes(3, "little")
    path, facts = media.clean(at(tmp_path, bytes(data)), folder)
    assert (facts.mime, opened(path).size) == ("image/png", (16_384, 64))


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_a_clip_that_begins_in_black_is_shown_by_a_later_frame(tmp_path: Path, folder: Path, form: str) -> None:
    path = at(tmp_path, clip(form, black=12))
    made, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert difference(opened(made), drawing(shift=12)) < 12


def test_a_clip_that_is_all_black_has_a_thumbnail_all_the_same(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, clip(frames=100, black=100))
    made, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert difference(opened(made), Image.new("RGB", SIZE)) < 3


def test_the_thumbnail_of_a_long_clip_comes_from_a_tenth_into_it(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, clip(frames=24 * 20))
    made, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert difference(opened(made), drawing(shift=48)) < 12


def test_a_clip_taken_with_the_phone_turned_is_shown_upright(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, clip(turned=90))
    facts = media.inspect(path)
    cleaned, kept = media.clean(path, folder)
    for each in (path, cleaned):
        made, width, height = media.thumbnail(each, facts, folder)
        assert (facts.width, facts.height) == (kept.width, kept.height) == (width, height) == (64, 96)
        assert difference(opened(made), drawing(shift=3).transpose(Transpose.ROTATE_90)) < 12


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(path) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [bytes(packet) for packet in container.demux(streams) if packet.size] if streams else []


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_the_pictures_and_the_sound_of_a_clip_are_not_coded_anew(tmp_path: Path, folder: Path, form: str) -> None:
    path = at(tmp_path, clip(form))
    cleaned, _ = media.clean(path, folder)
    for kind in ("video", "audio"):
        assert packets(cleaned, kind) == packets(path, kind) != []


def test_sound_that_browsers_do_not_play_is_left_out_and_the_pictures_stay(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, clip(sound="ac3"))
    cleaned, facts = media.clean(path, folder)
    assert packets(cleaned, "video") == packets(path, "video")
    assert packets(cleaned, "audio") == [] != packets(path, "audio")
    assert facts.duration == pytest.approx(1.0, abs=0.06)


def test_a_clip_that_does_not_say_how_long_it_is_says_so_when_it_was_cleaned(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, clip("webm", options=(("live", "1"),)))
    with av.open(path) as container:
        assert container.duration is None
    with av.open(media.clean(path, folder)[0]) as container:
        assert (container.duration or 0) / 1_000_000 == pytest.approx(1.0, abs=0.06)


def test_two_results_in_one_folder_do_not_overwrite_each_other(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, samples.png())
    assert media.clean(path, folder)[0] != media.clean(path, folder)[0]


def test_pictures_are_written_for_their_owner_only(tmp_path: Path, folder: Path) -> None:
    path = at(tmp_path, samples.png())
    media.clean(path, folder)
    media.thumbnail(path, media.inspect(path), folder)
    assert [made.stat().st_mode & 0o777 for made in folder.iterdir()] == [0o600, 0o600]


def test_only_one_large_picture_is_decoded_at_a_time(tmp_path: Path) -> None:
    large, small = at(tmp_path, encoded(Image.new("L", (4001, 4000)), "PNG"), "large"), at(tmp_path, samples.png())
    done: list[Facts] = []
    waiting = threading.Thread(target=lambda: done.append(media.inspect(large)))
    with pictures._one_at_a_time:
        waiting.start()
        media.inspect(small)
        waiting.join(0.2)
        assert done == []
    waiting.join(10)
    assert done[0].width == 4001


def test_importing_the_storage_brings_neither_of_the_heavy_libraries() -> None:
    code = "import sys, app.storage.files, app.storage.media; print([name for name in ('PIL', 'av') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.fixture
def service() -> Iterator[Media]:
    service = Media(max_pixels=SIZE[0] * SIZE[1])
    yield service
    service.close()


async def test_a_server_does_all_three_in_threads(tmp_path: Path, folder: Path, service: Media) -> None:
    path = at(tmp_path, samples.gif())
    facts = await service.inspect(path)
    cleaned, kept = await service.clean(path, folder)
    small, *size = await service.thumbnail(cleaned, kept, folder)
    assert (facts.mime, kept.mime, size) == ("image/gif", "image/png", list(SIZE))
    assert {cleaned, small} == set(await asyncio.to_thread(lambda: list(folder.iterdir())))


async def test_a_server_refuses_pictures_above_its_own_limit(tmp_path: Path, folder: Path, service: Media) -> None:
    with pytest.raises(errors.TooLarge):
        await service.inspect(at(tmp_path, samples.png((97, 64))))
    with pytest.raises(errors.TooLarge):
        await service.clean(at(tmp_path, samples.png((97, 64))), folder)


async def test_no_more_than_two_files_are_worked_on_at_once(
    tmp_path: Path, service: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    busy = 0
    lock, go_on = threading.Lock(), threading.Event()

    def slow(path: Path, max_pixels: int) -> None:
        nonlocal busy
        with lock:
            busy += 1
            at_once.append(busy)
        go_on.wait(0.05)
        with lock:
            busy -= 1

    monkeypatch.setattr(media, "inspect", slow)
    await asyncio.gather(*(service.inspect(tmp_path) for _ in range(6)))
    assert max(at_once) == 2
