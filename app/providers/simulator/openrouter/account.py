"""Accounting endpoints: the API key, the credits, and the cost of one generation."""

import time

from litestar import get
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.faults import faults_in
from app.providers.simulator.openai_format.admission import PlainRequest, require_key
from app.providers.simulator.openai_format.errors import bad_request, not_found
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

CREDITS = 1000.0
API_TYPES = {"text": "completions", "speech": "tts", "transcription": "stt"}


@get("/key", guards=[require_key])
async def key(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Information about the API key."""
    spent = runtime.store.spent
    content: dict[str, object] = {
        "label": "sk-or-v1-sim...ula",
        "limit": None,
        "limit_remaining": None,
        "limit_reset": None,
        "usage": spent(),
        "usage_daily": spent(1),
        "usage_weekly": spent(7),
        "usage_monthly": spent(30),
        "byok_usage": 0,
        "byok_usage_daily": 0,
        "byok_usage_weekly": 0,
        "byok_usage_monthly": 0,
        "is_free_tier": False,
        "free_model_daily_requests": {"used": 0, "limit": 1000, "remaining": 1000},
        "expires_at": None,
        "budgets": [],
        "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated and safe to ignore."},
    }
    return responses.json_response({"data": content})


@get("/credits", guards=[require_key])
async def credits_left(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Purchased and used credits."""
    return responses.json_response({"data": {"total_credits": CREDITS, "total_usage": runtime.store.spent()}})


@get("/generation", guards=[require_key])
async def generation(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Usage and cost of one request."""
    id = request.query_params.get("id", "")
    if not id:
        raise bad_request("id: Required")
    job = await _finished(runtime, id)
    if job is None:
        raise not_found(f"Generation {id} not found")
    return responses.json_response({"data": _generation_data(job)})


HANDLERS = [key, credits_left, generation]


async def _finished(runtime: Runtime, id: str) -> SimulatedJob | None:
    store = runtime.store
    # A video job and its generation have different id prefixes.
    job = await runtime.run_io(store.job, id) or await runtime.run_io(store.job, id.replace("gen-", "gen-vid-", 1))
    if job is None or job.phase(runtime.clock.now()) != "ended":
        return None
    faults = faults_in(job.prompt, job.kind)
    if "no-cost" in faults or ("late-cost" in faults and await runtime.run_io(store.first_time, "late-cost", job.id)):
        return None
    return job


def _generation_data(job: SimulatedJob) -> dict[str, object]:
    ends_at = job.created_at if job.ends_at is None else job.ends_at
    return {
        "id": generation_id(job.id),
        "model": job.model,
        "api_type": API_TYPES.get(job.kind, job.kind),
        "total_cost": job.cost,
        "usage": job.cost,
        "tokens_prompt": job.usage.get("prompt_tokens", 0),
        "tokens_completion": job.usage.get("completion_tokens", 0),
        "native_tokens_prompt": job.usage.get("prompt_tokens", 0),
        "native_tokens_completion": job.usage.get("completion_tokens", 0),
        "num_media_prompt": 0,
        "num_media_completion": 1 if job.kind in ("image", "video", "speech") else 0,
        "provider_name": "Simulator",
        "finish_reason": "stop",
        "native_finish_reason": "stop",
        "cancelled": job.cancelled,
        "streamed": job.streamed,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created_at)),
        "latency": round((job.starts_at - job.created_at) * 1000),
        "generation_time": round((ends_at - job.created_at) * 1000),
        "is_byok": False,
    }


def generation_id(job_id: str) -> str:
    """The id of a job at /generation."""
    return job_id.replace("gen-vid-", "gen-", 1)
