"""Puts the output of a response together from the chunks of a chat completion. A completion that is not streamed is one chunk, so
both ways give the same response."""

from collections.abc import Iterator
from typing import Any, Final

from app.providers.coerce import integer, mapping, rows, text
from app.responses import reasoning
from app.responses.input_items import item_id
from app.responses.output_items import CallItem, ImageItem, MessageItem, OutputItem, ReasoningItem, call_type
from app.responses.schemas import Event, Item

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TRANSLATED: Final = ("id", "object", "created", "model", "choices", "usage", "error")  # of a completion


class Output:
    """The output so far. Only the first choice is read; a response has no others."""

    def __init__(self, answer_id: str, *, shows_reasoning: bool) -> None:
        self.finish_reason = ""
        self.usage: dict[str, Any] = {}
        self.more: dict[str, Any] = {}  # fields of the completion that a response has by the same name, or not yet
        self._answer_id = answer_id
        self._shows_reasoning = shows_reasoning
        self._items: list[OutputItem] = []
        self._reasoning: ReasoningItem | None = None
        self._message: MessageItem | None = None
        self._calls: dict[int, CallItem] = {}
        self._thoughts = _Thoughts()
        self._refused = False

    @property
    def items(self) -> list[Item]:
        return [item.item for item in self._items]

    @property
    def encrypted_content(self) -> str | None:
        """What the model wants back with the next request."""
        return self._thoughts.packed

    @property
    def incomplete_reason(self) -> str | None:
        """Why the output is not complete, if it is not. A refusal is."""
        return None if self._refused else _INCOMPLETE.get(self.finish_reason)

    def add(self, chunk: Any) -> list[Event]:
        """The events for what a chunk adds."""
        body = mapping(chunk)
        self.usage = mapping(body.get("usage")) or self.usage
        self.more |= {name: value for name, value in body.items() if name not in _TRANSLATED and value is not None}
        choice = next((it for it in map(mapping, rows(body.get("choices"))) if it.get("index", 0) == 0), {})
        self.finish_reason = text(choice.get("finish_reason")) or self.finish_reason
        return list(self._events(choice, mapping(choice.get("delta") or choice.get("message"))))

    def finish(self, *, failed: bool = False) -> list[Event]:
        """The events that end every item."""
        status = "incomplete" if failed or self.incomplete_reason else "completed"
        silent = all(item is self._reasoning for item in self._items)
        events = self._write("output_text", "") if silent and status == "completed" else []  # clients expect a text
        if self._reasoning is not None and self._shows_reasoning:
            self._reasoning.encrypted_content = self.encrypted_content
        return [*events, *(event for item in self._items for event in item.finish(status))]

    def _events(self, choice: dict[str, Any], delta: dict[str, Any]) -> Iterator[Event]:
        thought = self._thoughts.add(delta)
        if thought is not None:
            yield from self._think(thought)
        yield from self._say(choice, delta)
        for image in map(mapping, rows(delta.get("images"))):
            yield from self._show(text(mapping(image.get("image_url")).get("url")))
        for position, call in enumerate(map(mapping, rows(delta.get("tool_calls")))):
            index = integer(call.get("index")) if "delta" in choice else position
            yield from self._call(position if index is None else index, call)

    def _think(self, delta: str) -> Iterator[Event]:
        if self._reasoning is None:
            self._reasoning = ReasoningItem(*self._place("reasoning"))
            yield from self._begin(self._reasoning)
        if delta:
            yield from self._reasoning.add(delta)

    def _say(self, choice: dict[str, Any], delta: dict[str, Any]) -> Iterator[Event]:
        logprobs = rows(mapping(choice.get("logprobs")).get("content"))
        annotations = [_annotation(it) for it in map(mapping, rows(delta.get("annotations")))]
        content = _text_of(delta.get("content"))
        if content or annotations:
            yield from self._write("output_text", content, logprobs, annotations)
        if refusal := text(delta.get("refusal")):
            self._refused = True
            yield from self._write("refusal", refusal)

    def _write(self, kind: str, delta: str, *more: list[Any]) -> list[Event]:
        begun: list[Event] = []
        if self._message is None:
            self._message = MessageItem(*self._place("message"))
            begun = self._begin(self._message)
        return [*begun, *self._paused(), *self._message.add(kind, delta, *more)]

    def _show(self, url: str) -> list[Event]:
        index, id = self._place("image_generation_call")
        return self._begin(ImageItem(index, id, url)) if url else []

    def _call(self, index: int, call: dict[str, Any]) -> list[Event]:
        begun: list[Event] = []
        if index not in self._calls:
            place, id = self._place(call_type(call))
            self._calls[index] = CallItem(place, id, self._answer_id, call)
            begun = self._begin(self._calls[index])
        return [*begun, *self._calls[index].add(call)]

    def _place(self, kind: str) -> tuple[int, str]:
        """The index and the id of the next item."""
        index = len(self._items)
        return index, item_id(kind, self._answer_id, str(index))

    def _begin(self, item: OutputItem) -> list[Event]:
        self._items.append(item)
        return [*self._paused(), item.added()]

    def _paused(self) -> list[Event]:
        """Reasoning ends for now when anything else is written."""
        return self._reasoning.pause() if self._reasoning is not None else []


class _Thoughts:
    """Collects the reasoning of a completion as one message would have it."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}  # by the name of the field
        self._details: list[dict[str, Any]] = []

    @property
    def packed(self) -> str | None:
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        return reasoning.pack({**texts, "reasoning_details": self._details})

    def add(self, delta: dict[str, Any]) -> str | None:
        """The text to show; None if there is no reasoning in this part of the message."""
        details = [dict(detail) for detail in map(mapping, rows(delta.get("reasoning_details"))) if detail]
        for detail in details:
            self._add_detail(detail)
        for name in ("reasoning", "reasoning_content"):
            if shown := text(delta.get(name)):
                self._texts.setdefault(name, []).append(shown)
                return shown
        return "".join([_detail_text(detail) for detail in details]) if details else None

    def _add_detail(self, detail: dict[str, Any]) -> None:
        """Parts of one text are put together: they have the same type and index. Encrypted ones are whole."""
        last = self._details[-1] if self._details else {}
        same = all(last.get(name) == detail.get(name) for name in ("type", "index"))
        if not same or detail.get("type") == "reasoning.encrypted":
            self._details.append(detail)
            return
        for name, value in detail.items():
            joined = name in ("text", "summary") and isinstance(value, str)
            last[name] = text(last.get(name)) + value if joined else last.get(name) if value is None else value


def _detail_text(detail: dict[str, Any]) -> str:
    return text(detail.get("text")) or text(detail.get("summary"))


def _text_of(content: Any) -> str:
    """The text of `content`, which is a string or a list of parts."""
    if isinstance(content, list):
        return "".join([text(part.get("text")) for part in map(mapping, content)])
    return text(content)


def _annotation(annotation: dict[str, Any]) -> dict[str, Any]:
    """A citation without the object that chat completions put around its fields."""
    kind = text(annotation.get("type"))
    return {"type": kind, **mapping(annotation.get(kind))} if kind in annotation else annotation
