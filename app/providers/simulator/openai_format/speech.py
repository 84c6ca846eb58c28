"""The speech endpoint. As in the real services, its answer has no cost."""

from typing import Any

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.faults import strip_faults
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    require_key,
)
from app.providers.simulator.openai_format.calls import CallResult, respond
from app.providers.simulator.openai_format.errors import bad_request
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime

MAX_CHARS = 4096
MEDIA_TYPES = {"mp3": "audio/mpeg", "pcm": "audio/pcm", "wav": "audio/wav"}
NOT_AUDIO = b"This is not audio. " * 40


@post("/audio/speech", guards=[require_key], status_code=200)
async def create_speech(
    request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]
) -> ASGIApp:
    """Read a text aloud."""
    body, digest = await read_body(request, runtime)
    model = persona.model_for(body, "speech")
    text = _text_of(body.get("input"))
    speed, format = body.get("speed"), body.get("response_format") or persona.speech_format
    if speed is not None and (not isinstance(speed, int | float) or not 0.25 <= speed <= 4):
        raise bad_request("speed: expected a number from 0.25 to 4")
    if not isinstance(format, str) or format not in MEDIA_TYPES:
        raise bad_request(f"response_format: expected one of {', '.join(MEDIA_TYPES)}")
    accepted = await admit(
        runtime, endpoint="/audio/speech", kind="speech", model=model, prompt=text, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    if "huge" in accepted.faults:
        return responses.StreamedResponse(responses.endless(b"", bytes(64)), MEDIA_TYPES[format])
    return await respond(runtime, persona, accepted, lambda: _result(accepted, body, text, format))


HANDLERS = [create_speech]


def _text_of(given: Any) -> str:
    """The text, or the texts of several turns."""
    if isinstance(given, list) and all(isinstance(turn, dict) and isinstance(turn.get("text"), str) for turn in given):
        given = "\n".join(turn["text"] for turn in given)
    if not isinstance(given, str) or not given.strip() or len(given) > MAX_CHARS:
        raise bad_request(f"input: expected a text of 1 to {MAX_CHARS} characters, or a list of turns")
    return given


def _result(accepted: AcceptedRequest, body: JsonObject, text: str, format: str) -> CallResult:
    from app.providers.simulator import audio  # late: it loads PyAV

    usage = {"prompt_tokens": len(text), "cost": round(len(text) * float(accepted.model.pricing["prompt"]), 10)}
    if "badmedia" in accepted.faults:
        content = NOT_AUDIO
    else:
        content = audio.speak(strip_faults(text) or "…", str(body.get("voice")), body.get("speed") or 1.0, format)
    return CallResult(content=content, media_type=MEDIA_TYPES[format], usage=usage)
