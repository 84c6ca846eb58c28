"""Reads a response of `POST /chat/completions` that was not streamed, in whatever format it was sent."""

from typing import Any

import msgspec

from app.providers import failures
from app.providers.coerce import cost_nano, mapping, rows, text, texts, usage
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Retryable
from app.providers.openai_format import error_responses
from app.providers.responses import JsonResponse

_TEXT_ONLY = "The model returned text instead of an image. Read its response or choose another model."
_FAILED_MIDWAY = "The provider failed while responding. The part received is kept; try again."


class ParsedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a response, whichever of its formats the server uses."""

    text: str
    images: list[str]
    refusal: str
    finish: str
    error: dict[str, Any]


def finished(response: JsonResponse, detail: str, *, whole: bool = False) -> Completed | Retryable | Failed:
    """The outcome of a text request. With `whole`, a refusal is an answer like any other, and the answer is also returned as it
    came."""
    if response.status != 200:
        return error_responses.failed(response, Kind.TEXT, detail, unbilled=error_responses.TEXT_UNBILLED)
    cost = cost_nano(response.body)
    reply = parse(response.body)
    if (outcome := failed_inside(reply, cost, detail)) is not None:
        return outcome
    if not whole and (outcome := refused_inside(reply, cost, detail)) is not None:
        return outcome
    if not (reply.text or reply.finish or mapping(first_choice(response.body).get("message"))):
        return Failed(code=ErrorCode.RESULT_INVALID, message=failures.UNREADABLE, cost_nano=cost, detail=detail)
    return Completed(
        text=reply.text,
        usage=usage(response.body),
        cost_nano=cost,
        generation_id=generation_id(response),
        finish_reason=reply.finish or None,
        reply=_with_text(response.body) if whole else None,
    )


def unusable(reply: ParsedMessage, cost: int | None, detail: str) -> Failed | None:
    """An error or refusal inside a response with a success status; None when there is neither."""
    return failed_inside(reply, cost, detail) or refused_inside(reply, cost, detail)


def failed_inside(reply: ParsedMessage, cost: int | None, detail: str) -> Failed | None:
    if reply.error or reply.finish == "error":
        return errored(reply.error, cost, reply.text or None, detail, partial=bool(reply.text))
    return None


def refused_inside(reply: ParsedMessage, cost: int | None, detail: str) -> Failed | None:
    if reply.refusal or reply.finish == "content_filter":
        return failures.refused(detail, cost, reply.refusal or reply.text)
    return None


def no_image(reply: ParsedMessage, cost: int | None, detail: str) -> Failed:
    message = _TEXT_ONLY if reply.text else failures.UNREADABLE
    return Failed(
        code=ErrorCode.PROVIDER_FAILED, message=message, cost_nano=cost, text=reply.text or None, detail=detail
    )


def errored(error: dict[str, Any], cost: int | None, output: str | None, detail: str, *, partial: bool) -> Failed:
    """The provider failed while processing the request and may charge for it, so it is not retried."""
    if error_responses.is_refusal(error, 403 if error.get("code") in (403, "403") else 200):
        return failures.refused(detail, cost, output)
    message = _FAILED_MIDWAY if partial else failures.FAILED
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=message, cost_nano=cost, text=output, detail=detail)


def parse(body: Any) -> ParsedMessage:
    choice = first_choice(body)
    message = mapping(choice.get("message"))
    content = message.get("content")
    parts = [*rows(message.get("images")), *rows(content)]
    return ParsedMessage(
        text=text_of(content),
        images=list(dict.fromkeys(url for part in parts if (url := _url(part)))),
        refusal=text(message.get("refusal")),
        finish=text(choice.get("finish_reason")),
        error=error_responses.error_of(body) or error_responses.error_of(choice),
    )


def generation_id(response: JsonResponse) -> str | None:
    return response.headers.get("x-generation-id") or text(mapping(response.body).get("id")) or None


def first_choice(body: Any) -> dict[str, Any]:
    return next(iter(map(mapping, rows(mapping(body).get("choices")))), {})


def text_of(content: Any) -> str:
    """The text of `content`, which is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(text(part.get("text")) for part in map(mapping, content) if part.get("type") == "text")
    return text(content)


def _with_text(body: dict[str, Any]) -> dict[str, Any]:
    """The answer, in which content that is a list of text parts is one text, as OpenAI's format demands."""
    choices = [
        {**choice, "message": {**message, "content": text_of(content)}}
        if isinstance(content := (message := mapping(choice.get("message"))).get("content"), list)
        and all(mapping(part).get("type") == "text" for part in content)
        else choice
        for choice in map(mapping, rows(body.get("choices")))
    ]
    return {**body, "choices": choices}


def _url(part: Any) -> str:
    """The URL or data URL of an image part, either as documented or as a plain string."""
    url = mapping(part).get("image_url")
    return text(mapping(url).get("url")) or next(iter(texts([url])), "")
