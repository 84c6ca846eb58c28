"""Text generation with OpenRouter: requests, responses and all kinds of failure."""

import asyncio
import functools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.providers.client import Client
from app.providers.contract import (
    Chunk,
    Completed,
    ErrorCode,
    Failed,
    Failure,
    InputImage,
    Request,
    Retryable,
    Turn,
    Usage,
)
from app.providers.openai_format.chat_responses import finished
from app.providers.openrouter import OpenRouter, Timeouts
from app.providers.responses import JsonResponse
from tests.kit import Cases
from tests.providers.fake_upstream import (
    LOST_ANSWERS,
    Reply,
    Silence,
    Upstream,
    error,
    joined,
    js,
    plain,
    running,
    sse,
)
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import (
    B64,
    KEY,
    LONGER_THAN_ANY_TIMEOUT,
    PATIENT,
    PNG,
    expect,
    new_folder,
    provider,
    random_json,
    text_request,
)

CHAT = "/api/v1/chat/completions"
TOO_LONG_FOR_A_STREAM = Timeouts().text_idle + 1  # seconds between two chunks
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "cost": 0.00012}


def answer(content: Any = "Hello there", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return {"id": "gen-1", "object": "chat.completion", "model": "a/writer", "choices": [choice], "usage": USAGE}


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"id": "gen-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


class TestComplete:
    async def test_a_prompt_is_sent_as_one_user_message_with_its_settings(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(answer()))
        async with provider(upstream, title="Atelier", referer="https://studio.example") as openrouter:
            await openrouter.submit(
                text_request(params={"temperature": 0.5, "max_tokens": 9, "stop": ["END"]}), tmp_path
            )
        request = upstream.only("POST", CHAT)
        assert request.json == {
            "model": "a/writer",
            "messages": [{"role": "user", "content": "Hello"}],
            "temperature": 0.5,
            "max_tokens": 9,
            "stop": ["END"],
        }
        assert request.key == f"Bearer {KEY}"
        assert request.headers["http-referer"] == "https://studio.example"
        assert request.headers["x-openrouter-title"] == "Atelier"

    async def test_messages_of_a_conversation_are_sent_unchanged(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(answer()))
        turns = (Turn("system", "Be brief"), Turn("user", [{"type": "text", "text": "Hi"}]))
        async with provider(upstream) as openrouter:
            await openrouter.submit(text_request(messages=turns), tmp_path)
        assert upstream.only("POST", CHAT).json["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        ]

    async def test_an_input_image_is_sent_as_a_data_url(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(answer()))
        (tmp_path / "p").write_bytes(PNG)
        images = (InputImage(tmp_path / "p", "image/png", "reference"),)
        async with provider(upstream) as openrouter:
            await openrouter.submit(text_request(images=images), tmp_path)
        assert upstream.only("POST", CHAT).json["messages"][0]["content"] == [
            {"type": "text", "text": "Hello"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        ]

    async def test_the_answer_comes_back_with_usage_and_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(answer(), X_Generation_Id="gen-77"))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(text_request(), tmp_path))
        assert done == Completed(
            text="Hello there",
            usage=Usage(3, 5, 8),
            cost_nano=120_000,
            generation_id="gen-77",
            finish_reason="stop",
            media=(),
        )

    async def test_text_in_parts_is_joined(self, upstream: Upstream, tmp_path: Path) -> None:
        parts = [
            {"type": "text", "text": "Hello "},
            {"type": "reasoning", "text": "hm"},
            {"type": "text", "text": "you"},
        ]
        upstream.on("POST", CHAT, js(answer(parts)))
        async with provider(upstream) as openrouter:
            assert expect(Completed, await openrouter.submit(text_request(), tmp_path)).text == "Hello you"

    async def test_an_invalid_or_missing_cost_is_unknown(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Any] = [None, "cheap", {}, -1, True, float(10**9)]
        with Cases() as cases:
            for cost in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(cost):
                    upstream.on("POST", CHAT, js({**answer(), "usage": {"cost": cost}}))
                    async with provider(upstream) as openrouter:
                        assert expect(Completed, await openrouter.submit(text_request(), folder)).cost_nano is None

    async def test_a_cost_is_counted_to_the_nano_dollar(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[Any, int]] = [(0, 0), (1e-7, 100), ("0.0000015", 1500), (12.5, 12_500_000_000)]
        with Cases() as cases:
            for cost, nano in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(cost, nano):
                    upstream.on("POST", CHAT, js({**answer(), "usage": {"cost": cost}}))
                    async with provider(upstream) as openrouter:
                        assert expect(Completed, await openrouter.submit(text_request(), folder)).cost_nano == nano

    async def test_a_success_without_a_usable_answer_ends_the_job_and_keeps_its_cost_and_text(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[tuple[dict[str, Any], ErrorCode, str | None]] = [
            (answer(None, "content_filter", refusal="I will not."), ErrorCode.PROVIDER_REFUSED, "I will not."),
            (answer("Half a", "content_filter"), ErrorCode.PROVIDER_REFUSED, "Half a"),
            (answer(None, "stop", refusal="No."), ErrorCode.PROVIDER_REFUSED, "No."),
            (answer("Half a sentence", "error"), ErrorCode.PROVIDER_FAILED, "Half a sentence"),
            ({**answer(), "choices": [], "error": {"code": 502, "message": "x"}}, ErrorCode.PROVIDER_FAILED, None),
            (answer("", "length"), ErrorCode.PROVIDER_FAILED, None),
            ({"usage": USAGE}, ErrorCode.RESULT_INVALID, None),
        ]
        with Cases() as cases:
            for reply, code, text in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(reply, code, text):
                    upstream.on("POST", CHAT, js(reply))
                    async with provider(upstream) as openrouter:
                        failed = expect(Failed, await openrouter.submit(text_request(), folder))
                    assert (failed.code, failed.text, failed.cost_nano) == (code, text, 120_000)
                    upstream.only("POST", CHAT)

    async def test_an_invalid_answer_ends_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Any] = [[], "text", 7, None, {"choices": "x"}, {"choices": [7]}, {"choices": [{}]}]
        with Cases() as cases:
            for body in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(body):
                    upstream.on("POST", CHAT, js(body))
                    async with provider(upstream) as openrouter:
                        failed = expect(Failed, await openrouter.submit(text_request(), folder))
                    assert failed.code is ErrorCode.RESULT_INVALID

    async def test_an_html_page_instead_of_a_response_ends_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, plain(b"<html>Welcome</html>", "text/html"))
        async with provider(upstream) as openrouter:
            failed = expect(Failed, await openrouter.submit(text_request(), tmp_path))
        assert failed.code is ErrorCode.RESULT_INVALID
        assert "Welcome" in failed.detail
        assert "Welcome" not in failed.message


NAMES = (
    "choices",
    "message",
    "content",
    "refusal",
    "images",
    "image_url",
    "url",
    "type",
    "text",
    "finish_reason",
    "error",
    "code",
    "metadata",
    "delta",
    "usage",
    "cost",
    "prompt_tokens",
    "id",
    "data",
    "b64_json",
    "reasons",
    "status",
)


def test_no_answer_raises_an_exception() -> None:
    with Cases() as cases:
        for seed in range(400):
            rng = random.Random(seed)
            body, status = random_json(rng, NAMES), rng.choice((200, 200, 200, 400, 402, 403, 429, 502))
            with cases.case("seed", seed):
                assert isinstance(
                    finished(JsonResponse(status=status, headers={}, body=body), ""), (Completed, Retryable, Failed)
                )


class TestErrors:
    """How HTTP errors are classified, for text."""

    async def test_a_failure_that_cost_nothing_may_be_retried(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[int] = [429, 500, 502, 503, 529]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("POST", CHAT, error(status))
                    async with provider(upstream) as openrouter:
                        expect(Retryable, await openrouter.submit(text_request(), folder))
                    upstream.only("POST", CHAT)

    async def test_a_failure_that_may_have_cost_something_is_not_retried(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[int] = [408, 499, 504, 520, 524]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("POST", CHAT, error(status))
                    async with provider(upstream) as openrouter:
                        assert (
                            expect(Failed, await openrouter.submit(text_request(), folder)).code
                            is ErrorCode.OUTCOME_UNKNOWN
                        )

    async def test_a_rejected_request_is_final_and_has_its_own_message(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[int] = [301, 400, 401, 402, 403, 404, 409, 410, 412, 413, 418, 422]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("POST", CHAT, error(status, "raw text of the provider", Location="/elsewhere"))
                    async with provider(upstream) as openrouter:
                        failed = expect(Failed, await openrouter.submit(text_request(), folder))
                    rejected = status in (400, 404, 413, 422)
                    assert failed.code is (ErrorCode.REQUEST_REJECTED if rejected else ErrorCode.PROVIDER_FAILED)
                    assert failed.reason == ("raw text of the provider" if rejected else "")
                    assert "raw text" in failed.detail
                    assert "raw text" not in failed.message
                    assert failed.message.endswith(".")

    async def test_a_wrong_key_and_missing_credits_are_named_in_the_message(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, error(401), error(402, metadata={"limit_source": "openrouter_credits"}))
        async with provider(upstream) as openrouter:
            wrong_key = expect(Failed, await openrouter.submit(text_request(), tmp_path))
            no_credit = expect(Failed, await openrouter.submit(text_request(), tmp_path))
        assert "key" in wrong_key.message
        assert "credit" in no_credit.message

    async def test_a_full_in_flight_budget_is_retried_later(self, upstream: Upstream, tmp_path: Path) -> None:
        budget = {"limit_source": "openrouter_in_flight_budget"}
        upstream.on("POST", CHAT, error(402, metadata=budget, Retry_After="7"), error(402, metadata=budget))
        async with provider(upstream) as openrouter:
            assert expect(Retryable, await openrouter.submit(text_request(), tmp_path)).wait == 7
            assert expect(Retryable, await openrouter.submit(text_request(), tmp_path)).wait == 30

    async def test_refused_content_is_distinguished_from_other_failures(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[tuple[int, Any, dict[str, Any]]] = [
            (403, 403, {"reasons": ["violence"], "flagged_input": "x"}),
            (403, 403, {"error_type": "content_policy_violation"}),
            (403, 403, {"error_type": "refusal"}),
            (403, 403, {"patterns": ["card"]}),
            (400, "moderation_blocked", {}),
            (422, "content_policy_violation", {}),
        ]
        with Cases() as cases:
            for status, code, metadata in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status, code, metadata):
                    upstream.on(
                        "POST", CHAT, js({"error": {"code": code, "message": "x", "metadata": metadata}}, status)
                    )
                    async with provider(upstream) as openrouter:
                        assert (
                            expect(Failed, await openrouter.submit(text_request(), folder)).code
                            is ErrorCode.PROVIDER_REFUSED
                        )

    async def test_the_requested_wait_is_respected_up_to_an_hour(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[dict[str, str], float, float]] = [
            ({"Retry_After": "12"}, 12, 12),
            ({"Retry_After": "1.5"}, 1.5, 1.5),
            ({"retry_after_ms": "2500"}, 2.5, 2.5),
            ({"Retry_After": "Fri, 01 Jan 2100 00:00:00 GMT"}, 3600, 3600),
            ({"Retry_After": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0, 0),
            ({"Retry_After": "999999999999"}, 3600, 3600),
            ({"X_RateLimit_Reset": "SECONDS"}, 1700, 2001),
            ({"X_RateLimit_Reset": "MILLISECONDS"}, 1700, 2001),
        ]
        with Cases() as cases:
            for headers, low, high in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(headers, low, high):
                    reset = time.time() + 2000
                    times = {"SECONDS": str(int(reset)), "MILLISECONDS": str(int(reset * 1000))}
                    fields = {name.replace("_", "-"): times.get(value, value) for name, value in headers.items()}
                    upstream.on("POST", CHAT, Reply(status=429, headers=fields))
                    async with provider(upstream) as openrouter:
                        wait = expect(Retryable, await openrouter.submit(text_request(), folder)).wait
                    assert wait is not None
                    assert low <= wait <= high

    async def test_an_invalid_wait_is_ignored(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[str] = ["", "soon", "nan", "-5", "inf", "[]"]
        with Cases() as cases:
            for wait in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(repr(wait)):
                    upstream.on("POST", CHAT, error(503, Retry_After=wait))
                    async with provider(upstream) as openrouter:
                        assert expect(Retryable, await openrouter.submit(text_request(), folder)).wait is None

    async def test_an_error_in_any_form_is_classified_by_its_status(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[bytes] = [b"<html>502</html>", b"", b"[]", b'{"error": "bare text"}', b'{"error": []}']
        with Cases() as cases:
            for body in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(body):
                    upstream.on("POST", CHAT, plain(body, "text/html", 502))
                    async with provider(upstream) as openrouter:
                        expect(Retryable, await openrouter.submit(text_request(), folder))

    async def test_an_unreachable_provider_was_sent_nothing(self, tmp_path: Path) -> None:
        base = "http://127.0.0.1:9/api/v1"
        client = Client([base])
        openrouter = OpenRouter(client, base, KEY, max_image_bytes=1, max_video_bytes=1, timeouts=PATIENT)
        again = expect(Retryable, await openrouter.submit(text_request(), tmp_path))
        assert again.code is ErrorCode.PROVIDER_UNREACHABLE
        await client.aclose()

    @in_manual_time
    async def test_a_lost_answer_leaves_the_outcome_unknown(self, tmp_path: Path) -> None:
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for name, reply in LOST_ANSWERS.items():
                    upstream.reset()
                    upstream.on("POST", CHAT, reply)
                    with cases.case(name):
                        async with provider(upstream, timeouts=Timeouts()) as openrouter:
                            failed = expect(Failed, await openrouter.submit(text_request(), tmp_path))
                        assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                        upstream.only("POST", CHAT)

    async def test_a_key_quoted_by_the_provider_is_not_recorded(self, upstream: Upstream, tmp_path: Path) -> None:
        key = "a-key-without-any-known-beginning"
        upstream.on("POST", CHAT, error(401, f"Incorrect API key provided: '{key}'."))
        async with provider(upstream, key) as openrouter:
            failed = expect(Failed, await openrouter.submit(text_request(), tmp_path))
            assert key not in repr(failed) + repr(openrouter)
        assert "Incorrect API key" in failed.detail

    async def test_a_long_error_is_shortened(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, error(400, "x" * 50_000))
        async with provider(upstream) as openrouter:
            assert len(expect(Failed, await openrouter.submit(text_request(), tmp_path)).detail) <= 2000


async def streamed(openrouter: OpenRouter, request: Request | None = None) -> list[Chunk]:
    return [chunk async for chunk in openrouter.stream(request or text_request())]


async def broken(
    openrouter: OpenRouter, after_delta: Callable[[], object] = lambda: None
) -> tuple[str, Retryable | Failed]:
    """The text received before the failure, and the failure."""
    text = ""
    try:
        async for chunk in openrouter.stream(text_request()):
            text += chunk.delta
            after_delta()
    except Failure as exc:
        return text, exc.outcome
    raise AssertionError("it did not fail")


class TestStreamed:
    async def test_text_is_streamed_and_the_usage_is_sent_once_at_the_end(self, upstream: Upstream) -> None:
        first = sse(": OPENROUTER PROCESSING", chunk(""), chunk("Hel"), done=False)
        second = sse(": OPENROUTER PROCESSING", chunk("lo"), done=False)
        last = sse(chunk(None, "stop"), chunk(None, "stop", usage=USAGE))
        gate = asyncio.Semaphore(1)
        pieces = tuple(b"".join(part.pieces) for part in (first, second, last))
        upstream.on("POST", CHAT, msgspec.structs.replace(first, pieces=pieces, gate=gate))
        chunks = []
        async with provider(upstream) as openrouter:
            async for received in openrouter.stream(text_request()):
                chunks.append(received)
                gate.release()
        assert chunks == [
            Chunk(delta="Hel", generation_id="gen-1"),
            Chunk(delta="lo", generation_id="gen-1"),
            Chunk(usage=Usage(3, 5, 8), cost_nano=120_000, finish_reason="stop", generation_id="gen-1"),
        ]
        assert upstream.only("POST", CHAT).json == {
            "model": "a/writer",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
        }

    async def test_text_that_arrives_together_is_joined(self, upstream: Upstream) -> None:
        events = sse(chunk("Hel"), chunk("lo"), chunk("!"), chunk(None, "stop"))
        upstream.on("POST", CHAT, joined(events))
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter, text_request())
        assert [piece.delta for piece in pieces] == ["Hello!", ""]

    async def test_text_before_a_failure_in_the_same_piece_is_kept(self, upstream: Upstream) -> None:
        for last in ({"error": {"code": 502, "message": "down"}, "choices": []}, "data: no JSON"):
            events = sse(chunk("Hel"), chunk("lo"), last)
            upstream.on("POST", CHAT, joined(events))
            async with provider(upstream) as openrouter:
                text, _ = await broken(openrouter)
            assert text == "Hello"

    async def test_usage_may_come_in_a_chunk_without_choices_as_at_openai(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), chunk(None, "length"), {"choices": [], "usage": USAGE}))
        async with provider(upstream) as openrouter:
            assert (await streamed(openrouter))[-1] == Chunk(
                usage=Usage(3, 5, 8), cost_nano=120_000, finish_reason="length", generation_id="gen-1"
            )

    async def test_usage_before_the_last_chunk_is_kept(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi", usage=USAGE), chunk(None, "stop")))
        async with provider(upstream) as openrouter:
            last = (await streamed(openrouter))[-1]
        assert (last.cost_nano, last.usage) == (120_000, Usage(3, 5, 8))

    async def test_a_chunk_of_several_megabytes_is_read(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("x" * 3_000_000), chunk(None, "stop")))
        async with provider(upstream) as openrouter:
            assert len((await streamed(openrouter))[0].delta) == 3_000_000

    async def test_an_endless_stream_is_abandoned(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(*[chunk("x" * 1_500_000)] * 4, done=False, ending="hang"))
        async with provider(upstream) as openrouter:
            text, outcome = await broken(openrouter)
        assert (len(text), outcome.code) == (3_000_000, ErrorCode.RESULT_TOO_LARGE)

    async def test_a_missing_end_mark_does_not_matter_after_the_finish_reason(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), chunk(None, "stop", usage=USAGE), done=False))
        async with provider(upstream) as openrouter:
            assert (await streamed(openrouter))[-1].cost_nano == 120_000

    async def test_a_connection_lost_after_the_finish_reason_loses_only_the_usage(self, upstream: Upstream) -> None:
        reply = sse(chunk("Hi"), chunk(None, "stop"), done=False, ending="reset")
        upstream.on("POST", CHAT, reply)
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter)
        assert [piece.delta for piece in pieces] == ["Hi", ""]
        assert (pieces[-1].finish_reason, pieces[-1].cost_nano) == ("stop", None)

    async def test_an_error_as_the_only_event_is_a_failure(self, upstream: Upstream) -> None:
        table: list[bool] = [True, False]
        with Cases() as cases:
            for done in table:
                upstream.reset()
                with cases.case(done):
                    upstream.on("POST", CHAT, sse({"id": "gen-1", "error": {"code": 429, "message": "raw"}}, done=done))
                    async with provider(upstream) as openrouter:
                        text, outcome = await broken(openrouter)
                    assert text == ""
                    assert expect(Failed, outcome).code is ErrorCode.PROVIDER_FAILED
                    assert "raw" not in outcome.message

    async def test_an_error_in_the_middle_is_a_failure_after_the_text(self, upstream: Upstream) -> None:
        failing = chunk(None, "error", error={"code": "server_error", "message": "boom"}, usage=USAGE)
        upstream.on("POST", CHAT, sse(chunk("Half"), failing))
        async with provider(upstream) as openrouter:
            text, outcome = await broken(openrouter)
        assert text == "Half"
        failed = expect(Failed, outcome)
        assert (failed.code, failed.cost_nano, failed.detail) == (ErrorCode.PROVIDER_FAILED, 120_000, "boom")
        assert "The part received is kept" in failed.message

    async def test_a_stream_without_finish_reason_and_end_mark_is_truncated(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), done=False))
        async with provider(upstream) as openrouter:
            text, outcome = await broken(openrouter)
        assert (text, outcome.code) == ("Half", ErrorCode.PROVIDER_FAILED)

    async def test_a_stream_that_is_reset_in_the_middle_is_a_failure(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), done=False, ending="reset"))
        async with provider(upstream) as openrouter:
            text, outcome = await broken(openrouter)
        assert (text, outcome.code) == ("Half", ErrorCode.PROVIDER_FAILED)

    @in_manual_time
    async def test_a_silent_stream_times_out(self) -> None:
        async with running() as upstream:
            upstream.on("POST", CHAT, sse(chunk("Half"), done=False, ending="hang"))
            async with provider(upstream, timeouts=Timeouts()) as openrouter:
                text, outcome = await broken(openrouter, functools.partial(skip, TOO_LONG_FOR_A_STREAM))
        assert (text, outcome.code) == ("Half", ErrorCode.TIMED_OUT)

    async def test_an_event_that_is_not_json_is_a_failure(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), "data: {oops"))
        async with provider(upstream) as openrouter:
            text, outcome = await broken(openrouter)
        assert (text, outcome.code) == ("Half", ErrorCode.PROVIDER_FAILED)

    async def test_a_stream_is_read_however_it_is_written_and_split(self, upstream: Upstream) -> None:
        stream = (
            b"\xef\xbb\xbf: hello\r\n\r\n"
            b'event: message\r\ndata: {"id": "gen-1", "choices": [{"delta": {"content": "Hi \\ud83d"}}]}\r\n\r\n'
            b'data: {"score": NaN,\rdata: "choices": [{"delta": {"content": "\\ude00 there"}}]}\r\r'
            b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"cost": 0.00012, "x": Infinity}}\n\n'
            b"data:  [DONE] \n\n"
        )
        with Cases() as cases:
            for size in (1, 2, 3, 50, len(stream)):
                upstream.reset()
                pieces = tuple(stream[start : start + size] for start in range(0, len(stream), size))
                upstream.on("POST", CHAT, Reply(headers={"Content-Type": "text/event-stream"}, pieces=pieces))
                with cases.case("in pieces of", size):
                    async with provider(upstream) as openrouter:
                        chunks = await streamed(openrouter)
                    assert "".join(received.delta for received in chunks) == "Hi 😀 there"
                    assert (chunks[-1].finish_reason, chunks[-1].cost_nano) == ("stop", 120_000)

    async def test_an_event_of_type_error_is_a_failure_after_the_text(self, upstream: Upstream) -> None:
        table: list[str] = [
            'event: error\ndata: {"message": "it broke"}',
            'event: error\ndata: {"error": {"message": "it broke"}}',
            'event: error\ndata: {"error": "it broke"}',
            "event: error\ndata: it broke",
            "event: error",
        ]
        with Cases() as cases:
            for event in table:
                upstream.reset()
                for reply in (sse(chunk("Half a"), event), joined(sse(chunk("Half a"), event))):
                    upstream.on("POST", CHAT, reply)
                    with cases.case(event, len(tuple(reply.pieces))):
                        async with provider(upstream) as openrouter:
                            text, failed = await broken(openrouter)
                        assert (text, failed.code) == ("Half a", ErrorCode.PROVIDER_FAILED)
                        assert "it broke" in failed.detail or event == "event: error"

    async def test_an_invalid_event_is_ignored(self, upstream: Upstream) -> None:
        table: list[Any] = [[], 7, "data: null", {"choices": [None]}, {"choices": [{"delta": []}]}]
        with Cases() as cases:
            for event in table:
                upstream.reset()
                with cases.case(event):
                    upstream.on("POST", CHAT, sse(event, chunk("Hi"), chunk(None, "stop")))
                    async with provider(upstream) as openrouter:
                        assert [piece.delta for piece in await streamed(openrouter)] == ["Hi", ""]

    async def test_a_refusal_is_a_failure_with_its_cost(self, upstream: Upstream) -> None:
        refusing = {
            "id": "gen-1",
            "choices": [{"delta": {"refusal": "I will not."}, "finish_reason": "content_filter"}],
        }
        upstream.on("POST", CHAT, sse(refusing, chunk(None, "content_filter", usage=USAGE)))
        async with provider(upstream) as openrouter:
            _, outcome = await broken(openrouter)
        failed = expect(Failed, outcome)
        assert (failed.code, failed.text, failed.cost_nano) == (ErrorCode.PROVIDER_REFUSED, "I will not.", 120_000)

    @in_manual_time
    async def test_an_error_before_the_stream_is_the_same_as_without_a_stream(self) -> None:
        table: list[tuple[str, Reply | Silence, type[Retryable] | type[Failed], ErrorCode]] = [
            ("401", error(401), Failed, ErrorCode.PROVIDER_FAILED),
            ("429", error(429), Retryable, ErrorCode.PROVIDER_BUSY),
            ("refused", error(403, metadata={"reasons": ["x"]}), Failed, ErrorCode.PROVIDER_REFUSED),
            ("200", js({"error": {"code": 502, "message": "x"}}), Failed, ErrorCode.PROVIDER_FAILED),
            ("web page", plain(b"<html>", "text/html", 502), Retryable, ErrorCode.PROVIDER_FAILED),
            ("reset", Silence("reset"), Failed, ErrorCode.OUTCOME_UNKNOWN),
            ("silent", Silence(), Failed, ErrorCode.OUTCOME_UNKNOWN),
        ]
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, TOO_LONG_FOR_A_STREAM)
            with Cases() as cases:
                for name, reply, kind, code in table:
                    upstream.reset()
                    upstream.on("POST", CHAT, reply)
                    with cases.case(name):
                        async with provider(upstream, timeouts=Timeouts()) as openrouter:
                            text, outcome = await broken(openrouter)
                        assert (text, type(outcome), outcome.code) == ("", kind, code)
                        upstream.only("POST", CHAT)

    async def test_an_answer_without_a_stream_is_returned_in_one_piece(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, js(answer()))
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter)
        assert [piece.delta for piece in pieces] == ["Hello there", ""]
        assert pieces[-1].cost_nano == 120_000

    async def test_closing_the_stream_hangs_up_at_once(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), done=False, ending="hang"))
        async with provider(upstream) as openrouter:
            stream = openrouter.stream(text_request())
            assert (await anext(stream)).delta == "Hi"
            await stream.aclose()
            await upstream.client_disconnected()

    async def test_cancelling_the_reader_hangs_up_at_once(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), done=False, ending="hang"))
        received = asyncio.Event()

        async def read(openrouter: OpenRouter) -> None:
            async for _ in openrouter.stream(text_request()):
                received.set()

        async with provider(upstream) as openrouter:
            task = asyncio.create_task(read(openrouter))
            await received.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.client_disconnected()


class TestCostLater:
    async def test_the_cost_of_an_abandoned_answer_can_be_fetched(self, upstream: Upstream) -> None:
        upstream.on("GET", "/api/v1/generation", js({"data": {"id": "gen-1", "total_cost": 0.0015}}))
        async with provider(upstream) as openrouter:
            assert await openrouter.cost_nano("gen-1") == 1_500_000
        assert upstream.only("GET", "/api/v1/generation").query == {"id": "gen-1"}

    async def test_a_cost_that_is_not_known_yet_is_none(self, upstream: Upstream) -> None:
        table: list[Reply | Silence] = [error(404), Silence("reset"), js([]), js({"data": {"total_cost": "?"}})]
        with Cases() as cases:
            for reply in table:
                upstream.reset()
                with cases.case(reply):
                    upstream.on("GET", "/api/v1/generation", reply)
                    async with provider(upstream) as openrouter:
                        assert await openrouter.cost_nano("gen-1") is None
