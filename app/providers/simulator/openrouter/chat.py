"""Chat: words or calls of functions, plain or streamed, and pictures from the models that draw in conversation."""

import base64
from collections.abc import AsyncIterator

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.simulator import replies, responses, sizes, tools
from app.providers.simulator.faults import without
from app.providers.simulator.openrouter.catalog import Model
from app.providers.simulator.openrouter.errors import Refusal, bad
from app.providers.simulator.openrouter.gate import (
    Ask,
    Body,
    Plain,
    admit,
    billed,
    model_for,
    picture_of,
    read,
    settle,
    with_key,
)
from app.providers.simulator.stage import Stage
from app.providers.simulator.state import Job, Kind

SECONDS = {"text": 0.8, "image": 1.5}
SECONDS_A_WORD = 0.03
PICTURE_TOKENS = 1290
NOT_A_PICTURE = b"This was never a picture. " * 40
GARBLED = {"code": 502, "message": "Provider returned error", "metadata": {"error_type": "provider_unavailable"}}


class Reply(msgspec.Struct, kw_only=True):
    """What the model says: words, perhaps cut short, or calls of functions, and pictures as data URLs."""

    words: list[str]
    pictures: list[str]
    finish: str
    prompt_tokens: int
    calls: list[tools.Call] = []

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def deltas(self) -> list[Body]:
        """What is said, in the pieces in which it streams; each counts as a token."""
        if not self.calls:
            return [{"role": "assistant", "content": word} for word in self.words]
        found: list[Body] = []
        for index, call in enumerate(self.calls):
            begun = {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            rest = [{"index": index, "function": {"arguments": piece}} for piece in replies.split(call.arguments)]
            found += [{"role": "assistant", "content": None, "tool_calls": [piece]} for piece in (begun, *rest)]
        return found


@post("/chat/completions", guards=[with_key], status_code=200)
async def chat(request: Plain, stage: NamedDependency[Stage]) -> ASGIApp:
    """One answer of a model to a conversation."""
    body, digest = await read(request, stage)
    model = model_for(body, "chat")
    messages = _messages(body)
    kind = _kind(model, body)
    _check(model, body, messages)
    prompt = replies.said_last(messages)
    ask = await admit(
        stage, endpoint="/chat/completions", kind=kind, model=model, prompt=prompt, body=body, digest=digest
    )
    if not isinstance(ask, Ask):
        return ask
    if "ambiguous" in ask.faults:
        reply = await _reply(stage, ask)
        await settle(stage, _job(stage, ask, reply, len(reply.deltas)))
        return responses.HungUp()
    if body.get("stream") is True and not ask.faults & {"error-200", "fail"}:
        return _streamed(stage, ask)
    return await _plain(stage, ask)


HANDLERS = [chat]


# What was asked


def _messages(body: Body) -> list[Body]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("messages: expected a list of at least one message")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in (
            "system",
            "developer",
            "user",
            "assistant",
            "tool",
        ):
            raise bad("messages: every message needs a role of system, developer, user, assistant or tool")
        if not isinstance(message.get("content"), str | list | None):
            raise bad("messages: content must be text or a list of parts")
        if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise bad("messages: what a tool says needs a tool_call_id")
    return messages


def _kind(model: Model, body: Body) -> Kind:
    """Whether words or pictures are wanted. The wrong set of modalities finds no endpoint, as at the real service."""
    wanted = body.get("modalities") or ["text"]
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise bad("modalities: expected a list of words")
    offered = set(model.outputs) & {"text", "image"}
    if set(wanted) == offered or (set(wanted) == {"text"} and "text" in offered):
        return "image" if "image" in wanted else "text"
    raise Refusal(
        404,
        f"No endpoints found that support the requested output modalities: {', '.join(map(str, wanted))}",
        "not_found",
        routing_funnel=[{"step": "model", "endpoints": 1}, {"step": "output_modalities", "endpoints": 0}],
        failed_routing_step="output_modalities",
    )


def _check(model: Model, body: Body, messages: list[Body]) -> None:
    for name, highest in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is not None and (not isinstance(value, int | float) or not 0 <= value <= highest):
            raise bad(f"{name}: expected a number from 0 to {highest}")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise bad("max_tokens: expected a whole number of at least 1")
    _size(body)
    _check_tools(model, body)
    used = replies.tokens_in(messages)
    if model.context_length and used > model.context_length:
        raise bad(
            f"This endpoint's maximum context length is {model.context_length} tokens. You requested about {used}.",
            "context_length_exceeded",
        )


def _check_tools(model: Model, body: Body) -> None:
    try:
        wanted = tools.offered(body)
    except ValueError as exc:
        raise bad(str(exc)) from exc
    if wanted and "tools" not in model.parameters:
        raise Refusal(404, "No endpoints found that support tool use.", "not_found")


def _references(body: Body) -> list[str]:
    """The pictures that came with the person's last message."""
    asking = [message for message in body["messages"] if message["role"] == "user"]
    content = asking[-1].get("content") if asking else None
    parts = content if isinstance(content, list) else []
    found = [part.get("image_url") for part in parts if isinstance(part, dict) and part.get("type") == "image_url"]
    return [url["url"] for url in found if isinstance(url, dict) and isinstance(url.get("url"), str)]


def _size(body: Body) -> tuple[int, int]:
    config = body.get("image_config")
    wish: Body = config if isinstance(config, dict) else {}
    ratio, tier = wish.get("aspect_ratio"), wish.get("image_size")
    if not isinstance(ratio, str | None) or not isinstance(tier, str | None):
        raise bad("image_config: aspect_ratio and image_size are text")
    if tier is not None and tier not in sizes.TIERS:
        raise bad(f"image_config.image_size: expected one of {', '.join(sizes.TIERS)}")
    try:
        return sizes.picture_size(ratio, tier)
    except (ValueError, ZeroDivisionError) as exc:
        raise bad(f"image_config.aspect_ratio: {ratio} is not a shape") from exc


# What is answered


async def _reply(stage: Stage, ask: Ask) -> Reply:
    references = _references(ask.body)
    prompt_tokens = replies.tokens_in(ask.body["messages"])
    if calls := tools.called(ask.body, without(ask.prompt)):
        return Reply(words=[], pictures=[], finish="tool_calls", prompt_tokens=prompt_tokens, calls=calls)
    said = tools.reported(ask.body["messages"]) or replies.answer(
        ask.body["messages"], pictures=len(references), json=_wants_json(ask.body), drawing=ask.kind == "image"
    )
    pictures: list[str] = []
    if ask.kind == "image":
        if "words-only" in ask.faults:
            said = "I would rather describe it: " + replies.describe(without(ask.prompt))
        else:
            pictures = [await stage.draw(_picture, stage, ask, references)]
            said = said if "text" in ask.model.outputs else ""
    tokens = replies.split(said)
    limit = ask.body.get("max_completion_tokens", ask.body.get("max_tokens")) or len(tokens)
    return Reply(
        words=tokens[:limit],
        pictures=pictures,
        finish="length" if limit < len(tokens) else "stop",
        prompt_tokens=prompt_tokens,
    )


def _wants_json(body: Body) -> bool:
    wish = body.get("response_format")
    return isinstance(wish, dict) and wish.get("type") in ("json_object", "json_schema")


def _picture(stage: Stage, ask: Ask, references: list[str]) -> str:
    from app.providers.simulator import images

    if "badmedia" in ask.faults:
        data = NOT_A_PICTURE
    else:
        given = [picture_of(stage.memory, url) for url in references]
        seed = ask.body.get("seed")
        data = images.generate(
            without(ask.prompt),
            ask.id if seed is None else str(seed),
            sizes.STAMP if "stamp" in ask.faults else _size(ask.body),
            references=given,
        )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _usage(ask: Ask, reply: Reply, said: int) -> Body:
    drawn = PICTURE_TOKENS * len(reply.pictures)
    price = ask.model.pricing
    prompt = reply.prompt_tokens * float(price.get("prompt", 0))
    completion = said * float(price.get("completion", 0)) + drawn * float(price.get("image_output", 0))
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": said + drawn,
        "total_tokens": reply.prompt_tokens + said + drawn,
        "cost": round(prompt + completion, 10),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": round(prompt, 10),
            "upstream_inference_completions_cost": round(completion, 10),
        },
        "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": drawn},
    }


def _job(stage: Stage, ask: Ask, reply: Reply, said: int, *, cancelled: bool = False) -> Job:
    usage = _usage(ask, reply, said)
    return Job(
        id=ask.id,
        kind=ask.kind,
        model=ask.model.id,
        prompt=ask.prompt,
        created=ask.created,
        runs=ask.created,
        ends=stage.clock.now(),
        seed=0,
        cost=usage["cost"],
        usage=usage,
        streamed=ask.body.get("stream") is True,
        cancelled=cancelled,
    )


# In one piece


async def _plain(stage: Stage, ask: Ask) -> ASGIApp:
    await stage.take(SECONDS[ask.kind], ask.faults)
    if "stuck" in ask.faults:
        return responses.Silent()
    if "fail" in ask.faults:
        raise Refusal(
            502,
            "Provider returned error",
            "provider_unavailable",
            provider_name=ask.model.name.partition(":")[0],
            provider_code="internal",
            raw="the simulated provider gave up",
        )
    if ask.faults & {"error-200", "error-first"}:
        return responses.json_answer({"id": ask.id, "error": GARBLED})
    if "huge" in ask.faults:
        return responses.Streamed(responses.endless(*_around(ask)), responses.JSON, _named(ask))
    reply = await _reply(stage, ask)
    if "error-in-stream" in ask.faults:
        reply = Reply(
            words=reply.words[: len(reply.words) // 2],
            pictures=[],
            finish="error",
            prompt_tokens=reply.prompt_tokens,
        )
    job = _job(stage, ask, reply, len(reply.deltas))
    await settle(stage, job)
    whole = responses.json_answer(_completion(ask, reply, billed(job.usage, ask.faults)), headers=_named(ask))
    if "cut" in ask.faults:
        return responses.Cut(whole)
    if "trickle" in ask.faults:
        return responses.Streamed(responses.trickle(stage, responses.once(whole.body)), responses.JSON, _named(ask))
    return whole


def _completion(ask: Ask, reply: Reply, usage: Body) -> Body:
    message: Body = {"role": "assistant", "content": reply.text or None, "refusal": None, "reasoning": None}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
    if ask.kind == "image":
        message["images"] = [_image(url) for url in reply.pictures]
    choice: Body = {
        "index": 0,
        "logprobs": None,
        "finish_reason": reply.finish,
        "native_finish_reason": reply.finish,
        "message": message,
    }
    if reply.finish == "error":
        choice["error"] = GARBLED
    return {
        "id": ask.id,
        "object": "chat.completion",
        "created": int(ask.created),
        "model": ask.model.id,
        "system_fingerprint": None,
        "choices": [choice],
        "usage": usage,
    }


def _image(url: str) -> Body:
    return {"type": "image_url", "image_url": {"url": url}}


def _around(ask: Ask) -> tuple[bytes, bytes, bytes]:
    """The beginning, the filling and the end of an answer without measure."""
    empty = Reply(words=["@"], pictures=["@"] if ask.kind == "image" else [], finish="stop", prompt_tokens=1)
    if empty.pictures:
        empty.words = []
    head, _, tail = msgspec.json.encode(_completion(ask, empty, {})).partition(b"@")
    if empty.pictures:
        return head + b"data:image/png;base64,", b"A" * 64, tail
    return head, b"and on and on ", tail


def _named(ask: Ask) -> dict[str, str]:
    return {"X-Generation-Id": ask.id}


# In many pieces


def _streamed(stage: Stage, ask: Ask) -> ASGIApp:
    if "huge" in ask.faults:
        chunk = _chunk(ask, {"role": "assistant", "content": "and on and on "})
        return responses.Streamed(
            responses.endless(responses.PROCESSING, responses.event(chunk)), responses.EVENTS, _named(ask)
        )
    pieces = _events(stage, ask)
    if "trickle" in ask.faults:
        pieces = responses.trickle(stage, pieces)
    return responses.Streamed(pieces, responses.EVENTS, {"cache-control": "no-cache", **_named(ask)})


async def _events(stage: Stage, ask: Ask) -> AsyncIterator[bytes]:
    yield responses.PROCESSING
    if "error-first" in ask.faults:
        yield responses.event(_error_chunk(ask))
        return
    while "stuck" in ask.faults:
        await stage.breathe()
        yield responses.PROCESSING
    await stage.take(SECONDS[ask.kind] / 2, ask.faults)
    reply = await _reply(stage, ask)
    breaks = bool(ask.faults & {"cut", "error-in-stream"})
    deltas = reply.deltas
    until = len(deltas) // 2 if breaks else len(deltas)
    said, whole = 0, False
    try:
        yield responses.event(_chunk(ask, {"role": "assistant", "content": ""}))
        for delta in deltas[:until]:
            await stage.take(SECONDS_A_WORD, ask.faults)
            said += 1
            yield responses.event(_chunk(ask, delta))
            if said % 50 == 0:
                yield responses.PROCESSING
        if "error-in-stream" in ask.faults:
            yield responses.event(_error_chunk(ask))
        if breaks:
            return
        if reply.pictures:
            yield responses.event(_chunk(ask, {"role": "assistant", "images": [_image(url) for url in reply.pictures]}))
        yield responses.event(_chunk(ask, {"role": "assistant", "content": ""}, reply.finish))
        job = _job(stage, ask, reply, said)
        await settle(stage, job)
        whole = True
        # The service says the finish reason a second time beside the usage.
        yield responses.event(
            {**_chunk(ask, {"role": "assistant", "content": ""}, reply.finish), "usage": billed(job.usage, ask.faults)}
        )
        yield responses.event("[DONE]")
    finally:
        if not whole:
            reply.pictures = []
            await settle(stage, _job(stage, ask, reply, said, cancelled=True))


def _chunk(ask: Ask, delta: Body, finish: str | None = None) -> Body:
    return {
        "id": ask.id,
        "object": "chat.completion.chunk",
        "created": int(ask.created),
        "model": ask.model.id,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "native_finish_reason": finish}],
    }


def _error_chunk(ask: Ask) -> Body:
    return {**_chunk(ask, {"role": "assistant", "content": ""}, "error"), "error": GARBLED}
