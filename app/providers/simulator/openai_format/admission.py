"""Steps that all requests share: authentication, parsing of the body and, for paid requests, the submit log."""

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
from app.providers.simulator.faults import faults_in
from app.providers.simulator.openai_format.errors import ErrorAnswer, bad_request
from app.providers.simulator.openai_format.models import SimulatedModel
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import JobStore, Kind, SimulatedJob, SubmitRecord, new_id

JsonObject = dict[str, Any]
PlainRequest = Request[Any, Any, Any]

REFERENCE = "sha256:"

EDGE_PAGE = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)


class AcceptedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request with its id, model and the faults that its prompt requests."""

    id: str
    kind: Kind
    model: SimulatedModel
    prompt: str
    body: JsonObject
    faults: frozenset[str]
    created_at: float

    @property
    def habits(self) -> frozenset[str]:
        """The habits of real providers that the prompt requests; see `habits`."""
        return frozenset(name.partition(":")[2] for name in self.faults if ":" in name)


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], _route: BaseRouteHandler) -> None:
    """Guard: requires a bearer key, and the configured one if there is one."""
    runtime: Runtime = connection.app.state.runtime
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise ErrorAnswer(401, "No cookie auth credentials found", "authentication")
    if runtime.key is not None and not hmac.compare_digest(key.encode(), runtime.key.encode()):
        raise ErrorAnswer(401, "User not found.", "authentication")


async def read_body(request: PlainRequest, runtime: Runtime) -> tuple[JsonObject, str]:
    """The JSON body, in which each image is saved and replaced by its digest, and the digest of the raw body."""
    raw = await request.body()
    return await runtime.run_io(_parse, runtime.store, raw)


async def admit(
    runtime: Runtime, *, endpoint: str, kind: Kind, model: SimulatedModel, prompt: str, body: JsonObject, digest: str
) -> AcceptedRequest | ASGIApp:
    """Accept and log the request, or reject it as its prompt requests.

    Rejected requests are not in the submit log. Logged requests are charged unless they fail.
    """
    faults = faults_in(prompt, kind)
    if "unreachable" in faults:
        return responses.ClosedConnection()
    if "html" in faults:
        return responses.PlainResponse(EDGE_PAGE, "text/html; charset=utf-8", 502)
    await _raise_requested_error(runtime, faults, model, f"{endpoint} {prompt}", prompt)
    now = runtime.clock.now()
    accepted = AcceptedRequest(
        id=new_id("gen-vid" if kind == "video" else "gen", now),
        kind=kind,
        model=model,
        prompt=prompt,
        body=body,
        faults=faults,
        created_at=now,
    )
    line = SubmitRecord(
        time=now, endpoint=endpoint, model=model.id, prompt=prompt, id=accepted.id, digest=digest, request=body
    )
    await runtime.run_io(runtime.store.log_submit, line)
    return accepted


def context_too_long(model: SimulatedModel, tokens: int | None = None) -> ErrorAnswer:
    """The conversation has more tokens than the model can read."""
    length = model.context_length or 8_192
    return bad_request(
        f"This endpoint's maximum context length is {length} tokens. However, you requested about {tokens or length + 1}"
        " tokens. Please reduce the length.",
        "context_length_exceeded",
    )


async def record_job(runtime: Runtime, job: SimulatedJob) -> None:
    """Save the job and charge its cost."""
    await runtime.run_io(runtime.store.save, job)
    if job.cost:
        await runtime.run_io(runtime.store.charge, job.cost)


def visible_usage(usage: JsonObject, faults: frozenset[str]) -> JsonObject:
    """The usage as the client sees it: without the cost if the prompt requests to hide it."""
    if faults & {"no-cost", "late-cost"}:
        return {name: value for name, value in usage.items() if name not in ("cost", "cost_details")}
    return usage


async def _raise_requested_error(
    runtime: Runtime, faults: frozenset[str], model: SimulatedModel, attempt_key: str, prompt: str
) -> None:
    if "refuse" in faults:
        raise ErrorAnswer(
            403,
            "Your request was flagged by the provider's content policy",
            "content_policy_violation",
            reasons=["violence"],
            flagged_input=prompt[:100],
            provider_name=model.name.partition(":")[0],
            model_slug=model.id,
        )
    if "too-long" in faults:
        raise context_too_long(model)
    if "ratelimit-long" in faults:
        raise ErrorAnswer(429, "Rate limit exceeded", "rate_limit_exceeded", {"Retry-After": "1800"})
    if "credits" in faults:
        raise _payment_required("Insufficient credits. Add more and retry.", "openrouter_credits", "Buy credits.")
    if "key-limit" in faults:
        raise _payment_required(
            "This key has reached its limit.", "openrouter_key_limit", "Raise the limit of the key."
        )
    for name in ("in-flight", "ratelimit", "overloaded", "busy"):
        if name in faults and await runtime.run_io(runtime.store.first_time, name, attempt_key):
            raise _temporary_error(name)


def _payment_required(message: str, source: str, remedy: str, headers: dict[str, str] | None = None) -> ErrorAnswer:
    return ErrorAnswer(
        402, message, "payment_required", headers, limit_source=source, remedy_hint=remedy, reason=message
    )


def _temporary_error(name: str) -> ErrorAnswer:
    wait = {"Retry-After": "2"}
    if name == "in-flight":
        return _payment_required(
            "Too much work in flight for this balance.", "openrouter_in_flight_budget", "Wait.", wait
        )
    if name == "overloaded":
        return ErrorAnswer(503, "No provider is available for this model right now.", "provider_unavailable", wait)
    if name == "busy":
        return ErrorAnswer(529, "The provider is overloaded.", "provider_overloaded")
    # OpenRouter gives the reset time in milliseconds, unlike other services.
    reset = str(int((time.time() + 2) * 1000))
    limits = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    return ErrorAnswer(429, "Rate limit exceeded", "rate_limit_exceeded", {**wait, **limits})


def _parse(store: JobStore, raw: bytes) -> tuple[JsonObject, str]:
    try:
        body = _extract_inputs(store, msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise bad_request("Invalid JSON payload") from exc
    if not isinstance(body, dict):
        raise bad_request("Expected object, received something else")
    return body, hashlib.sha256(raw).hexdigest()


def _extract_inputs(store: JobStore, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _extract_inputs(store, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_extract_inputs(store, part) for part in value]
    if isinstance(value, str) and value.startswith("data:") and ";base64," in value[:200]:
        return _save_data_url(store, value)
    if isinstance(value, str) and len(value) > 50_000 and " " not in value[:1000]:
        return f"{len(value)} characters omitted"
    return value


def _save_data_url(store: JobStore, url: str) -> str:
    head, _, payload = url.partition(";base64,")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise bad_request("A data URL does not hold valid base64", "invalid_image") from exc
    return f"{head};{REFERENCE}{store.save_input(data)}"


def reference_image(store: JobStore, url: str) -> bytes | str:
    """The bytes of an image sent as a data URL, or the host of an image URL. Nothing is fetched."""
    _, found, digest = url.partition(f";{REFERENCE}")
    if url.startswith("data:") and found:
        return store.read_input(digest)
    return url.partition("://")[2].partition("/")[0] or "nowhere"
