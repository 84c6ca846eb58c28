"""The queue: a submit returns at once, the status follows from the clock, and the result is read separately."""

import math
import re
import secrets
import uuid
from typing import Any

import msgspec
from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.contract import ModelOffer
from app.providers.simulator import responses
from app.providers.simulator.fal.admission import JsonObject, model_at, problems, rejection, require_fal_key
from app.providers.simulator.fal.errors import FalErrorAnswer
from app.providers.simulator.fal.faults import requested_faults
from app.providers.simulator.fal.outputs import count_of, failure_of, output_of, seconds_of
from app.providers.simulator.fal.prices import price_of
from app.providers.simulator.fal.webhooks import FalWebhookSender
from app.providers.simulator.openai_format.admission import PlainRequest, read_body
from app.providers.simulator.openai_format.origins import other_origin, own_origin
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import Kind, SimulatedJob, SubmitRecord

WAITING = 1.0
RUNNING = {"image": 2.0, "video": 6.0}
UNKNOWN_STATUS = "AWAITING_REVIEW"
OUTCOMES = ("fail", "refuse", "no-media", "invalid", "detail", "runner", "cancelled", "forgotten")
STEPS = 10  # log lines of a job from its start to its end

_REQUEST = re.compile(r"(.+)/requests/([0-9a-f-]{36})(/status|/cancel)?")


@post("/{endpoint:path}", guards=[require_fal_key], status_code=200)
async def submit(request: PlainRequest, endpoint: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Accept a request. Its input is checked when it runs."""
    endpoint = endpoint.strip("/")
    offer = await runtime.run_io(model_at, endpoint)
    body, digest = await read_body(request, runtime)
    prompt = str(body.get("prompt") or "")
    faults = requested_faults(prompt)
    if (broken := await rejection(runtime, endpoint, prompt, faults)) is not None:
        return broken
    job = _job(runtime, offer, endpoint, body)
    await _save(runtime, job, digest)
    _announce(request, runtime, job)
    if "ambiguous" in faults:
        return responses.ClosedConnection()
    content = {"status": "IN_QUEUE", "queue_position": _position(runtime, job), "request_id": job.id}
    if "no-links" not in faults:
        content |= _links(request, job)
    return responses.json_response(content, headers={"x-fal-request-id": job.id})


def _job(runtime: Runtime, offer: ModelOffer, endpoint: str, body: JsonObject) -> SimulatedJob:
    prompt = str(body.get("prompt") or "")
    faults = requested_faults(prompt)
    kind: Kind = "video" if "video" in offer.output_modalities else "image"
    now = runtime.clock.now()
    starts_at = now + runtime.scaled(WAITING, faults)
    seed = body.get("seed")
    job = SimulatedJob(
        id=str(uuid.uuid4()),
        kind=kind,
        model=endpoint,
        prompt=prompt,
        created_at=now,
        starts_at=starts_at,
        ends_at=None if "stuck" in faults else starts_at + runtime.scaled(RUNNING[kind], faults),
        outcome=next((name for name in OUTCOMES if name in faults), "completed"),
        seed=seed if isinstance(seed, int) else secrets.randbelow(2**31),
        cost=0.0,
        usage={"problems": problems(offer, endpoint, body)},
        request=body,
    )
    if job.outcome == "completed" and not job.usage["problems"]:  # what failed is not charged
        units = seconds_of(job) if kind == "video" else count_of(offer, job)
        job = msgspec.structs.replace(job, cost=price_of(offer) * units)
    return job


async def _save(runtime: Runtime, job: SimulatedJob, digest: str) -> None:
    record = SubmitRecord(
        time=job.created_at,
        endpoint=f"fal:{job.model}",
        model=job.model,
        prompt=job.prompt,
        id=job.id,
        digest=digest,
        request=job.request,
    )
    if job.outcome != "refuse":  # refused content is not charged
        await runtime.run_io(runtime.store.log_submit, record)
    await runtime.run_io(runtime.store.save, job)


def _announce(request: PlainRequest, runtime: Runtime, job: SimulatedJob) -> None:
    """Send the webhook when the job has ended, if one was asked for."""
    sender: FalWebhookSender | None = request.app.state.fal_webhooks
    address = request.query_params.get("fal_webhook")
    if sender is not None and address:
        runtime.run_in_background(sender.send(job, address, other_origin(request)))


@get("/{path:path}", guards=[require_fal_key])
async def read(request: PlainRequest, path: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The status of a request, or its result."""
    job, action = await _find(runtime, path)
    if action == "/status":
        return await _status(request, runtime, job)
    if action is not None:
        raise FalErrorAnswer(405, "Method Not Allowed")
    if job.phase(runtime.clock.now()) != "ended":
        raise FalErrorAnswer(400, "Request is still in progress")
    if (failure := failure_of(job)) is not None:
        raise failure
    output = await output_of(runtime, job, other_origin(request))
    units = str(len(output.get("images", [1])) if job.kind == "image" else seconds_of(job))
    return responses.json_response(output, headers={"x-fal-request-id": job.id, "x-fal-billable-units": units})


@put("/{path:path}", guards=[require_fal_key], status_code=200)
async def cancel(path: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Take a request off the queue, or stop it."""
    job, action = await _find(runtime, path)
    if action != "/cancel":
        raise FalErrorAnswer(405, "Method Not Allowed")
    now = runtime.clock.now()
    phase = job.phase(now)
    if phase == "ended":
        return responses.json_response({"status": "ALREADY_COMPLETED"}, 400)
    if "uncancellable" not in requested_faults(job.prompt):
        ended = msgspec.structs.replace(
            job, starts_at=min(job.starts_at, now), ends_at=now, outcome="cancelled", cancelled=True
        )
        await runtime.run_io(runtime.store.save, ended)
    if phase == "waiting":
        return responses.json_response({"status": "OK"}, 200)
    return responses.json_response({"status": "CANCELLATION_REQUESTED"}, 202)


HANDLERS = [submit, read, cancel]


async def _find(runtime: Runtime, path: str) -> tuple[SimulatedJob, str | None]:
    """The job and what follows its id. As in the real service, the path names owner and app but not the rest of the model."""
    found = _REQUEST.fullmatch(path.strip("/"))
    if found is None:
        raise FalErrorAnswer(404, "Not found")
    job = await runtime.run_io(runtime.store.job, found[2])
    if job is None or not job.model.startswith(found[1].split("/")[0]):
        raise FalErrorAnswer(404, "Request not found")
    if found[1] != _app(job.model):
        raise FalErrorAnswer(405, "Method Not Allowed")
    if job.outcome == "forgotten" and job.phase(runtime.clock.now()) == "ended":
        raise FalErrorAnswer(404, "Request not found")
    return job, found[3]


def _app(model: str) -> str:
    return "/".join(model.split("/")[:2])


def _links(request: PlainRequest, job: SimulatedJob) -> dict[str, str]:
    origin = own_origin(request)
    if "foreign-links" in requested_faults(job.prompt):
        origin = "https://elsewhere.example"
    base = f"{origin}/fal/queue/{_app(job.model)}/requests/{job.id}"
    return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


async def _status(request: PlainRequest, runtime: Runtime, job: SimulatedJob) -> ASGIApp:
    phase = job.phase(runtime.clock.now())
    common: JsonObject = {"request_id": job.id, **_links(request, job)}
    if "odd-state" in requested_faults(job.prompt) and await runtime.run_io(
        runtime.store.first_time, "odd-state", job.id
    ):
        return responses.json_response({"status": UNKNOWN_STATUS, **common}, 202)
    if phase == "waiting":
        content = {"status": "IN_QUEUE", "queue_position": _position(runtime, job), **common}
        return responses.json_response(content, 202)
    logs = _logs(runtime, job) if request.query_params.get("logs") else None
    if phase == "running":
        return responses.json_response({"status": "IN_PROGRESS", "logs": logs, **common}, 202)
    ended = {"status": "COMPLETED", "logs": logs, "metrics": {"inference_time": 1.5}, **common}
    failure = failure_of(job)
    if failure is not None and failure.error_type is not None:
        ended |= {"error": str(failure.detail), "error_type": failure.error_type}
    return responses.json_response(ended)


def _position(runtime: Runtime, job: SimulatedJob) -> int:
    """About one other request is finished every third of a second."""
    return max(0, math.ceil((job.starts_at - runtime.clock.now()) * 3))


def _logs(runtime: Runtime, job: SimulatedJob) -> list[dict[str, Any]]:
    now = runtime.clock.now()
    total = (job.ends_at or math.inf) - job.starts_at
    share = min(1.0, (now - job.starts_at) / total) if total else 1.0
    return [
        {
            "message": f"{step * 100 // STEPS}%|{'#' * step}| {step}/{STEPS}",
            "level": "INFO",
            "source": "USER",
            "timestamp": "2026-11-20T10:00:00.000000Z",
        }
        for step in range(math.floor(share * STEPS) + 1)
    ]
