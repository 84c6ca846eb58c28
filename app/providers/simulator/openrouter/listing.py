"""Catalogue endpoints: all models, and the parameters of image and video models. They need no API key."""

from typing import Any

from litestar import Request, get
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.openai_format.errors import bad_request, not_found
from app.providers.simulator.openai_format.models import SimulatedModel
from app.providers.simulator.openrouter.catalog import EMBEDDING_MODELS, MODELS

MAX_PAGE = 1000


@get("/models")
async def models(request: Request[Any, Any, Any]) -> ASGIApp:
    """Models filtered by output modalities (text by default), input modalities, parameters and a search term."""
    query = request.query_params
    rows = [model for model in MODELS.values() if _matches(model, query)]
    offset, limit = _page(query)
    page = rows[offset : offset + limit] if limit else rows[offset:]
    next_url = None
    if limit and offset + limit < len(rows):
        other_params = "".join(f"&{name}={value}" for name, value in query.items() if name not in ("offset", "limit"))
        next_url = f"/api/v1/models?offset={offset + limit}&limit={limit}{other_params}"
    return responses.json_response(
        {"data": [_row(model) for model in page], "total_count": len(rows), "links": {"next": next_url}}
    )


@get("/images/models")
async def image_models() -> ASGIApp:
    """Models of the image endpoint, with a descriptor for each supported parameter."""
    return responses.json_response({"data": [_image_row(model) for model in MODELS.values() if model.image]})


@get("/images/models/{author:str}/{slug:str}/endpoints")
async def image_endpoints(author: FromPath[str], slug: FromPath[str]) -> ASGIApp:
    """The providers of an image model with their parameters and prices."""
    model = MODELS.get(f"{author}/{slug}")
    if model is None or model.image is None:
        raise not_found(f"Image model {author}/{slug} not found")
    prices = [{"billable": "output_image", "unit": "image", "cost_usd": model.image.price_per_image}]
    endpoint = {
        "provider_name": model.name.partition(":")[0],
        "provider_slug": author,
        "provider_tag": author,
        "supported_parameters": model.image.parameters,
        "allowed_passthrough_parameters": [],
        "supports_streaming": model.image.streams,
        "pricing": prices,
    }
    return responses.json_response({"id": model.id, "endpoints": [endpoint]})


@get("/videos/models")
async def video_models() -> ASGIApp:
    """Models of the video endpoint, with the values that each supports."""
    return responses.json_response({"data": [_video_row(model) for model in MODELS.values() if model.video]})


@get("/embeddings/models")
async def embedding_models() -> ASGIApp:
    """Models of the embeddings endpoint."""
    return responses.json_response({"data": [_row(model) for model in EMBEDDING_MODELS]})


HANDLERS = [models, image_models, image_endpoints, video_models, embedding_models]


def _matches(model: SimulatedModel, query: Any) -> bool:
    outputs = _list(query.get("output_modalities")) or ["text"]
    if "all" not in outputs and not set(outputs) & set(model.outputs):
        return False
    if not set(_list(query.get("input_modalities"))) <= set(model.inputs):
        return False
    if not set(_list(query.get("supported_parameters"))) <= set(model.parameters):
        return False
    search = (query.get("q") or "").lower()
    return search in f"{model.id} {model.name} {model.description}".lower()


def _list(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _page(query: Any) -> tuple[int, int | None]:
    """Offset and limit; without either there is no limit, as in the real service."""
    try:
        offset = int(query.get("offset", 0))
        limit = int(query["limit"]) if "limit" in query else (500 if "offset" in query else None)
    except ValueError as exc:
        raise bad_request("offset and limit must be whole numbers") from exc
    if offset < 0 or (limit is not None and not 1 <= limit <= MAX_PAGE):
        raise bad_request("offset must be 0 or more, limit 1 to 1000")
    return offset, limit


def _row(model: SimulatedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.id.partition(":")[0],
        "hugging_face_id": None,
        "name": model.name,
        "created": model.created,
        "description": model.description,
        "context_length": model.context_length,
        "architecture": {
            "modality": f"{'+'.join(model.inputs)}->{'+'.join(model.outputs)}",
            "input_modalities": model.inputs,
            "output_modalities": model.outputs,
            "tokenizer": model.tokenizer,
            "instruct_type": None,
        },
        "pricing": model.pricing or {"prompt": "0", "completion": "0"},
        "top_provider": {
            "context_length": model.context_length,
            "max_completion_tokens": model.max_completion_tokens,
            "is_moderated": model.moderated,
        },
        "per_request_limits": None,
        "supported_parameters": model.parameters,
        "supported_voices": model.voices,
        "default_parameters": None,
        "expiration_date": None,
        "knowledge_cutoff": None,
        "alias_target": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }


def _image_row(model: SimulatedModel) -> dict[str, Any]:
    assert model.image is not None  # noqa: S101  (the caller has checked)
    return {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "created": model.created,
        "architecture": {"input_modalities": model.inputs, "output_modalities": model.outputs},
        "supported_parameters": model.image.parameters,
        "supports_streaming": model.image.streams,
        "endpoints": f"/api/v1/images/models/{model.id}/endpoints",
    }


def _video_row(model: SimulatedModel) -> dict[str, Any]:
    video = model.video
    assert video is not None  # noqa: S101  (the caller has checked)
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "name": model.name,
        "description": model.description,
        "created": model.created,
        "hugging_face_id": None,
        "supported_resolutions": video.resolutions,
        "supported_aspect_ratios": video.aspect_ratios,
        "supported_sizes": video.sizes,
        "supported_durations": video.durations,
        "supported_frame_images": video.frame_images,
        "generate_audio": video.audio,
        "seed": video.seed,
        "creativity": None,
        "upscale_factor": None,
        "pricing_skus": video.skus,
        "allowed_passthrough_parameters": [],
    }
