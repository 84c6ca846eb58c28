"""The list of models, which has little more than their ids."""

from litestar import get
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.openai_format.admission import require_key
from app.providers.simulator.openai_format.persona import Persona

SHUT_DOWN = {
    "id": "dall-e-3",
    "object": "model",
    "created": 1698785189,
    "owned_by": "system",
    "shutdown_date": "2026-05-12",
}


@get("/models", guards=[require_key])
async def models(persona: NamedDependency[Persona]) -> ASGIApp:
    """All models, and one that was shut down."""
    rows = [
        {"id": model.id, "object": "model", "created": model.created, "owned_by": "openai", "shutdown_date": None}
        for model in persona.models.values()
    ]
    return responses.json_response({"object": "list", "data": [*rows, SHUT_DOWN]})


HANDLERS = [models]
