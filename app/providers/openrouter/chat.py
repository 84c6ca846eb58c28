"""`POST /chat/completions`: text, whole or streamed, and the bodies of pictures that are made by conversation."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from app.providers.client import MB, Ambiguous, Answer, ClientError, Events
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    Kind,
    Outcome,
    Picture,
    Request,
    Retryable,
    Usage,
)
from app.providers.openrouter import failures
from app.providers.openrouter.api import Api
from app.providers.openrouter.coerce import cost_nano, mapping, rows, text, texts, usage

PATH = "/chat/completions"
_LARGEST = 8 * MB  # of an answer in text, whole
_MAX_TEXT = 4_000_000  # characters of a streamed one; no model writes so much
_INLINE = 256 * 1024  # characters of one event that are parsed on the event loop; more goes to a thread
_IN_WORDS = "The model answered in words and made no picture. Read its answer, or choose another model."
_SILENT = "The model answered without any text. Raise the limit of tokens or ask differently."
_WORDS = frozenset(("role", "content"))
_BEGAN = "The provider began to answer and then failed. What arrived is kept; try again."


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole answer holds, whatever its form."""

    text: str
    pictures: list[str]
    refusal: str
    finish: str
    error: dict[str, Any]


class Chat:
    """Text over one API."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def submit(self, request: Request) -> Outcome:
        content = await _text_body(request, stream=False)
        patience = self._api.patience
        try:
            answer = await self._api.post(
                PATH, content, total=patience.text, idle=patience.text_idle, max_bytes=_LARGEST, reuse=True
            )
        except ClientError as exc:
            return failures.unanswered(exc)
        detail = self._api.detail(f"{answer.status} {failures.message_of(answer)}")
        return finished(answer, detail, raw=request.raw)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The text as it comes, and one closing chunk with the figures. `Failure` in place of it when it goes wrong."""
        content = await _text_body(request, stream=True)
        try:
            async with self._api.stream(PATH, content) as events:
                if events.is_stream:
                    async with aclosing(self._streamed(events, raw=request.raw)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    for chunk in self._whole(await events.answer(), raw=request.raw):
                        yield chunk
        except ClientError as exc:
            raise Failure(failures.unanswered(exc)) from None

    def _whole(self, answer: Answer, *, raw: bool) -> list[Chunk]:
        """An answer that was not streamed although it was asked for: an error, or a server that cannot stream."""
        outcome = finished(answer, self._api.detail(f"{answer.status} {failures.message_of(answer)}"), raw=raw)
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
        reading = _Reading(events.headers.get("x-generation-id"))
        try:
            async with aclosing(events.payloads()) as batches:
                async for payloads in batches:
                    chunks, failure = await self._taken(payloads, reading, raw=raw)
                    for chunk in chunks:
                        yield chunk
                    if failure:
                        raise failure
        except Ambiguous as exc:
            # After the finish reason only the figures are missing: the text is whole.
            if reading.finish is None:
                raise Failure(failures.broken_off(exc, reading.cost_nano)) from None
        if reading.finish is None and not events.done:
            raise Failure(
                Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.BROKE_OFF, cost_nano=reading.cost_nano)
            )
        if reading.finish == "content_filter" or reading.refusal:
            raise Failure(_refused(reading.cost_nano, reading.refusal, ""))
        yield Chunk(
            usage=reading.usage,
            cost_nano=reading.cost_nano,
            finish_reason=reading.finish or "stop",
            generation_id=reading.generation_id,
        )

    async def _taken(
        self, payloads: Sequence[str], reading: "_Reading", *, raw: bool
    ) -> tuple[list[Chunk], Failure | None]:
        """What has come together, as few chunks as hold it; and the failure that ends it."""
        said = _Said()
        failure: Failure | None = None
        for payload in payloads:
            try:
                event = _event(payload) if len(payload) <= _INLINE else await asyncio.to_thread(_event, payload)
            except Failure as exc:
                failure = exc
                break
            delta = reading.take(event)
            if reading.error:
                failure = Failure(self._broken(reading))
                break
            if reading.length > _MAX_TEXT:
                too_big = Failed(code=ErrorCode.RESULT_TOO_LARGE, message=failures.TOO_BIG, cost_nano=reading.cost_nano)
                failure = Failure(too_big)
                break
            said.add(delta, reading.delta if raw and reading.delta else None, reading.generation_id)
        return said.chunks(reading.generation_id), failure

    def _broken(self, reading: "_Reading") -> Failed:
        detail = self._api.detail(text(reading.error.get("message")))
        return _errored(reading.error, reading.cost_nano, None, detail, began=reading.length > 0)


class _Reading:
    """What the chunks of one stream have said so far."""

    def __init__(self, generation_id: str | None) -> None:
        self.generation_id = generation_id
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.cost_nano: int | None = None
        self.length = 0  # characters of text so far
        self.refusal = ""
        self.error: dict[str, Any] = {}
        self.delta: dict[str, Any] = {}  # of the latest chunk, as it came

    def take(self, event: Any) -> str:
        """The text that this chunk adds. The finish reason comes twice: the chunk with the figures repeats it."""
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
        said = _said(delta.get("content"))
        self.length += len(said)
        return said


class _Said:
    """What has come together: words become one chunk, and whatever else there is remains one of its own."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._words: list[str] = []
        self._first: dict[str, Any] | None = None  # the delta of the first of them, as it came

    def add(self, delta: str, choice: dict[str, Any] | None, generation_id: str | None) -> None:
        if delta and (choice is None or _is_words(choice)):
            if not self._words:
                self._first = choice
            self._words.append(delta)
        elif choice is not None:
            self._end(generation_id)
            self._chunks.append(Chunk(delta=delta, generation_id=generation_id, choice=choice))

    def chunks(self, generation_id: str | None) -> list[Chunk]:
        """All of it."""
        self._end(generation_id)
        return self._chunks

    def _end(self, generation_id: str | None) -> None:
        if self._words:
            delta = "".join(self._words)
            choice = None if self._first is None else {**self._first, "content": delta}
            self._chunks.append(Chunk(delta=delta, generation_id=generation_id, choice=choice))
            self._words.clear()


def _is_words(choice: dict[str, Any]) -> bool:
    """Whether it holds nothing more, which nobody but the caller would know how to join."""
    return choice.keys() <= _WORDS and isinstance(choice.get("content"), str)


async def _text_body(request: Request, *, stream: bool) -> bytes:
    """In a thread when there is much to write: pictures, or a long conversation."""
    if request.messages and sum(_length(turn.content) for turn in request.messages) < _INLINE:
        return text_body(request, stream=stream)
    return await asyncio.to_thread(text_body, request, stream=stream)


def _length(content: object) -> int:
    """Characters of what was said; of anything but words more than is written on the event loop."""
    return len(content) if isinstance(content, str) else 0 if content is None else _INLINE


def text_body(request: Request, *, stream: bool) -> bytes:
    """The JSON of a request for text; reads the pictures, so it belongs in a thread."""
    if request.messages:
        messages: list[dict[str, Any]] = [
            {"role": turn.role, "content": turn.content, **turn.more} for turn in request.messages
        ]
    else:
        messages = [{"role": "user", "content": _content(request)}]
    streaming = {"stream": True} if stream else {}
    return msgspec.json.encode({**request.params, "model": request.model, "messages": messages, **streaming})


def picture_body(request: Request, modalities: tuple[str, ...]) -> bytes:
    """The JSON of a request for a picture. There is no `n` and no negative prompt on this route."""
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
    if not request.pictures:
        return request.prompt
    return [{"type": "text", "text": request.prompt}, *(image_part(picture) for picture in request.pictures)]


def image_part(picture: Picture) -> dict[str, Any]:
    """A picture as a typed part with a data URL: the only form that every route takes, and that needs no public address."""
    encoded = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{picture.mime};base64,{encoded}"}}


def finished(answer: Answer, detail: str, *, raw: bool = False) -> Completed | Retryable | Failed:
    """What a request for text came to."""
    if answer.status != 200:
        return failures.failed(answer, Kind.TEXT, detail)
    cost = cost_nano(answer.body)
    reply = read(answer.body)
    if (outcome := unusable(reply, cost, detail)) is not None:
        return outcome
    choice = _choice(answer.body)
    if not reply.text and not (raw and mapping(choice.get("message")).get("tool_calls")):
        code = ErrorCode.PROVIDER_FAILED if reply.finish else ErrorCode.RESULT_INVALID
        message = _SILENT if reply.finish else failures.UNREADABLE
        return Failed(code=code, message=message, cost_nano=cost, detail=detail)
    return Completed(
        text=reply.text,
        usage=usage(answer.body),
        cost_nano=cost,
        generation_id=generation_id(answer),
        reply=choice if raw else None,
    )


def _as_delta(message: dict[str, Any]) -> dict[str, Any]:
    """A whole message as the one delta of a stream: there, calls of tools are numbered."""
    calls = [{"index": place, **mapping(call)} for place, call in enumerate(rows(message.get("tool_calls")))]
    return {**message, "tool_calls": calls} if calls else message


def unusable(reply: Reply, cost: int | None, detail: str) -> Failed | None:
    """An error or a refusal inside an answer that is a success on its face; None when there is neither."""
    if reply.error or reply.finish == "error":
        return _errored(reply.error, cost, reply.text or None, detail, began=bool(reply.text))
    if reply.refusal or reply.finish == "content_filter":
        return _refused(cost, reply.refusal or reply.text, detail)
    return None


def no_picture(reply: Reply, cost: int | None, detail: str) -> Failed:
    message = _IN_WORDS if reply.text else failures.UNREADABLE
    return Failed(
        code=ErrorCode.PROVIDER_FAILED, message=message, cost_nano=cost, text=reply.text or None, detail=detail
    )


def _errored(error: dict[str, Any], cost: int | None, said: str | None, detail: str, *, began: bool) -> Failed:
    """The provider was at work when it failed, so nothing is repeated without being asked."""
    if failures.is_refusal(error, 403 if error.get("code") in (403, "403") else 200):
        return Failed(
            code=ErrorCode.PROVIDER_REFUSED, message=failures.REFUSED, cost_nano=cost, text=said, detail=detail
        )
    message = _BEGAN if began else failures.FAILED
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=message, cost_nano=cost, text=said, detail=detail)


def _refused(cost: int | None, said: str, detail: str) -> Failed:
    return Failed(
        code=ErrorCode.PROVIDER_REFUSED, message=failures.REFUSED, cost_nano=cost, text=said or None, detail=detail
    )


def read(body: Any) -> Reply:
    choice = _choice(body)
    message = mapping(choice.get("message"))
    content = message.get("content")
    links = [*rows(message.get("images")), *rows(content)]
    return Reply(
        text=_said(content),
        pictures=list(dict.fromkeys(url for part in links if (url := _url(part)))),
        refusal=text(message.get("refusal")),
        finish=text(choice.get("finish_reason")),
        error=failures.error_of(body) or failures.error_of(choice),
    )


def generation_id(answer: Answer) -> str | None:
    return answer.headers.get("x-generation-id") or text(mapping(answer.body).get("id")) or None


def modalities_of(request: Request) -> tuple[str, ...]:
    """Exactly the model's own outputs: the wrong set is answered with 404."""
    return tuple(name for name in ("image", "text") if name in request.output_modalities) or ("image",)


def _choice(body: Any) -> dict[str, Any]:
    return next(iter(map(mapping, rows(mapping(body).get("choices")))), {})


def _said(content: Any) -> str:
    """Content is text, or a list of parts."""
    if isinstance(content, list):
        return "".join(text(part.get("text")) for part in map(mapping, content) if part.get("type") == "text")
    return text(content)


def _url(part: Any) -> str:
    """The link or data URL of a picture part, in the shape that is documented or as bare text."""
    url = mapping(part).get("image_url")
    return text(mapping(url).get("url")) or next(iter(texts([url])), "")


def _event(payload: str) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Failure(
            Failed(code=ErrorCode.PROVIDER_FAILED, message=failures.BROKE_OFF, detail="an event that is not JSON")
        ) from None
