"""A mask means one thing, however it was drawn and uploaded, and becomes what a model expects."""

import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.base.errors import AtelierError, TooLarge
from app.storage import masks
from app.storage.masks import Margins, MaskEdits, Rectangle
from app.storage.media import MAX_PIXELS
from tests.kit import Cases, decoded_image
from tests.storage import samples
from tests.storage.hostile import png_header

SIZE = (60, 40)
LEFT = (0, 0, 30, 40)  # the half of the image that every mask here marks


def saved(folder: Path, image: Image.Image, form: str = "PNG") -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.{form.lower()}"
    image.save(path, form)
    return path


def drawn(folder: Path, path: Path | None, size: tuple[int, int] = SIZE, **edits: object) -> tuple[Image.Image, bool]:
    found = masks.draw(path, size, MaskEdits(**edits), folder, MAX_PIXELS)  # type: ignore[arg-type]
    return decoded_image(found.path.read_bytes()), found.empty


def painted(mode: str, below: object, marked: object) -> Image.Image:
    image = Image.new(mode, SIZE, below)  # type: ignore[arg-type]
    image.paste(marked, LEFT)  # type: ignore[arg-type]
    return image


def photo_with_hole() -> Image.Image:
    photo = samples.drawing(SIZE).convert("RGBA")
    photo.paste((255, 255, 255, 255), (40, 10, 50, 20))  # a white wall in the photo is not the mask
    photo.paste((0, 0, 0, 0), LEFT)
    return photo


WAYS = {
    "white on black": painted("L", 0, 255),
    "in one bit": painted("1", 0, 1),
    "with a palette": painted("RGB", "black", "white").quantize(4),
    "white on nothing": painted("RGBA", (0, 0, 0, 0), (255, 255, 255, 255)),
    "white and black on nothing": painted("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)),
    "a hole in black": painted("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
    "a hole in a photo": photo_with_hole(),
}


def test_every_way_to_mark_an_area_is_understood(tmp_path: Path) -> None:
    with Cases() as cases:
        for name, image in WAYS.items():
            with cases.case(name):
                mask, empty = drawn(tmp_path, saved(tmp_path, image))
                assert (mask.mode, mask.size, empty) == ("L", SIZE, False)
                assert (mask.getpixel((5, 5)), mask.getpixel((45, 15)), mask.getpixel((55, 35))) == (255, 0, 0)


def test_a_mask_that_marks_nothing_is_empty(tmp_path: Path) -> None:
    ways: list[tuple[str, Path | None, dict[str, Any], bool]] = [
        ("none", None, {}, True),
        ("black", saved(tmp_path, Image.new("L", SIZE)), {}, True),
        ("opaque photo without white", saved(tmp_path, Image.new("RGB", SIZE, (60, 60, 60))), {}, True),
        ("white, inverted", saved(tmp_path, Image.new("L", SIZE, 255)), {"invert": True}, True),
        ("a rectangle", None, {"rectangle": Rectangle(1, 1, 1, 1)}, False),
        ("margins", None, {"margins": Margins(top=1)}, False),
    ]
    with Cases() as cases:
        for name, path, edits, empty in ways:
            with cases.case(name):
                assert drawn(tmp_path, path, **edits)[1] is empty


def test_edits_come_one_after_the_other(tmp_path: Path) -> None:
    mask, _ = drawn(
        tmp_path, None, rectangle=Rectangle(50, 30, 90, 90), invert=True, margins=Margins(left=10, bottom=5)
    )
    assert mask.size == (70, 45)
    marked = {name: mask.getpixel(at) for name, at in {"area": (65, 35), "rest": (20, 5), "margin": (5, 5)}.items()}
    assert marked == {"area": 0, "rest": 255, "margin": 255}
    soft, _ = drawn(tmp_path, saved(tmp_path, WAYS["white on black"]), feather=8)
    assert 0 < float(soft.getpixel((33, 20))) < 128 < float(soft.getpixel((27, 20))) < 255  # type: ignore[arg-type]


def test_a_model_gets_its_own_marks_in_the_size_of_its_image(tmp_path: Path) -> None:
    path = saved(tmp_path, WAYS["white on nothing"])
    for marked_by, mode, inside, outside in [
        ("white", "L", 255, 0),
        ("black", "L", 0, 255),
        ("transparent", "RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
    ]:
        mask = decoded_image(masks.for_model(path, (30, 20), marked_by, None, tmp_path, MAX_PIXELS).read_bytes())
        assert (mask.format, mask.mode, mask.size) == ("PNG", mode, (30, 20))
        assert (mask.getpixel((14, 10)), mask.getpixel((15, 10))) == (inside, outside), "a hard edge stays hard"


def test_a_soft_mask_that_is_too_large_loses_its_softness_and_not_its_area(tmp_path: Path) -> None:
    path = saved(tmp_path, samples.noise((400, 400)).convert("L"))
    mask = decoded_image(masks.for_model(path, (400, 400), "white", 60_000, tmp_path, MAX_PIXELS).read_bytes())
    assert mask.getcolors(2) is not None


def test_an_image_is_enlarged_around_its_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path, samples.drawing(SIZE))
    enlarged = decoded_image(masks.enlarge(path, Margins(1, 20, 3, 40), tmp_path, MAX_PIXELS).read_bytes())
    assert enlarged.size == (120, 44)
    assert enlarged.crop((40, 1, 100, 41)).tobytes() == samples.drawing(SIZE).tobytes()


def test_what_is_no_image_or_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "video.png").write_bytes(samples.video("h264.mp4"))
    giant = png_header(50_000, 50_000) + samples.chunk(b"IDAT", zlib.compress(bytes(100))) + samples.chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(giant)
    (tmp_path / "text.png").write_bytes(b"not an image")
    for name in ("video", "text"):
        with pytest.raises(AtelierError):
            masks.size_of(tmp_path / f"{name}.png", MAX_PIXELS)
    with pytest.raises(TooLarge, match="50000 × 50000"):
        masks.size_of(tmp_path / "bomb.png", MAX_PIXELS)
