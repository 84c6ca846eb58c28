"""A provider with prepared answers: it answers at once, or streams tokens at a constant rate.

`python -m tests.benchmarks.instant_provider` prints its address. It implements just enough of HTTP and of OpenRouter's API to
serve Atelier or any other gateway, at almost no cost, so that what is measured is the gateway.
"""

import asyncio
import json
from typing import Any

MODEL = "instant/text"
TOKENS = 200
PAUSE = 0.020  # seconds between two tokens
WORD = "word "

_MODEL = {
    "id": MODEL,
    "name": "Instant text",
    "description": "Answers at once.",
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "context_length": 100_000,
    "supported_parameters": ["temperature", "max_tokens"],
    "pricing": {"prompt": "0.000001", "completion": "0.000002"},
    "top_provider": {"max_completion_tokens": 4096},
}
_USAGE = {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12, "cost": 0.000016}
_COMPLETION = {
    "id": "gen-1",
    "object": "chat.completion",
    "created": 1_795_000_000,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a short answer"}, "finish_reason": "stop"}],
    "usage": _USAGE,
}


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "gen-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice], **more}
    event = b"data: " + json.dumps(body).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


_WORD = _chunk({"role": "assistant", "content": WORD})
_LAST = _chunk({}, "stop", usage=_USAGE) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _json(body: Any) -> bytes:
    content = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(content),
        content,
    )


_MODELS = _json({"data": [_MODEL]})
_NONE = _json({"data": []})
_ANSWER = _json(_COMPLETION)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lower = head.lower()
            _, found, length = lower.partition(b"\r\ncontent-length:")
            body = await reader.readexactly(int(length.split(b"\r\n", 1)[0])) if found else b""
            path = head.split(b" ", 2)[1]
            if b"/chat/completions" in path and (b'"stream":true' in body or b'"stream": true' in body):
                await _stream(writer)
            elif b"/chat/completions" in path:
                writer.write(_ANSWER)
            else:
                writer.write(_NONE if b"/images/" in path or b"/videos/" in path else _MODELS)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter) -> None:
    """Scheduled from the start, so that a late token does not delay the next ones."""
    loop = asyncio.get_running_loop()
    writer.write(_HEAD)
    began = loop.time()
    for number in range(1, TOKENS + 1):
        await asyncio.sleep(began + number * PAUSE - loop.time())
        writer.write(_WORD)
    writer.write(_LAST)
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
