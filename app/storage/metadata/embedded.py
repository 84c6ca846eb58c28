"""What is written into a file."""

import msgspec


class Embedded(msgspec.Struct, frozen=True):
    """What is written: an XMP packet, a small one that refers to it where a format limits its size, and texts for other programs."""

    xmp: bytes
    pointer: bytes
    digest: str  # MD5 of `xmp` in hexadecimal capitals, by which `pointer` refers to it
    prompt: str
    parameters: str
    software: str
