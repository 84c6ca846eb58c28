"""Validates chat requests and reads what they ask for."""

from app.providers.simulator import replies, sizes, tools
from app.providers.simulator.json_schema import JsonSchema
from app.providers.simulator.openai_format.admission import JsonObject, context_too_long
from app.providers.simulator.openai_format.errors import ErrorAnswer, bad_request
from app.providers.simulator.openai_format.models import SimulatedModel
from app.providers.simulator.state import Kind

MAX_CHOICES = 8
ROLES = ("system", "developer", "user", "assistant", "tool")


def messages_of(body: JsonObject) -> list[JsonObject]:
    """The conversation. Raises an error answer when it is invalid."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages: expected a list of at least one message")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise bad_request("messages: each message needs a role of system, developer, user, assistant or tool")
        if not isinstance(message.get("content"), str | list | None):
            raise bad_request("messages: content must be text or a list of parts")
        if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise bad_request("messages: a tool message needs a tool_call_id")
    return messages


def kind_of(model: SimulatedModel, body: JsonObject) -> Kind:
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


def check(model: SimulatedModel, body: JsonObject, messages: list[JsonObject]) -> None:
    """Raises an error answer for invalid parameters, and for those that the model does not support."""
    for name, highest in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is not None and (not isinstance(value, int | float) or not 0 <= value <= highest):
            raise bad_request(f"{name}: expected a number from 0 to {highest}")
    limit = max_tokens(body)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise bad_request("max_tokens: expected a whole number of at least 1")
    image_size(body)
    _check_tools(model, body)
    choice_count(body)
    schema_of(body)
    used = replies.tokens_in(messages)
    if model.context_length and used > model.context_length:
        raise context_too_long(model, used)


def image_urls(body: JsonObject) -> list[str]:
    """The image URLs in the last user message."""
    user_messages = [message for message in body["messages"] if message["role"] == "user"]
    content = user_messages[-1].get("content") if user_messages else None
    parts = content if isinstance(content, list) else []
    found = [part.get("image_url") for part in parts if isinstance(part, dict) and part.get("type") == "image_url"]
    return [url["url"] for url in found if isinstance(url, dict) and isinstance(url.get("url"), str)]


def image_size(body: JsonObject) -> tuple[int, int]:
    """In pixels."""
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


def max_tokens(body: JsonObject) -> int | None:
    """The limit for the reply under its new or its old name."""
    limit: int | None = body.get("max_completion_tokens", body.get("max_tokens"))
    return limit


def choice_count(body: JsonObject) -> int:
    """How many choices the request asks for. OpenRouter does not document `n`; providers behind it know it from OpenAI."""
    count = body.get("n")
    if count is None:
        return 1
    if not isinstance(count, int) or not 1 <= count <= MAX_CHOICES:
        raise bad_request(f"n: expected a whole number from 1 to {MAX_CHOICES}")
    return count


def wants_json(body: JsonObject) -> bool:
    response_format = body.get("response_format")
    return isinstance(response_format, dict) and response_format.get("type") in ("json_object", "json_schema")


def schema_of(body: JsonObject) -> JsonSchema | None:
    """The JSON Schema that the answer must fit. Raises an error answer when it is invalid."""
    response_format = body.get("response_format")
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return None
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if schema is None:
        return None
    try:
        return JsonSchema(schema)
    except ValueError as exc:
        raise bad_request(f"response_format: invalid schema: {exc}") from exc


def _check_tools(model: SimulatedModel, body: JsonObject) -> None:
    try:
        wanted = tools.parse_tools(body)
    except ValueError as exc:
        raise bad_request(str(exc)) from exc
    if wanted and "tools" not in model.parameters:
        raise ErrorAnswer(404, "No endpoints found that support tool use.", "not_found")
