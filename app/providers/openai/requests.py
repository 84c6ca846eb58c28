"""Bodies of requests that OpenAI takes as forms: recordings to transcribe and videos. Other operations are JSON."""

import base64
import re

from app.providers.bodies import EncodedBody, FilePart, form_body
from app.providers.coerce import mapping, text
from app.providers.contract import ErrorCode, Failed, Failure, InputImage, Operation, Request
from app.providers.openai_format.operations import as_json

_FORMAT = re.compile(r"[a-z0-9]{1,8}")
_AUDIO_TYPES = {"mp3": "mpeg", "mpga": "mpeg", "m4a": "mp4", "oga": "ogg"}  # of formats whose name differs
_NO_RECORDING = "`input_audio` must be an object with `data` in base64 and `format`."


def operation_body(request: Request) -> EncodedBody:
    """Raises Failure."""
    return _transcription(request) if request.operation is Operation.TRANSCRIPTIONS else as_json(request)


def video_body(request: Request) -> EncodedBody:
    """Reads image files, so call it in a thread. The API takes one image."""
    files = [file_part("input_reference", "reference", image) for image in request.images[:1]]
    return form_body({**request.params, "model": request.model, "prompt": request.prompt}, files)


def file_part(field: str, stem: str, image: InputImage) -> FilePart:
    """An image as a file of a form. Reads the file."""
    return FilePart(field, f"{stem}.{image.mime.partition('/')[2]}", image.mime, image.path.read_bytes())


def _transcription(request: Request) -> EncodedBody:
    body = {**(request.body or {}), "model": request.model}
    recording = mapping(body.pop("input_audio", None))
    format = text(recording.get("format")).lower()
    try:
        data = base64.b64decode(text(recording.get("data")), validate=True)
    except ValueError:
        data = b""
    if not data or not _FORMAT.fullmatch(format):
        raise Failure(
            Failed(code=ErrorCode.REQUEST_REJECTED, message=_NO_RECORDING, reason=_NO_RECORDING, carried_out=False)
        )
    media_type = f"audio/{_AUDIO_TYPES.get(format, format)}"
    return form_body(body, [FilePart("file", f"recording.{format}", media_type, data)])
