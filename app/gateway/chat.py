"""Conversations in OpenAI's words: `/v1/chat/completions`."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from app.base.clock import unix
from app.base.errors import AtelierError
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat.schemas import ChatRequest, Message
from app.chat.service import Chat, StreamingAnswer, whole
from app.gateway import openai_params
from app.providers.contract import Kind, Usage
from app.web import sse
from app.web.errors import openai_problem, to_response

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
    | {*THROUGH, *openai_params.SILENT}
)
_TOOLS: Final = (
    "`tools` must be a list of functions, each with a name (letters, digits, _ and -) and a schema of its parameters."
)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Clients send these although they change nothing, also to models that cannot be tuned.
_USUAL: Final = {"temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
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


def ask(data: Mapping[str, Any], catalog: Catalog, chat: Chat, *, streamed: bool) -> ChatRequest:
    """The question of a request; Invalid or Missing names the field that is wrong."""
    model = openai_params.choose(catalog, data, Kind.TEXT)
    openai_params.only(data, _OWN | _TUNING | frozenset(model.parameters.get("properties", {})))
    if openai_params.whole(data, "n", least=1, most=128) not in (None, 1):
        raise openai_params.wrong("n", "Only one choice is made at a time: `n` must be 1.")
    if data.get("modalities") not in (None, ["text"]):
        raise openai_params.wrong("modalities", "Only text is made here; pictures are made at /v1/images/generations.")
    params = _params(data, model, catalog)
    return chat.asking(model, data.get("messages"), params, raw=True, whole=not streamed)


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    _check_tools(data.get("tools"), model)
    through: dict[str, Any] = {}
    for name, shape in THROUGH.items():
        if (value := data.get(name)) is not None:
            if not isinstance(value, shape):
                raise openai_params.wrong(name, f"`{name}` is not of the right type.")
            through[name] = value
    given = {name: value for name, value in data.items() if name not in _OWN and value is not None}
    properties = model.parameters.get("properties", {})
    for name, usual in _USUAL.items():
        if name not in properties and given.get(name) == usual:
            del given[name]
    if data.get("stop") is not None:
        given["stop"] = [data["stop"]] if isinstance(data["stop"], str) else data["stop"]
    if data.get("max_completion_tokens") is not None:
        given["max_tokens"] = data["max_completion_tokens"]
    return {**catalog.check(model, given), **through}


def _check_tools(tools: object, model: Model) -> None:
    """What is wrong with the functions that a model may call; the provider would only say that something is."""
    if tools is None or tools == []:
        return
    if not isinstance(tools, list) or not model.parameters.get("x-tools"):
        raise openai_params.wrong(
            "tools", f"{model.name} does not call functions." if isinstance(tools, list) else _TOOLS
        )
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("parameters"), dict | None):
            raise openai_params.wrong("tools", _TOOLS)
        if not isinstance(name := function.get("name"), str) or not _NAME.fullmatch(name):
            raise openai_params.wrong("tools", _TOOLS)


def with_usage(data: Mapping[str, Any]) -> bool:
    """Whether the last chunk of a stream shall say how many tokens there were."""
    options = data.get("stream_options")
    if not isinstance(options, dict | None):
        raise openai_params.wrong("stream_options", "`stream_options` must be an object.")
    return openai_params.flag(options or {}, "include_usage")


# Of what a provider says beside the words: OpenAI's own, and the thoughts that its clients pass on.
_SAID: Final = ("content", "refusal", "tool_calls", "annotations", "audio", "reasoning")


def check(live: StreamingAnswer) -> None:
    """An answer that has ended without a word: Invalid when the provider refused, Upstream when it failed."""
    whole(live.message)


def completion(live: StreamingAnswer) -> dict[str, Any]:
    """A whole answer."""
    message, reply = live.message, live.reply or {}
    said = reply.get("message") or {}
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": message.text or None,
            "refusal": None,
            **{name: said[name] for name in _SAID if said.get(name) is not None},
        },
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


async def chunks(
    live: StreamingAnswer,
    first: Sequence[dict[str, Any]] | None,
    choices: AsyncGenerator[Sequence[dict[str, Any]], None],
    *,
    with_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """A streamed answer, event by event; closing it hangs up."""
    frame = _frame(live.message, "chat.completion.chunk")
    if with_usage:
        frame["usage"] = None
    async with aclosing(choices):
        if first is not None:
            begun, *more = first or [{}]
            yield _events(frame, [{"role": "assistant", "content": "", **begun}, *more])
        async for deltas in choices:
            yield _events(frame, deltas) or b": still here\n\n"
    try:
        message = whole(live.message)
    except AtelierError as exc:
        yield sse.data({"error": openai_problem(to_response(exc))})
    else:
        yield sse.data({**frame, "choices": [_choice({}, live.finish_reason or "stop")]})
        if with_usage:
            yield sse.data({**frame, "choices": [], "usage": _usage(message.usage)})
    yield sse.DONE


def _events(frame: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]]) -> bytes:
    """An event for each; what has come together is sent together."""
    return b"".join([sse.data({**frame, "choices": [_choice(delta)]}) for delta in deltas])


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
