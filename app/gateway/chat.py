"""`/v1/chat/completions`."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.response import Stream

from app.accounts.guards import signed_in
from app.base.clock import unix
from app.base.errors import AtelierError
from app.base.money import usd
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat import words
from app.chat.answers import Live
from app.chat.schemas import Ask, Message
from app.chat.service import Chat, whole
from app.gateway import wire
from app.providers.contract import Kind, Usage
from app.web import events
from app.web.errors import openai_problem, told
from app.web.headers import seconds_since
from app.web.leaving import unless_gone
from app.web.limits import PAID

Program = Request[Any, Any, State]

LARGEST_BODY: Final = 24 * 1024 * 1024  # bytes: pictures come in it

# These go to the provider as they came; it alone knows which model follows them.
THROUGH: Final[Mapping[str, type | tuple[type, ...]]] = {
    "tools": list,
    "tool_choice": (str, dict),
    "parallel_tool_calls": bool,
    "response_format": dict,
    "logit_bias": dict,
    "logprobs": bool,
    "top_logprobs": int,
}
_OWN: Final = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "stop", "max_completion_tokens", "modalities"}
    | {*THROUGH, *wire.SILENT}
)
_TUNING: Final = frozenset(  # judged by the model's own schema
    {
        "temperature",
        "top_p",
        "max_tokens",
        "reasoning_effort",
        "frequency_penalty",
        "presence_penalty",
        "seed",
    }
)


@post(
    "/chat/completions",
    status_code=200,
    guards=[signed_in],
    opt={**events.UNCOMPRESSED, **PAID},
    request_max_body_size=LARGEST_BODY,
)
async def complete(
    request: Program, data: dict[str, Any], catalog: NamedDependency[Catalog], chat: NamedDependency[Chat]
) -> Response[bytes] | Stream:
    """Hanging up stops the model."""
    owner, streamed = request.user.id, wire.flag(data, "stream")
    ask = _ask(data, catalog, chat, streamed=streamed)
    if streamed:
        return await _stream(request, chat, owner, ask, with_usage=_with_usage(data))
    live = await unless_gone(request, chat.hear(owner, ask))
    return Response(
        msgspec.json.encode(_completion(live)), media_type="application/json", headers=_headers(request, live)
    )


def _ask(data: Mapping[str, Any], catalog: Catalog, chat: Chat, *, streamed: bool) -> Ask:
    model = wire.choose(catalog, data, Kind.TEXT)
    wire.only(data, _OWN | _TUNING | frozenset(model.parameters.get("properties", {})))
    if wire.whole(data, "n", least=1, most=128) not in (None, 1):
        raise wire.wrong("n", "Only one choice is made at a time: `n` must be 1.")
    if data.get("modalities") not in (None, ["text"]):
        raise wire.wrong("modalities", "Only text is made here; pictures are made at /v1/images/generations.")
    turns = words.turns(data.get("messages"), raw=True)
    return chat.asking(model, turns, _params(data, model, catalog), raw=True, whole=not streamed)


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    through: dict[str, Any] = {}
    for name, shape in THROUGH.items():
        if (value := data.get(name)) is not None:
            if not isinstance(value, shape):
                raise wire.wrong(name, f"`{name}` is not of the right type.")
            through[name] = value
    given = {name: value for name, value in data.items() if name not in _OWN and value is not None}
    if data.get("stop") is not None:
        given["stop"] = [data["stop"]] if isinstance(data["stop"], str) else data["stop"]
    if data.get("max_completion_tokens") is not None:
        given["max_tokens"] = data["max_completion_tokens"]
    return {**catalog.check(model, given), **through}


def _with_usage(data: Mapping[str, Any]) -> bool:
    options = data.get("stream_options")
    if not isinstance(options, dict | None):
        raise wire.wrong("stream_options", "`stream_options` must be an object.")
    return wire.flag(options or {}, "include_usage")


def _headers(request: Program, live: Live) -> dict[str, str]:
    """What it cost, when that is known by now, and the milliseconds that were ours and not the provider's."""
    spent = seconds_since(request.scope) - live.waited
    cost = usd(live.message.cost_nano)
    return {
        "X-Atelier-Model": live.message.model or "",
        "X-Atelier-Overhead-Ms": f"{max(0.0, spent) * 1000:.1f}",
        **({"X-Atelier-Cost-Usd": cost} if cost is not None else {}),
    }


def _completion(live: Live) -> dict[str, Any]:
    message, reply = live.message, live.reply or {}
    said = reply.get("message") or {}
    choice = {
        "index": 0,
        "message": {"content": message.text or None, "refusal": None, **said, "role": "assistant"},
        "finish_reason": reply.get("finish_reason") or "stop",
        "logprobs": reply.get("logprobs"),
    }
    return {**_frame(message, "chat.completion"), "choices": [choice], "usage": _usage(message.usage)}


def _frame(message: Message, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{message.id}",
        "object": kind,
        "created": int(unix(message.created_at)),
        "model": message.model,
    }


def _usage(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    prompt, answer = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": usage.total_tokens or prompt + answer}


async def _stream(request: Program, chat: Chat, owner: str, ask: Ask, *, with_usage: bool) -> Stream:
    """Begun before the answer's headers are sent: what fails at once is an error with a status of its own."""
    live, choices = await chat.overhear(owner, ask)
    first = await unless_gone(request, _next(choices))
    if first is None:
        whole(live.message)
    return Stream(
        _chunks(live, first, choices, with_usage=with_usage),
        media_type="text/event-stream",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Atelier-Model": ask.model.id,
            "X-Atelier-Overhead-Ms": f"{max(0.0, seconds_since(request.scope) - live.until_first) * 1000:.1f}",
        },
    )


async def _next(choices: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any] | None:
    async for choice in choices:
        return choice
    return None


async def _chunks(
    live: Live,
    first: dict[str, Any] | None,
    choices: AsyncGenerator[dict[str, Any], None],
    *,
    with_usage: bool,
) -> AsyncGenerator[bytes, None]:
    frame = _frame(live.message, "chat.completion.chunk")
    if with_usage:
        frame["usage"] = None
    async with aclosing(choices):
        if first is not None:
            yield events.data({**frame, "choices": [_choice({"role": "assistant", "content": "", **first})]})
        async for delta in choices:
            yield events.data({**frame, "choices": [_choice(delta)]}) if delta else b": still here\n\n"
    try:
        message = whole(live.message)
    except AtelierError as problem:
        yield events.data({"error": openai_problem(told(problem))})
    else:
        yield events.data({**frame, "choices": [_choice({}, live.finish_reason or "stop")]})
        if with_usage:
            yield events.data({**frame, "choices": [], "usage": _usage(message.usage)})
    yield events.DONE


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
