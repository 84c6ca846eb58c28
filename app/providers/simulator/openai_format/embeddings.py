"""The embeddings endpoint: a text, several, or texts that the client has already cut into tokens."""

import array
import base64
from typing import Any

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import embeddings, replies
from app.providers.simulator.faults import strip_faults
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    context_too_long,
    read_body,
    require_key,
)
from app.providers.simulator.openai_format.calls import CallResult, respond
from app.providers.simulator.openai_format.errors import bad_request
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime

MAX_INPUTS = 2048

Input = str | list[int]


@post("/embeddings", guards=[require_key], status_code=200)
async def create_embeddings(
    request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]
) -> ASGIApp:
    """Embed texts."""
    body, digest = await read_body(request, runtime)
    model = persona.model_for(body, "embeddings")
    inputs = _inputs(body.get("input"))
    dimensions = body.get("dimensions")
    dimensions = model.dimensions if dimensions is None else dimensions
    if not isinstance(dimensions, int) or not 1 <= dimensions <= model.dimensions:
        raise bad_request(f"dimensions: expected a whole number from 1 to {model.dimensions}")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise bad_request("encoding_format: expected float or base64")
    if (most := max(map(_token_count, inputs))) > (model.context_length or most):
        raise context_too_long(model, most)
    prompt = "\n".join(text for text in inputs if isinstance(text, str))
    accepted = await admit(
        runtime, endpoint="/embeddings", kind="embeddings", model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    return await respond(runtime, persona, accepted, lambda: _result(accepted, inputs, dimensions))


HANDLERS = [create_embeddings]


def _inputs(given: Any) -> list[Input]:
    """The inputs; a list of numbers is one input."""
    if isinstance(given, str) or (isinstance(given, list) and given and all(map(_is_token, given))):
        given = [given]
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_INPUTS:
        raise bad_request(f"input: expected a text, tokens, or a list of at most {MAX_INPUTS} of them")
    return [_input(one) for one in given]


def _input(given: Any) -> Input:
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        given = replies.text_of(given)
    if not given or not (isinstance(given, str) or (isinstance(given, list) and all(map(_is_token, given)))):
        raise bad_request("input: each input must be a text or tokens, and not empty")
    checked: Input = given
    return checked


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _token_count(text: Input) -> int:
    return replies.tokens_of(text) if isinstance(text, str) else len(text)


def _result(accepted: AcceptedRequest, inputs: list[Input], dimensions: int) -> CallResult:
    as_base64 = accepted.body.get("encoding_format") == "base64"
    vectors = [
        embeddings.vector(strip_faults(text), dimensions)
        if isinstance(text, str)
        else embeddings.vector_of_tokens(text, dimensions)
        for text in inputs
    ]
    data: list[JsonObject] = [
        {"object": "embedding", "embedding": _base64(vector) if as_base64 else vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(map(_token_count, inputs))
    cost = round(tokens * float(accepted.model.pricing["prompt"]), 10)
    return CallResult(
        content={"id": accepted.id, "object": "list", "data": data, "model": accepted.model.id},
        usage={"prompt_tokens": tokens, "total_tokens": tokens, "cost": cost, "is_byok": False},
    )


def _base64(vector: list[float]) -> str:
    """Little-endian 32-bit floats."""
    return base64.b64encode(array.array("f", vector).tobytes()).decode()
