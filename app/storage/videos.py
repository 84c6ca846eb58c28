"""Videos (MP4 and WebM) and other decoding with PyAV. Everything here is blocking: call it in a thread.

To limit ffmpeg's attack surface, only the demuxer that matches the file's first bytes is used, only the file itself may be
opened, and only codecs that browsers can play are enabled.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.base import errors
from app.storage import container_guard
from app.storage.files import temp_file
from app.storage.media_type import Facts, Format, translate_error

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

MAX_SIDE = 8192  # pixels
MAX_PIXELS = 8192 * 4320  # per frame; a decoder keeps up to 17 frames
MAX_SECONDS = 6 * 3600
_PACKETS = 250  # maximum before the first complete frame
_POSTER_FRAMES = 60  # frames decoded to find a good poster
_LAST_FRAMES = 2000  # frames decoded to find the last one
_DARK = 24  # mean brightness, of 255

_VIDEO_CODECS = frozenset({"h264", "hevc", "av1", "vp8", "vp9"})
_AUDIO_CODECS = {
    Format.MP4: frozenset({"aac", "mp3", "opus", "flac"}),
    Format.WEBM: frozenset({"opus", "vorbis"}),
}
_OPTIONS = {
    "protocol_whitelist": "file",
    "codec_whitelist": "h264,hevc,av1,libdav1d,vp8,vp9,libvpx,libvpx-vp9,aac,mp3,mp3float,opus,libopus,flac,vorbis",
    "max_pixels": str(MAX_PIXELS),
    "max_streams": "32",
}
_CONTAINERS = {Format.MP4: "mp4", Format.WEBM: "webm"}


def inspect(path: Path, form: Format) -> Facts:
    """The facts of a video, after decoding its first frame and reading all packets. Raises WrongType and TooLarge."""
    with translate_error(form), _opened(path, form) as (container, stream):
        frame: VideoFrame | None = None
        end, attempts = 0.0, 0
        for packet in container.demux(_tracks(container, stream, form)):
            if packet.is_corrupt or attempts > _PACKETS:
                raise form.damaged()
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if frame is None and packet.stream.index == stream.index:
                frame = next(iter(stream.decode(packet)), None)
                attempts += frame is None
        if frame is None:
            raise form.damaged()
        _check_size(frame.width, frame.height)
        return form.facts(path, _upright_size(frame), _check_duration(container, end, form))


def clean(path: Path, form: Format, folder: Path) -> tuple[Path, Facts]:
    """Remux the video and audio tracks into a new container, without metadata, other tracks or stray bytes. Raises
    WrongType, TooLarge and DiskFull."""
    inspect(path, form)
    with temp_file(folder, form.suffix) as target:
        with translate_error(form), _opened(path, form) as (container, stream):
            _remux(container, stream, form, target)
        return target, inspect(target, form)


def poster(path: Path, form: Format, duration: float, max_side: int) -> "Image":
    """The first frame that is not dark, starting at a tenth of `duration` (in seconds), at most `max_side` pixels on its
    longest side. Raises WrongType and TooLarge."""
    with translate_error(form):
        for start in (duration / 10, 0.0):  # some videos have frames only at the beginning
            with _opened(path, form) as (container, stream):
                frame = _best_frame(container, stream, start)
                if frame is not None:
                    return _scaled(frame, max_side)
    raise form.damaged()


def last_frame(path: Path, form: Format, duration: float) -> "Image":
    """The last frame in full size, upright. `duration` is in seconds. Raises WrongType and TooLarge."""
    with translate_error(form):
        for start in (max(0.0, duration - 1), 0.0):  # a video without an index is decoded from its beginning
            last: VideoFrame | None = None
            with _opened(path, form) as (container, stream):
                _seek(container, stream, start + max(0, container.start_time or 0) / 1_000_000)
                for number, frame in enumerate(container.decode(stream)):
                    if number > _LAST_FRAMES:
                        raise errors.TooLarge("The last frame of this video cannot be found. Use a shorter video.")
                    last = frame
            if last is not None:
                return _scaled(last, MAX_SIDE)
    raise form.damaged()


def decode_webp(path: Path) -> "Image":
    """Decode a WebP still, with transparency, without holding the GIL. Raises PyAV's exceptions."""
    import av

    options = {"protocol_whitelist": "file", "codec_whitelist": "webp", "err_detect": "explode"}
    with av.open(_url(path), format="webp_pipe", options=options) as container:
        container.streams.video[0].codec_context.thread_count = 1  # leaves the other cores to the server
        frame = next(container.decode(video=0))
    transparent = frame.format.name in ("yuva420p", "argb")
    return _to_image(frame, frame.width, frame.height, "RGBA" if transparent else "RGB")


@contextlib.contextmanager
def _opened(path: Path, form: Format) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Open the video and its first video track, after checking the declared properties of both."""
    import av

    if form is Format.WEBM:
        container_guard.check_webm(path)
    elif container_guard.mp4_index(path) > container_guard.MAX_INDEX:
        raise errors.TooLarge("This video has too many frames. Use a shorter one.")
    with av.open(_url(path), format=_CONTAINERS[form], options=_OPTIONS) as container:
        stream = next((track for track in container.streams.video if not _is_cover(track)), None)
        if stream is None:
            raise errors.WrongType("This file has no video track.")
        if stream.codec_context is None or stream.codec.canonical_name not in _VIDEO_CODECS:
            raise errors.WrongType(
                f"This {form.label} uses a video codec that browsers cannot play. Use H.264, HEVC, AV1, VP8 or VP9."
            )
        _check_size(stream.width, stream.height)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.codec_context.thread_count = 1  # each thread would keep its own frames
        yield container, stream


def _is_cover(track: "VideoStream") -> bool:
    from av.stream import Disposition

    return bool(track.disposition & Disposition.attached_pic)


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise errors.TooLarge(f"The video must be at most 8192 × 4320 pixels; this one has {width} × {height}.")


def _check_duration(container: "InputContainer", end: float, form: Format) -> float | None:
    """The duration in seconds: as declared, if the packets confirm it; otherwise as measured from the packets."""
    declared = (container.duration or 0) / 1_000_000
    measured = end - max(0, container.start_time or 0) / 1_000_000
    if max(declared, measured) > MAX_SECONDS:
        raise errors.TooLarge(f"The video must be at most {MAX_SECONDS // 3600} hours long.")
    if declared - measured > max(0.5, declared / 20):
        raise form.damaged()
    return round(declared or measured, 3) or None


def _tracks(container: "InputContainer", stream: "VideoStream", form: Format) -> list["Stream"]:
    """The tracks to keep: the video, and audio that browsers can play in this container."""
    audio = [track for track in container.streams.audio if track.codec_context is not None]
    return [stream, *(track for track in audio if track.codec.canonical_name in _AUDIO_CODECS[form])]


def _remux(container: "InputContainer", stream: "VideoStream", form: Format, target: Path) -> None:
    # The index stays at the end of an MP4: moving it to the front would rewrite the file while PyAV holds the GIL, and
    # players that use range requests do not need it.
    import av

    tracks = _tracks(container, stream, form)
    options = {"fflags": "+bitexact"}  # otherwise the muxer adds its name
    with av.open(_url(target), "w", format=_CONTAINERS[form], options=options) as output:
        copies = {track.index: output.add_stream_from_template(track, opaque=True) for track in tracks}
        for packet in container.demux(tracks):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                output.mux_one(packet)


def _best_frame(container: "InputContainer", stream: "VideoStream", start: float) -> "VideoFrame | None":
    """The first frame from `start` (in seconds) on that is not dark, or else the brightest one decoded."""
    start += max(0, container.start_time or 0) / 1_000_000
    _seek(container, stream, start)
    best: VideoFrame | None = None
    brightest = -1.0
    for number, frame in enumerate(_frames(container, stream)):
        last = number >= _POSTER_FRAMES
        if not last and frame.time is not None and frame.time < start:
            continue
        brightness = _brightness(frame)
        if brightness > brightest:
            best, brightest = frame, brightness
        if last or brightness > _DARK:
            break
    return best


def _seek(container: "InputContainer", stream: "VideoStream", start: float) -> None:
    """Seek to the last key frame before `start`. Without an index, stay at the beginning."""
    import av

    if start and stream.time_base:
        with contextlib.suppress(av.FFmpegError):
            container.seek(int(start / stream.time_base), stream=stream)


def _frames(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    for number, packet in enumerate(container.demux(stream)):
        yield from packet.decode()
        if number > _PACKETS:
            return


def _brightness(frame: "VideoFrame") -> float:
    """The mean brightness, 0 to 255, of a downscaled copy."""
    from PIL import ImageStat

    return ImageStat.Stat(_to_image(frame, 32, 32, "RGB").convert("L")).mean[0]


def _upright_size(frame: "VideoFrame") -> tuple[int, int]:
    sideways = abs(frame.rotation) in (90, 270)
    return (frame.height, frame.width) if sideways else (frame.width, frame.height)


def _scaled(frame: "VideoFrame", max_side: int) -> "Image":
    """Scaled down and upright, as players show it."""
    scale = min(1.0, max_side / max(frame.width, frame.height))
    image = _to_image(frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)), "RGB")
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _to_image(frame: "VideoFrame", width: int, height: int, mode: Literal["RGB", "RGBA"]) -> "Image":
    from av.video.reformatter import Interpolation
    from PIL import Image

    # Without the last two flags, colours are off by a few per cent.
    flags = Interpolation.BICUBIC.value | Interpolation.ACCURATE_RND.value | Interpolation.FULL_CHR_H_INT.value
    converted = frame.reformat(width, height, "rgba" if mode == "RGBA" else "rgb24", interpolation=flags, threads=1)
    plane = converted.planes[0]
    return Image.frombytes(mode, (width, height), memoryview(plane), "raw", mode, plane.line_size, 1)


def _url(path: Path) -> str:
    """A file URL, so that the name cannot be taken for another protocol."""
    return f"file:{path.absolute()}"
