"""Chat completions as OpenAI answers them: no cost, and in a stream the usage on request only, in a chunk without choices."""

from collections.abc import AsyncIterator

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    record_job,
    require_key,
)
from app.providers.simulator.openai_format.chat_replies import ChatReply, job_of, reply_to
from app.providers.simulator.openai_format.chat_requests import check, messages_of
from app.providers.simulator.openai_format.errors import ErrorAnswer, bad_request
from app.providers.simulator.openai_format.models import SimulatedModel
from app.providers.simulator.openai_format.persona import Persona
from app.providers.simulator.runtime import Runtime

SECONDS = 0.8
SECONDS_PER_TOKEN = 0.03
SERVER_ERROR = ErrorAnswer(500, "The server had an error while processing your request")
_OPENROUTER_ONLY = ("models", "provider", "image_config", "plugins", "top_k", "min_p", "top_a", "transforms")
_OWN_FIELDS = ("role", "content", "refusal", "tool_calls")


@post("/chat/completions", guards=[require_key], status_code=200)
async def chat(request: PlainRequest, runtime: NamedDependency[Runtime], persona: NamedDependency[Persona]) -> ASGIApp:
    """Complete a conversation."""
    body, digest = await read_body(request, runtime)
    model = persona.model_for(body, "chat")
    messages = messages_of(body)
    _check_own(model, body)
    check(model, body, messages)
    accepted = await admit(
        runtime,
        endpoint="/chat/completions",
        kind="text",
        model=model,
        prompt=replies.last_user_text(messages),
        body=body,
        digest=digest,
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    if "ambiguous" in accepted.faults:
        reply = await reply_to(runtime, accepted)
        await record_job(runtime, job_of(runtime, accepted, reply, _delta_count(reply)))
        return responses.ClosedConnection()
    if body.get("stream") is True and not accepted.faults & {"error-200", "fail"}:
        return _streamed(runtime, persona, accepted)
    return await _whole(runtime, persona, accepted)


HANDLERS = [chat]


def _check_own(model: SimulatedModel, body: JsonObject) -> None:
    for name in _OPENROUTER_ONLY:
        if name in body:
            raise bad_request(f"Unrecognized request argument supplied: {name}")
    if "max_tokens" in body and "reasoning" in model.parameters:
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        raise bad_request(message, "unsupported_parameter")
    if "image" in (body.get("modalities") or []):
        raise bad_request("Invalid value: 'image'. Supported values are: 'text' and 'audio'.")


async def _whole(runtime: Runtime, persona: Persona, accepted: AcceptedRequest) -> ASGIApp:
    await runtime.sleep(SECONDS, accepted.faults)
    if "stuck" in accepted.faults:
        return responses.NoResponse()
    if "fail" in accepted.faults:
        raise SERVER_ERROR
    if accepted.faults & {"error-200", "error-first", "error-in-stream"}:
        return responses.json_response({"error": persona.error(SERVER_ERROR)})
    headers = {persona.id_header: accepted.id}
    if "huge" in accepted.faults:
        endless = responses.endless(b'{"choices":[{"message":{"content":"', b"and on and on ", b'"}}]}')
        return responses.StreamedResponse(endless, responses.JSON, headers)
    reply = await reply_to(runtime, accepted)
    job = job_of(runtime, accepted, reply, _delta_count(reply))
    await record_job(runtime, job)
    choices = [
        {"index": index, "message": _own(choice.message), "logprobs": None, "finish_reason": choice.finish}
        for index, choice in enumerate(reply.choices)
    ]
    content = {**_head(accepted, "chat.completion"), "choices": choices, "usage": _usage(job.usage)}
    return responses.damaged(runtime, responses.json_response(content, headers=headers), accepted.faults)


def _streamed(runtime: Runtime, persona: Persona, accepted: AcceptedRequest) -> ASGIApp:
    headers = {"cache-control": "no-cache", persona.id_header: accepted.id}
    events = _events(runtime, persona, accepted)
    if "huge" in accepted.faults:
        events = responses.endless(b"", responses.event(_chunk(accepted, {"content": "and on and on "})))
    pieces = responses.trickle(runtime, events) if "trickle" in accepted.faults else events
    return responses.StreamedResponse(pieces, responses.EVENTS, headers)


async def _events(runtime: Runtime, persona: Persona, accepted: AcceptedRequest) -> AsyncIterator[bytes]:
    failure = responses.event({"error": persona.error(SERVER_ERROR)})
    if "error-first" in accepted.faults:
        yield failure
        return
    yield responses.event(_chunk(accepted, {"role": "assistant", "content": "", "refusal": None}))
    while "stuck" in accepted.faults:
        await runtime.heartbeat()
        yield responses.comment("waiting")
    reply = await reply_to(runtime, accepted)
    sent, completed = 0, False
    try:
        fails = bool(accepted.faults & {"cut", "error-in-stream"})
        deltas = [(index, delta) for index, choice in enumerate(reply.choices) for delta in choice.deltas]
        for index, delta in deltas[: len(deltas) // (2 if fails else 1)]:
            await runtime.sleep(SECONDS_PER_TOKEN, accepted.faults)
            sent += 1
            yield responses.event(_chunk(accepted, _own(delta), index=index))
        if "error-in-stream" in accepted.faults:
            yield failure
        if fails:
            return
        for index, choice in enumerate(reply.choices):
            yield responses.event(_chunk(accepted, {}, choice.finish, index))
        job = job_of(runtime, accepted, reply, sent)
        await record_job(runtime, job)
        completed = True
        if _wants_usage(accepted):
            yield responses.event({**_chunk(accepted, {}), "choices": [], "usage": _usage(job.usage)})
        yield responses.event("[DONE]")
    finally:
        if not completed:
            await record_job(runtime, job_of(runtime, accepted, reply, sent, cancelled=True))


def _chunk(accepted: AcceptedRequest, delta: JsonObject, finish: str | None = None, index: int = 0) -> JsonObject:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    usage = {"usage": None} if _wants_usage(accepted) else {}
    return {**_head(accepted, "chat.completion.chunk"), "choices": [choice], **usage}


def _head(accepted: AcceptedRequest, kind: str) -> JsonObject:
    return {
        "id": accepted.id.replace("gen-", "chatcmpl-", 1),
        "object": kind,
        "created": int(accepted.created_at),
        "model": accepted.model.id,
        "service_tier": "default",
    }


def _wants_usage(accepted: AcceptedRequest) -> bool:
    options = accepted.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _own(message: JsonObject) -> JsonObject:
    """The message or delta without what only OpenRouter has."""
    return {name: value for name, value in message.items() if name in _OWN_FIELDS}


def _usage(usage: JsonObject) -> JsonObject:
    return {name: value for name, value in usage.items() if name not in ("cost", "cost_details", "is_byok")}


def _delta_count(reply: ChatReply) -> int:
    return sum(len(choice.deltas) for choice in reply.choices)
