"""Chat completions, whole or streamed: text, tool calls, and images from models that generate them in a conversation."""

import base64
from collections.abc import AsyncIterator

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses, sizes, tools
from app.providers.simulator.faults import strip_faults
from app.providers.simulator.openrouter.admission import (
    AcceptedRequest,
    JsonObject,
    PlainRequest,
    admit,
    model_for,
    read_body,
    record_job,
    reference_image,
    require_key,
    visible_usage,
)
from app.providers.simulator.openrouter.catalog import SimulatedModel
from app.providers.simulator.openrouter.errors import ErrorAnswer, bad_request
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import Kind, SimulatedJob

SECONDS = {"text": 0.8, "image": 1.5}
SECONDS_PER_TOKEN = 0.03
TOKENS_PER_IMAGE = 1290
NOT_AN_IMAGE = b"This is not an image. " * 40
PROVIDER_ERROR = {"code": 502, "message": "Provider returned error", "metadata": {"error_type": "provider_unavailable"}}


class ChatReply(msgspec.Struct, kw_only=True):
    """The reply of a model: text in tokens (perhaps truncated) or tool calls, and images as data URLs."""

    tokens: list[str]
    images: list[str]
    finish: str
    prompt_tokens: int
    calls: list[tools.ToolCall] = []

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def deltas(self) -> list[JsonObject]:
        """The deltas of the stream; each counts as a token."""
        if not self.calls:
            return [{"role": "assistant", "content": token} for token in self.tokens]
        found: list[JsonObject] = []
        for index, call in enumerate(self.calls):
            start = {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            rest = [{"index": index, "function": {"arguments": piece}} for piece in replies.split(call.arguments)]
            found += [{"role": "assistant", "content": None, "tool_calls": [piece]} for piece in (start, *rest)]
        return found


@post("/chat/completions", guards=[require_key], status_code=200)
async def chat(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Complete a conversation."""
    body, digest = await read_body(request, runtime)
    model = model_for(body, "chat")
    messages = _messages(body)
    kind = _kind(model, body)
    _check(model, body, messages)
    prompt = replies.last_user_text(messages)
    accepted = await admit(
        runtime, endpoint="/chat/completions", kind=kind, model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(accepted, AcceptedRequest):
        return accepted
    if "ambiguous" in accepted.faults:
        reply = await _reply(runtime, accepted)
        await record_job(runtime, _job(runtime, accepted, reply, len(reply.deltas)))
        return responses.ClosedConnection()
    if body.get("stream") is True and not accepted.faults & {"error-200", "fail"}:
        return _streamed_response(runtime, accepted)
    return await _whole_response(runtime, accepted)


HANDLERS = [chat]


# Requests


def _messages(body: JsonObject) -> list[JsonObject]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages: expected a list of at least one message")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in (
            "system",
            "developer",
            "user",
            "assistant",
            "tool",
        ):
            raise bad_request("messages: each message needs a role of system, developer, user, assistant or tool")
        if not isinstance(message.get("content"), str | list | None):
            raise bad_request("messages: content must be text or a list of parts")
        if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise bad_request("messages: a tool message needs a tool_call_id")
    return messages


def _kind(model: SimulatedModel, body: JsonObject) -> Kind:
    """The kind of output requested. As in the real service, an unsupported set of modalities finds no endpoint."""
    wanted = body.get("modalities") or ["text"]
    if not isinstance(wanted, list) or not all(isinstance(modality, str) for modality in wanted):
        raise bad_request("modalities: expected a list of strings")
    offered = set(model.outputs) & {"text", "image"}
    if set(wanted) == offered or (set(wanted) == {"text"} and "text" in offered):
        return "image" if "image" in wanted else "text"
    raise ErrorAnswer(
        404,
        f"No endpoints found that support the requested output modalities: {', '.join(map(str, wanted))}",
        "not_found",
        routing_funnel=[{"step": "model", "endpoints": 1}, {"step": "output_modalities", "endpoints": 0}],
        failed_routing_step="output_modalities",
    )


def _check(model: SimulatedModel, body: JsonObject, messages: list[JsonObject]) -> None:
    for name, highest in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is not None and (not isinstance(value, int | float) or not 0 <= value <= highest):
            raise bad_request(f"{name}: expected a number from 0 to {highest}")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise bad_request("max_tokens: expected a whole number of at least 1")
    _size(body)
    _check_tools(model, body)
    used = replies.tokens_in(messages)
    if model.context_length and used > model.context_length:
        raise bad_request(
            f"This endpoint's maximum context length is {model.context_length} tokens. You requested about {used}.",
            "context_length_exceeded",
        )


def _check_tools(model: SimulatedModel, body: JsonObject) -> None:
    try:
        wanted = tools.parse_tools(body)
    except ValueError as exc:
        raise bad_request(str(exc)) from exc
    if wanted and "tools" not in model.parameters:
        raise ErrorAnswer(404, "No endpoints found that support tool use.", "not_found")


def _references(body: JsonObject) -> list[str]:
    """The image URLs in the last user message."""
    user_messages = [message for message in body["messages"] if message["role"] == "user"]
    content = user_messages[-1].get("content") if user_messages else None
    parts = content if isinstance(content, list) else []
    found = [part.get("image_url") for part in parts if isinstance(part, dict) and part.get("type") == "image_url"]
    return [url["url"] for url in found if isinstance(url, dict) and isinstance(url.get("url"), str)]


def _size(body: JsonObject) -> tuple[int, int]:
    config = body.get("image_config")
    values: JsonObject = config if isinstance(config, dict) else {}
    ratio, tier = values.get("aspect_ratio"), values.get("image_size")
    if not isinstance(ratio, str | None) or not isinstance(tier, str | None):
        raise bad_request("image_config: aspect_ratio and image_size must be strings")
    if tier is not None and tier not in sizes.TIERS:
        raise bad_request(f"image_config.image_size: expected one of {', '.join(sizes.TIERS)}")
    try:
        return sizes.image_size_in_pixels(ratio, tier)
    except (ValueError, ZeroDivisionError) as exc:
        raise bad_request(f"image_config.aspect_ratio: {ratio} is not an aspect ratio") from exc


# Replies


async def _reply(runtime: Runtime, accepted: AcceptedRequest) -> ChatReply:
    references = _references(accepted.body)
    prompt_tokens = replies.tokens_in(accepted.body["messages"])
    if calls := tools.calls_for(accepted.body, strip_faults(accepted.prompt)):
        return ChatReply(tokens=[], images=[], finish="tool_calls", prompt_tokens=prompt_tokens, calls=calls)
    text = tools.answer_from_results(accepted.body["messages"]) or replies.answer(
        accepted.body["messages"],
        images=len(references),
        json=_wants_json(accepted.body),
        with_image=accepted.kind == "image",
    )
    images: list[str] = []
    if accepted.kind == "image":
        if "text-only" in accepted.faults:
            text = "Here is a description instead: " + replies.describe(strip_faults(accepted.prompt))
        else:
            images = [await runtime.render(_render_image, runtime, accepted, references)]
            text = text if "text" in accepted.model.outputs else ""
    tokens = replies.split(text)
    limit = accepted.body.get("max_completion_tokens", accepted.body.get("max_tokens")) or len(tokens)
    return ChatReply(
        tokens=tokens[:limit],
        images=images,
        finish="length" if limit < len(tokens) else "stop",
        prompt_tokens=prompt_tokens,
    )


def _wants_json(body: JsonObject) -> bool:
    response_format = body.get("response_format")
    return isinstance(response_format, dict) and response_format.get("type") in ("json_object", "json_schema")


def _render_image(runtime: Runtime, accepted: AcceptedRequest, references: list[str]) -> str:
    from app.providers.simulator import images

    if "badmedia" in accepted.faults:
        data = NOT_AN_IMAGE
    else:
        reference_images = [reference_image(runtime.store, url) for url in references]
        seed = accepted.body.get("seed")
        data = images.generate(
            strip_faults(accepted.prompt),
            accepted.id if seed is None else str(seed),
            sizes.STAMP if "stamp" in accepted.faults else _size(accepted.body),
            references=reference_images,
        )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _usage(accepted: AcceptedRequest, reply: ChatReply, sent: int) -> JsonObject:
    image_tokens = TOKENS_PER_IMAGE * len(reply.images)
    price = accepted.model.pricing
    prompt = reply.prompt_tokens * float(price.get("prompt", 0))
    completion = sent * float(price.get("completion", 0)) + image_tokens * float(price.get("image_output", 0))
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": sent + image_tokens,
        "total_tokens": reply.prompt_tokens + sent + image_tokens,
        "cost": round(prompt + completion, 10),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": round(prompt, 10),
            "upstream_inference_completions_cost": round(completion, 10),
        },
        "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": image_tokens},
    }


def _job(
    runtime: Runtime, accepted: AcceptedRequest, reply: ChatReply, sent: int, *, cancelled: bool = False
) -> SimulatedJob:
    usage = _usage(accepted, reply, sent)
    return SimulatedJob(
        id=accepted.id,
        kind=accepted.kind,
        model=accepted.model.id,
        prompt=accepted.prompt,
        created_at=accepted.created_at,
        starts_at=accepted.created_at,
        ends_at=runtime.clock.now(),
        seed=0,
        cost=usage["cost"],
        usage=usage,
        streamed=accepted.body.get("stream") is True,
        cancelled=cancelled,
    )


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
    reply = await _reply(runtime, accepted)
    if "error-in-stream" in accepted.faults:
        reply = ChatReply(
            tokens=reply.tokens[: len(reply.tokens) // 2],
            images=[],
            finish="error",
            prompt_tokens=reply.prompt_tokens,
        )
    job = _job(runtime, accepted, reply, len(reply.deltas))
    await record_job(runtime, job)
    whole = responses.json_response(
        _completion(accepted, reply, visible_usage(job.usage, accepted.faults)), headers=_id_header(accepted)
    )
    if "cut" in accepted.faults:
        return responses.TruncatedResponse(whole)
    if "trickle" in accepted.faults:
        return responses.StreamedResponse(
            responses.trickle(runtime, responses.single_chunk(whole.body)), responses.JSON, _id_header(accepted)
        )
    return whole


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
    reply = await _reply(runtime, accepted)
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
        job = _job(runtime, accepted, reply, sent)
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
            await record_job(runtime, _job(runtime, accepted, reply, sent, cancelled=True))


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
