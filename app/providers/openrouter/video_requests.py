"""The JSON body of `POST /videos`."""

from collections.abc import Callable
from typing import Any

from app.providers.bodies import EncodedBody, json_body
from app.providers.contract import Request
from app.providers.openai_format.chat_requests import image_part

_PARAMS = ("aspect_ratio", "resolution", "size", "duration", "seed", "generate_audio", "creativity", "upscale_factor")
_FRAMES = ("first_frame", "last_frame")


def video_body(request: Request, callback: Callable[[str], str] | None) -> EncodedBody:
    """`callback` returns the webhook URL for a job id. Reads image files, so call it in a thread."""
    body: dict[str, Any] = {"model": request.model}
    if request.prompt:
        body["prompt"] = request.prompt
    body |= {name: request.params[name] for name in _PARAMS if name in request.params}
    frames = [{**image_part(image), "frame_type": image.role} for image in request.images if image.role in _FRAMES]
    references = [image_part(image) for image in request.images if image.role not in _FRAMES]
    if frames:
        body["frame_images"] = frames
    if references:
        body["input_references"] = references
    if callback:
        body["callback_url"] = callback(request.job_id)
    return json_body(body)
