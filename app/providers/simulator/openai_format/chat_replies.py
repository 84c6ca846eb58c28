"""What a model replies to a chat request: text, tool calls or images, and what they cost."""

import base64
import json

import msgspec

from app.providers.simulator import replies, schema_values, sizes, tools
from app.providers.simulator.faults import strip_faults
from app.providers.simulator.openai_format import habits
from app.providers.simulator.openai_format.admission import AcceptedRequest, JsonObject, reference_image
from app.providers.simulator.openai_format.chat_requests import (
    choice_count,
    image_size,
    image_urls,
    max_tokens,
    schema_of,
    wants_json,
)
from app.providers.simulator.openai_format.choices import Choice
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

TOKENS_PER_IMAGE = 1290
NOT_AN_IMAGE = b"This is not an image. " * 40


class ChatReply(msgspec.Struct, kw_only=True):
    """The reply of a model: as many choices as the request asks for."""

    choices: list[Choice]
    prompt_tokens: int


async def reply_to(runtime: Runtime, accepted: AcceptedRequest) -> ChatReply:
    """The complete reply."""
    count = max(choice_count(accepted.body), 2 if "choices" in accepted.habits else 1)
    prompt_tokens = replies.tokens_in(accepted.body["messages"])
    if accepted.kind == "text" and not {"tools", "response_format"} & accepted.body.keys():
        choices = [_choice(runtime, accepted, variant) for variant in range(count)]
    else:
        choices = [await runtime.render(_choice, runtime, accepted, variant) for variant in range(count)]
    return ChatReply(choices=choices, prompt_tokens=prompt_tokens)


def _choice(runtime: Runtime, accepted: AcceptedRequest, variant: int) -> Choice:
    if calls := tools.calls_for(accepted.body, strip_faults(accepted.prompt)):
        return habits.changed(Choice(tokens=[], finish="tool_calls", calls=calls), accepted.habits)
    references = image_urls(accepted.body)
    text = _text(accepted, variant, len(references))
    images: list[str] = []
    if accepted.kind == "image":
        if "text-only" in accepted.faults:
            text = "Here is a description instead: " + replies.describe(strip_faults(accepted.prompt))
        else:
            images = [_render_image(runtime, accepted, references)]
            text = text if "text" in accepted.model.outputs else ""
    tokens = replies.split(text)
    limit = max_tokens(accepted.body) or len(tokens)
    finish = "length" if limit < len(tokens) else "stop"
    return habits.changed(Choice(tokens=tokens[:limit], images=images, finish=finish), accepted.habits)


def _text(accepted: AcceptedRequest, variant: int, images: int) -> str:
    body = accepted.body
    if (schema := schema_of(body)) is not None:
        seed = f"{accepted.prompt}/{body.get('seed')}/{variant}"
        value = schema_values.value_for(schema, strip_faults(accepted.prompt), seed)
        return json.dumps(value, ensure_ascii=False)
    return tools.answer_from_results(body["messages"]) or replies.answer(
        body["messages"],
        images=images,
        json=wants_json(body),
        with_image=accepted.kind == "image",
        variant=variant,
    )


def job_of(
    runtime: Runtime, accepted: AcceptedRequest, reply: ChatReply, sent: int, *, cancelled: bool = False
) -> SimulatedJob:
    """The job as it is recorded and charged. `sent` is the number of deltas that the client was sent."""
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


def _usage(accepted: AcceptedRequest, reply: ChatReply, sent: int) -> JsonObject:
    image_tokens = TOKENS_PER_IMAGE * sum(len(choice.images) for choice in reply.choices)
    cached = reply.prompt_tokens // 2 if "cached" in accepted.habits else 0
    price = {name: float(value) for name, value in accepted.model.pricing.items()}
    prompt = (reply.prompt_tokens - cached) * price.get("prompt", 0.0) + cached * price.get("input_cache_read", 0.0)
    completion = sent * price.get("completion", 0.0) + image_tokens * price.get("image_output", 0.0)
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": sent + image_tokens,
        "total_tokens": reply.prompt_tokens + sent + image_tokens,
        "cost": round(prompt + completion, 10),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": round(prompt, 10),
            "upstream_inference_completions_cost": round(completion, 10),
        },
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(choice.reasoning) for choice in reply.choices),
            "image_tokens": image_tokens,
        },
    }


def _render_image(runtime: Runtime, accepted: AcceptedRequest, references: list[str]) -> str:
    from app.providers.simulator import images  # late: it loads Pillow

    if "badmedia" in accepted.faults:
        data = NOT_AN_IMAGE
    else:
        reference_images = [reference_image(runtime.store, url) for url in references]
        seed = accepted.body.get("seed")
        data = images.generate(
            strip_faults(accepted.prompt),
            accepted.id if seed is None else str(seed),
            sizes.STAMP if "stamp" in accepted.faults else image_size(accepted.body),
            references=reference_images,
        )
    return "data:image/png;base64," + base64.b64encode(data).decode()
