"""Video requests in OpenAI's format: `/v1/videos`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from app.base.errors import Invalid
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.gateway import openai_params
from app.generation.schemas import GenerationRequest
from app.providers.contract import Kind

MAX_SECONDS: Final = 600  # seconds

_OWN: Final = frozenset({"model", "prompt", "seconds", "size", "input_reference", *openai_params.IGNORED})


@contextmanager
def openai_field_names() -> Iterator[None]:
    """Renames the invalid fields of an error to their names in OpenAI's format, unless it has those already."""
    try:
        yield
    except Invalid as exc:
        if "param" in exc.details:
            raise
        fields = {_NAMES.get(name, name): message for name, message in exc.fields.items()}
        raise type(exc)(exc.message, fields=fields) from None


_NAMES: Final = {
    "duration": "seconds",
    "aspect_ratio": "size",
    "resolution": "size",
    "image": "input_reference",
    "image_url": "input_reference",
    "image_asset_id": "input_reference",
}


def parse_request(data: Mapping[str, Any], catalog: Catalog, *, uploaded: bool) -> GenerationRequest:
    """Parse a request. Raises Invalid or Missing with the name of the invalid field. `uploaded`: the input image is a file."""
    model = openai_params.require_model(catalog, data, Kind.VIDEO)
    reference = data.get("input_reference")
    return GenerationRequest(
        model=model.id,
        literal_prompt=True,
        prompt=openai_params.text(data, "prompt") or "",
        params=_params(data, model, catalog),
        image_url=None if uploaded or reference is None else _image_url(reference),
    )


def _image_url(reference: Any) -> str:
    """The URL of the input image."""
    url = reference.get("image_url") if isinstance(reference, dict) else None
    if not isinstance(url, str) or not url:
        raise openai_params.invalid(
            "input_reference", "`input_reference` must be a file, or an object with `image_url`."
        )
    return url


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    properties = frozenset(model.parameters.get("properties", {}))
    openai_params.reject_unknown(data, _OWN | properties)
    typed = catalog.parameters.read_form(model, {name: value for name, value in data.items() if isinstance(value, str)})
    params = {
        name: typed.get(name, data[name])
        for name in properties - {"size", "duration"}
        if data.get(name) not in (None, "", "auto")
    }
    seconds = openai_params.integer(data, "seconds", minimum=1, maximum=MAX_SECONDS) or openai_params.integer(
        data, "duration", minimum=1, maximum=MAX_SECONDS
    )
    if seconds is not None:
        params["duration"] = seconds
    return params | openai_params.size_params(model, openai_params.text(data, "size"))
