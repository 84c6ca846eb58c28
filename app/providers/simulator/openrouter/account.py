"""What was spent: the key, the credits, and the price of one generation after the fact."""

import time

from litestar import get
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.faults import asked
from app.providers.simulator.openrouter.errors import bad, missing
from app.providers.simulator.openrouter.gate import Plain, with_key
from app.providers.simulator.stage import Stage
from app.providers.simulator.state import Job

CREDITS = 1000.0


@get("/key", guards=[with_key])
async def key(stage: NamedDependency[Stage]) -> ASGIApp:
    """The cheapest way to try a key."""
    spent = stage.memory.spent
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
    return responses.json_answer({"data": content})


@get("/credits", guards=[with_key])
async def credits_left(stage: NamedDependency[Stage]) -> ASGIApp:
    """What was bought and what is used."""
    return responses.json_answer({"data": {"total_credits": CREDITS, "total_usage": stage.memory.spent()}})


@get("/generation", guards=[with_key])
async def generation(request: Plain, stage: NamedDependency[Stage]) -> ASGIApp:
    """What one request used and cost."""
    id = request.query_params.get("id", "")
    if not id:
        raise bad("id: Required")
    job = await _finished(stage, id)
    if job is None:
        raise missing(f"Generation {id} not found")
    return responses.json_answer({"data": _told(job)})


HANDLERS = [key, credits_left, generation]


async def _finished(stage: Stage, id: str) -> Job | None:
    memory = stage.memory
    # A clip's job and its generation have different names for the same thing.
    job = await stage.disk(memory.job, id) or await stage.disk(memory.job, id.replace("gen-", "gen-vid-", 1))
    if job is None or job.phase(stage.clock.now()) != "ended":
        return None
    faults = asked(job.prompt, job.kind)
    if "no-cost" in faults or ("late-cost" in faults and await stage.disk(memory.first_time, "late-cost", job.id)):
        return None
    return job


def _told(job: Job) -> dict[str, object]:
    ends = job.created if job.ends is None else job.ends
    return {
        "id": generation_id(job.id),
        "model": job.model,
        "api_type": {"text": "completions", "image": "image", "video": "video"}[job.kind],
        "total_cost": job.cost,
        "usage": job.cost,
        "tokens_prompt": job.usage.get("prompt_tokens", 0),
        "tokens_completion": job.usage.get("completion_tokens", 0),
        "native_tokens_prompt": job.usage.get("prompt_tokens", 0),
        "native_tokens_completion": job.usage.get("completion_tokens", 0),
        "num_media_prompt": 0,
        "num_media_completion": 0 if job.kind == "text" else 1,
        "provider_name": "Simulator",
        "finish_reason": "stop",
        "native_finish_reason": "stop",
        "cancelled": job.cancelled,
        "streamed": job.streamed,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created)),
        "latency": round((job.runs - job.created) * 1000),
        "generation_time": round((ends - job.created) * 1000),
        "is_byok": False,
    }


def generation_id(job_id: str) -> str:
    """The name under which /generation knows a job."""
    return job_id.replace("gen-vid-", "gen-", 1)
