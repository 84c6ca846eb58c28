"""An image is brought to what a model takes, and is not touched when it fits already."""

from pathlib import Path
from typing import Any

from PIL import Image

from app.storage.fitting import Fitted, Limits, fit
from app.storage.media import MAX_PIXELS
from tests.kit import Cases, decoded_image, photo_with_exif
from tests.storage import samples

SIZE = (96, 64)


def fitted(folder: Path, content: bytes, **limits: Any) -> tuple[Path, Fitted]:
    path = folder / "input"
    path.write_bytes(content)
    return path, fit(path, Limits(**limits), folder, MAX_PIXELS)


def test_an_image_within_the_limits_is_sent_as_it_is(tmp_path: Path) -> None:
    fitting: list[tuple[bytes, dict[str, Any]]] = [
        (samples.png(), {}),
        (samples.jpeg(), {"formats": ("image/png", "image/jpeg"), "max_width": 96, "max_height": 64}),
        (samples.webp(), {"min_width": 96, "max_bytes": len(samples.webp())}),
    ]
    with Cases() as cases:
        for content, limits in fitting:
            with cases.case(limits):
                path, found = fitted(tmp_path, content, **limits)
                assert (found.path, found.width, found.height) == (path, *SIZE)


def test_what_does_not_fit_is_changed_as_little_as_possible(tmp_path: Path) -> None:
    noisy = samples.encoded(samples.noise((300, 200)), "PNG")
    unfit: list[tuple[str, bytes, dict[str, Any], str, tuple[int, int]]] = [
        ("another format", samples.webp(mode="RGBA"), {"formats": ("image/jpeg",)}, "JPEG", SIZE),
        ("a format that is not sent", samples.gif(), {}, "PNG", SIZE),
        ("too wide", samples.png(), {"max_width": 48}, "PNG", (48, 32)),
        ("too high", samples.jpeg(), {"max_height": 16}, "JPEG", (24, 16)),
        ("too small", samples.png(), {"min_width": 100, "min_height": 128}, "PNG", (192, 128)),
        ("a minimum above the maximum", samples.png(), {"min_width": 200, "max_width": 90}, "PNG", (90, 60)),
        ("too many bytes", noisy, {"max_bytes": 80_000}, "JPEG", (300, 200)),
    ]
    with Cases() as cases:
        for name, content, limits, form, size in unfit:
            with cases.case(name):
                path, found = fitted(tmp_path, content, **limits)
                image = decoded_image(found.path.read_bytes())
                assert found.path != path
                assert (image.format, image.size, found.mime) == (form, size, f"image/{form.lower()}")
                assert found.path.stat().st_size <= limits.get("max_bytes", 1_000_000)


def test_an_image_is_made_smaller_when_its_quality_is_not_enough(tmp_path: Path) -> None:
    _, found = fitted(tmp_path, samples.encoded(samples.noise((300, 200)), "PNG"), max_bytes=4_000)
    assert found.path.stat().st_size <= 4_000
    assert 0 < found.width < 300
    assert abs(found.width / found.height - 1.5) < 0.1


def test_a_photo_is_turned_upright_and_loses_what_it_says_about_the_camera(tmp_path: Path) -> None:
    _, found = fitted(tmp_path, photo_with_exif())
    assert (found.width, found.height) == (40, 80)
    assert b"SecretCamera" not in found.path.read_bytes()
    assert not decoded_image(found.path.read_bytes()).getexif()


def test_transparency_becomes_white_in_a_format_without_it(tmp_path: Path) -> None:
    clear = samples.encoded(Image.new("RGBA", SIZE), "PNG")
    _, found = fitted(tmp_path, clear, formats=("image/jpeg",))
    assert decoded_image(found.path.read_bytes()).getpixel((5, 5)) == (255, 255, 255)
