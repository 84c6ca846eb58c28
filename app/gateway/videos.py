"""Clips in OpenAI's words: `/v1/videos`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from app.base.errors import Invalid
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.gateway import openai_params
from app.generation.schemas import GenerationRequest
from app.providers.contract import Kind

LONGEST: Final = 600  # seconds

_OWN: Final = frozenset({"model", "prompt", "seconds", "size", "input_reference", *openai_params.SILENT})


@contextmanager
def named() -> Iterator[None]:
    """Wrong fields by the names that they have in OpenAI's format."""
    try:
        yield
    except Invalid as exc:
        fields = {_NAMES.get(name, name): message for name, message in exc.fields.items()}
        raise type(exc)(exc.message, fields=fields) from None


_NAMES: Final = {
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
    "picture": "input_reference",
    "image_url": "input_reference",
    "image_asset_id": "input_reference",
}


def wish(data: Mapping[str, Any], catalog: Catalog, *, uploaded: bool) -> GenerationRequest:
    """What a request asks for; Invalid or Missing names the field that is wrong. `uploaded`: its picture is a file."""
    model = openai_params.choose(catalog, data, Kind.VIDEO)
    reference = data.get("input_reference")
    return GenerationRequest(
        model=model.id,
        prompt=openai_params.text(data, "prompt") or "",
        params=_params(data, model, catalog),
        image_url=None if uploaded or reference is None else _link(reference),
    )


def _link(reference: Any) -> str:
    """The address of the picture to start from, where it is no file."""
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or not url:
        raise openai_params.wrong("input_reference", "`input_reference` must be a file, or an object with `image_url`.")
    return url


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    properties = frozenset(model.parameters.get("properties", {}))
    openai_params.only(data, _OWN | properties)
    typed = catalog.read_form(model, {name: value for name, value in data.items() if isinstance(value, str)})
    params = {
        name: typed.get(name, data[name])
        for name in properties - {"size", "duration"}
        if data.get(name) not in (None, "", "auto")
    }
    seconds = openai_params.whole(data, "seconds", least=1, most=LONGEST) or openai_params.whole(
        data, "duration", least=1, most=LONGEST
    )
    if seconds is not None:
        params["duration"] = seconds
    return params | openai_params.frame(model, openai_params.text(data, "size"))
