"""The models on offer: three catalogues joined into one list, each model with the form of what may be asked of it.

A row that makes no sense is left out with a line in the log. It must never cost the studio the other four hundred.
"""

import re
from collections.abc import Sequence
from typing import Any

from app.base import logging
from app.base.errors import Upstream
from app.providers.client import Answer, ClientError
from app.providers.contract import ModelOffer
from app.providers.openrouter import param_schema
from app.providers.openrouter.api import Api
from app.providers.openrouter.coerce import amount, mapping, text, texts, whole

Row = dict[str, Any]

_PAGES = 50
_MADE_HERE = ("text", "image", "video")
_ID = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_NOT_HAD = "The provider's list of models could not be had. The list from before is kept."
_NOT_PRICES = ("discount", "overrides")  # stand among the prices

_log = logging.get("providers.openrouter")


async def offers(api: Api) -> Sequence[ModelOffer]:
    """Every model that makes text, pictures or clips; `Upstream` when the list cannot be had."""
    try:
        models = await _catalogue(api, api.url("/models", output_modalities="all"), required=True)
        images = await _catalogue(api, api.url("/images/models"), required=False)
        videos = await _catalogue(api, api.url("/videos/models"), required=False)
    except ClientError as exc:
        _log.warning("the catalogue cannot be had", exc=str(exc))
        raise Upstream(_NOT_HAD) from exc
    every = dict.fromkeys([*models, *images, *videos])
    found = (offer(model, models.get(model, {}), images.get(model), videos.get(model)) for model in every)
    made = [one for one in found if one is not None]
    if not made:  # a list without any model is a fault upstream, and believing it would empty the studio
        raise Upstream(_NOT_HAD)
    return made


async def _catalogue(api: Api, url: str, *, required: bool) -> dict[str, Row]:
    """The rows of all pages by id. A server that is only compatible may lack the two special catalogues: 404."""
    found: dict[str, Row] = {}
    following: str | None = url
    for _ in range(_PAGES):
        if following is None:
            break
        answer = await api.get(following, api.patience.catalogue)
        if answer.status == 404 and not required:
            _log.warning("a catalogue is not there", url=url)
            return found
        found |= _rows(api, answer, url)
        link = text(mapping(mapping(answer.body).get("links")).get("next"))
        following = api.own(link) if link else None
    return found


def _rows(api: Api, answer: Answer, url: str) -> dict[str, Row]:
    listed = mapping(answer.body).get("data")
    if answer.status != 200 or not isinstance(listed, list):
        detail = api.detail(f"{answer.status} {answer.text or answer.body}")
        _log.warning("the catalogue cannot be had", url=url, answer=detail)
        raise Upstream(_NOT_HAD)
    found = {}
    for row in listed:
        model = text(mapping(row).get("id"))
        if _ID.fullmatch(model):
            found[model] = mapping(row)
        else:
            _log.warning("a row of the catalogue is left out", url=url, row=api.detail(str(row))[:200])
    return found


def offer(model: str, row: Row, image: Row | None, video: Row | None) -> ModelOffer | None:
    """One model as offered; None when it makes nothing that is made here, or when its rows make no sense."""
    try:
        return _joined(model, row, image, video)
    except (TypeError, ValueError, KeyError, ArithmeticError) as exc:
        _log.warning("a row of the catalogue is left out", model=model, exc=repr(exc))
        return None


def _joined(model: str, row: Row, image: Row | None, video: Row | None) -> ModelOffer | None:
    outputs = _outputs(row, image, video)
    if not any(output in _MADE_HERE for output in outputs):
        return None
    route = _route(outputs, image, video)
    told = _modalities(row, "input") or _modalities(image or {}, "input")
    special = image or video or {}
    return ModelOffer(
        id=model,
        name=text(row.get("name")) or text(special.get("name")) or model,
        description=text(row.get("description")) or text(special.get("description")),
        input_modalities=_inputs(told, image, video),
        output_modalities=tuple(outputs),
        context_length=_positive(row.get("context_length")),
        pricing=_prices(mapping((video or {}).get("pricing_skus"))) or _prices(mapping(row.get("pricing"))),
        parameters=_form(route, row, image, video, told),
        route=route,
        created=_positive(row.get("created")) or _positive(special.get("created")),
    )


def _outputs(row: Row, image: Row | None, video: Row | None) -> list[str]:
    """A server that tells no modalities lists models that write."""
    told = _modalities(row, "output") or _modalities(image or {}, "output")
    extra = ["image"] if image is not None else ["video"] if video is not None else []
    return list(dict.fromkeys([*told, *extra])) or ["text"]


def _route(outputs: list[str], image: Row | None, video: Row | None) -> str:
    if image is not None:
        return "images"
    if video is not None or "video" in outputs:
        return "videos"
    return "chat-image" if "image" in outputs else "chat"


def _inputs(told: list[str], image: Row | None, video: Row | None) -> tuple[str, ...]:
    takes_references = "input_references" in mapping((image or {}).get("supported_parameters"))
    takes_frame = "first_frame" in param_schema.frames_of(video or {})
    extra = ["image"] if takes_references or takes_frame else []
    return tuple(dict.fromkeys([*(told or ["text"]), *extra]))


def _form(route: str, row: Row, image: Row | None, video: Row | None, inputs: list[str]) -> param_schema.Schema:
    if route == "images":
        return param_schema.images(image or {})
    if route == "videos":
        return param_schema.video(video or {}, inputs)
    return param_schema.chat_image(row) if route == "chat-image" else param_schema.text(row)


def _modalities(row: Row, direction: str) -> list[str]:
    return texts(mapping(row.get("architecture")).get(f"{direction}_modalities"))


def _prices(told: Row) -> dict[str, str]:
    """Prices as decimal text. A negative one stands for "it depends" and is left out: unknown is not free."""
    prices = {}
    for name, value in told.items():
        price = amount(value)
        if price is not None and name not in _NOT_PRICES:
            prices[name] = value if isinstance(value, str) else format(price, "f")
    return prices


def _positive(value: Any) -> int | None:
    number = whole(value)
    return number if number is not None and number > 0 else None
