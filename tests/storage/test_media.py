"""Real images and videos: detected facts, cleaned uploads and thumbnails."""

import asyncio
import functools
import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import msgspec
import pytest
from PIL import Image, ImageChops, ImageStat
from PIL.Image import Transpose

from app.base import errors
from app.storage import images, media
from app.storage.media import Facts, Media
from tests.kit import Cases
from tests.storage import damage, samples
from tests.storage.samples import SIZE, drawing, encoded, video

SECONDS = 300.0  # only a broken product takes this long


class Sample(NamedTuple):
    """A file of SIZE pixels. `clean_suffix` is the suffix after cleaning."""

    data: Callable[[], bytes]
    mime: str
    suffix: str
    clean_suffix: str

    @property
    def kind(self) -> str:
        return self.mime.partition("/")[0]


def image(form: str, *, clean_suffix: str | None = None, data: Callable[[], bytes]) -> Sample:
    suffix = {"jpeg": ".jpg"}.get(form, f".{form}")
    return Sample(functools.cache(data), f"image/{form}", suffix, clean_suffix or suffix)


def stored_video(name: str) -> Sample:
    suffix = Path(name).suffix
    return Sample(functools.partial(video, name), f"video/{suffix[1:]}", suffix, suffix)


SAMPLES = {
    "PNG": image("png", data=samples.png),
    "PNG with alpha": image("png", data=lambda: samples.png(mode="RGBA")),
    "JPEG": image("jpeg", data=samples.jpeg),
    "progressive JPEG": image("jpeg", data=lambda: encoded(drawing(), "JPEG", progressive=True)),
    "CMYK JPEG": image("jpeg", data=lambda: samples.jpeg(mode="CMYK")),
    "WebP": image("webp", data=samples.webp),
    "WebP with alpha": image("webp", data=lambda: samples.webp(mode="RGBA")),
    "lossless WebP": image("webp", data=lambda: encoded(drawing(), "WEBP", lossless=True)),
    "animated WebP": image("webp", data=lambda: samples.animated("WEBP")),
    "GIF": image("gif", clean_suffix=".png", data=samples.gif),
    "animated GIF": image("gif", clean_suffix=".png", data=lambda: samples.animated("GIF")),
    "animated PNG": image("png", data=lambda: samples.animated("PNG")),
    "AVIF": image("avif", clean_suffix=".png", data=samples.avif),
    "H.264 in MP4": stored_video("h264.mp4"),
    "H.265 in MP4": stored_video("h265.mp4"),
    "AV1 in MP4": stored_video("av1.mp4"),
    "silent MP4": stored_video("h264-silent.mp4"),
    "fragmented MP4": stored_video("h264-fragmented.mp4"),
    "VP9 in WebM": stored_video("vp9.webm"),
    "VP8 in WebM": stored_video("vp8.webm"),
    "WebM as browsers record it": stored_video("vp9-live.webm"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def save(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def load(path: Path) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of a colour, 0 to 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


def test_the_stored_samples_are_those_of_the_table() -> None:
    assert {path.name for path in samples.FOLDER.iterdir()} == set(samples.VIDEOS)


def test_the_facts_of_a_file_come_from_its_content(tmp_path: Path) -> None:
    with Cases() as cases:
        for name, sample in SAMPLES.items():
            with cases.case(name):
                facts = media.inspect(save(tmp_path, sample.data(), "misleading.txt"))
                assert (facts.kind, facts.mime, facts.suffix) == (sample.kind, sample.mime, sample.suffix)
                assert (facts.width, facts.height) == SIZE
                assert facts.bytes == len(sample.data())
                assert facts.duration == (None if sample.kind == "image" else pytest.approx(1.0, abs=0.09))


def test_a_cleaned_file_is_valid_and_shows_the_same(tmp_path: Path, folder: Path) -> None:
    with Cases() as cases:
        for name, sample in SAMPLES.items():
            with cases.case(name):
                path, facts = media.clean(save(tmp_path, sample.data()), folder)
                assert path.parent == folder
                assert msgspec.structs.replace(facts, frames_dropped=False) == media.inspect(path)
                assert facts.frames_dropped == name.startswith("animated")
                assert (facts.kind, facts.suffix) == (sample.kind, sample.clean_suffix)
                assert (facts.width, facts.height) == SIZE
                if sample.kind == "image":
                    assert difference(load(path), drawing()) < 12


def test_a_thumbnail_shows_the_same(tmp_path: Path, folder: Path) -> None:
    with Cases() as cases:
        for name, sample in SAMPLES.items():
            with cases.case(name):
                path = save(tmp_path, sample.data())
                thumbnail, width, height = media.thumbnail(path, media.inspect(path), folder)
                assert (width, height) == SIZE
                with load(thumbnail) as image:
                    assert (image.format, image.size) == ("WEBP", SIZE)
                    # A tenth into the video, give or take a frame: each frame is different.
                    frames = [drawing(shift=shift) for shift in ((1, 2, 3) if sample.kind == "video" else (0,))]
                    assert min(difference(image, frame) for frame in frames) < 12


def test_a_damaged_file_raises_only_an_expected_error(folder: Path) -> None:
    with Cases() as cases:
        for name, sample in SAMPLES.items():
            with cases.case(name):
                damage.check(sample.data(), folder, rounds=12, seed=name)


def test_a_missing_file_is_not_reported_as_a_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        media.inspect(tmp_path / "nowhere.png")


def test_an_image_may_have_as_many_pixels_as_allowed_and_no_more(tmp_path: Path, folder: Path) -> None:
    pixels = SIZE[0] * SIZE[1]
    with Cases() as cases:
        for make in (samples.png, samples.jpeg, samples.webp, samples.gif, samples.avif):
            path = save(tmp_path, make())
            facts = media.inspect(path, pixels)
            verbs: dict[str, Callable[[], object]] = {
                "inspect": functools.partial(media.inspect, path, pixels - 1),
                "clean": functools.partial(media.clean, path, folder, pixels - 1),
                "thumbnail": functools.partial(media.thumbnail, path, facts, folder, pixels - 1),
            }
            for name, verb in verbs.items():
                with cases.case(facts.mime, name), pytest.raises(errors.TooLarge, match="96 × 64 pixels"):
                    verb()


AS_STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}  # EXIF orientation -> how a camera held like that stores the drawing


def test_an_image_taken_with_a_rotated_camera_is_shown_upright(tmp_path: Path, folder: Path) -> None:
    with Cases() as cases:
        for form in ("JPEG", "PNG", "WEBP"):
            for orientation, transpose in AS_STORED.items():
                with cases.case(form, orientation):
                    stored = drawing() if transpose is None else drawing().transpose(transpose)
                    path = save(tmp_path, encoded(stored, form, exif=samples.exif(orientation), quality=95))
                    facts = media.inspect(path)
                    cleaned, clean_facts = media.clean(path, folder)
                    thumbnail, *size = media.thumbnail(path, facts, folder)
                    assert (facts.width, facts.height) == tuple(size) == SIZE
                    assert (clean_facts.width, clean_facts.height) == SIZE
                    assert difference(load(cleaned), drawing()) < 12
                    assert difference(load(thumbnail), drawing()) < 12
                    assert load(cleaned).getexif().get(0x0112, 1) == 1


def test_a_colour_profile_is_applied_and_left_out(tmp_path: Path, folder: Path) -> None:
    orange = Image.new("RGB", (64, 64), (230, 60, 30))
    with Cases() as cases:
        for form in ("PNG", "JPEG", "WEBP"):
            path = save(tmp_path, encoded(orange, form, icc_profile=samples.swapped_profile(), quality=95))
            for made in (media.clean(path, folder)[0], media.thumbnail(path, media.inspect(path), folder)[0]):
                with cases.case(form, made.suffix), load(made) as image:
                    red, green, _ = image.convert("RGB").getpixel((32, 32))  # type: ignore[misc]
                    assert (red, green) == (pytest.approx(60, abs=8), pytest.approx(230, abs=8))
                    assert "icc_profile" not in image.info


def test_an_invalid_colour_profile_is_left_out(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, encoded(drawing(), "PNG", icc_profile=b"not a profile"))
    with load(media.clean(path, folder)[0]) as image:
        assert difference(image, drawing()) == 0
        assert "icc_profile" not in image.info


def palette_with_transparency() -> bytes:
    """Opaque above, transparent below."""
    image = Image.new("P", (40, 40))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 20, 40, 40))
    return encoded(image, "PNG", transparency=1)


def grey_with_transparency() -> bytes:
    alpha = Image.linear_gradient("L").resize((40, 40)).point(lambda value: 255 if value < 128 else 0)
    return encoded(Image.merge("LA", (Image.new("L", (40, 40)), alpha)), "PNG")


def test_transparency_stays(tmp_path: Path, folder: Path) -> None:
    images = {
        "palette": palette_with_transparency(),
        "grey": grey_with_transparency(),
        "PNG": samples.png(mode="RGBA"),
        "WebP": samples.webp(mode="RGBA"),
    }
    with Cases() as cases:
        for name, data in images.items():
            expected = Image.open(io.BytesIO(data)).convert("RGBA").getchannel("A")
            path = save(tmp_path, data)
            for made in (media.clean(path, folder)[0], media.thumbnail(path, media.inspect(path), folder)[0]):
                with cases.case(name, made.suffix), load(made) as image:
                    assert image.mode == "RGBA"
                    assert ImageStat.Stat(ImageChops.difference(image.getchannel("A"), expected)).mean[0] < 1


def test_a_grey_image_of_sixteen_bits_keeps_its_shades(tmp_path: Path, folder: Path) -> None:
    deep = Image.frombytes("I;16", (256, 1), b"".join((shade * 256).to_bytes(2, "little") for shade in range(256)))
    path = save(tmp_path, encoded(deep.resize((256, 16)), "PNG"))
    with load(media.clean(path, folder)[0]) as image:
        assert [image.getpixel((shade, 8)) for shade in range(256)] == list(range(256))
    thumbnail, _, _ = media.thumbnail(path, media.inspect(path), folder)
    with load(thumbnail) as image:
        assert image.convert("L").getpixel((128, 8)) == pytest.approx(128, abs=6)


def test_a_grey_image_of_sixteen_bits_with_one_transparent_shade_is_accepted(tmp_path: Path, folder: Path) -> None:
    deep = Image.new("I;16", (8, 8), 40_000)
    path = save(tmp_path, encoded(deep, "PNG", transparency=40_000))
    with load(media.clean(path, folder)[0]) as image:
        assert image.getpixel((4, 4)) == 40_000 // 256


def test_a_grey_image_with_one_transparent_shade_has_a_transparent_thumbnail(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, encoded(Image.new("L", (1280, 64), 7), "PNG", transparency=7))
    thumbnail, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert load(thumbnail).convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_a_black_and_white_image_stays_black_and_white(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, encoded(drawing(mode="1"), "PNG"))
    with load(media.clean(path, folder)[0]) as image:
        assert difference(image, drawing(mode="1")) == 0


def test_a_thumbnail_is_at_most_640_pixels_long_and_never_enlarged(tmp_path: Path, folder: Path) -> None:
    sizes = {
        (1600, 800): (640, 320),
        (800, 1600): (320, 640),
        (641, 641): (640, 640),
        (3000, 2): (640, 1),
        (9, 7): (9, 7),
    }
    with Cases() as cases:
        for form in ("PNG", "JPEG", "WEBP", "GIF"):
            for size, expected in sizes.items():
                with cases.case(form, size):
                    path = save(tmp_path, encoded(Image.new("RGB", size, "teal"), form))
                    thumbnail, width, height = media.thumbnail(path, media.inspect(path), folder)
                    assert (width, height) == load(thumbnail).size == expected


def test_a_large_video_has_a_thumbnail_of_640_pixels(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, video("h264-720p.mp4"))
    thumbnail, width, height = media.thumbnail(path, media.inspect(path), folder)
    assert (width, height) == load(thumbnail).size == (640, 360)
    assert difference(load(thumbnail), drawing((640, 360))) < 12


def test_an_animation_too_wide_for_webp_becomes_a_png(tmp_path: Path, folder: Path) -> None:
    data = bytearray(samples.animated("WEBP"))
    data[24:27] = (16_384 - 1).to_bytes(3, "little")
    path, facts = media.clean(save(tmp_path, bytes(data)), folder)
    assert (facts.mime, load(path).size) == ("image/png", (16_384, 64))


def test_the_thumbnail_of_a_video_that_begins_in_black_shows_a_later_frame(tmp_path: Path, folder: Path) -> None:
    with Cases() as cases:
        for name in ("h264-black-start.mp4", "vp9-black-start.webm"):
            with cases.case(name):
                path = save(tmp_path, video(name))
                thumbnail, _, _ = media.thumbnail(path, media.inspect(path), folder)
                assert difference(load(thumbnail), drawing(shift=12)) < 12


def test_a_video_that_is_black_throughout_has_a_black_thumbnail(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, video("h264-black.mp4"))
    thumbnail, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert difference(load(thumbnail), Image.new("RGB", SIZE)) < 3


def test_the_thumbnail_of_a_long_video_comes_from_a_tenth_into_it(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, video("h264-10s.mp4"))
    thumbnail, _, _ = media.thumbnail(path, media.inspect(path), folder)
    assert difference(load(thumbnail), drawing(shift=24)) < 12
    assert difference(drawing(shift=24), drawing()) > 24, "the first frame would pass as well"


def test_a_video_taken_with_a_rotated_phone_is_shown_upright(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, video("h264-rotated.mp4"))
    facts = media.inspect(path)
    cleaned, clean_facts = media.clean(path, folder)
    assert (facts.width, facts.height) == (clean_facts.width, clean_facts.height) == (64, 96)
    for each in (path, cleaned):
        thumbnail, width, height = media.thumbnail(each, facts, folder)
        assert (width, height) == (64, 96)
        assert difference(load(thumbnail), drawing(shift=3).transpose(Transpose.ROTATE_90)) < 12


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(path) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [bytes(packet) for packet in container.demux(streams) if packet.size] if streams else []


def test_the_tracks_of_a_video_are_copied_and_not_encoded_again(tmp_path: Path, folder: Path) -> None:
    with Cases() as cases:
        for name in ("h264.mp4", "vp9.webm"):
            path = save(tmp_path, video(name))
            cleaned, _ = media.clean(path, folder)
            for kind in ("video", "audio"):
                with cases.case(name, kind):
                    assert packets(cleaned, kind) == packets(path, kind) != []


def test_audio_that_browsers_do_not_play_is_left_out_and_the_frames_stay(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, video("h264-ac3.mp4"))
    cleaned, facts = media.clean(path, folder)
    assert packets(cleaned, "video") == packets(path, "video")
    assert packets(cleaned, "audio") == [] != packets(path, "audio")
    assert facts.duration == pytest.approx(1.0, abs=0.06)


def test_a_video_without_a_duration_has_one_after_cleaning(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, video("vp9-live.webm"))
    with av.open(path) as container:
        assert container.duration is None
    with av.open(media.clean(path, folder)[0]) as container:
        assert (container.duration or 0) / 1_000_000 == pytest.approx(1.0, abs=0.06)


def test_two_results_in_one_folder_do_not_overwrite_each_other(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, samples.png())
    assert media.clean(path, folder)[0] != media.clean(path, folder)[0]


def test_files_are_written_for_their_owner_only(tmp_path: Path, folder: Path) -> None:
    path = save(tmp_path, samples.png())
    media.clean(path, folder)
    media.thumbnail(path, media.inspect(path), folder)
    assert [made.stat().st_mode & 0o777 for made in folder.iterdir()] == [0o600, 0o600]


class ObservedLock:
    """A lock that signals when a thread has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.contended = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.contended.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_only_one_large_image_is_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ObservedLock()
    monkeypatch.setattr(images, "LARGE_IMAGE_LOCK", lock)
    large = save(tmp_path, encoded(Image.new("1", (4001, 4000)), "PNG"), "large")
    small = save(tmp_path, samples.png())
    results: list[Facts] = []
    thread = threading.Thread(target=lambda: results.append(media.inspect(large)))
    with lock:
        thread.start()
        assert lock.contended.wait(SECONDS)
        media.inspect(small)
        assert results == []
    thread.join(SECONDS)
    assert results[0].width == 4001


def test_importing_the_storage_loads_neither_of_the_heavy_libraries() -> None:
    code = "import sys, app.storage.files, app.storage.media; print([name for name in ('PIL', 'av') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.fixture
def service() -> Iterator[Media]:
    service = Media(max_pixels=SIZE[0] * SIZE[1])
    yield service
    service.close()


async def test_the_service_does_all_three_in_threads(tmp_path: Path, folder: Path, service: Media) -> None:
    path = save(tmp_path, samples.gif())
    facts = await service.inspect(path)
    cleaned, clean_facts = await service.clean(path, folder)
    thumbnail, *size = await service.thumbnail(cleaned, clean_facts, folder)
    assert (facts.mime, clean_facts.mime, size) == ("image/gif", "image/png", list(SIZE))
    assert {cleaned, thumbnail} == set(await asyncio.to_thread(lambda: list(folder.iterdir())))


async def test_the_service_refuses_images_above_its_own_limit(tmp_path: Path, folder: Path, service: Media) -> None:
    path = save(tmp_path, samples.png((97, 64)))
    with pytest.raises(errors.TooLarge):
        await service.inspect(path)
    with pytest.raises(errors.TooLarge):
        await service.clean(path, folder)


async def test_two_files_and_no_more_are_processed_at_once(
    tmp_path: Path, service: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, busy = 0, 0
    lock, pair = threading.Lock(), threading.Barrier(2)

    def inspect(path: Path, max_pixels: int) -> None:
        nonlocal most, busy
        with lock:
            busy += 1
            most = max(most, busy)
        pair.wait(SECONDS)  # for another call beside this one
        with lock:
            busy -= 1

    monkeypatch.setattr(media, "inspect", inspect)
    await asyncio.gather(*(service.inspect(tmp_path) for _ in range(6)))
    assert most == 2
