"""Chat requests and responses in OpenAI's format: `/v1/chat/completions`."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from app.base.clock import unix
from app.base.errors import AtelierError
from app.catalog.schemas import Model
from app.catalog.service import Catalog
from app.chat.schemas import AnswerFormat, ChatRequest, Message
from app.chat.service import Chat, StreamingAnswer
from app.gateway import openai_params
from app.providers.contract import Kind, Usage
from app.web import sse
from app.web.errors import openai_problem, to_response

# Passed to the provider unchanged: only the provider knows which models support them.
PASSED_THROUGH: Final[Mapping[str, type | tuple[type, ...]]] = {
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
    | {*PASSED_THROUGH, *openai_params.IGNORED}
)
_TOOLS: Final = (
    "`tools` must be a list of functions, each with a name (letters, digits, _ and -) and a JSON Schema for parameters."
)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Clients send these defaults even to models that do not support the parameters.
_DEFAULTS: Final = {"temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
_SAMPLING: Final = frozenset(  # validated by the schema of the model
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


def parse_request(data: Mapping[str, Any], catalog: Catalog, chat: Chat, *, streamed: bool) -> ChatRequest:
    """Parse a request. Raises Invalid or Missing with the name of the invalid field."""
    model = openai_params.require_model(catalog, data, Kind.TEXT)
    openai_params.reject_unknown(data, _OWN | _SAMPLING | frozenset(model.parameters.get("properties", {})))
    if openai_params.integer(data, "n", minimum=1, maximum=128) not in (None, 1):
        raise openai_params.invalid("n", "`n` must be 1. Multiple choices are not supported.")
    if data.get("modalities") not in (None, ["text"]):
        raise openai_params.invalid(
            "modalities", "`modalities` must be text only. Use /v1/images/generations for images."
        )
    params = _params(data, model, catalog)
    format = AnswerFormat.RAW_STREAM if streamed else AnswerFormat.RAW_WHOLE
    return chat.completions.build_request(model, data.get("messages"), params, format)


def _params(data: Mapping[str, Any], model: Model, catalog: Catalog) -> dict[str, Any]:
    _check_tools(data.get("tools"), model)
    passed_through: dict[str, Any] = {}
    for name, expected_type in PASSED_THROUGH.items():
        if (value := data.get(name)) is not None:
            if not isinstance(value, expected_type):
                raise openai_params.invalid(name, f"`{name}` has the wrong type.")
            passed_through[name] = value
    given = {name: value for name, value in data.items() if name not in _OWN and value is not None}
    properties = model.parameters.get("properties", {})
    for name, default in _DEFAULTS.items():
        if name not in properties and given.get(name) == default:
            del given[name]
    if data.get("stop") is not None:
        given["stop"] = [data["stop"]] if isinstance(data["stop"], str) else data["stop"]
    if data.get("max_completion_tokens") is not None:
        given["max_tokens"] = data["max_completion_tokens"]
    return {**catalog.check(model, given), **passed_through}


def _check_tools(tools: object, model: Model) -> None:
    """Validate the tools here, because the provider's error message would not name the problem."""
    if tools is None or tools == []:
        return
    if not isinstance(tools, list) or not model.parameters.get("x-tools"):
        raise openai_params.invalid(
            "tools", f"{model.name} does not support tools." if isinstance(tools, list) else _TOOLS
        )
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("parameters"), dict | None):
            raise openai_params.invalid("tools", _TOOLS)
        if not isinstance(name := function.get("name"), str) or not _NAME.fullmatch(name):
            raise openai_params.invalid("tools", _TOOLS)


def with_usage(data: Mapping[str, Any]) -> bool:
    """Whether the last chunk of a stream should contain the token usage."""
    options = data.get("stream_options")
    if not isinstance(options, dict | None):
        raise openai_params.invalid("stream_options", "`stream_options` must be an object.")
    return openai_params.flag(options or {}, "include_usage")


# Fields of the provider's message that are passed on: OpenAI's own, and the reasoning that clients display.
_MESSAGE_FIELDS: Final = ("content", "refusal", "tool_calls", "annotations", "audio", "reasoning")


def completion(answer: StreamingAnswer) -> dict[str, Any]:
    """The response for a complete answer."""
    message, reply = answer.message, answer.reply or {}
    fields = reply.get("message") or {}
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": message.text or None,
            "refusal": None,
            **{name: fields[name] for name in _MESSAGE_FIELDS if fields.get(name) is not None},
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
    prompt, output = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": usage.total_tokens or prompt + output}


async def chunks(
    answer: StreamingAnswer,
    first: Sequence[dict[str, Any]] | None,
    choices: AsyncGenerator[Sequence[dict[str, Any]], None],
    *,
    with_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """The events of a streamed answer. Closing the iterator cancels the generation."""
    frame = _frame(answer.message, "chat.completion.chunk")
    if with_usage:
        frame["usage"] = None
    async with aclosing(choices):
        if first is not None:
            first_delta, *more = first or [{}]
            yield _events(frame, [{"role": "assistant", "content": "", **first_delta}, *more])
        async for deltas in choices:
            yield _events(frame, deltas) or b": keep-alive\n\n"
    try:
        message = answer.require_complete()
    except AtelierError as exc:
        yield sse.data({"error": openai_problem(to_response(exc))})
    else:
        yield sse.data({**frame, "choices": [_choice({}, answer.finish_reason or "stop")]})
        if with_usage:
            yield sse.data({**frame, "choices": [], "usage": _usage(message.usage)})
    yield sse.DONE


def _events(frame: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]]) -> bytes:
    """One event per delta, joined so that they are sent together."""
    return b"".join([sse.data({**frame, "choices": [_choice(delta)]}) for delta in deltas])


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
