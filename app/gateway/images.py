"""Image requests and responses in OpenAI's format: `/v1/images/generations` and `/v1/images/edits`."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from app.base import clock
from app.base.clock import unix
from app.base.errors import Missing
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.gateway import openai_params
from app.generation.schemas import GenerationRequest
from app.jobs.schemas import MAX_PREVIEWS, Job
from app.library.schemas import Asset
from app.library.service import Library
from app.providers.contract import Kind, Preview

MAX_IMAGES: Final = 10  # images per request, as in OpenAI's API

_OWN: Final = frozenset(
    {"model", "prompt", "n", "size", "response_format", "stream", "partial_images", *openai_params.IGNORED}
)
_KNOWN: Final = frozenset({"quality", "background", "output_format", "output_compression", "seed"})
_EDITS: Final = frozenset({"image", "image[]", "mask", "input_fidelity"})


def parse_request(data: Mapping[str, Any], catalog: Catalog) -> GenerationRequest:
    """Parse a request without its input image. Raises Invalid or Missing with the name of the invalid field."""
    model = openai_params.require_model(catalog, data, Kind.IMAGE)
    if data.get("response_format") not in (None, "b64_json", "url"):
        raise openai_params.invalid("response_format", "`response_format` must be b64_json or url.")
    previews = openai_params.integer(data, "partial_images", minimum=0, maximum=MAX_PREVIEWS) or 0
    return GenerationRequest(
        model=model.id,
        literal_prompt=True,
        prompt=openai_params.text(data, "prompt") or "",
        params=_params(data, model, catalog),
        previews=previews if openai_params.flag(data, "stream") else 0,
    )


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    """The parameters of the model. Form fields are converted by the model's schema."""
    properties = frozenset(model.parameters.get("properties", {}))
    openai_params.reject_unknown(data, _OWN | _KNOWN | _EDITS | properties)
    params: dict[str, Any] = {}
    count = openai_params.integer(data, "n", minimum=1, maximum=MAX_IMAGES)
    if count is not None and (count > 1 or "n" in properties):
        params["n"] = count
    typed = catalog.parameters.read_form(model, {name: value for name, value in data.items() if isinstance(value, str)})
    for name in (_KNOWN | properties) - {"n", "size"}:
        if data.get(name) not in (None, "", "auto"):
            params[name] = typed.get(name, data[name])
    return params | openai_params.size_params(model, openai_params.text(data, "size"))


def response_body(job: Job, library: Library | None, origin: str) -> bytes:
    """The response with the images in base64, or with their URLs if `library` is None. Blocks."""
    usage = _usage(job)
    data = [_image(asset, library.path(asset) if library else None, origin) for asset in job.assets]
    content: dict[str, Any] = {"created": int(unix(job.ended_at or job.created_at)), "data": data}
    if job.assets:
        first = job.assets[0]
        content |= {"output_format": first.mime.partition("/")[2], "size": f"{first.width}x{first.height}"}
    return msgspec.json.encode(content | ({"usage": usage} if usage else {}))


def events(kind: str, job: Job, library: Library) -> list[dict[str, Any]]:
    """The event of each image in a streamed answer. `kind` is what the types of the events begin with. Blocks."""
    return [
        {
            "type": f"{kind}.completed",
            **_image(asset, library.path(asset), ""),
            "created_at": int(unix(job.ended_at or job.created_at)),
            "output_format": asset.mime.partition("/")[2],
            "size": f"{asset.width}x{asset.height}",
            **_settings(job),
            "usage": _usage(job),
        }
        for asset in job.assets
    ]


def preview_event(kind: str, job: Job, preview: Preview) -> dict[str, Any]:
    """The event of a partial image."""
    return {
        "type": f"{kind}.partial_image",
        "partial_image_index": preview.index,
        "b64_json": preview.base64,
        "created_at": int(unix(clock.now())),
        "output_format": preview.format or job.params.get("output_format", "png"),
        "size": job.params.get("size", "auto"),
        **_settings(job),
    }


def _settings(job: Job) -> dict[str, Any]:
    return {name: job.params.get(name, "auto") for name in ("quality", "background")}


def _usage(job: Job) -> dict[str, Any] | None:
    if job.usage is None:
        return None
    return {
        "input_tokens": job.usage.prompt_tokens or 0,
        "output_tokens": job.usage.completion_tokens or 0,
        "total_tokens": job.usage.total_tokens or 0,
        "input_tokens_details": {"text_tokens": job.usage.prompt_tokens or 0, "image_tokens": 0},
    }


def _image(asset: Asset, path: Path | None, origin: str) -> dict[str, str]:
    if path is None:
        return {"url": f"{origin}{asset.url}"}
    try:
        return {"b64_json": base64.b64encode(path.read_bytes()).decode("ascii")}
    except FileNotFoundError:
        raise Missing("The image has been deleted.") from None
