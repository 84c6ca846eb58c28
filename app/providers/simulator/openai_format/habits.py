"""Habits of real providers, for clients that must pass answers on as they are: `[upstream:reasoning]` in a prompt.

reasoning: `reasoning` and `reasoning_details` in messages and deltas. logprobs: also without being asked. choices: two
choices. empty: the answer is empty and ends with the reason length. refusal: `refusal` in place of content. images: an
image from a text model. emoji: a character whose two JSON escapes are in two deltas. no-index: each tool call is whole, in one
delta, without an index. cached: half of the prompt came from a cache. nan: NaN and Infinity in the usage. unknown: unknown
fields on every level. fingerprint: `system_fingerprint`. sse: everything that server-sent events allow. error-event: an event
named error ends the stream. gzip: compressed although the client did not ask.
"""

import gzip
import json
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from app.providers.simulator import replies
from app.providers.simulator.openai_format.choices import Choice, JsonObject
from app.providers.simulator.responses import JSON, PlainResponse, event

Habits = frozenset[str]
Events = AsyncGenerator[bytes, None]

DOT: Final = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
REFUSAL: Final = "I cannot help with that."
THOUGHTS: Final = "The user wants an answer, so I will give one."
UNKNOWN: Final[JsonObject] = {"x_unknown": {"list": [1, None, {"deep": True}], "text": "ä"}}
ERROR_EVENT: Final = b'event: error\ndata: {"error":{"message":"Upstream error","type":"server_error","code":502}}\n\n'


def changed(choice: Choice, habits: Habits) -> Choice:
    """The choice with other content."""
    if "reasoning" in habits:
        choice.reasoning = replies.split(THOUGHTS)
    if "empty" in habits:
        choice.tokens, choice.calls, choice.finish = [], [], "length"
    if "refusal" in habits:
        choice.tokens, choice.calls, choice.finish = replies.split(REFUSAL), [], "content_filter"
        choice.refused = True
    if "emoji" in habits:
        choice.tokens = ["Hi \ud83d", "\ude00 there"]
    if "images" in habits:
        choice.images = [DOT]
    choice.numbered_calls = "no-index" not in habits
    return choice


def encode(content: JsonObject, habits: Habits) -> bytes:
    """A completion or chunk as JSON, with other fields and numbers."""
    if not habits:
        return msgspec.json.encode(content)
    if "fingerprint" in habits:
        content = {**content, "system_fingerprint": "fp_simulated"}
    if "nan" in habits and "usage" in content:
        content = {**content, "usage": {**content["usage"], "latency": float("nan"), "tokens_per_second": float("inf")}}
    if "unknown" in habits:
        content = _with_unknown_fields(content)
    return json.dumps(
        content, separators=(",", ":")
    ).encode()  # escapes all but ASCII, so that halves of characters survive


def whole(content: JsonObject, habits: Habits, headers: dict[str, str]) -> PlainResponse:
    """The response with this completion."""
    body = encode(content, habits)
    if "gzip" in habits:
        return PlainResponse(gzip.compress(body), JSON, headers={"content-encoding": "gzip", **headers})
    return PlainResponse(body, JSON, headers=headers)


def stream_headers(habits: Habits) -> dict[str, str]:
    return {"content-encoding": "gzip"} if "gzip" in habits else {}


def streamed(events: Events, habits: Habits) -> Events:
    """The same events, written differently."""
    written = _every_way_of_writing(events) if "sse" in habits else events
    return _compressed(written) if "gzip" in habits else written


async def _every_way_of_writing(events: Events) -> Events:
    """A byte order mark, CRLF, comments, other fields, no space or two after a colon, data in two lines, blank lines.

    The first event, directly after the mark, has text: losing it would be noticed.
    """
    async with aclosing(events):
        mark = b"\xef\xbb\xbf"
        async for piece in events:
            data = piece.removeprefix(b"data: ").rstrip()
            if data.startswith(b":") or (mark and b'"content":""' in data):
                continue
            if not piece.startswith(b"data: "):
                yield piece.replace(b"\n", b"\r\n")
            elif data == b"[DONE]":
                yield b"data:  [DONE] \r\n\r\n"
            elif mark:
                yield mark + b"data:" + data + b"\r\n\r\n"
            else:
                head = b": comment\r\n:\r\n\r\nevent: message\r\nid: 7\r\nretry: 3000\r\nfield\r\n"
                yield head + b"data: " + data[:1] + b"\r\ndata:" + data[1:] + b"\r\n\r\n\r\n"
            mark = b""


async def _compressed(events: Events) -> Events:
    packer = zlib.compressobj(wbits=31)
    async with aclosing(events):
        async for piece in events:
            yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def chunk_event(chunk: JsonObject, habits: Habits) -> bytes:
    """One event of a stream."""
    return event(encode(chunk, habits).decode())


def _with_unknown_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_unknown_fields(part) for name, part in value.items()} | UNKNOWN
    return [_with_unknown_fields(part) for part in value] if isinstance(value, list) else value
