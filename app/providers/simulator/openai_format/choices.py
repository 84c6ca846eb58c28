"""One choice of a chat reply in the service's format: as a message, and as the deltas of a stream."""

from typing import Any

import msgspec

from app.providers.simulator import replies, tools

JsonObject = dict[str, Any]


class Choice(msgspec.Struct, kw_only=True):
    """One answer of a model: text in tokens (perhaps truncated) or tool calls, and images as data URLs."""

    tokens: list[str]
    finish: str
    images: list[str] = []
    calls: list[tools.ToolCall] = []
    reasoning: list[str] = []
    refused: bool = False  # the text says why the model does not answer
    numbered_calls: bool = True

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def message(self) -> JsonObject:
        """The whole message; `images` only if there are some."""
        reasoning = "".join(self.reasoning)
        message: JsonObject = {
            "role": "assistant",
            "content": None if self.refused or self.calls else self.text,
            "refusal": self.text if self.refused else None,
            "reasoning": reasoning or None,
        }
        if reasoning:
            message["reasoning_details"] = [{**_thought(reasoning), "signature": "c2lnbmVk"}, ENCRYPTED]
        if self.calls:
            message["tool_calls"] = [_call(call, call.arguments) for call in self.calls]
        if self.images:
            message["images"] = [image(url) for url in self.images]
        return message

    @property
    def deltas(self) -> list[JsonObject]:
        """The deltas of the stream without images; each counts as a token."""
        found: list[JsonObject] = [
            {"role": "assistant", "content": "", "reasoning": token, "reasoning_details": [_thought(token)]}
            for token in self.reasoning
        ]
        if found:
            found[-1]["reasoning_details"].append(ENCRYPTED)
        field = "refusal" if self.refused else "content"
        found += [{"role": "assistant", field: token} for token in self.tokens]
        for index, call in enumerate(self.calls):
            found += [
                {"role": "assistant", "content": None, "tool_calls": [piece]} for piece in self._pieces(index, call)
            ]
        return found

    def _pieces(self, index: int, call: tools.ToolCall) -> list[JsonObject]:
        if not self.numbered_calls:
            return [_call(call, call.arguments)]
        rest = [{"index": index, "function": {"arguments": piece}} for piece in replies.split(call.arguments)]
        return [{"index": index, **_call(call, "")}, *rest]


ENCRYPTED: JsonObject = {
    "type": "reasoning.encrypted",
    "data": "c2ltdWxhdGVkIHRob3VnaHRz",
    "id": "rs_simulated",
    "format": "google-gemini-v1",
    "index": 1,
}
"""What a model wants back unchanged with the next request."""


def image(url: str) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url}}


def logprobs(tokens: list[str]) -> JsonObject:
    """Log probabilities of these tokens."""
    content = [
        {"token": token, "logprob": -0.25, "bytes": list(token.encode("utf-8", "surrogatepass")), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _call(call: tools.ToolCall, arguments: str) -> JsonObject:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _thought(text: str) -> JsonObject:
    return {"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0}
