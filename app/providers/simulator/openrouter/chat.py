"""Chat completions, whole or streamed: text, tool calls, and images from models that generate them in a conversation."""

from collections.abc import AsyncIterator

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses
from app.providers.simulator.openrouter.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    model_for,
    read_body,
    record_job,
    require_key,
    visible_usage,
)
from app.providers.simulator.openrouter.chat_replies import ChatReply, job_of, reply_to
from app.providers.simulator.openrouter.chat_requests import check, kind_of, messages_of
from app.providers.simulator.openrouter.errors import PROVIDER_ERROR, ErrorAnswer
from app.providers.simulator.runtime import Runtime

SECONDS = {"text": 0.8, "image": 1.5}
SECONDS_PER_TOKEN = 0.03


@post("/chat/completions", guards=[require_key], status_code=200)
async def chat(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Complete a conversation."""
    body, digest = await read_body(request, runtime)
    model = model_for(body, "chat")
    messages = messages_of(body)
    kind = kind_of(model, body)
    check(model, body, messages)
    prompt = replies.last_user_text(messages)
    accepted = await admit(
        runtime, endpoint="/chat/completions", kind=kind, model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    if "ambiguous" in accepted.faults:
        reply = await reply_to(runtime, accepted)
        await record_job(runtime, job_of(runtime, accepted, reply, len(reply.deltas)))
        return responses.ClosedConnection()
    if body.get("stream") is True and not accepted.faults & {"error-200", "fail"}:
        return _streamed_response(runtime, accepted)
    return await _whole_response(runtime, accepted)


HANDLERS = [chat]


# Whole responses


async def _whole_response(runtime: Runtime, accepted: AcceptedRequest) -> ASGIApp:
    await runtime.sleep(SECONDS[accepted.kind], accepted.faults)
    if "stuck" in accepted.faults:
        return responses.NoResponse()
    if "fail" in accepted.faults:
        raise ErrorAnswer(
            502,
            "Provider returned error",
            "provider_unavailable",
            provider_name=accepted.model.name.partition(":")[0],
            provider_code="internal",
            raw="the simulated provider failed",
        )
    if accepted.faults & {"error-200", "error-first"}:
        return responses.json_response({"id": accepted.id, "error": PROVIDER_ERROR})
    if "huge" in accepted.faults:
        return responses.StreamedResponse(
            responses.endless(*_huge_parts(accepted)), responses.JSON, _id_header(accepted)
        )
    reply = await reply_to(runtime, accepted)
    if "error-in-stream" in accepted.faults:
        reply = ChatReply(
            tokens=reply.tokens[: len(reply.tokens) // 2],
            images=[],
            finish="error",
            prompt_tokens=reply.prompt_tokens,
        )
    job = job_of(runtime, accepted, reply, len(reply.deltas))
    await record_job(runtime, job)
    whole = responses.json_response(
        _completion(accepted, reply, visible_usage(job.usage, accepted.faults)), headers=_id_header(accepted)
    )
    return responses.damaged(runtime, whole, accepted.faults)


def _completion(accepted: AcceptedRequest, reply: ChatReply, usage: JsonObject) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": reply.text or None, "refusal": None, "reasoning": None}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
    if accepted.kind == "image":
        message["images"] = [_image(url) for url in reply.images]
    choice: JsonObject = {
        "index": 0,
        "logprobs": None,
        "finish_reason": reply.finish,
        "native_finish_reason": reply.finish,
        "message": message,
    }
    if reply.finish == "error":
        choice["error"] = PROVIDER_ERROR
    return {
        "id": accepted.id,
        "object": "chat.completion",
        "created": int(accepted.created_at),
        "model": accepted.model.id,
        "system_fingerprint": None,
        "choices": [choice],
        "usage": usage,
    }


def _image(url: str) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url}}


def _huge_parts(accepted: AcceptedRequest) -> tuple[bytes, bytes, bytes]:
    """The head, filler and tail of an oversized response."""
    empty = ChatReply(tokens=["@"], images=["@"] if accepted.kind == "image" else [], finish="stop", prompt_tokens=1)
    if empty.images:
        empty.tokens = []
    head, _, tail = msgspec.json.encode(_completion(accepted, empty, {})).partition(b"@")
    if empty.images:
        return head + b"data:image/png;base64,", b"A" * 64, tail
    return head, b"and on and on ", tail


def _id_header(accepted: AcceptedRequest) -> dict[str, str]:
    return {"X-Generation-Id": accepted.id}


# Streamed responses


def _streamed_response(runtime: Runtime, accepted: AcceptedRequest) -> ASGIApp:
    if "huge" in accepted.faults:
        chunk = _chunk(accepted, {"role": "assistant", "content": "and on and on "})
        return responses.StreamedResponse(
            responses.endless(responses.PROCESSING, responses.event(chunk)), responses.EVENTS, _id_header(accepted)
        )
    pieces = _events(runtime, accepted)
    if "trickle" in accepted.faults:
        pieces = responses.trickle(runtime, pieces)
    return responses.StreamedResponse(pieces, responses.EVENTS, {"cache-control": "no-cache", **_id_header(accepted)})


async def _events(runtime: Runtime, accepted: AcceptedRequest) -> AsyncIterator[bytes]:
    yield responses.PROCESSING
    if "error-first" in accepted.faults:
        yield responses.event(_error_chunk(accepted))
        return
    while "stuck" in accepted.faults:
        await runtime.heartbeat()
        yield responses.PROCESSING
    await runtime.sleep(SECONDS[accepted.kind] / 2, accepted.faults)
    reply = await reply_to(runtime, accepted)
    fails = bool(accepted.faults & {"cut", "error-in-stream"})
    deltas = reply.deltas
    count = len(deltas) // 2 if fails else len(deltas)
    sent, completed = 0, False
    try:
        yield responses.event(_chunk(accepted, {"role": "assistant", "content": ""}))
        for delta in deltas[:count]:
            await runtime.sleep(SECONDS_PER_TOKEN, accepted.faults)
            sent += 1
            yield responses.event(_chunk(accepted, delta))
            if sent % 50 == 0:
                yield responses.PROCESSING
        if "error-in-stream" in accepted.faults:
            yield responses.event(_error_chunk(accepted))
        if fails:
            return
        if reply.images:
            yield responses.event(
                _chunk(accepted, {"role": "assistant", "images": [_image(url) for url in reply.images]})
            )
        yield responses.event(_chunk(accepted, {"role": "assistant", "content": ""}, reply.finish))
        job = job_of(runtime, accepted, reply, sent)
        await record_job(runtime, job)
        completed = True
        # OpenRouter repeats the finish reason in the usage chunk.
        yield responses.event(
            {
                **_chunk(accepted, {"role": "assistant", "content": ""}, reply.finish),
                "usage": visible_usage(job.usage, accepted.faults),
            }
        )
        yield responses.event("[DONE]")
    finally:
        if not completed:
            reply.images = []
            await record_job(runtime, job_of(runtime, accepted, reply, sent, cancelled=True))


def _chunk(accepted: AcceptedRequest, delta: JsonObject, finish: str | None = None) -> JsonObject:
    return {
        "id": accepted.id,
        "object": "chat.completion.chunk",
        "created": int(accepted.created_at),
        "model": accepted.model.id,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "native_finish_reason": finish}],
    }


def _error_chunk(accepted: AcceptedRequest) -> JsonObject:
    return {**_chunk(accepted, {"role": "assistant", "content": ""}, "error"), "error": PROVIDER_ERROR}
