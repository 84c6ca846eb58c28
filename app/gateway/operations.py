"""Embeddings, moderations, speech and transcriptions in OpenAI's format, passed on both ways like chat completions.

The catalog lists only models for text, images and videos, so any other model id is passed on as it is and the provider decides.
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import PurePath
from typing import Any, Final

import msgspec

from app.base.errors import Missing
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat.schemas import AnswerFormat, ChatRequest
from app.chat.service import StreamingAnswer
from app.gateway import openai_params
from app.providers.contract import Operation

JSON: Final = "application/json"
# What OpenAI does where a request leaves it out; providers differ.
_DEFAULTS: Final[Mapping[Operation, Mapping[str, str]]] = {
    Operation.MODERATIONS: {"model": "omni-moderation-latest"},
    Operation.SPEECH: {"response_format": "mp3"},
}
_SAFE_TYPES: Final = re.compile(r"(audio/[\w.+-]+|text/plain|text/event-stream|application/json)(;[\w\s=.-]*)?")
_FORMATS: Final = {"mpeg": "mp3", "wave": "wav", "mp4": "m4a", "vnd.wave": "wav"}  # of media types whose name differs


class UploadedRecording(msgspec.Struct, frozen=True):
    """An uploaded audio file, with the name and the media type that the client gave it."""

    data: bytes
    name: str
    media_type: str


def with_defaults(operation: Operation, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with OpenAI's defaults in place of what is missing."""
    given = {name: value for name, value in body.items() if value is not None}
    return {**body, **{name: value for name, value in _DEFAULTS.get(operation, {}).items() if name not in given}}


def parse_request(operation: Operation, body: Mapping[str, Any], catalog: Catalog) -> ChatRequest:
    """Raises Invalid or Missing with the name of the invalid field."""
    id = body.get("model")
    if not isinstance(id, str) or not id.strip():
        raise openai_params.invalid("model", "`model` is required.")
    return ChatRequest(
        model=_model(id.strip(), catalog), body=dict(body), format=AnswerFormat.RAW_STREAM, operation=operation
    )


def _model(id: str, catalog: Catalog) -> Model:
    try:
        return catalog.find_or_pass(id)
    except Missing:
        raise openai_params.model_not_found(id) from None


async def transcription_body(fields: Iterable[tuple[str, str]], recording: UploadedRecording) -> dict[str, Any]:
    """The body of a transcription that was sent as a form, as OpenAI's clients do."""
    body: dict[str, Any] = {}
    for name, value in fields:
        if name.endswith("[]"):
            body.setdefault(name.removesuffix("[]"), []).append(value)
        else:
            body[name] = _typed(name, value)
    data = (await asyncio.to_thread(base64.b64encode, recording.data)).decode("ascii")
    return {**body, "input_audio": {"data": data, "format": _format_of(recording)}}


def _typed(name: str, value: str) -> Any:
    """The value of a form field that is not text in OpenAI's format."""
    if name == "stream":
        return openai_params.flag({name: value}, name)
    if name == "temperature":
        try:
            return float(value)
        except ValueError:
            raise openai_params.invalid(name, f"`{name}` must be a number.") from None
    return value


def _format_of(recording: UploadedRecording) -> str:
    """The format of a recording, from its name or else its media type."""
    suffix = PurePath(recording.name).suffix.removeprefix(".").lower()
    subtype = recording.media_type.partition(";")[0].rpartition("/")[2].strip().lower().removeprefix("x-")
    format = suffix or _FORMATS.get(subtype, subtype)
    if not re.fullmatch(r"[a-z0-9]{2,8}", format) or format == "plain":
        raise openai_params.invalid("file", "The name of `file` must end with its format, such as .mp3 or .wav.")
    return format


async def first_piece(pieces: AsyncGenerator[Sequence[bytes], None]) -> bytes | None:
    """What arrives first; None when the answer ends without anything."""
    async for batch in pieces:
        if batch:
            return b"".join(batch)
    return None


async def rest(
    answer: StreamingAnswer, first: bytes, pieces: AsyncGenerator[Sequence[bytes], None]
) -> AsyncGenerator[bytes, None]:
    """The answer in pieces. Closing the iterator stops it; an answer that breaks off raises, so that the response breaks off."""
    async with aclosing(pieces):
        yield first
        async for batch in pieces:
            if batch:
                yield b"".join(batch)
    answer.require_complete()


def media_type_of(answer: StreamingAnswer) -> str:
    """The media type of the answer; one that a browser could run is not believed."""
    declared = (answer.media_type or "").strip()
    return declared if _SAFE_TYPES.fullmatch(declared) else "application/octet-stream"
