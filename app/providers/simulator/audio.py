"""Makes speech, a tone for each letter, and transcribes audio.

A speech file names its text as its title, and a transcription of a file with a title is that title: so what was spoken comes
back. Any other file gets a text of a plausible length that follows from its bytes.
"""

import array
import hashlib
import io
import math
import random
from functools import lru_cache
from typing import Final

import av

SAMPLE_RATE: Final = 24_000
SECONDS_PER_LETTER: Final = 1 / 15
RAW_INPUT_RATE: Final = 16_000  # samples a second of headerless input
WORDS_PER_SECOND: Final = 2.5
MAX_WORDS: Final = 2_000

_CODECS: Final = {"mp3": "libmp3lame", "wav": "pcm_s16le"}
_READABLE: Final = "mp3,wav,flac,ogg,matroska,webm,mov,mp4,m4a,aac"  # none of them opens other files
_SCALE: Final = (0, 2, 4, 7, 9, 12, 14, 16)  # semitones
_LOUDNESS: Final = 9_000
_WORD_LIST: Final = """
the river light morning boat window garden slowly turns across between small green stone and then over quiet
mountain we heard a letter from north after rain while someone opened old door without any sound
"""
_WORDS: Final = _WORD_LIST.split()


def speak(text: str, voice: str, speed: float, format: str) -> bytes:
    """The text as audio: raw 16-bit samples at 24 kHz for pcm, otherwise a file."""
    count = max(1, round(SAMPLE_RATE * SECONDS_PER_LETTER / speed))
    base = 110 + hashlib.sha256(voice.encode()).digest()[0] / 2
    samples = b"".join(_letter(letter, base, count) for letter in text.lower())
    return samples if format == "pcm" else _file(samples, text, format)


def seconds_of(data: bytes, format: str | None = None) -> float:
    """The duration of an audio file, or of headerless samples. Raises ValueError if it is neither."""
    if format == "pcm":
        return len(data) / 2 / RAW_INPUT_RATE
    try:
        with _open(data) as container:
            stream = container.streams.audio[0]
            length = sum(packet.duration or 0 for packet in container.demux(stream))
            return float(length * stream.time_base) if stream.time_base else 0.0
    except (av.FFmpegError, IndexError, OverflowError) as exc:
        raise ValueError("not an audio file") from exc


def transcribe(data: bytes, seconds: float, format: str | None = None) -> str:
    """What is spoken in the audio."""
    if format != "pcm":
        with _open(data) as container:
            if title := container.metadata.get("title"):
                return str(title)
    dice = random.Random(hashlib.sha256(data).digest())
    words = [dice.choice(_WORDS) for _ in range(min(MAX_WORDS, max(1, round(seconds * WORDS_PER_SECOND))))]
    return " ".join(words).capitalize() + "."


def _open(data: bytes) -> av.container.InputContainer:
    return av.open(io.BytesIO(data), "r", metadata_errors="replace", options={"format_whitelist": _READABLE})


@lru_cache(maxsize=512)
def _letter(letter: str, base: float, count: int) -> bytes:
    """A tone that swells and fades; silence for what is not a letter or digit."""
    if not letter.isalnum():
        return bytes(2 * count)
    pitch = 2 * math.pi * base * 2 ** (_SCALE[ord(letter) % len(_SCALE)] / 12) / SAMPLE_RATE
    swell = math.pi / count
    return array.array(
        "h", (round(_LOUDNESS * math.sin(swell * place) * math.sin(pitch * place)) for place in range(count))
    ).tobytes()


def _file(samples: bytes, title: str, format: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=format) as container:
        container.metadata["title"] = title
        options = {"compression_level": "9"}  # the fastest; long texts took seconds
        stream = container.add_stream(_CODECS[format], rate=SAMPLE_RATE, layout="mono", options=options)
        assert isinstance(stream, av.AudioStream)  # noqa: S101  (both codecs are for audio)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
