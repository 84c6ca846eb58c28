"""Metadata in files: what is written is read back, by other programs too; the image or video stays the same, bit by bit."""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import av
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.base.file_parts import FileRange, Part, total_size, within
from app.storage.metadata.embedding import rewritten, settings_of
from app.storage.metadata.xmp import MAX_PACKET, GenerationSettings, UsedInput, packet
from tests.kit import Cases
from tests.storage import hostile, samples

FULL = GenerationSettings(
    kind="image",
    model="bytedance-seed/seedream-5",
    prompt='A "boat" <on> water & ü \U0001f6a4\nsecond line',
    enhanced_prompt="A small boat on calm water",
    enhanced_by="01a",
    system_prompt="Be brief",
    params={"seed": 7, "aspect_ratio": "16:9", "negative_prompt": "blur, noise", "hd": True, "strength": 0.25},
    inputs=(UsedInput("reference", "02b", 0.5), UsedInput("mask", "03c")),
)
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "MP4": "video/mp4"}
SPACES = {"dc": "http://purl.org/dc/elements/1.1/", "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#"}
LONG = "\U0001f6a4" * 32_000


def files() -> dict[str, tuple[str, bytes]]:
    """One file of each kind that has a structure of its own, with its media type."""
    image = samples.drawing()
    alpha = samples.drawing(mode="RGBA")
    exif = samples.exif(description="secret")
    found = {
        "PNG": samples.png(),
        "PNG with text": samples.with_chunk(samples.png(), b"tEXt", b"workflow\0secret"),
        "JPEG": samples.jpeg(),
        "JPEG with EXIF": samples.encoded(image, "JPEG", exif=exif, comment=b"secret"),
        "WEBP": samples.webp(),
        "WEBP without loss": samples.encoded(image, "WEBP", lossless=True),
        "WEBP with alpha": samples.encoded(alpha, "WEBP", lossless=True),
        "WEBP with EXIF": samples.encoded(image, "WEBP", exif=exif),
        "WEBP of odd length": samples.encoded(image, "WEBP", quality=33),
    }
    for name in samples.VIDEOS:
        data = samples.video(name)
        if data[4:8] == b"ftyp":
            found[f"MP4 {name}"] = data
    return {name: (FORMATS[name.split()[0]], data) for name, data in found.items()}


def joined(data: bytes, parts: Sequence[Part]) -> bytes:
    return b"".join(data[part.start : part.stop] if isinstance(part, FileRange) else part for part in parts)


def written(folder: Path, mime: str, data: bytes, metadata: GenerationSettings | None) -> bytes:
    path = folder / "file"
    path.write_bytes(data)
    return joined(data, rewritten(path, mime, metadata))


def read(folder: Path, mime: str, data: bytes) -> GenerationSettings | None:
    path = folder / "written"
    path.write_bytes(data)
    return settings_of(path, mime)


def content(mime: str, data: bytes) -> object:
    """The pixels of an image, or the packets of a video with their times."""
    if mime.startswith("image/"):
        with Image.open(io.BytesIO(data)) as image:
            return image.mode, image.size, image.tobytes()
    with av.open(io.BytesIO(data), "r") as container:
        return [(bytes(packet), packet.pts, packet.stream_index) for packet in container.demux()]


def test_settings_are_read_back_and_the_content_is_the_same(tmp_path: Path) -> None:
    with Cases() as cases:
        for name, (mime, data) in files().items():
            with cases.case(name):
                new = written(tmp_path, mime, data, FULL)
                assert read(tmp_path, mime, new) == FULL
                assert content(mime, new) == content(mime, data)
                assert len(new) - len(data) < 10_000, "nothing was encoded again"


def test_new_settings_replace_older_ones(tmp_path: Path) -> None:
    newer = GenerationSettings(kind="video", model="m", prompt="newer")
    with Cases() as cases:
        for name, (mime, data) in files().items():
            with cases.case(name):
                new = written(tmp_path, mime, written(tmp_path, mime, data, FULL), newer)
                assert read(tmp_path, mime, new) == newer
                assert content(mime, new) == content(mime, data)


def test_without_metadata_nothing_of_it_is_left(tmp_path: Path) -> None:
    with Cases() as cases:
        for name, (mime, data) in files().items():
            with cases.case(name):
                clean = written(tmp_path, mime, written(tmp_path, mime, data, FULL), None)
                assert content(mime, clean) == content(mime, data)
                assert read(tmp_path, mime, clean) is None
                for trace in (b"secret", b"seedream", b"Atelier", b"boat", hostile.MARK):
                    assert trace not in clean, trace


def test_a_photo_that_is_stored_lying_stays_upright_without_metadata(tmp_path: Path) -> None:
    for form in ("JPEG", "WEBP", "PNG"):
        data = samples.encoded(samples.drawing(), form, exif=samples.exif(orientation=6))
        clean = written(tmp_path, FORMATS[form], data, None)
        with Image.open(io.BytesIO(clean)) as image:
            assert image.getexif()[0x0112] == 6, form


def test_other_programs_read_the_prompt(tmp_path: Path) -> None:
    png = written(tmp_path, "image/png", samples.png(), FULL)
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        text = image.text  # type: ignore[attr-defined]
        assert text["parameters"] == (
            "A small boat on calm water\nNegative prompt: blur, noise\n"
            'Seed: 7, Model: bytedance-seed/seedream-5, aspect_ratio: "16:9", hd: true, strength: 0.25, Version: Atelier'
        )
        assert "trainedAlgorithmicMedia" in text["XML:com.adobe.xmp"].replace("compositeWithT", "t")
    for form in ("JPEG", "WEBP"):
        data = written(tmp_path, FORMATS[form], samples.encoded(samples.drawing(), form), FULL)
        with Image.open(io.BytesIO(data)) as image:
            description = ElementTree.fromstring(image.info["xmp"].decode()).find(".//dc:description//rdf:li", SPACES)  # noqa: S314
            assert description is not None
            assert description.text == "A small boat on calm water", form
    video = next(data for name, (mime, data) in files().items() if mime == "video/mp4")
    with av.open(io.BytesIO(written(tmp_path, "video/mp4", video, FULL))) as container:
        assert container.metadata["description"] == "A small boat on calm water"
        assert "Seed: 7" in container.metadata["comment"]
        assert container.metadata["encoder"] == "Atelier"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = st.builds(
    GenerationSettings,
    kind=st.sampled_from(["image", "video"]),
    model=st.text(),
    prompt=st.text() | st.just(LONG),
    enhanced_prompt=st.none() | st.text(),
    enhanced_by=st.none() | st.text(),
    system_prompt=st.none() | st.text(),
    params=st.dictionaries(st.text(), JSON, max_size=4),
    inputs=st.lists(
        st.builds(UsedInput, st.sampled_from(["image", "mask"]), st.text(), st.none() | st.floats(0, 2))
    ).map(tuple),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SETTINGS)
def test_any_settings_survive_every_format(tmp_path: Path, wanted: GenerationSettings) -> None:
    video = samples.video(next(name for name in samples.VIDEOS if samples.video(name)[4:8] == b"ftyp"))
    for mime, data in (
        ("image/png", samples.png()),
        ("image/jpeg", samples.jpeg()),
        ("image/webp", samples.webp()),
        ("video/mp4", video),
    ):
        assert read(tmp_path, mime, written(tmp_path, mime, data, wanted)) == wanted, mime


def test_any_range_of_a_rewritten_file_has_the_same_bytes(tmp_path: Path) -> None:
    data = samples.png()
    path = tmp_path / "file"
    path.write_bytes(data)
    parts = rewritten(path, "image/png", FULL)
    whole = joined(data, parts)
    assert total_size(parts) == len(whole)
    for first in range(0, len(whole), 37):
        for last in (first, first + 100, len(whole) - 1):
            assert joined(data, within(parts, first, last)) == whole[first : last + 1]


def test_packets_of_strangers_and_hostile_ones_hold_no_settings(tmp_path: Path) -> None:
    good = packet(FULL).decode()
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    packets = {
        "another program": good.replace("urn:atelier", "urn:other"),
        "entities": f'<!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]>' + good.replace("boat", "&a8;"),
        "not XML": good[:-200],
        "deep": "<a>" * 100_000,
        "deep JSON": good.replace('"seed":7', f'"seed":{"[" * 50_000}'),
        "a number for the prompt": good.replace('"kind":"image"', '"kind":1'),
        "an unknown role": good.replace('"reference"', '"../etc"'),
    }
    with Cases() as cases:
        for name, text in packets.items():
            with cases.case(name):
                for data in (text.encode(), text.encode("utf-16")):
                    chunk = b"XML:com.adobe.xmp\0\0\0\0\0" + data
                    assert read(tmp_path, "image/png", samples.with_chunk(samples.png(), b"iTXt", chunk)) is None


def test_a_compressed_packet_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:

    for text, expected in ((packet(FULL), FULL), (b" " * MAX_PACKET * 50 + packet(FULL), None)):
        chunk = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)
        assert read(tmp_path, "image/png", samples.with_chunk(samples.png(), b"iTXt", chunk)) == expected


def test_no_hostile_or_damaged_file_breaks_reading_or_writing(tmp_path: Path) -> None:
    """Each is served as it is, or with all its bytes accounted for."""
    path = tmp_path / "file"
    cut = {
        f"{name} cut at {part} of 8": data[: len(data) * part // 8]
        for name, (_, data) in files().items()
        for part in range(1, 8)
    }
    with Cases() as cases:
        for name, data in {**{entry.title: entry.data() for entry in hostile.CORPUS}, **cut}.items():
            for mime in FORMATS.values():
                with cases.case(f"{name} as {mime}"):
                    path.write_bytes(data)
                    assert read(tmp_path, mime, data) is None
                    for metadata in (FULL, None):
                        joined(data, rewritten(path, mime, metadata))
