"""Whether EXIF data is needed to show an image upright."""

_ORIENTATION = 0x0112
_UPRIGHT = 1


def turns(exif: bytes) -> bool:
    """Whether this EXIF data, with or without the `Exif` prefix, turns or mirrors the image."""
    from PIL import Image

    found = Image.Exif()
    try:
        found.load(exif)
        return bool(found.get(_ORIENTATION, _UPRIGHT) != _UPRIGHT)
    except Exception:  # Pillow raises many kinds for damaged data, which turns nothing
        return False
