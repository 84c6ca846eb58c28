"""The transcription endpoint: a file in a form, or audio in JSON where the service takes it."""

import base64
import binascii
import hashlib
from typing import Any

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator.openai_format.admission import (
    REFERENCE,
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    require_key,
)
from app.providers.simulator.openai_format.calls import CallResult, respond
from app.providers.simulator.openai_format.errors import bad_request
from app.providers.simulator.openai_format.forms import read_form
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime

FORMATS = ("json", "text", "verbose_json")
WORDS_PER_SEGMENT = 10


class Recording(msgspec.Struct, frozen=True):
    """An audio file as it was sent; `format` is its declared one."""

    data: bytes
    format: str | None
    seconds: float


@post("/audio/transcriptions", guards=[require_key], status_code=200)
async def create_transcription(
    request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]
) -> ASGIApp:
    """Write down what is spoken in an audio file."""
    digest = hashlib.sha256(
        await request.body()
    ).hexdigest()  # before the form: reading that first would consume the body
    is_form = not persona.recordings_in_json or request.headers.get("content-type", "").startswith(
        "multipart/form-data"
    )
    body, data, declared = await (_read_recording(request) if is_form else _read_json(request))
    model = persona.model_for(body, "transcription")
    if body.get("response_format") not in (None, *FORMATS):
        raise bad_request(f"response_format: expected one of {', '.join(FORMATS)}")
    recording = await runtime.render(_recording, data, declared)
    body["file"] = REFERENCE + await runtime.run_io(runtime.store.save_input, data)
    keyterms = body.get("keyterms")
    terms = map(str, keyterms) if isinstance(keyterms, list) else ()
    accepted = await admit(
        runtime,
        endpoint="/audio/transcriptions",
        kind="transcription",
        model=model,
        prompt=" ".join([str(body.get("prompt") or ""), *terms]).strip(),
        body=body,
        digest=digest,
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    return await respond(runtime, persona, accepted, lambda: _result(accepted, recording))


HANDLERS = [create_transcription]


async def _read_recording(request: PlainRequest) -> tuple[JsonObject, bytes, str | None]:
    """The fields and the file of a form."""
    fields, files = await read_form(request)
    file = next((file for file in files if file.field == "file"), None)
    if file is None:
        raise bad_request("file: Required")
    return fields, file.data, None


async def _read_json(request: PlainRequest) -> tuple[JsonObject, bytes, str | None]:
    """The fields of a JSON body without the audio, and the audio."""
    try:
        body = msgspec.json.decode(await request.body(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as exc:
        raise bad_request("Invalid JSON payload") from exc
    sent = body.pop("input_audio", None)
    if not isinstance(sent, dict) or not isinstance(sent.get("data"), str) or not isinstance(sent.get("format"), str):
        raise bad_request("input_audio: expected data and format; URLs are not downloaded")
    try:
        return body, base64.b64decode(sent["data"], validate=True), sent["format"]
    except (binascii.Error, ValueError) as exc:
        raise bad_request("input_audio.data: expected base64") from exc


def _recording(data: bytes, declared: str | None) -> Recording:
    from app.providers.simulator import audio  # late: it loads PyAV

    try:
        return Recording(data, declared, audio.seconds_of(data, declared))
    except ValueError as exc:
        raise bad_request("The audio file could not be decoded") from exc


def _result(accepted: AcceptedRequest, recording: Recording) -> CallResult:
    from app.providers.simulator import audio  # late: it loads PyAV

    body, seconds = accepted.body, round(recording.seconds, 2)
    text = audio.transcribe(recording.data, seconds, recording.format)
    usage = {"seconds": seconds, "cost": round(seconds * float(accepted.model.pricing["prompt"]), 10)}
    if body.get("response_format") == "text":
        return CallResult(content=f"{text}\n".encode(), media_type="text/plain; charset=utf-8", usage=usage)
    content: JsonObject = {"text": text}
    if body.get("response_format") == "verbose_json":
        language = body.get("language") or "english"
        content |= {
            "task": "transcribe",
            "language": language,
            "duration": seconds,
            "segments": _segments(text, seconds),
        }
        granularities = body.get("timestamp_granularities")
        if isinstance(granularities, list) and "word" in granularities:
            content["words"] = [
                {"word": word, "start": start, "end": end} for word, start, end in _timed(text.split(), seconds)
            ]
    return CallResult(content=content, usage=usage)


def _segments(text: str, seconds: float) -> list[JsonObject]:
    words = text.split()
    parts = [" ".join(words[start : start + WORDS_PER_SEGMENT]) for start in range(0, len(words), WORDS_PER_SEGMENT)]
    return [
        {
            "id": index,
            "seek": 0,
            "start": start,
            "end": end,
            "text": f" {part}",
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": -0.25,
            "compression_ratio": 1.0,
            "no_speech_prob": 0.01,
        }
        for index, (part, start, end) in enumerate(_timed(parts, seconds))
    ]


def _timed(parts: list[str], seconds: float) -> list[tuple[str, float, float]]:
    """Each part with its start and end in seconds, all of the same length."""
    step = seconds / max(1, len(parts))
    return [(part, round(index * step, 2), round((index + 1) * step, 2)) for index, part in enumerate(parts)]
