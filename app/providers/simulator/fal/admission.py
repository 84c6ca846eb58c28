"""Steps before a job exists: authentication, the model, the body, and the faults that reject a request."""

import hmac
from functools import cache
from typing import Any

import jsonschema_rs
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp

from app.providers.contract import ModelOffer
from app.providers.fal.descriptions import described
from app.providers.simulator import responses
from app.providers.simulator.fal.errors import FalErrorAnswer, problem
from app.providers.simulator.openai_format.admission import EDGE_PAGE
from app.providers.simulator.runtime import Runtime

JsonObject = dict[str, Any]


async def require_fal_key(connection: ASGIConnection[Any, Any, Any, Any], _route: BaseRouteHandler) -> None:
    """Guard: requires a key in fal's own scheme, and the configured one if there is one."""
    runtime: Runtime = connection.app.state.runtime
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    accepted = runtime.key is None or hmac.compare_digest(key.encode(), runtime.key.encode())
    if scheme != "Key" or not key or not accepted:
        raise FalErrorAnswer(401, "Authentication is required to access this application.")


def model_at(endpoint: str) -> ModelOffer:
    """The model that this endpoint serves. Raises an error answer if there is none."""
    found = _endpoints().get(endpoint)
    if found is None:
        raise FalErrorAnswer(404, f"Application '{endpoint}' not found")
    return found


@cache
def _endpoints() -> dict[str, ModelOffer]:
    offers = described().values()
    return {offer.route: offer for offer in offers if offer.route} | {offer.id: offer for offer in offers}


def problems(offer: ModelOffer, endpoint: str, body: JsonObject) -> list[JsonObject]:
    """What the model finds wrong with its input. As in the real service, this is reported as the job's result."""
    own = {"prompt", offer.outputs.field, *(slot.field for slot in offer.inputs)}
    params = {name: value for name, value in body.items() if name not in own}
    found = [
        problem("value_error", error.message, *map(str, error.instance_path))
        for error in jsonschema_rs.validator_for(offer.parameters).iter_errors(params)
    ]
    if "text" in offer.input_modalities and not isinstance(body.get("prompt"), str):
        found.append(problem("missing", "Field required", "prompt"))
    needs_input = endpoint != offer.id
    for slot in offer.inputs:
        if slot.required and not body.get(slot.field):
            found.append(problem("missing", "Field required", slot.field))
    if needs_input and not any(body.get(slot.field) for slot in offer.inputs):
        found.append(problem("missing", "Field required", offer.inputs[0].field))
    count = body.get(offer.outputs.field, 1) if offer.outputs.field else 1
    if not isinstance(count, int) or not 1 <= count <= offer.outputs.max:
        found.append(problem("less_than", f"Must be at most {offer.outputs.max}", offer.outputs.field))
    return found


async def rejection(runtime: Runtime, endpoint: str, prompt: str, faults: frozenset[str]) -> ASGIApp | None:
    """The broken response that a prompt requests instead of an answer; raises the error answers that it requests."""
    if "unreachable" in faults:
        return responses.ClosedConnection()
    if "html" in faults:
        return responses.PlainResponse(EDGE_PAGE, "text/html; charset=utf-8", 502)
    if "credits" in faults:
        raise FalErrorAnswer(403, "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard.")
    if "ratelimit-long" in faults:
        raise FalErrorAnswer(429, "Too many requests", headers={"Retry-After": "1800"})
    for name, status in (("ratelimit", 429), ("overloaded", 503)):
        if name in faults and await runtime.run_io(runtime.store.first_time, name, f"{endpoint} {prompt}"):
            raise FalErrorAnswer(status, "Too many requests", headers={"Retry-After": "1"})
    return None
