"""Clips in OpenAI's words: `/v1/videos`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from app.base.errors import Invalid
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.gateway import wire
from app.generation.schemas import Wish
from app.providers.contract import Kind

LONGEST: Final = 600  # seconds

_OWN: Final = frozenset({"model", "prompt", "seconds", "size", "input_reference", *wire.SILENT})


@contextmanager
def named() -> Iterator[None]:
    """Wrong fields by the names that they have in OpenAI's format."""
    try:
        yield
    except Invalid as problem:
        fields = {_NAMES.get(name, name): message for name, message in problem.fields.items()}
        raise type(problem)(problem.message, fields=fields) from None


_NAMES: Final = {
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
    "picture": "input_reference",
    "image_url": "input_reference",
    "image_asset_id": "input_reference",
}


def wish(data: Mapping[str, Any], catalog: Catalog, *, uploaded: bool) -> Wish:
    """What a request asks for; Invalid or Missing names the field that is wrong. `uploaded`: its picture is a file."""
    model = wire.choose(catalog, data, Kind.VIDEO)
    reference = data.get("input_reference")
    return Wish(
        model=model.id,
        prompt=wire.text(data, "prompt") or "",
        params=_params(data, model, catalog),
        image_url=None if uploaded or reference is None else _link(reference),
    )


def _link(reference: Any) -> str:
    """The address of the picture to start from, where it is no file."""
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or not url:
        raise wire.wrong("input_reference", "`input_reference` must be a file, or an object with `image_url`.")
    return url


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    properties = frozenset(model.parameters.get("properties", {}))
    wire.only(data, _OWN | properties)
    typed = catalog.read_form(model, {name: value for name, value in data.items() if isinstance(value, str)})
    params = {
        name: typed.get(name, data[name])
        for name in properties - {"size", "duration"}
        if data.get(name) not in (None, "", "auto")
    }
    seconds = wire.whole(data, "seconds", least=1, most=LONGEST) or wire.whole(data, "duration", least=1, most=LONGEST)
    if seconds is not None:
        params["duration"] = seconds
    return params | wire.frame(model, wire.text(data, "size"))
