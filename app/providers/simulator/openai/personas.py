"""OpenAI, and a compatible server, where they share a handler with others. Their models are OpenRouter's of the same vendor."""

import msgspec

from app.providers.simulator.openai.errors import envelope
from app.providers.simulator.openai_format.errors import ErrorAnswer
from app.providers.simulator.openai_format.models import ImageAbility, SimulatedModel, VideoAbility
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.openrouter.catalog import MODELS as OPENROUTER_MODELS
from app.providers.simulator.openrouter.catalog import MODERATION_MODEL

PREFIX = "openai/"
WHISPER = "whisper-1"
_ROUTES = ("chat", "embeddings", "speech")


def _image_model(id: str, name: str, price: float) -> SimulatedModel:
    return SimulatedModel(
        id=id,
        name=name,
        created=1776729600,
        description="",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0.000005", "image": "0.000008", "image_output": f"{price:.10f}"},
        image=ImageAbility(parameters={}, price_per_image=0.0),
    )


IMAGE_MODELS = [
    _image_model("gpt-image-1-mini", "GPT Image 1 Mini", 0.000008),
    _image_model("gpt-image-1.5", "GPT Image 1.5", 0.000032),
    _image_model("gpt-image-2", "GPT Image 2", 0.00003),
    _image_model("gpt-image-2.6-flare", "GPT Image 2.6 Flare", 0.00003),
]
VIDEO_MODEL = SimulatedModel(
    id="sora-2",
    name="Sora 2",
    created=1759795200,
    description="",
    inputs=["text", "image"],
    outputs=["video"],
    routes=("videos",),
    video=VideoAbility(durations=[4, 8, 12], sizes=["720x1280", "1280x720"], audio=True, default_duration=4),
)


def _models(*own: SimulatedModel) -> dict[str, SimulatedModel]:
    found = [
        msgspec.structs.replace(model, id=model.id.removeprefix(PREFIX))
        for model in OPENROUTER_MODELS.values()
        if model.id.startswith(PREFIX) and set(model.routes) <= set(_ROUTES) and "image" not in model.outputs
    ]
    whisper = msgspec.structs.replace(OPENROUTER_MODELS["openai/whisper-large-v3"], id=WHISPER)
    return {model.id: model for model in (*found, whisper, MODERATION_MODEL, *own)}


def _unknown(name: str) -> ErrorAnswer:
    return ErrorAnswer(404, f"The model `{name}` does not exist or you do not have access to it.", "model_not_found")


OPENAI = Persona(
    models=_models(*IMAGE_MODELS),
    moderation_model=MODERATION_MODEL,
    unknown_model=_unknown,
    error=envelope,
    id_header="x-request-id",
    speech_format="mp3",
    reports_cost=False,
    recordings_in_json=False,
)
COMPATIBLE = msgspec.structs.replace(OPENAI, models=_models(*IMAGE_MODELS, VIDEO_MODEL), image_links=True)
