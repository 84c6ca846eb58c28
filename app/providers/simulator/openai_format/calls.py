"""What the calls share that answer at once and never stream: embeddings, speech, transcriptions and moderations."""

from collections.abc import Callable

import msgspec
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.openai_format.admission import AcceptedRequest, JsonObject, record_job, visible_usage
from app.providers.simulator.openai_format.errors import ErrorAnswer, provider_failed
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

SECONDS = {"embeddings": 0.2, "speech": 1.0, "transcription": 1.0, "moderation": 0.2}
_FAILED = ErrorAnswer(502, "Provider returned error", "provider_unavailable")


class CallResult(msgspec.Struct, kw_only=True):
    """The content of a response, JSON or bytes, and the usage with the cost. Only JSON shows the usage."""

    content: JsonObject | bytes
    media_type: str = responses.JSON
    usage: JsonObject = {}


async def respond(
    runtime: Runtime, persona: Persona, accepted: AcceptedRequest, work: Callable[[], CallResult]
) -> ASGIApp:
    """The response to an accepted request. `work` makes its content and runs in a thread."""
    if "ambiguous" in accepted.faults:
        await record_job(runtime, _job(runtime, accepted, await runtime.render(work)))
        return responses.ClosedConnection()
    await runtime.sleep(SECONDS[accepted.kind], accepted.faults)
    if "stuck" in accepted.faults:
        return responses.NoResponse()
    if "fail" in accepted.faults:
        raise provider_failed(accepted.model.name)
    if "error-200" in accepted.faults:
        return responses.json_response({"id": accepted.id, "error": persona.error(_FAILED)})
    result = await runtime.render(work)
    await record_job(runtime, _job(runtime, accepted, result))
    hidden = frozenset() if persona.reports_cost else frozenset({"no-cost"})
    content = result.content
    if isinstance(content, dict):
        usage = {"usage": visible_usage(result.usage, accepted.faults | hidden)} if result.usage else {}
        content = msgspec.json.encode(content | usage)
    whole = responses.PlainResponse(content, result.media_type, headers={persona.id_header: accepted.id})
    return responses.damaged(runtime, whole, accepted.faults)


def _job(runtime: Runtime, accepted: AcceptedRequest, result: CallResult) -> SimulatedJob:
    return SimulatedJob(
        id=accepted.id,
        kind=accepted.kind,
        model=accepted.model.id,
        prompt=accepted.prompt,
        created_at=accepted.created_at,
        starts_at=accepted.created_at,
        ends_at=runtime.clock.now(),
        seed=0,
        cost=result.usage.get("cost", 0.0),
        usage=result.usage,
    )
