"""The available models: three upstream lists merged into one, each model with the JSON Schema of its parameters.

Invalid rows are skipped and logged, so that one of them never loses the other models.
"""

import re
from collections.abc import Sequence
from typing import Any

from app.base import logging
from app.base.errors import Upstream
from app.providers.coerce import amount, integer, mapping, text, texts
from app.providers.contract import InputRole, InputSlot, ModelOffer
from app.providers.errors import ClientError
from app.providers.openai_format.api import Api
from app.providers.openai_format.chat_params import Schema, chat_params
from app.providers.openrouter import param_schema
from app.providers.responses import JsonResponse

Row = dict[str, Any]

_PAGES = 50
_CHAT_IMAGES = 4  # input images of a model on the chat route, which lists no number
_SUPPORTED_OUTPUTS = ("text", "image", "video")
_ID = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_FETCH_FAILED = "The provider's model list could not be fetched. The previous list is kept."
_NOT_PRICES = ("discount", "overrides")  # keys in `pricing` that are not prices

_log = logging.get("providers.openrouter")


async def offers(api: Api) -> Sequence[ModelOffer]:
    """Every model with text, image or video output. Raises `Upstream` when the list cannot be fetched."""
    try:
        models = await _model_list(api, api.url("/models", output_modalities="all"), required=True)
        images = await _model_list(api, api.url("/images/models"), required=False)
        videos = await _model_list(api, api.url("/videos/models"), required=False)
    except ClientError as exc:
        _log.warning("model list request failed", exc=str(exc))
        raise Upstream(_FETCH_FAILED) from exc
    ids = dict.fromkeys([*models, *images, *videos])
    merged = (offer(model, models.get(model, {}), images.get(model), videos.get(model)) for model in ids)
    available = [model for model in merged if model is not None]
    if not available:  # an empty list is an upstream error; accepting it would retire every model
        raise Upstream(_FETCH_FAILED)
    return available


async def _model_list(api: Api, url: str, *, required: bool) -> dict[str, Row]:
    """The rows of all pages, by model id. Compatible servers may answer the image and video lists with 404."""
    found: dict[str, Row] = {}
    next_url: str | None = url
    for _ in range(_PAGES):
        if next_url is None:
            break
        response = await api.get(next_url, api.timeouts.catalog)
        if response.status == 404 and not required:
            _log.warning("model list not available", url=url)
            return found
        found |= _rows(api, response, url)
        link = text(mapping(mapping(response.body).get("links")).get("next"))
        next_url = api.own(link) if link else None
    return found


def _rows(api: Api, response: JsonResponse, url: str) -> dict[str, Row]:
    data = mapping(response.body).get("data")
    if response.status != 200 or not isinstance(data, list):
        detail = api.detail(f"{response.status} {response.text or response.body}")
        _log.warning("model list request failed", url=url, response=detail)
        raise Upstream(_FETCH_FAILED)
    found = {}
    for row in data:
        model = text(mapping(row).get("id"))
        if _ID.fullmatch(model):
            found[model] = mapping(row)
        else:
            _log.warning("invalid model list row skipped", url=url, row=api.detail(str(row))[:200])
    return found


def offer(model: str, row: Row, image: Row | None, video: Row | None) -> ModelOffer | None:
    """One model; None when it has no supported output or its rows are invalid."""
    try:
        return _merged(model, row, image, video)
    except (TypeError, ValueError, KeyError, ArithmeticError) as exc:
        _log.warning("invalid model list row skipped", model=model, exc=repr(exc))
        return None


def _merged(model: str, row: Row, image: Row | None, video: Row | None) -> ModelOffer | None:
    outputs = _outputs(row, image, video)
    if not any(output in _SUPPORTED_OUTPUTS for output in outputs):
        return None
    route = _route(outputs, image, video)
    declared = _modalities(row, "input") or _modalities(image or {}, "input")
    media_row = image or video or {}
    return ModelOffer(
        id=model,
        name=text(row.get("name")) or text(media_row.get("name")) or model,
        description=text(row.get("description")) or text(media_row.get("description")),
        input_modalities=_inputs(declared, image, video),
        output_modalities=tuple(outputs),
        context_length=_positive(row.get("context_length")),
        pricing=_prices(mapping((video or {}).get("pricing_skus"))) or _prices(mapping(row.get("pricing"))),
        parameters=_parameters(route, row, image, video, declared),
        route=route,
        inputs=_slots(route, _inputs(declared, image, video), image, video),
        created=_positive(row.get("created")) or _positive(media_row.get("created")),
    )


def _outputs(row: Row, image: Row | None, video: Row | None) -> list[str]:
    """Models without declared modalities are text models."""
    declared = _modalities(row, "output") or _modalities(image or {}, "output")
    extra = ["image"] if image is not None else ["video"] if video is not None else []
    return list(dict.fromkeys([*declared, *extra])) or ["text"]


def _route(outputs: list[str], image: Row | None, video: Row | None) -> str:
    if image is not None:
        return "images"
    if video is not None or "video" in outputs:
        return "videos"
    return "chat-image" if "image" in outputs else "chat"


def _inputs(declared: list[str], image: Row | None, video: Row | None) -> tuple[str, ...]:
    accepts_references = "input_references" in mapping((image or {}).get("supported_parameters"))
    accepts_frame = "first_frame" in param_schema.frames_of(video or {})
    extra = ["image"] if accepts_references or accepts_frame else []
    return tuple(dict.fromkeys([*(declared or ["text"]), *extra]))


def _slots(route: str, inputs: tuple[str, ...], image: Row | None, video: Row | None) -> tuple[InputSlot, ...]:
    """The input images. One that is not described further is what the model starts from."""
    required = "text" not in inputs
    if route == "videos":
        frames = param_schema.frames_of(video or {})
        roles = [InputRole(frame) for frame in frames] or ([InputRole.FIRST_FRAME] if "image" in inputs else [])
        return tuple(InputSlot(role=role, required=required and role is roles[0]) for role in roles)
    if "image" not in inputs or route == "chat":
        return ()
    described = mapping(mapping((image or {}).get("supported_parameters")).get("input_references"))
    most = integer(described.get("max")) or (_CHAT_IMAGES if route == "chat-image" else 1)
    return (InputSlot(role=InputRole.IMAGE, required=required, max=max(1, most)),)


def _parameters(route: str, row: Row, image: Row | None, video: Row | None, inputs: list[str]) -> Schema:
    if route == "images":
        return param_schema.images(image or {})
    if route == "videos":
        return param_schema.video(video or {}, inputs)
    return param_schema.chat_image(row) if route == "chat-image" else chat_params(row)


def _modalities(row: Row, direction: str) -> list[str]:
    return texts(mapping(row.get("architecture")).get(f"{direction}_modalities"))


def _prices(declared: Row) -> dict[str, str]:
    """Prices as decimal text. A negative price means that it varies; it is omitted, because unknown is not free."""
    prices = {}
    for name, value in declared.items():
        price = amount(value)
        if price is not None and name not in _NOT_PRICES:
            prices[name] = value if isinstance(value, str) else format(price, "f")
    return prices


def _positive(value: Any) -> int | None:
    number = integer(value)
    return number if number is not None and number > 0 else None
