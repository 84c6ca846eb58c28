"""Malicious and mistaken uploads, and the expected result of each.

Every route that accepts files can be tested with `for entry in CORPUS`. `entry.data()` creates the bytes (once),
`entry.name` is the file name given by the client, and `entry.expected` the required result:

    Fate.WRONG_TYPE   rejected: not an accepted format, or incomplete
    Fate.TOO_LARGE    rejected: too many pixels, frames or seconds
    Fate.CLEANED      accepted; the stored file contains neither MARK nor any of `entry.traces`
"""

import base64
import enum
import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from tests.storage import samples
from tests.storage.samples import box, chunk, riff, riff_chunk, video

MARK = b"atelier-payload"
SCRIPT = b"<script>alert('" + MARK + b"')</script>"
PHP = b"<?php system('" + MARK + b"'); ?>"
HTML = b"<!DOCTYPE html><html><body>" + SCRIPT + b"</body></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload=\"alert('" + MARK + b"')\"/>"


class Fate(enum.Enum):
    WRONG_TYPE = enum.auto()
    TOO_LARGE = enum.auto()
    CLEANED = enum.auto()


@dataclass(frozen=True)
class Entry:
    title: str
    name: str
    expected: Fate
    data: Callable[[], bytes]
    traces: tuple[bytes, ...] = (MARK,)

    def __str__(self) -> str:
        return self.title


CORPUS: list[Entry] = []


def entry(
    title: str, name: str, expected: Fate, *traces: bytes
) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Add the function's result to the corpus."""

    def add(make: Callable[[], bytes]) -> Callable[[], bytes]:
        cached = functools.cache(make)
        CORPUS.append(Entry(title, name, expected, cached, traces or (MARK,)))
        return cached

    return add


def given(title: str, name: str, expected: Fate, data: bytes) -> None:
    entry(title, name, expected)(lambda: data)


# Neither an image nor a video, whatever the file name

given("nothing at all", "empty.png", Fate.WRONG_TYPE, b"")
given("a single byte", "one.jpg", Fate.WRONG_TYPE, b"\xff")
given("a text file called a PNG", "notes.png", Fate.WRONG_TYPE, b"just some text, " + MARK)
given("an HTML page called a JPEG", "page.jpg", Fate.WRONG_TYPE, HTML)
given("an HTML page behind a byte order mark and a comment", "page.gif", Fate.WRONG_TYPE, b"\xef\xbb\xbf<!-- GIF89a -->\n" + HTML)  # fmt: skip
given("an HTML page of nothing but comments", "page.png", Fate.WRONG_TYPE, b"<!---->" * 1000 + MARK)
given("a bare script", "x.webp", Fate.WRONG_TYPE, SCRIPT)
given("an SVG image with a script", "logo.svg", Fate.WRONG_TYPE, SVG)
given("an SVG image behind an XML head, called a PNG", "logo.png", Fate.WRONG_TYPE, b'<?xml version="1.0"?>\n<!-- x -->\n<!DOCTYPE svg>\n' + SVG)  # fmt: skip
given("an SVG image that reads a local file", "xxe.svg", Fate.WRONG_TYPE, b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/hostname">]><svg>&x;</svg>')  # fmt: skip
given("a PDF document", "paper.pdf", Fate.WRONG_TYPE, b"%PDF-1.7\n1 0 obj\n<< /JS (" + MARK + b") >>\nendobj\n%%EOF")
given("a Windows program called an MP4", "film.mp4", Fate.WRONG_TYPE, b"MZ\x90\0" + bytes(60) + b"PE\0\0" + bytes(400))
given("a Linux program", "a.out", Fate.WRONG_TYPE, b"\x7fELF\x02\x01\x01" + bytes(400))
given("a PHP script called a JPEG", "shell.jpg", Fate.WRONG_TYPE, PHP)
given("a shell script", "run.sh", Fate.WRONG_TYPE, b"#!/bin/sh\necho " + MARK)
given("a playlist that fetches a URL", "live.mp4", Fate.WRONG_TYPE, b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/\n")  # fmt: skip
given("a list of local files for ffmpeg", "list.mp4", Fate.WRONG_TYPE, b"ffconcat version 1.0\nfile /etc/hostname\n")
given("a Photoshop document", "art.psd", Fate.WRONG_TYPE, b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(300))  # fmt: skip
given("a HEIC image", "IMG_1.heic", Fate.WRONG_TYPE, box(b"ftyp", b"heic\0\0\0\0mif1heic") + bytes(200))
given("a Flash movie", "old.swf", Fate.WRONG_TYPE, b"FWS\x09" + bytes(200))
given("random bytes", "noise.webm", Fate.WRONG_TYPE, bytes(zlib.crc32(bytes([n % 256, n // 256])) % 256 for n in range(4096)))  # fmt: skip


@entry("a ZIP archive called a PNG", "pics.png", Fate.WRONG_TYPE)
def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.html", HTML)
    return buffer.getvalue()


for form, name in (("TIFF", "scan.tiff"), ("BMP", "paint.bmp"), ("ICO", "favicon.ico"), ("PPM", "x.ppm"), ("TGA", "x.tga"), ("JPEG2000", "x.jp2"), ("PCX", "x.pcx"), ("ICNS", "x.icns")):  # fmt: skip
    entry(f"an image in the format {form}, called a PNG", name, Fate.WRONG_TYPE)(
        functools.partial(samples.encoded, samples.drawing((64, 64)), form)
    )

given("an audio file", "song.wav", Fate.WRONG_TYPE, b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(24))
given("an MP3 file called an MP4", "song.mp4", Fate.WRONG_TYPE, b"ID3\x04\0\0\0\0\0\0" + b"\xff\xfb\x90\0" + bytes(413))


# Starts like an image or a video but is neither

given("only a PNG's signature", "a.png", Fate.WRONG_TYPE, b"\x89PNG\r\n\x1a\n")
given("a PNG's signature before an HTML page", "a.png", Fate.WRONG_TYPE, b"\x89PNG\r\n\x1a\n" + HTML)
given("a JPEG's first bytes before a PHP script", "a.jpg", Fate.WRONG_TYPE, b"\xff\xd8\xff\xe0\0\x10JFIF\0" + PHP)
given("a script whose first word is GIF89a", "a.gif", Fate.WRONG_TYPE, b"GIF89a=1;alert('" + MARK + b"')//")
given("a WebP head and nothing else", "a.webp", Fate.WRONG_TYPE, b"RIFF\x04\0\0\0WEBP")
given("a WebP whose only chunk is a script", "a.webp", Fate.WRONG_TYPE, riff(riff_chunk(b"VP8 ", SCRIPT)))
given("an AVIF head before an HTML page", "a.avif", Fate.WRONG_TYPE, box(b"ftyp", b"avif\0\0\0\0avifmif1") + HTML)
given("an MP4 head before an HTML page", "a.mp4", Fate.WRONG_TYPE, box(b"ftyp", b"isom\0\0\2\0isommp42") + HTML)
given("a WebM head before an HTML page", "a.webm", Fate.WRONG_TYPE, b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm" + HTML)
given("a PNG without pixels", "a.png", Fate.WRONG_TYPE, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""))  # fmt: skip
given("a PNG of zero width", "a.png", Fate.WRONG_TYPE, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 8, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))  # fmt: skip


@entry("an HTML page with a whole PNG after it", "page.png", Fate.WRONG_TYPE)
def page_then_png() -> bytes:
    return HTML + samples.png()


@entry("a PDF document with a whole JPEG in it", "paper.jpg", Fate.WRONG_TYPE)
def pdf_then_jpeg() -> bytes:
    return b"%PDF-1.7\n" + samples.jpeg()


@entry("a PNG with a wrong checksum", "a.png", Fate.WRONG_TYPE)
def png_wrong_sum() -> bytes:
    data = bytearray(samples.png())
    data[-20] ^= 0xFF
    return bytes(data)


# Truncated at various places

for form, name, whole in (
    ("PNG", "a.png", samples.png),
    ("JPEG", "a.jpg", samples.jpeg),
    ("WebP", "a.webp", samples.webp),
    ("GIF", "a.gif", samples.gif),
    ("AVIF", "a.avif", samples.avif),
    ("MP4", "a.mp4", functools.partial(video, "h264.mp4")),
    ("WebM", "a.webm", functools.partial(video, "vp9.webm")),
    ("animated WebP", "a.webp", functools.partial(samples.animated, "WEBP")),
):
    for share in (0.1, 0.5, 0.9):

        def cut(whole: Callable[[], bytes] = whole, share: float = share) -> bytes:
            data = whole()
            return data[: int(len(data) * share)]

        entry(f"{form} cut off after {share:.0%}", name, Fate.WRONG_TYPE)(cut)


@entry("a PNG without its end", "a.png", Fate.WRONG_TYPE)
def png_without_end() -> bytes:
    return samples.png()[:-12]


@entry("an MP4 with its index first, cut off in its frames", "a.mp4", Fate.WRONG_TYPE)
def mp4_cut_behind_index() -> bytes:
    data = video("h264-faststart.mp4")
    return data[: (len(data) + data.index(b"mdat")) // 2]


# Decompression bombs


def png_header(width: int, height: int, depth: int = 8, colours: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))


given("a PNG that says it is two thousand million pixels wide", "a.png", Fate.TOO_LARGE, png_header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))  # fmt: skip
given("a PNG just above the limit", "a.png", Fate.TOO_LARGE, png_header(10_000, 5_001) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))  # fmt: skip


@entry("a real PNG of 30,000 × 30,000 black pixels in less than one MB", "black.png", Fate.TOO_LARGE)
def huge_png() -> bytes:
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 30_000 // 8)) for _ in range(30_000)) + packer.flush()
    return png_header(30_000, 30_000, 1, 0) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@entry("a PNG whose compressed note unpacks to 20 MB", "a.png", Fate.WRONG_TYPE)
def note_bomb() -> bytes:
    return samples.with_chunk(samples.png(), b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 1))


@entry("a PNG whose colour profile unpacks to 20 MB", "a.png", Fate.WRONG_TYPE)
def profile_bomb() -> bytes:
    return samples.with_chunk(samples.png(), b"iCCP", b"icc\0\0" + zlib.compress(bytes(20_000_000), 1))


@entry("an animated PNG of two thousand frames", "a.png", Fate.TOO_LARGE)
def many_png_frames() -> bytes:
    frames = [Image.new("L", (1, 1), number % 2 * 255) for number in range(2000)]
    return samples.encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=10)


given("a GIF that says it is 65,535 pixels wide and high", "a.gif", Fate.TOO_LARGE, b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;")  # fmt: skip


def gif_frame(left: int, top: int, width: int = 1, height: int = 1) -> bytes:
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\x02\x02D\x01\0"


GIF_HEAD = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff"
given("a GIF of two hundred thousand frames", "a.gif", Fate.TOO_LARGE, GIF_HEAD + gif_frame(0, 0) * 200_000 + b";")
given("a GIF that grows to 65,535 pixels in its second frame", "a.gif", Fate.TOO_LARGE, GIF_HEAD + gif_frame(0, 0) + gif_frame(65_534, 65_534) + b";")  # fmt: skip
given("a GIF that grows to 9,000 pixels in its first frame", "a.gif", Fate.TOO_LARGE, GIF_HEAD + gif_frame(8_999, 8_999) + b";")  # fmt: skip


@entry("a GIF of 4,000 × 4,000 pixels and 600 frames", "a.gif", Fate.TOO_LARGE)
def large_animation() -> bytes:
    return b"GIF89a\xa0\x0f\xa0\x0f\x80\0\0\0\0\0\xff\xff\xff" + gif_frame(0, 0) * 600 + b";"


@entry("a WebP still whose head says 16,383 × 16,383 pixels", "a.webp", Fate.TOO_LARGE)
def giant_still() -> bytes:
    body = bytearray(samples.webp()[20:])
    body[6:10] = struct.pack("<HH", 16_383, 16_383)
    return riff(riff_chunk(b"VP8 ", bytes(body)))


@entry("a WebP with a canvas of sixteen million pixels each way", "a.webp", Fate.TOO_LARGE)
def giant_canvas() -> bytes:
    return riff(riff_chunk(b"VP8X", b"\x02\0\0\0" + b"\xff" * 6), samples.animated("WEBP")[30:])


@entry("an animated WebP of two thousand frames", "a.webp", Fate.TOO_LARGE)
def many_webp_frames() -> bytes:
    data = samples.animated("WEBP")
    at = data.index(b"ANMF")
    size = 8 + struct.unpack("<I", data[at + 4 : at + 8])[0]
    return riff(data[12:at], data[at : at + size] * 2000)


@entry("a JPEG that says it is 65,500 pixels wide and high", "a.jpg", Fate.TOO_LARGE)
def giant_jpeg() -> bytes:
    data = bytearray(samples.jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


@entry("a progressive JPEG of five thousand layers", "a.jpg", Fate.TOO_LARGE)
def many_scans() -> bytes:
    data = samples.encoded(samples.drawing(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 5000 + b"\xff\xd9"


@entry("an AVIF that says it is 16,000 pixels wide and high", "a.avif", Fate.TOO_LARGE)
def giant_avif() -> bytes:
    data = bytearray(samples.avif())
    at = data.index(b"ispe")
    data[at + 8 : at + 16] = struct.pack(">II", 16_000, 16_000)
    return bytes(data)


@entry("a video wider than any screen", "wide.webm", Fate.TOO_LARGE)
def wide_video() -> bytes:
    return video("vp8-wide.webm")


LIE = struct.pack(">HH", 30_000, 30_000)


@entry("an MP4 whose index says 30,000 × 30,000 pixels and whose frames do not", "a.mp4", Fate.CLEANED, LIE)
def video_with_wrong_size() -> bytes:
    return video("h264-silent.mp4").replace(struct.pack(">HH", *samples.SIZE), LIE)


@entry("an MP4 that says it lasts for years", "a.mp4", Fate.TOO_LARGE)
def video_with_wrong_duration() -> bytes:
    data = bytearray(video("h264-silent.mp4"))
    at = data.index(b"stts")
    data[at + 16 : at + 20] = struct.pack(">I", 2**28)  # the time each frame is shown
    return bytes(data)


@entry("an MP4 that says it has twenty million frames", "a.mp4", Fate.TOO_LARGE)
def frame_bomb() -> bytes:
    data = bytearray(video("h264-silent.mp4"))
    for kind, at, numbers in (
        (b"stsz", 8, (1, 20_000_000)),
        (b"stts", 12, (20_000_000,)),
        (b"stsc", 16, (20_000_000,)),
    ):
        start = data.index(kind) + at
        data[start : start + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    return bytes(data)


@entry("an MP4 in pieces, one of which says it has twenty million frames", "a.mp4", Fate.TOO_LARGE)
def fragment_bomb() -> bytes:
    data = bytearray(video("h264-fragmented-silent.mp4"))
    at = data.index(b"trun")
    data[at + 4 : at + 12] = struct.pack(">II", 0, 20_000_000)  # without data of its own, so nothing is read for each
    return bytes(data)


@entry("an MP4 that plays its few frames a million times over", "a.mp4", Fate.TOO_LARGE)
def edit_bomb() -> bytes:
    data = video("h264-silent.mp4")
    edit = struct.pack(">IIHH", 1000, 0, 1, 0)
    edits = box(b"elst", struct.pack(">II", 0, 400_000) + edit * 400_000)
    at = data.index(b"edts") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    grown = len(edits) + 8 - size
    changed = bytearray(data[:at] + box(b"edts", edits) + data[at + size :])
    for kind in (b"moov", b"trak"):
        start = changed.index(kind) - 4
        old = struct.unpack(">I", changed[start : start + 4])[0]
        changed[start : start + 4] = struct.pack(">I", old + grown)
    return bytes(changed)


# Not videos

given("an MP4 whose index is noise", "a.mp4", Fate.WRONG_TYPE, box(b"ftyp", b"isom\0\0\2\0isommp42") + box(b"moov", b"\xa5" * 400))  # fmt: skip


@entry("an MP4 with only audio in it", "song.mp4", Fate.WRONG_TYPE)
def mp4_audio() -> bytes:
    return video("audio.mp4")


@entry("a WebM with only audio in it", "song.webm", Fate.WRONG_TYPE)
def webm_audio() -> bytes:
    return video("audio.webm")


@entry("an MP4 whose index is broken", "a.mp4", Fate.WRONG_TYPE)
def mp4_broken_index() -> bytes:
    data = bytearray(video("h264.mp4"))
    at = data.index(b"trak")
    data[at : at + 400] = bytes(400)
    return bytes(data)


@entry("an MP4 whose frames are noise", "a.mp4", Fate.WRONG_TYPE)
def mp4_broken_frames() -> bytes:
    data = bytearray(video("h264-silent.mp4"))
    at = data.index(b"mdat")
    end = data.index(b"moov")
    data[at + 4 : end - 4] = b"\xa5" * (end - at - 8)
    return bytes(data)


@entry("a WebM full of junk", "a.webm", Fate.WRONG_TYPE)
def webm_junk() -> bytes:
    data = video("vp9.webm")
    return data[:64] + b"\xa5" * (len(data) - 64)


@entry("a QuickTime video", "IMG_2.mov", Fate.WRONG_TYPE)
def quicktime() -> bytes:
    return video("h264.mov")


@entry("a Matroska video called a WebM", "film.webm", Fate.WRONG_TYPE)
def matroska() -> bytes:
    return video("h264.mkv")


@entry("an AVI video called an MP4", "film.mp4", Fate.WRONG_TYPE)
def avi() -> bytes:
    return video("mpeg4.avi")


@entry("an MP4 in a codec that browsers do not play", "film.mp4", Fate.WRONG_TYPE)
def old_codec() -> bytes:
    return video("mpeg4.mp4")


# Real images and videos that carry something else

GPS = b"atelier-gps"


@entry("a GIF that is also a script", "a.gif", Fate.CLEANED)
def gif_script() -> bytes:
    # Read as JavaScript: GIF89a/* … */=1;alert(…)//…; the width is "/*", and the head is all comment.
    frame = gif_frame(0, 0)
    note = b"*/=1;alert('" + MARK + b"')//"
    return b"GIF89a/*\x40\0\x80\0\0\0\0\0\xff\xff\xff!\xfe" + bytes([len(note)]) + note + b"\0" + frame + b";"


@entry("a GIF with an HTML page after it", "a.gif", Fate.CLEANED)
def gif_tail() -> bytes:
    return samples.gif() + HTML


@entry("an animated GIF with a script among its settings", "a.gif", Fate.CLEANED)
def gif_extension() -> bytes:
    data = samples.animated("GIF")
    at = data.index(b"!")
    return data[:at] + b"!\xff\x0bXMP DataXMP" + bytes([len(SCRIPT)]) + SCRIPT + b"\0" + data[at:]


@entry("a PNG with an HTML page after it", "a.html", Fate.CLEANED)
def png_tail() -> bytes:
    return samples.png() + HTML


@entry("a PNG that is also a ZIP archive", "a.zip", Fate.CLEANED, b"index.html", b"PK\x03\x04")
def png_archive() -> bytes:
    return samples.png() + archive()


@entry("a PNG with a script in a note", "a.png", Fate.CLEANED)
def png_note() -> bytes:
    return samples.with_chunk(samples.png(), b"tEXt", b"Comment\0" + SCRIPT)


@entry("a PNG with a compressed script in a note", "a.png", Fate.CLEANED, zlib.compress(SCRIPT * 3))
def png_compressed_note() -> bytes:
    return samples.with_chunk(samples.png(), b"zTXt", b"Comment\0\0" + zlib.compress(SCRIPT * 3))


@entry("a PNG that is also a PDF document", "paper.pdf", Fate.CLEANED, b"%PDF-1.7")
def png_pdf() -> bytes:
    return samples.with_chunk(samples.png(), b"tEXt", b"x\0%PDF-1.7\n" + MARK)


@entry("a PNG with a chunk of its own kind", "a.png", Fate.CLEANED)
def png_private() -> bytes:
    return samples.with_chunk(samples.png(), b"atLr", SCRIPT)


@entry("a PNG with a script in place of a colour profile", "a.png", Fate.CLEANED, zlib.compress(SCRIPT))
def png_profile() -> bytes:
    return samples.with_chunk(samples.png(), b"iCCP", b"icc\0\0" + zlib.compress(SCRIPT))


@entry("a PNG that tells where it was taken", "a.png", Fate.CLEANED, GPS)
def png_place() -> bytes:
    return samples.encoded(samples.drawing(), "PNG", exif=samples.exif(description=GPS.decode()))


@entry("an animated PNG with a script after it", "a.png", Fate.CLEANED, MARK, b"acTL", b"fdAT")
def animated_png() -> bytes:
    return samples.animated("PNG") + SCRIPT


@entry("a JPEG with a PHP script as its comment", "shell.php.jpg", Fate.CLEANED)
def jpeg_comment() -> bytes:
    return samples.encoded(samples.drawing(), "JPEG", comment=PHP)


@entry("a JPEG called a PHP script", "shell.php", Fate.CLEANED)
def jpeg_named_php() -> bytes:
    return samples.jpeg() + PHP


@entry("a JPEG that tells where it was taken", "IMG_3.jpg", Fate.CLEANED, GPS, b"Exif")
def jpeg_place() -> bytes:
    return samples.encoded(samples.drawing(), "JPEG", exif=samples.exif(description=GPS.decode()))


@entry("a JPEG with a script in place of a colour profile", "a.jpg", Fate.CLEANED, MARK, b"ICC_PROFILE")
def jpeg_profile() -> bytes:
    return samples.encoded(samples.drawing(), "JPEG", icc_profile=SCRIPT)


@entry("a JPEG whose EXIF is noise", "a.jpg", Fate.CLEANED, b"Exif")
def jpeg_broken_notes() -> bytes:
    return samples.encoded(samples.drawing(), "JPEG", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + SCRIPT)


@entry("a JPEG with a video after it, as phones make them", "motion.jpg", Fate.CLEANED, b"ftyp")
def motion_photo() -> bytes:
    return samples.jpeg() + video("h264.mp4")


@entry("a WebP with a script in its notes", "a.webp", Fate.CLEANED, MARK, b"XMP ", b"EXIF")
def webp_notes() -> bytes:
    return samples.encoded(samples.drawing(), "WEBP", exif=samples.exif(description=MARK.decode()), xmp=SCRIPT)


@entry("a WebP with an HTML page after it", "a.webp", Fate.CLEANED)
def webp_tail() -> bytes:
    return samples.webp() + HTML


@entry("a WebP with a chunk of its own kind", "a.webp", Fate.CLEANED)
def webp_private() -> bytes:
    return riff(samples.webp()[12:], riff_chunk(b"evil", SCRIPT))


@entry("an animated WebP", "a.webp", Fate.CLEANED, b"ANIM", b"ANMF")
def animated_webp() -> bytes:
    return samples.animated("WEBP")


@entry("an AVIF with an HTML page after it", "a.avif", Fate.CLEANED)
def avif_tail() -> bytes:
    return samples.avif() + HTML


@entry("an MP4 with a script as its title", "a.mp4", Fate.CLEANED)
def mp4_title() -> bytes:
    return video("h264-title.mp4")


@entry("an MP4 with an HTML page after it", "a.mp4", Fate.CLEANED)
def mp4_tail() -> bytes:
    return video("h264.mp4") + box(b"free", HTML)


@entry("an MP4 with bare junk after it", "a.mp4", Fate.CLEANED)
def mp4_junk() -> bytes:
    return video("h264.mp4") + HTML


@entry("a WebM with a script as its title", "a.webm", Fate.CLEANED)
def webm_title() -> bytes:
    return video("vp9-title.webm")


@entry("a WebM with an HTML page after it", "a.webm", Fate.CLEANED)
def webm_tail() -> bytes:
    return video("vp9.webm") + HTML


@entry("a PNG called a text file", "notes.txt", Fate.CLEANED)
def png_named_text() -> bytes:
    return samples.with_chunk(samples.png(), b"tEXt", b"Script\0" + base64.b64encode(HTML) + MARK)
