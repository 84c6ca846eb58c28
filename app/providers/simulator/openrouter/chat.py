"""Chat completions, whole or streamed: text, tool calls, and images from models that generate them in a conversation."""

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses
from app.providers.simulator.openai_format import habits
from app.providers.simulator.openai_format.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    read_body,
    record_job,
    require_key,
    visible_usage,
)
from app.providers.simulator.openai_format.chat_replies import ChatReply, job_of, reply_to
from app.providers.simulator.openai_format.chat_requests import check, kind_of, messages_of
from app.providers.simulator.openai_format.choices import Choice, image, logprobs
from app.providers.simulator.openai_format.errors import provider_failed
from app.providers.simulator.openrouter.errors import PROVIDER_ERROR
from app.providers.simulator.openrouter.persona import model_for
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
        await record_job(runtime, job_of(runtime, accepted, reply, _delta_count(reply)))
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
        raise provider_failed(accepted.model.name)
    if accepted.faults & {"error-200", "error-first"}:
        return responses.json_response({"id": accepted.id, "error": PROVIDER_ERROR})
    if "huge" in accepted.faults:
        return responses.StreamedResponse(
            responses.endless(*_huge_parts(accepted)), responses.JSON, _id_header(accepted)
        )
    reply = await reply_to(runtime, accepted)
    if "error-in-stream" in accepted.faults:
        for choice in reply.choices:
            choice.tokens, choice.finish = choice.tokens[: len(choice.tokens) // 2], "error"
            choice.images, choice.calls = [], []
    job = job_of(runtime, accepted, reply, _delta_count(reply))
    await record_job(runtime, job)
    content = _completion(accepted, reply.choices, visible_usage(job.usage, accepted.faults))
    whole = habits.whole(content, accepted.habits, _id_header(accepted))
    return responses.damaged(runtime, whole, accepted.faults)


def _completion(accepted: AcceptedRequest, choices: list[Choice], usage: JsonObject) -> JsonObject:
    return {
        "id": accepted.id,
        "object": "chat.completion",
        "created": int(accepted.created_at),
        "model": accepted.model.id,
        "system_fingerprint": None,
        "choices": [_whole_choice(accepted, index, choice) for index, choice in enumerate(choices)],
        "usage": usage,
    }


def _whole_choice(accepted: AcceptedRequest, index: int, choice: Choice) -> JsonObject:
    message = choice.message
    if accepted.kind == "image":
        message.setdefault("images", [])
        message["content"] = message["content"] or None
    content: JsonObject = {
        "index": index,
        "logprobs": logprobs(choice.tokens) if _wants_logprobs(accepted) else None,
        "finish_reason": choice.finish,
        "native_finish_reason": choice.finish,
        "message": message,
    }
    if choice.finish == "error":
        content["error"] = PROVIDER_ERROR
    return content


def _wants_logprobs(accepted: AcceptedRequest) -> bool:
    return accepted.body.get("logprobs") is True or "logprobs" in accepted.habits


def _delta_count(reply: ChatReply) -> int:
    return sum(len(choice.deltas) for choice in reply.choices)


def _huge_parts(accepted: AcceptedRequest) -> tuple[bytes, bytes, bytes]:
    """The head, filler and tail of an oversized response."""
    pictured = accepted.kind == "image"
    marked = Choice(tokens=[] if pictured else ["@"], images=["@"] if pictured else [], finish="stop")
    head, _, tail = habits.encode(_completion(accepted, [marked], {}), accepted.habits).partition(b"@")
    if pictured:
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
    events = habits.streamed(_events(runtime, accepted), accepted.habits)
    pieces = responses.trickle(runtime, events) if "trickle" in accepted.faults else events
    headers = {"cache-control": "no-cache", **_id_header(accepted), **habits.stream_headers(accepted.habits)}
    return responses.StreamedResponse(pieces, responses.EVENTS, headers)


async def _events(runtime: Runtime, accepted: AcceptedRequest) -> habits.Events:
    yield responses.PROCESSING
    if "error-first" in accepted.faults:
        yield responses.event(_error_chunk(accepted))
        return
    while "stuck" in accepted.faults:
        await runtime.heartbeat()
        yield responses.PROCESSING
    await runtime.sleep(SECONDS[accepted.kind] / 2, accepted.faults)
    reply = await reply_to(runtime, accepted)
    sent, completed = 0, False
    try:
        for index in range(len(reply.choices)):
            yield _event(accepted, {"role": "assistant", "content": ""}, index=index)
        fails = bool(accepted.faults & {"cut", "error-in-stream", "upstream:error-event"})
        count = _delta_count(reply) // (2 if fails else 1)
        for index, delta in _interleaved(reply.choices)[:count]:
            await runtime.sleep(SECONDS_PER_TOKEN, accepted.faults)
            sent += 1
            yield _event(accepted, delta, index=index)
            if sent % 50 == 0:
                yield responses.PROCESSING
        if "error-in-stream" in accepted.faults:
            yield responses.event(_error_chunk(accepted))
        if "error-event" in accepted.habits:
            yield habits.ERROR_EVENT
        if fails:
            return
        for index, choice in enumerate(reply.choices):
            if choice.images:
                images = [image(url) for url in choice.images]
                yield _event(accepted, {"role": "assistant", "images": images}, index=index)
        for index, choice in enumerate(reply.choices):
            yield _event(accepted, {"role": "assistant", "content": ""}, choice.finish, index)
        job = job_of(runtime, accepted, reply, sent)
        await record_job(runtime, job)
        completed = True
        # OpenRouter repeats the finish reason in the usage chunk.
        last = _chunk(accepted, {"role": "assistant", "content": ""}, reply.choices[0].finish)
        usage = visible_usage(job.usage, accepted.faults)
        yield habits.chunk_event({**last, "usage": usage}, accepted.habits)
        yield responses.event("[DONE]")
    finally:
        if not completed:
            for choice in reply.choices:
                choice.images = []
            await record_job(runtime, job_of(runtime, accepted, reply, sent, cancelled=True))


def _interleaved(choices: list[Choice]) -> list[tuple[int, JsonObject]]:
    """The deltas of all choices with the index of the choice: the first of each, the second of each, and so on."""
    numbered = [
        (place, index, delta) for index, choice in enumerate(choices) for place, delta in enumerate(choice.deltas)
    ]
    return [(index, delta) for _, index, delta in sorted(numbered, key=lambda one: one[:2])]


def _event(accepted: AcceptedRequest, delta: JsonObject, finish: str | None = None, index: int = 0) -> bytes:
    return habits.chunk_event(_chunk(accepted, delta, finish, index), accepted.habits)


def _chunk(accepted: AcceptedRequest, delta: JsonObject, finish: str | None = None, index: int = 0) -> JsonObject:
    choice = {"index": index, "delta": delta, "finish_reason": finish, "native_finish_reason": finish}
    if delta.get("content") and _wants_logprobs(accepted):
        choice["logprobs"] = logprobs([delta["content"]])
    return {
        "id": accepted.id,
        "object": "chat.completion.chunk",
        "created": int(accepted.created_at),
        "model": accepted.model.id,
        "choices": [choice],
    }


def _error_chunk(accepted: AcceptedRequest) -> JsonObject:
    return {**_chunk(accepted, {"role": "assistant", "content": ""}, "error"), "error": PROVIDER_ERROR}
