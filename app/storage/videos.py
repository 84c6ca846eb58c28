"""Clips: MP4 and WebM, and whatever else PyAV decodes for us. Everything here blocks: call it in a thread.

The container is chosen by the file's first bytes and is the only one that is tried, nothing but the file itself may be
opened, and only codecs that browsers play are let in: everything else that ffmpeg can read stays out of reach.
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
MAX_PIXELS = 8192 * 4320  # a frame; a decoder keeps up to seventeen of them
MAX_SECONDS = 6 * 3600
_PACKETS = 250  # so many may come before the first whole frame
_POSTER_FRAMES = 60  # so many are decoded in search of a good poster
_DARK = 24  # of 255, mean brightness

_PICTURE_CODECS = frozenset({"h264", "hevc", "av1", "vp8", "vp9"})
_SOUND_CODECS = {
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
    """The facts of a clip whose first frame decodes and whose data go on to the end. Raises WrongType and TooLarge."""
    with translate_error(form), _opened(path, form) as (container, stream):
        frame: VideoFrame | None = None
        end, tried = 0.0, 0
        for packet in container.demux(_tracks(container, stream, form)):
            if packet.is_corrupt or tried > _PACKETS:
                raise form.damaged()
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if frame is None and packet.stream.index == stream.index:
                frame = next(iter(stream.decode(packet)), None)
                tried += frame is None
        if frame is None:
            raise form.damaged()
        _check_size(frame.width, frame.height)
        return form.facts(path, _shown_size(frame), _check_duration(container, end, form))


def clean(path: Path, form: Format, folder: Path) -> tuple[Path, Facts]:
    """The same pictures and sound in a new container, with nothing else: no metadata, no other tracks, no stray bytes.
    Raises WrongType, TooLarge and Full."""
    inspect(path, form)
    with temp_file(folder, form.suffix) as target:
        with translate_error(form), _opened(path, form) as (container, stream):
            _remux(container, stream, form, target)
        return target, inspect(target, form)


def poster(path: Path, form: Format, duration: float, longest: int) -> "Image":
    """A frame from a tenth into the clip, or the first after it that is not black, its longest side at most `longest`
    pixels. `duration` in seconds. Raises WrongType and TooLarge."""
    with translate_error(form):
        for moment in (duration / 10, 0.0):  # a clip with pictures only at its beginning has none there
            with _opened(path, form) as (container, stream):
                frame = _best_frame(container, stream, moment)
                if frame is not None:
                    return _shrunk(frame, longest)
    raise form.damaged()


def decode_webp(path: Path) -> "Image":
    """A WebP still with its transparency, decoded without holding the interpreter's lock. Raises what PyAV raises."""
    import av

    options = {"protocol_whitelist": "file", "codec_whitelist": "webp", "err_detect": "explode"}
    with av.open(_address(path), format="webp_pipe", options=options) as container:
        container.streams.video[0].codec_context.thread_count = 1  # the other cores are for the server
        frame = next(container.decode(video=0))
    transparent = frame.format.name in ("yuva420p", "argb")
    return _picture(frame, frame.width, frame.height, "RGBA" if transparent else "RGB")


@contextlib.contextmanager
def _opened(path: Path, form: Format) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The clip and its first track of pictures, both found acceptable by what they say of themselves."""
    import av

    if form is Format.WEBM:
        container_guard.check_webm(path)
    elif container_guard.mp4_index(path) > container_guard.MAX_INDEX:
        raise errors.TooLarge("This clip says that it has more pictures than can be read.")
    with av.open(_address(path), format=_CONTAINERS[form], options=_OPTIONS) as container:
        stream = next((track for track in container.streams.video if not _is_cover(track)), None)
        if stream is None:
            raise errors.WrongType("This file has no moving picture in it.")
        if stream.codec_context is None or stream.codec.canonical_name not in _PICTURE_CODECS:
            raise errors.WrongType(f"The pictures in this {form.label} are coded in a way that browsers cannot play.")
        _check_size(stream.width, stream.height)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.codec_context.thread_count = 1  # each thread would keep frames of its own
        yield container, stream


def _is_cover(track: "VideoStream") -> bool:
    from av.stream import Disposition

    return bool(track.disposition & Disposition.attached_pic)


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise errors.TooLarge(
            f"The pictures in this clip have {width} × {height} pixels; at most 8192 × 4320 are accepted."
        )


def _check_duration(container: "InputContainer", end: float, form: Format) -> float | None:
    """In seconds. What the head of the file says, when the data bear it out; what the data say, when it says nothing."""
    said = (container.duration or 0) / 1_000_000
    found = end - max(0, container.start_time or 0) / 1_000_000
    if max(said, found) > MAX_SECONDS:
        raise errors.TooLarge(f"This clip is longer than {MAX_SECONDS // 3600} hours.")
    if said - found > max(0.5, said / 20):
        raise form.damaged()
    return round(said or found, 3) or None


def _tracks(container: "InputContainer", stream: "VideoStream", form: Format) -> list["Stream"]:
    """What is kept of a clip: its pictures, and the sound that browsers play in this container."""
    sound = [track for track in container.streams.audio if track.codec_context is not None]
    return [stream, *(track for track in sound if track.codec.canonical_name in _SOUND_CODECS[form])]


def _remux(container: "InputContainer", stream: "VideoStream", form: Format, target: Path) -> None:
    # The index stays at the end of an MP4: moving it to the front rewrites the file while PyAV holds the interpreter's
    # lock, and a player that can ask for ranges does not need it.
    import av

    kept = _tracks(container, stream, form)
    options = {"fflags": "+bitexact"}  # or it writes which program it is
    with av.open(_address(target), "w", format=_CONTAINERS[form], options=options) as output:
        copies = {track.index: output.add_stream_from_template(track, opaque=True) for track in kept}
        for packet in container.demux(kept):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                output.mux_one(packet)


def _best_frame(container: "InputContainer", stream: "VideoStream", moment: float) -> "VideoFrame | None":
    """The first bright frame from `moment` (in seconds) on, else the brightest of those looked at."""
    moment += max(0, container.start_time or 0) / 1_000_000
    _seek(container, stream, moment)
    best: VideoFrame | None = None
    brightest = -1.0
    for number, frame in enumerate(_frames(container, stream)):
        last = number >= _POSTER_FRAMES
        if not last and frame.time is not None and frame.time < moment:
            continue
        brightness = _brightness(frame)
        if brightness > brightest:
            best, brightest = frame, brightness
        if last or brightness > _DARK:
            break
    return best


def _seek(container: "InputContainer", stream: "VideoStream", moment: float) -> None:
    """Go to the last key frame before `moment`, or, in a clip without an index, stay at the beginning."""
    import av

    if moment and stream.time_base:
        with contextlib.suppress(av.FFmpegError):
            container.seek(int(moment / stream.time_base), stream=stream)


def _frames(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    for number, packet in enumerate(container.demux(stream)):
        yield from packet.decode()
        if number > _PACKETS:
            return


def _brightness(frame: "VideoFrame") -> float:
    """The mean, 0 to 255, of a picture small enough to cost nothing."""
    from PIL import ImageStat

    return ImageStat.Stat(_picture(frame, 32, 32, "RGB").convert("L")).mean[0]


def _shown_size(frame: "VideoFrame") -> tuple[int, int]:
    across = abs(frame.rotation) in (90, 270)
    return (frame.height, frame.width) if across else (frame.width, frame.height)


def _shrunk(frame: "VideoFrame", longest: int) -> "Image":
    """Upright, as players show it."""
    scale = min(1.0, longest / max(frame.width, frame.height))
    image = _picture(frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)), "RGB")
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _picture(frame: "VideoFrame", width: int, height: int, mode: Literal["RGB", "RGBA"]) -> "Image":
    from av.video.reformatter import Interpolation
    from PIL import Image

    # Without the last two, colours are off by a few per cent.
    fine = Interpolation.BICUBIC.value | Interpolation.ACCURATE_RND.value | Interpolation.FULL_CHR_H_INT.value
    flat = frame.reformat(width, height, "rgba" if mode == "RGBA" else "rgb24", interpolation=fine, threads=1)
    plane = flat.planes[0]
    return Image.frombytes(mode, (width, height), memoryview(plane), "raw", mode, plane.line_size, 1)


def _address(path: Path) -> str:
    """As a local file, whatever its name looks like."""
    return f"file:{path.absolute()}"
