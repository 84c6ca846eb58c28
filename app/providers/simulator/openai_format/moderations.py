"""The moderation endpoint in OpenAI's format, free of charge."""

from typing import Any

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import moderation, replies
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    require_key,
)
from app.providers.simulator.openai_format.calls import CallResult, respond
from app.providers.simulator.openai_format.errors import bad_request
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime


@post("/moderations", guards=[require_key], status_code=200)
async def create_moderation(
    request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]
) -> ASGIApp:
    """Classify texts."""
    body, digest = await read_body(request, runtime)
    model = persona.moderation_model
    if body.get("model") not in (None, model.id, f"openai/{model.id}"):
        raise bad_request(f"{body.get('model')} is not a valid model ID")
    texts = _texts(body.get("input"))
    accepted = await admit(
        runtime,
        endpoint="/moderations",
        kind="moderation",
        model=model,
        prompt="\n".join(texts),
        body=body,
        digest=digest,
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    return await respond(runtime, persona, accepted, lambda: _result(accepted, texts))


HANDLERS = [create_moderation]


def _texts(given: Any) -> list[str]:
    """The texts to classify; parts of one message, such as a text and an image, are one."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(isinstance(text, str) for text in given):
        return given
    if isinstance(given, list) and given and all(isinstance(part, dict) for part in given):
        return [replies.text_of({"content": given})]
    raise bad_request("input: expected a text, a list of texts, or a list of parts")


def _result(accepted: AcceptedRequest, texts: list[str]) -> CallResult:
    identifier = accepted.id.replace("gen-", "modr-", 1)
    results = [_classified(text) for text in texts]
    return CallResult(content={"id": identifier, "model": accepted.model.id, "results": results})


def _classified(text: str) -> JsonObject:
    scores = moderation.scores(text)
    categories = {name: score > 0.5 for name, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in scores},
    }
