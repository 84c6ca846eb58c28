"""`POST /chat/completions`: text, streamed or not, and request bodies for image models served on this route."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from app.providers.client import MB, Ambiguous, ClientError, Events, JsonResponse
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    InputImage,
    Kind,
    Outcome,
    Request,
    Retryable,
    Usage,
)
from app.providers.openrouter import failures
from app.providers.openrouter.api import Api
from app.providers.openrouter.coerce import cost_nano, mapping, rows, text, texts, usage

PATH = "/chat/completions"
_MAX_RESPONSE = 8 * MB  # of a text response that is not streamed
_MAX_TEXT = 4_000_000  # characters of a streamed response, far above any model's limit
_INLINE = 256 * 1024  # characters of one event that are parsed on the event loop; larger events are parsed in a thread
_TEXT_ONLY = "The model returned text instead of an image. Read its response or choose another model."
_NO_TEXT = "The model returned no text. Raise the token limit or change the prompt."
_TEXT_FIELDS = frozenset(("role", "content"))
_FAILED_MIDWAY = "The provider failed while responding. The part received is kept; try again."


class ParsedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a response that was not streamed, in whatever format it was sent."""

    text: str
    images: list[str]
    refusal: str
    finish: str
    error: dict[str, Any]


class ChatClient:
    """Text generation through one API."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def submit(self, request: Request) -> Outcome:
        content = await _text_body(request, stream=False)
        timeouts = self._api.timeouts
        try:
            response = await self._api.post(
                PATH, content, total=timeouts.text, idle=timeouts.text_idle, max_bytes=_MAX_RESPONSE, reuse=True
            )
        except ClientError as exc:
            return failures.no_response(exc)
        detail = self._api.detail(f"{response.status} {failures.message_of(response)}")
        return finished(response, detail, raw=request.raw)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The text as it arrives, then a final chunk with the usage. Raises `Failure` on error."""
        content = await _text_body(request, stream=True)
        try:
            async with self._api.stream(PATH, content) as events:
                if events.is_stream:
                    async with aclosing(self._streamed(events, raw=request.raw)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    for chunk in self._whole(await events.json_response(), raw=request.raw):
                        yield chunk
        except ClientError as exc:
            raise Failure(failures.no_response(exc)) from None

    def _whole(self, response: JsonResponse, *, raw: bool) -> list[Chunk]:
        """A response that was not streamed as requested: an error, or a server without streaming."""
        outcome = finished(response, self._api.detail(f"{response.status} {failures.message_of(response)}"), raw=raw)
        if isinstance(outcome, (Retryable, Failed)):
            raise Failure(outcome)
        reply = outcome.reply or {}
        return [
            Chunk(
                delta=outcome.text or "",
                generation_id=outcome.generation_id,
                choice=_as_delta(mapping(reply.get("message"))) if raw else None,
            ),
            Chunk(
                usage=outcome.usage,
                cost_nano=outcome.cost_nano,
                finish_reason=text(reply.get("finish_reason")) or "stop",
                generation_id=outcome.generation_id,
            ),
        ]

    async def _streamed(self, events: Events, *, raw: bool) -> AsyncGenerator[Chunk, None]:
        state = _StreamState(events.headers.get("x-generation-id"))
        try:
            async with aclosing(events.payloads()) as batches:
                async for payloads in batches:
                    chunks, failure = await self._merge(payloads, state, raw=raw)
                    for chunk in chunks:
                        yield chunk
                    if failure:
                        raise failure
        except Ambiguous as exc:
            # After the finish reason the text is complete; only the usage is missing.
            if state.finish is None:
                raise Failure(failures.interrupted(exc, state.cost_nano)) from None
        if state.finish is None and not events.done:
            raise Failure(
                Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.INTERRUPTED, cost_nano=state.cost_nano)
            )
        if state.finish == "content_filter" or state.refusal:
            raise Failure(_refused(state.cost_nano, state.refusal, ""))
        yield Chunk(
            usage=state.usage,
            cost_nano=state.cost_nano,
            finish_reason=state.finish or "stop",
            generation_id=state.generation_id,
        )

    async def _merge(
        self, payloads: Sequence[str], state: "_StreamState", *, raw: bool
    ) -> tuple[list[Chunk], Failure | None]:
        """Payloads that arrived together, merged into as few chunks as possible, and the failure that ends them, if any."""
        merger = _ChunkMerger()
        failure: Failure | None = None
        for payload in payloads:
            try:
                event = _event(payload) if len(payload) <= _INLINE else await asyncio.to_thread(_event, payload)
            except Failure as exc:
                failure = exc
                break
            delta = state.apply(event)
            if state.error:
                failure = Failure(self._stream_error(state))
                break
            if state.length > _MAX_TEXT:
                too_big = Failed(code=ErrorCode.RESULT_TOO_LARGE, message=failures.TOO_BIG, cost_nano=state.cost_nano)
                failure = Failure(too_big)
                break
            merger.add(delta, state.delta if raw and state.delta else None, state.generation_id)
        return merger.chunks(state.generation_id), failure

    def _stream_error(self, state: "_StreamState") -> Failed:
        detail = self._api.detail(text(state.error.get("message")))
        return _errored(state.error, state.cost_nano, None, detail, partial=state.length > 0)


class _StreamState:
    """What has been received so far on one stream."""

    def __init__(self, generation_id: str | None) -> None:
        self.generation_id = generation_id
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.cost_nano: int | None = None
        self.length = 0  # characters of text so far
        self.refusal = ""
        self.error: dict[str, Any] = {}
        self.delta: dict[str, Any] = {}  # of the latest chunk, unchanged

    def apply(self, event: Any) -> str:
        """Record an event and return its text. The chunk with the usage repeats the finish reason."""
        body = mapping(event)
        self.generation_id = self.generation_id or text(body.get("id")) or None
        if body.get("usage"):
            self.usage = usage(body) or self.usage
            cost = cost_nano(body)
            self.cost_nano = self.cost_nano if cost is None else cost
        choice = _choice(body)
        if finish := choice.get("finish_reason"):
            self.finish = text(finish) or self.finish
        if "error" in body or "error" in choice or self.finish == "error":
            self.error = failures.error_of(body) or failures.error_of(choice)
            if self.finish == "error" and not self.error:
                self.error = {"message": "finish_reason is error"}
        self.delta = delta = mapping(choice.get("delta"))
        if "refusal" in delta:
            self.refusal += text(delta["refusal"])
        added = _text_of(delta.get("content"))
        self.length += len(added)
        return added


class _ChunkMerger:
    """Merges consecutive text deltas into one chunk; every other delta keeps a chunk of its own."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._texts: list[str] = []
        self._first: dict[str, Any] | None = None  # the raw delta of the first text

    def add(self, delta: str, choice: dict[str, Any] | None, generation_id: str | None) -> None:
        if delta and (choice is None or _is_text_only(choice)):
            if not self._texts:
                self._first = choice
            self._texts.append(delta)
        elif choice is not None:
            self._flush(generation_id)
            self._chunks.append(Chunk(delta=delta, generation_id=generation_id, choice=choice))

    def chunks(self, generation_id: str | None) -> list[Chunk]:
        """The merged chunks."""
        self._flush(generation_id)
        return self._chunks

    def _flush(self, generation_id: str | None) -> None:
        if self._texts:
            delta = "".join(self._texts)
            choice = None if self._first is None else {**self._first, "content": delta}
            self._chunks.append(Chunk(delta=delta, generation_id=generation_id, choice=choice))
            self._texts.clear()


def _is_text_only(choice: dict[str, Any]) -> bool:
    """Whether the delta contains text only. Other fields cannot be merged here."""
    return choice.keys() <= _TEXT_FIELDS and isinstance(choice.get("content"), str)


async def _text_body(request: Request, *, stream: bool) -> bytes:
    """Encoded in a thread when it is large: images or a long conversation."""
    if request.messages and sum(_length(turn.content) for turn in request.messages) < _INLINE:
        return text_body(request, stream=stream)
    return await asyncio.to_thread(text_body, request, stream=stream)


def _length(content: object) -> int:
    """Characters of text content. Other content counts as large, so that it is encoded in a thread."""
    return len(content) if isinstance(content, str) else 0 if content is None else _INLINE


def text_body(request: Request, *, stream: bool) -> bytes:
    """The JSON body of a text request. Reads image files, so call it in a thread."""
    if request.messages:
        messages: list[dict[str, Any]] = [
            {"role": turn.role, "content": turn.content, **turn.more} for turn in request.messages
        ]
    else:
        messages = [{"role": "user", "content": _content(request)}]
    streaming = {"stream": True} if stream else {}
    return msgspec.json.encode({**request.params, "model": request.model, "messages": messages, **streaming})


def image_body(request: Request, modalities: tuple[str, ...]) -> bytes:
    """The JSON body of an image request. This route has no `n` and no negative prompt."""
    names = ("aspect_ratio", "image_size", "strength", "style")
    config = {name: request.params[name] for name in names if name in request.params}
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": "user", "content": _content(request)}],
        "modalities": list(modalities),
    }
    if config:
        body["image_config"] = config
    if "seed" in request.params:
        body["seed"] = request.params["seed"]
    return msgspec.json.encode(body)


def _content(request: Request) -> str | list[dict[str, Any]]:
    if not request.images:
        return request.prompt
    return [{"type": "text", "text": request.prompt}, *(image_part(image) for image in request.images)]


def image_part(image: InputImage) -> dict[str, Any]:
    """An image part with a data URL: every route accepts this form, and it needs no public URL."""
    encoded = base64.b64encode(image.path.read_bytes()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{image.mime};base64,{encoded}"}}


def finished(response: JsonResponse, detail: str, *, raw: bool = False) -> Completed | Retryable | Failed:
    """The outcome of a text request."""
    if response.status != 200:
        return failures.failed(response, Kind.TEXT, detail)
    cost = cost_nano(response.body)
    reply = read(response.body)
    if (outcome := unusable(reply, cost, detail)) is not None:
        return outcome
    choice = _choice(response.body)
    if not reply.text and not (raw and mapping(choice.get("message")).get("tool_calls")):
        code = ErrorCode.PROVIDER_FAILED if reply.finish else ErrorCode.RESULT_INVALID
        message = _NO_TEXT if reply.finish else failures.UNREADABLE
        return Failed(code=code, message=message, cost_nano=cost, detail=detail)
    return Completed(
        text=reply.text,
        usage=usage(response.body),
        cost_nano=cost,
        generation_id=generation_id(response),
        reply=choice if raw else None,
    )


def _as_delta(message: dict[str, Any]) -> dict[str, Any]:
    """A complete message as a single stream delta, in which tool calls need an index."""
    calls = [{"index": index, **mapping(call)} for index, call in enumerate(rows(message.get("tool_calls")))]
    return {**message, "tool_calls": calls} if calls else message


def unusable(reply: ParsedMessage, cost: int | None, detail: str) -> Failed | None:
    """An error or refusal inside a response with a success status; None when there is neither."""
    if reply.error or reply.finish == "error":
        return _errored(reply.error, cost, reply.text or None, detail, partial=bool(reply.text))
    if reply.refusal or reply.finish == "content_filter":
        return _refused(cost, reply.refusal or reply.text, detail)
    return None


def no_image(reply: ParsedMessage, cost: int | None, detail: str) -> Failed:
    message = _TEXT_ONLY if reply.text else failures.UNREADABLE
    return Failed(
        code=ErrorCode.PROVIDER_FAILED, message=message, cost_nano=cost, text=reply.text or None, detail=detail
    )


def _errored(error: dict[str, Any], cost: int | None, output: str | None, detail: str, *, partial: bool) -> Failed:
    """The provider failed while processing the request and may charge for it, so it is not retried."""
    if failures.is_refusal(error, 403 if error.get("code") in (403, "403") else 200):
        return Failed(
            code=ErrorCode.PROVIDER_REFUSED, message=failures.REFUSED, cost_nano=cost, text=output, detail=detail
        )
    message = _FAILED_MIDWAY if partial else failures.FAILED
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=message, cost_nano=cost, text=output, detail=detail)


def _refused(cost: int | None, output: str, detail: str) -> Failed:
    return Failed(
        code=ErrorCode.PROVIDER_REFUSED, message=failures.REFUSED, cost_nano=cost, text=output or None, detail=detail
    )


def read(body: Any) -> ParsedMessage:
    choice = _choice(body)
    message = mapping(choice.get("message"))
    content = message.get("content")
    parts = [*rows(message.get("images")), *rows(content)]
    return ParsedMessage(
        text=_text_of(content),
        images=list(dict.fromkeys(url for part in parts if (url := _url(part)))),
        refusal=text(message.get("refusal")),
        finish=text(choice.get("finish_reason")),
        error=failures.error_of(body) or failures.error_of(choice),
    )


def generation_id(response: JsonResponse) -> str | None:
    return response.headers.get("x-generation-id") or text(mapping(response.body).get("id")) or None


def modalities_of(request: Request) -> tuple[str, ...]:
    """The model's exact output modalities: any other set is answered with 404."""
    return tuple(name for name in ("image", "text") if name in request.output_modalities) or ("image",)


def _choice(body: Any) -> dict[str, Any]:
    return next(iter(map(mapping, rows(mapping(body).get("choices")))), {})


def _text_of(content: Any) -> str:
    """The text of `content`, which is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(text(part.get("text")) for part in map(mapping, content) if part.get("type") == "text")
    return text(content)


def _url(part: Any) -> str:
    """The URL or data URL of an image part, either as documented or as a plain string."""
    url = mapping(part).get("image_url")
    return text(mapping(url).get("url")) or next(iter(texts([url])), "")


def _event(payload: str) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Failure(
            Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.INTERRUPTED, detail="an event is not valid JSON")
        ) from None
