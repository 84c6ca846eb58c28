"""The output items of a response while they are written. What is added to an item returns the events that say so to the reader of a
stream, without their numbers."""

from abc import ABC, abstractmethod
from typing import Any, Final

from app.providers.coerce import mapping, text
from app.responses.schemas import Event, Item

_CALL_FIELDS: Final = ("index", "id", "type", "function", "custom")


class OutputItem(ABC):
    """One item at its place in the output. `item` is its state when it was added, and its final state once it is finished."""

    def __init__(self, index: int, item: Item) -> None:
        self.index = index
        self.item = item

    def added(self) -> Event:
        return {"type": "response.output_item.added", "output_index": self.index, "item": self.item}

    def pause(self) -> list[Event]:
        """Another item is written now."""
        return []

    @abstractmethod
    def finish(self, status: str) -> list[Event]:
        """The events that end the item. `status` is completed or incomplete."""

    def event(self, kind: str, **content: Any) -> Event:
        return {"type": f"response.{kind}", "item_id": self.item["id"], "output_index": self.index, **content}

    def done(self, final: Item) -> Event:
        self.item = {**self.item, **final}
        return {"type": "response.output_item.done", "output_index": self.index, "item": self.item}


class ReasoningItem(OutputItem):
    """What the model thought, as a summary: a new part of it begins after each pause."""

    def __init__(self, index: int, id: str) -> None:
        super().__init__(index, {"id": id, "type": "reasoning", "summary": []})
        self.encrypted_content: str | None = None  # shown in the finished item
        self._parts: list[list[str]] = []
        self._open = False

    def add(self, delta: str) -> list[Event]:
        events = []
        if not self._open:
            self._open = True
            self._parts.append([])
            events.append(self._part("part.added", part={"type": "summary_text", "text": ""}))
        self._parts[-1].append(delta)
        return [*events, self._part("text.delta", delta=delta)]

    def pause(self) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        part = self._summary()[-1]
        return [self._part("text.done", text=part["text"]), self._part("part.done", part=part)]

    def finish(self, status: str) -> list[Event]:
        kept = {} if self.encrypted_content is None else {"encrypted_content": self.encrypted_content}
        return [*self.pause(), self.done({"summary": self._summary(), **kept})]

    def _part(self, kind: str, **content: Any) -> Event:
        return self.event(f"reasoning_summary_{kind}", summary_index=len(self._parts) - 1, **content)

    def _summary(self) -> list[Item]:
        return [{"type": "summary_text", "text": "".join(pieces)} for pieces in self._parts]


class MessageItem(OutputItem):
    """The text of an answer, and the text with which a model refuses: each is a part of its content."""

    def __init__(self, index: int, id: str) -> None:
        item = {"id": id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        super().__init__(index, item)
        self._parts: dict[str, _Part] = {}  # by type

    def add(
        self, kind: str, delta: str, logprobs: list[Any] | None = None, annotations: list[Any] | None = None
    ) -> list[Event]:
        events = []
        part = self._parts.get(kind)
        if part is None:
            part = self._parts[kind] = _Part(kind, len(self._parts))
            events.append(self._of(part, "content_part.added", part=part.content()))
        part.pieces.append(delta)
        part.logprobs += logprobs or []
        if delta:
            extra = {"logprobs": logprobs or []} if part.is_text else {}
            events.append(self._of(part, f"{kind}.delta", delta=delta, **extra))
        for annotation in annotations or []:
            number = {"annotation_index": len(part.annotations), "annotation": annotation}
            events.append(self._of(part, "output_text.annotation.added", **number))
            part.annotations.append(annotation)
        return events

    def finish(self, status: str) -> list[Event]:
        events = [event for part in self._parts.values() for event in self._end(part)]
        return [*events, self.done({"status": status, "content": [part.content() for part in self._parts.values()]})]

    def _end(self, part: "_Part") -> list[Event]:
        content = part.content()
        final = {name: value for name, value in content.items() if name not in ("type", "annotations")}
        return [self._of(part, f"{part.kind}.done", **final), self._of(part, "content_part.done", part=content)]

    def _of(self, of: "_Part", kind: str, **content: Any) -> Event:
        return self.event(kind, content_index=of.index, **content)


class _Part:
    """A part of a message: `output_text` or `refusal`, with which the types of its events begin, too."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.pieces: list[str] = []
        self.logprobs: list[Any] = []
        self.annotations: list[Any] = []

    @property
    def is_text(self) -> bool:
        return self.kind == "output_text"

    def content(self) -> Item:
        written = "".join(self.pieces)
        if not self.is_text:
            return {"type": self.kind, "refusal": written}
        return {
            "type": self.kind,
            "text": written,
            "annotations": list(self.annotations),
            "logprobs": list(self.logprobs),
        }


class CallItem(OutputItem):
    """A call of a function or a custom tool. What a provider adds to a call, such as a signature, stays in the item."""

    def __init__(self, index: int, id: str, answer_id: str, call: dict[str, Any]) -> None:
        self._kind = "custom" if call_type(call) == "custom_tool_call" else "function"
        self._argument, self._event = _ARGUMENTS[self._kind]
        item = {
            "id": id,
            "type": call_type(call),
            "status": "in_progress",
            "call_id": text(call.get("id")) or f"call_{answer_id}_{index}",
            "name": text(mapping(call.get(self._kind)).get("name")),
            self._argument: "",
        }
        super().__init__(index, item)
        self._pieces: list[str] = []
        self._final: Item = {}

    def add(self, call: dict[str, Any]) -> list[Event]:
        self._final |= {name: value for name, value in call.items() if name not in _CALL_FIELDS and value is not None}
        if name := text(mapping(call.get(self._kind)).get("name")):
            self._final["name"] = name
        delta = text(mapping(call.get(self._kind)).get(self._argument))
        if not delta:
            return []
        self._pieces.append(delta)
        return [self.event(f"{self._event}.delta", delta=delta)]

    def finish(self, status: str) -> list[Event]:
        final = {**self._final, "status": status, self._argument: "".join(self._pieces)}
        done = self.done({name: value for name, value in final.items() if name not in ("id", "type", "call_id")})
        name = {"name": self.item["name"]} if self._kind == "function" else {}
        return [self.event(f"{self._event}.done", **name, **{self._argument: final[self._argument]}), done]


_ARGUMENTS: Final = {
    "function": ("arguments", "function_call_arguments"),
    "custom": ("input", "custom_tool_call_input"),
}


def call_type(call: dict[str, Any]) -> str:
    """The type of the item of a tool call."""
    return "custom_tool_call" if call.get("type") == "custom" or "custom" in call else "function_call"


class ImageItem(OutputItem):
    """An image, which arrives whole."""

    def __init__(self, index: int, id: str, url: str) -> None:
        super().__init__(index, {"id": id, "type": "image_generation_call", "status": "in_progress", "result": None})
        self._url = url

    def finish(self, status: str) -> list[Event]:
        head, _, data = self._url.partition(";base64,")
        format = {"output_format": head.removeprefix("data:image/")} if head.startswith("data:image/") else {}
        done = self.done({"status": "completed", "result": data if format else self._url, **format})
        return [self.event("image_generation_call.completed"), done]
