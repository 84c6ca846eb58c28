"""What every request to this service passes: the key, the body, and, when it costs money, the submit log."""

import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.faults import asked
from app.providers.simulator.openrouter.catalog import MODELS, Model, Route
from app.providers.simulator.openrouter.errors import Refusal, bad, missing
from app.providers.simulator.stage import Stage
from app.providers.simulator.state import Job, Kind, Memory, Submit, new_id

Body = dict[str, Any]
Plain = Request[Any, Any, Any]

REFERENCE = "sha256:"

EDGE_PAGE = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request: what is asked of which model, the failures it asks for, and the id it was given."""

    id: str
    kind: Kind
    model: Model
    prompt: str
    body: Body
    faults: frozenset[str]
    created: float


async def with_key(connection: ASGIConnection[Any, Any, Any, Any], _route: BaseRouteHandler) -> None:
    """Guard: a bearer key is there, and is the right one when one was set."""
    stage: Stage = connection.app.state.stage
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        raise Refusal(401, "No cookie auth credentials found", "authentication")
    if stage.key is not None and not hmac.compare_digest(given.encode(), stage.key.encode()):
        raise Refusal(401, "User not found.", "authentication")


async def read(request: Plain, stage: Stage) -> tuple[Body, str]:
    """The JSON body with its pictures put aside (each replaced by its digest), and the digest of what was sent."""
    raw = await request.body()
    return await stage.disk(_unpack, stage.memory, raw)


def model_for(body: Body, route: Route) -> Model:
    """The model that is asked, when it exists and works on this route."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise bad("model: Required")
    if (model := MODELS.get(name)) is None:
        raise bad(f"{name} is not a valid model ID")
    if route not in model.routes:
        raise missing(
            f"No endpoints found for {name} on this route. Its output modalities: {', '.join(model.outputs)}."
        )
    return model


async def admit(
    stage: Stage, *, endpoint: str, kind: Kind, model: Model, prompt: str, body: Body, digest: str
) -> Ask | ASGIApp:
    """Take the request on and write it down, or turn it away at the door as its prompt asks.

    What is turned away is not in the submit log; what is in the log was taken on, and is charged unless it fails.
    """
    faults = asked(prompt, kind)
    if "unreachable" in faults:
        return responses.HungUp()
    if "html" in faults:
        return responses.Whole(EDGE_PAGE, "text/html; charset=utf-8", 502)
    await _turn_away(stage, faults, model, f"{endpoint} {prompt}", prompt)
    now = stage.clock.now()
    ask = Ask(
        id=new_id("gen-vid" if kind == "video" else "gen", now),
        kind=kind,
        model=model,
        prompt=prompt,
        body=body,
        faults=faults,
        created=now,
    )
    line = Submit(time=now, endpoint=endpoint, model=model.id, prompt=prompt, id=ask.id, digest=digest, request=body)
    await stage.disk(stage.memory.log, line)
    return ask


async def settle(stage: Stage, job: Job) -> None:
    """Write down what was made, and charge for it."""
    await stage.disk(stage.memory.save, job)
    if job.cost:
        await stage.disk(stage.memory.charge, job.cost)


def billed(usage: Body, faults: frozenset[str]) -> Body:
    """The usage as it is told to the client: with its price, unless the prompt asks to hide it."""
    if faults & {"no-cost", "late-cost"}:
        return {name: value for name, value in usage.items() if name not in ("cost", "cost_details")}
    return usage


async def _turn_away(stage: Stage, faults: frozenset[str], model: Model, once: str, prompt: str) -> None:
    if "refuse" in faults:
        raise Refusal(
            403,
            "Your request was flagged by the provider's content policy",
            "content_policy_violation",
            reasons=["violence"],
            flagged_input=prompt[:100],
            provider_name=model.name.partition(":")[0],
            model_slug=model.id,
        )
    if "credits" in faults:
        raise _unpaid("Insufficient credits. Add more and retry.", "openrouter_credits", "Buy credits.")
    if "key-limit" in faults:
        raise _unpaid("This key has reached its limit.", "openrouter_key_limit", "Raise the limit of the key.")
    for name in ("in-flight", "ratelimit", "overloaded", "busy"):
        if name in faults and await stage.disk(stage.memory.first_time, name, once):
            raise _not_now(name)


def _unpaid(message: str, source: str, remedy: str, headers: dict[str, str] | None = None) -> Refusal:
    return Refusal(402, message, "payment_required", headers, limit_source=source, remedy_hint=remedy, reason=message)


def _not_now(name: str) -> Refusal:
    wait = {"Retry-After": "2"}
    if name == "in-flight":
        return _unpaid("Too much work in flight for this balance.", "openrouter_in_flight_budget", "Wait.", wait)
    if name == "overloaded":
        return Refusal(503, "No provider is available for this model right now.", "provider_unavailable", wait)
    if name == "busy":
        return Refusal(529, "The provider is overloaded.", "provider_overloaded")
    # The service gives the moment of the reset in milliseconds, unlike everybody else.
    reset = str(int((time.time() + 2) * 1000))
    limits = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    return Refusal(429, "Rate limit exceeded", "rate_limit_exceeded", {**wait, **limits})


def _unpack(memory: Memory, raw: bytes) -> tuple[Body, str]:
    try:
        body = _put_aside(memory, msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise bad("Invalid JSON payload") from exc
    if not isinstance(body, dict):
        raise bad("Expected object, received something else")
    return body, hashlib.sha256(raw).hexdigest()


def _put_aside(memory: Memory, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _put_aside(memory, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_put_aside(memory, part) for part in value]
    if isinstance(value, str) and value.startswith("data:") and ";base64," in value[:200]:
        return _keep(memory, value)
    if isinstance(value, str) and len(value) > 50_000 and " " not in value[:1000]:
        return f"{len(value)} characters put aside"
    return value


def _keep(memory: Memory, url: str) -> str:
    head, _, payload = url.partition(";base64,")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise bad("A data URL does not hold valid base64", "invalid_image") from exc
    return f"{head};{REFERENCE}{memory.keep_input(data)}"


def picture_of(memory: Memory, url: str) -> bytes | str:
    """The bytes of a picture that came as a data URL, or the host of one that was only named. Nothing is fetched."""
    _, found, digest = url.partition(f";{REFERENCE}")
    if url.startswith("data:") and found:
        return memory.input(digest)
    return url.partition("://")[2].partition("/")[0] or "nowhere"
