"""Text with OpenAI, in which its chat completions differ from OpenRouter's."""

from pathlib import Path
from typing import Any

import pytest

from app.providers.contract import Completed, ErrorCode, Failed, Failure, Retryable, Usage
from tests.kit import Cases
from tests.providers.fake_upstream import Upstream, js, sse
from tests.providers.openai.kit import provider, refusal
from tests.providers.openrouter.kit import expect, text_request

CHAT = "/api/v1/chat/completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
    "usage": USAGE,
}


def chunk(content: str | None = None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        "usage": None,
    }


LAST = {"id": "chatcmpl-1", "choices": [], "usage": USAGE}


async def test_the_token_limit_has_the_name_that_reasoning_models_accept(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", CHAT, js(ANSWER))
    async with provider(upstream) as openai, provider(upstream, is_openai=False, name="local") as local:
        await openai.submit(text_request(params={"max_tokens": 9}), tmp_path)
        await local.submit(text_request(params={"max_tokens": 9}), tmp_path)
    first, second = upstream.received("POST", CHAT)
    assert (first.json.get("max_completion_tokens"), first.json.get("max_tokens")) == (9, None)
    assert (second.json.get("max_completion_tokens"), second.json.get("max_tokens")) == (None, 9)


async def test_an_answer_has_its_usage_and_no_cost(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", CHAT, js(ANSWER))
    async with provider(upstream) as openai:
        done = expect(Completed, await openai.submit(text_request(), tmp_path))
    assert (done.text, done.usage, done.cost_nano) == ("Hello", Usage(3, 5, 8), None)


async def test_a_whole_request_and_its_answer_pass_unchanged(upstream: Upstream, tmp_path: Path) -> None:
    answer = {**ANSWER, "service_tier": "default", "x": {"deep": [1, None]}}
    body = {"messages": [{"role": "user", "content": "Hi", "x": 1}], "max_tokens": 7, "unknown": {"a": []}}
    upstream.on("POST", CHAT, js(answer))
    async with provider(upstream) as openai:
        done = expect(Completed, await openai.submit(text_request(body=body), tmp_path))
    assert upstream.only("POST", CHAT).json == {**body, "model": "a/writer"}
    assert done.reply == answer


async def test_a_stream_always_asks_for_its_usage(upstream: Upstream) -> None:
    upstream.on("POST", CHAT, sse(chunk("Hel"), chunk("lo"), chunk(finish="stop"), LAST))
    async with provider(upstream) as openai:
        chunks = [chunk async for chunk in openai.stream(text_request())]
    assert "".join(chunk.delta for chunk in chunks) == "Hello"
    assert (chunks[-1].usage, chunks[-1].finish_reason) == (Usage(3, 5, 8), "stop")
    assert upstream.only("POST", CHAT).json["stream_options"] == {"include_usage": True}


async def test_a_server_that_refuses_the_request_for_usage_is_not_asked(upstream: Upstream) -> None:
    upstream.on("POST", CHAT, sse(chunk("Hello"), chunk(finish="stop"), LAST))
    async with provider(upstream, is_openai=False, asks_for_usage=False) as local:
        chunks = [chunk async for chunk in local.stream(text_request())]
    assert "stream_options" not in upstream.only("POST", CHAT).json
    assert chunks[-1].usage == Usage(3, 5, 8)


async def test_the_chunk_with_the_usage_is_marked_for_clients_that_did_not_ask(upstream: Upstream) -> None:
    upstream.on("POST", CHAT, sse(chunk("Hello"), chunk(finish="stop"), LAST))
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream_options": {"include_obfuscation": False}}
    async with provider(upstream) as openai:
        chunks = [chunk async for chunk in openai.stream(text_request(body=body))]
    assert [chunk.usage_only for chunk in chunks if chunk.event] == [False, False, True]
    options = upstream.only("POST", CHAT).json["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}


async def test_an_error_has_the_code_of_its_cause(upstream: Upstream, tmp_path: Path) -> None:
    too_long = "This model's maximum context length is 8192 tokens."
    table = {
        "too long": (refusal(400, "context_length_exceeded", message=too_long), "CONTEXT_LENGTH_EXCEEDED"),
        "settings": (refusal(400, "unsupported_parameter"), "REQUEST_REJECTED"),
        "model": (refusal(404, "model_not_found"), "REQUEST_REJECTED"),
        "content": (refusal(400, "content_policy_violation"), "PROVIDER_REFUSED"),
        "no credit": (refusal(429, "insufficient_quota", "insufficient_quota"), "PROVIDER_FAILED"),
        "time limit": (refusal(504, None, "server_error"), "OUTCOME_UNKNOWN"),
    }
    with Cases() as cases:
        for name, (reply, code) in table.items():
            upstream.on("POST", CHAT, reply)
            async with provider(upstream) as openai:
                with cases.case(name, "whole"):
                    assert expect(Failed, await openai.submit(text_request(), tmp_path)).code == ErrorCode(code)
                with cases.case(name, "streamed"), pytest.raises(Failure) as failure:
                    [chunk async for chunk in openai.stream(text_request())]
                with cases.case(name, "streamed"):
                    assert failure.value.outcome.code == ErrorCode(code)


async def test_an_overloaded_server_did_nothing(upstream: Upstream, tmp_path: Path) -> None:
    with Cases() as cases:
        for status in (429, 500, 502, 503):
            upstream.on("POST", CHAT, refusal(status, None, "server_error"))
            async with provider(upstream) as openai:
                with cases.case(status):
                    expect(Retryable, await openai.submit(text_request(), tmp_path))
