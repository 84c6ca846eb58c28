"""The response as a JSON object: what came of the request, and an echo of the request itself."""

from typing import Any, Final

from app.base.clock import unix
from app.base.errors import AtelierError
from app.chat.schemas import Message
from app.providers.coerce import mapping
from app.responses.output import Output
from app.responses.schemas import PREFIX, Body, ResponseRequest
from app.web.errors import openai_problem, to_response

# Fields of a request that its response repeats, with what they are by default.
_ECHOED: Final[Body] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
# The same for those that are objects, whose fields have defaults.
_ECHOED_OBJECTS: Final[dict[str, Body]] = {
    "metadata": {},
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
}
_FUNCTION: Final[Body] = {"description": None, "parameters": None, "strict": False}
_ERROR_CODES: Final = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}


def begun(request: ResponseRequest, answer: Message) -> Body:
    """A response before its first word."""
    return {
        "id": f"{PREFIX}{answer.id}",
        "object": "response",
        "created_at": int(unix(answer.created_at)),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": [],
        "store": request.store,
        "tools": _tools(request.body.get("tools")),
        "usage": None,
        **{name: _given(request.body, name, default) for name, default in _ECHOED.items()},
        **{name: {**default, **mapping(request.body.get(name))} for name, default in _ECHOED_OBJECTS.items()},
    }


def ended(request: ResponseRequest, answer: Message, output: Output, failure: AtelierError | None = None) -> Body:
    """A response that is over, with what else the provider's answer has beside the fields of a response."""
    reason = output.incomplete_reason
    status = "failed" if failure else "incomplete" if reason else "completed"
    echo = begun(request, answer)
    return {
        **output.more,
        **echo,
        "service_tier": output.more.get("service_tier", echo["service_tier"]),
        "status": status,
        "completed_at": int(unix(answer.ended_at)) if answer.ended_at and status == "completed" else None,
        "error": _error(failure) if failure else None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "output": output.items,
        "usage": _usage(output.usage) if output.usage else None,
    }


def _given(body: Body, name: str, default: Any) -> Any:
    return default if body.get(name) is None else body[name]


def _tools(tools: Any) -> list[Any]:
    found = tools if isinstance(tools, list) else []
    return [{**_FUNCTION, **tool} if mapping(tool).get("type") == "function" else tool for tool in found]


def _error(failure: AtelierError) -> Body:
    problem = openai_problem(to_response(failure))
    return {"code": _ERROR_CODES.get(problem.type, "server_error"), "message": problem.message}


def _usage(usage: Body) -> Body:
    """The usage of a chat completion by the names of a response; its cost and whatever else it has stays."""
    known = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
    return {
        "input_tokens": usage.get("prompt_tokens") or 0,
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            **_details(usage, "prompt_tokens_details"),
        },
        "output_tokens": usage.get("completion_tokens") or 0,
        "output_tokens_details": {"reasoning_tokens": 0, **_details(usage, "completion_tokens_details")},
        "total_tokens": usage.get("total_tokens") or 0,
        **{name: value for name, value in usage.items() if name not in known},
    }


def _details(usage: Body, name: str) -> Body:
    return {kind: count for kind, count in mapping(usage.get(name)).items() if count is not None}
