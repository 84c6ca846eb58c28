"""What a model replies to a chat request: text, tool calls or images, and what they cost."""

import base64

import msgspec

from app.providers.simulator import replies, sizes, tools
from app.providers.simulator.faults import strip_faults
from app.providers.simulator.openrouter.admission import AcceptedRequest, JsonObject, reference_image
from app.providers.simulator.openrouter.chat_requests import image_size, image_urls, max_tokens, wants_json
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

TOKENS_PER_IMAGE = 1290
NOT_AN_IMAGE = b"This is not an image. " * 40


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


async def reply_to(runtime: Runtime, accepted: AcceptedRequest) -> ChatReply:
    """The complete reply."""
    references = image_urls(accepted.body)
    prompt_tokens = replies.tokens_in(accepted.body["messages"])
    if calls := tools.calls_for(accepted.body, strip_faults(accepted.prompt)):
        return ChatReply(tokens=[], images=[], finish="tool_calls", prompt_tokens=prompt_tokens, calls=calls)
    text = tools.answer_from_results(accepted.body["messages"]) or replies.answer(
        accepted.body["messages"],
        images=len(references),
        json=wants_json(accepted.body),
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
    limit = max_tokens(accepted.body) or len(tokens)
    return ChatReply(
        tokens=tokens[:limit],
        images=images,
        finish="length" if limit < len(tokens) else "stop",
        prompt_tokens=prompt_tokens,
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
