"""OpenRouter where it shares a handler with others."""

from app.providers.simulator.openai_format.errors import bad_request
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.openrouter.catalog import MODELS, MODERATION_MODEL
from app.providers.simulator.openrouter.errors import envelope

OPENROUTER = Persona(
    models=MODELS,
    moderation_model=MODERATION_MODEL,
    unknown_model=lambda name: bad_request(f"{name} is not a valid model ID"),
    error=envelope,
    id_header="X-Generation-Id",
    speech_format="pcm",
    reports_cost=True,
    recordings_in_json=True,
)
model_for = OPENROUTER.model_for
