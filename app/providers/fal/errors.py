"""Maps fal's errors to outcomes.

Two shapes exist: `detail` as a list of what is wrong with the input, each with a `type`, or as a sentence beside an
`error_type`. The type may also be in the header `X-Fal-Error-Type`. fal has already retried what is worth it, so a job that
ended with an error is not sent again by itself.
"""

import re
from typing import Any, Final

from app.providers import failures
from app.providers.coerce import mapping, rows, text
from app.providers.contract import ErrorCode, Failed, Retryable
from app.providers.fal.api import FalApi
from app.providers.responses import JsonResponse

_REFUSALS: Final = ("content_policy_violation", "no_media_generated")
_REFUSAL_WORDS: Final = re.compile(r"(?i)content[ _-]?polic|moderat|nsfw|safety (checker|system|filter)|prohibited")
_NO_CREDIT_WORDS: Final = re.compile(r"(?i)balance|billing|locked|credit|payment")
_CANCELLED: Final = "client_cancelled"
# Types of errors that fal's own servers report; all others are about the input.
_SERVER_ERRORS: Final = re.compile(
    r"internal_(server_)?error|generation_timeout|downstream_service_\w+|(request|startup)_timeout|runner_\w+"
    r"|client_disconnected"
)
_PATH: Final = re.compile(r"(?:[a-z]+:/)?/[\w.-]+/\S+")  # of a file, or a URL
_MAX_REASON: Final = 500  # characters

_REJECTED = "The provider did not accept these settings for this model. Change them and try again."
_INPUT_MESSAGES: Final = {
    "image_too_small": "The input image is too small for this model. Use a larger one.",
    "image_too_large": "The input image has too many pixels for this model. Use a smaller one.",
    "image_load_error": "The provider could not read the input image. Use another one.",
    "file_download_error": "The provider could not fetch an input file. Try again.",
    "file_too_large": "An input file is too large for this model. Use a smaller one.",
    "unsupported_image_format": "The provider does not support the format of the input image. Use PNG or JPEG.",
    "unsupported_audio_format": "The provider does not support the format of the audio file. Use another one.",
    "unsupported_video_format": "The provider does not support the format of the input video. Use another one.",
    "face_detection_error": "The provider found no face in the input image. Use another one.",
    "feature_not_supported": "This model does not support this combination of settings. Change them and try again.",
}
_STATUS_MESSAGES: Final = {
    401: "The provider rejected the API key. Ask an administrator to check it.",
    403: "The API key has no access to this model. Ask an administrator or choose another model.",
    404: "The provider does not currently offer this model. Choose another model.",
    413: "The request is too large for this model. Use a smaller image or a shorter prompt.",
}
_MOVED = "The provider redirected the request. Ask an administrator to check the base URL."
_CANCELLED_THERE = "The provider cancelled this job. Generate it again."


def not_accepted(api: FalApi, response: JsonResponse) -> Retryable | Failed:
    """The outcome of a submit that received an error status."""
    detail, wait = detail_of(api, response), failures.retry_after(response.headers)
    if response.status == 429 or (response.status in (503, 529) and "x-fal-request-id" not in response.headers):
        return Retryable(code=ErrorCode.PROVIDER_FAILED, message=failures.BUSY, wait=wait, detail=detail)
    if response.status >= 500 or response.status in (408, 499):
        return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=failures.UNKNOWN, detail=detail)
    if _is_refusal(response, {}):
        return _not_done(ErrorCode.PROVIDER_REFUSED, failures.REFUSED, detail)
    if response.status in (401, 402, 403):
        return denied(response.status, detail)
    if response.status in (400, 422):
        message = _input_message(_types(response, {}))
        return _not_done(ErrorCode.REQUEST_REJECTED, message, detail, reason=_reason(response))
    message = _MOVED if response.status < 400 else _STATUS_MESSAGES.get(response.status, failures.FAILED)
    return _not_done(ErrorCode.PROVIDER_FAILED, message, detail)


def denied(status: int, detail: str) -> Failed:
    """The key, its rights or the account's balance do not allow the request. Which status a locked account gets varies."""
    no_credit = status == 402 or (status == 403 and _NO_CREDIT_WORDS.search(detail))
    message = failures.NO_CREDIT if no_credit else _STATUS_MESSAGES[status]
    return _not_done(ErrorCode.PROVIDER_FAILED, message, detail)


def ended(api: FalApi, response: JsonResponse, state: dict[str, Any]) -> Failed:
    """The outcome of a job that has ended with an error, from its result and its status `state`. fal does not charge for a
    result with a 5xx status."""
    detail = api.detail(f"{detail_of(api, response)} {text(state.get('error_type'))} {text(state.get('error'))}")
    cost = 0 if response.status >= 500 else None
    types = _types(response, state)
    if _is_refusal(response, state):
        return failures.refused(detail, cost)
    if _CANCELLED in types or response.status == 499:
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=_CANCELLED_THERE, cost_nano=cost, detail=detail)
    if response.status >= 500 or any(map(_SERVER_ERRORS.fullmatch, types)):
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.FAILED, cost_nano=cost, detail=detail)
    return Failed(
        code=ErrorCode.REQUEST_REJECTED, message=_input_message(types), reason=_reason(response), detail=detail
    )


def is_final(response: JsonResponse, state: dict[str, Any]) -> bool:
    """Whether the result of a completed job says that the job has failed, rather than that it cannot be read just now."""
    if state.get("error") or _types(response, state):
        return True
    return response.status in (400, 413, 422, 499)


def detail_of(api: FalApi, response: JsonResponse) -> str:
    """Status, types and messages of an error, for admins."""
    parts = [str(response.status), *_types(response, {}), _message(response) or response.text]
    return api.detail(" ".join(parts))


def _types(response: JsonResponse, state: dict[str, Any]) -> list[str]:
    body = mapping(response.body)
    found = [state.get("error_type"), body.get("error_type"), response.headers.get("x-fal-error-type")]
    found += [mapping(row).get("type") for row in rows(body.get("detail"))]
    return list(dict.fromkeys(text(name) for name in found if text(name)))


def _message(response: JsonResponse) -> str:
    """What fal says, with the input's name before each message."""
    detail = mapping(response.body).get("detail")
    lines = []
    for row in map(mapping, rows(detail)):
        names = [str(part) for part in rows(row.get("loc")) if part != "body"]
        lines.append(": ".join(part for part in (".".join(names), text(row.get("msg"))) if part))
    return "; ".join(filter(None, lines)) or text(detail)


def _reason(response: JsonResponse) -> str:
    return _PATH.sub("…", _message(response))[:_MAX_REASON]


def _is_refusal(response: JsonResponse, state: dict[str, Any]) -> bool:
    if any(name in _REFUSALS for name in _types(response, state)):
        return True
    messages = f"{_message(response)} {text(state.get('error'))}"
    return response.status in (400, 403, 422) and bool(_REFUSAL_WORDS.search(messages))


def _input_message(types: list[str]) -> str:
    return next((_INPUT_MESSAGES[name] for name in types if name in _INPUT_MESSAGES), _REJECTED)


def _not_done(code: ErrorCode, message: str, detail: str, *, reason: str = "") -> Failed:
    return Failed(code=code, message=message, cost_nano=0, carried_out=False, reason=reason, detail=detail)
