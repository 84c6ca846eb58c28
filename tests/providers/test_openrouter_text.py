"""Text from OpenRouter: what leaves, what comes back, and every way in which it goes wrong."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.providers.client import Answer, Client
from app.providers.contract import Again, Chunk, Done, ErrorCode, Failure, Message, Never, Picture, Request, Usage
from app.providers.openrouter import OpenRouter
from app.providers.openrouter.chat import finished
from tests.providers.asking import B64, CALM, HASTY, KEY, PNG, a_text, provider, the
from tests.providers.fake_upstream import Reply, Silence, Upstream, error, js, plain, sse

CHAT = "/api/v1/chat/completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "cost": 0.00012}


def answer(content: Any = "Hello there", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return {"id": "gen-1", "object": "chat.completion", "model": "a/writer", "choices": [choice], "usage": USAGE}


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"id": "gen-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


class TestWhole:
    async def test_a_question_leaves_as_one_user_message_with_its_settings(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(answer()))
        async with provider(upstream, title="Atelier", referer="https://studio.example") as openrouter:
            await openrouter.submit(a_text(params={"temperature": 0.5, "max_tokens": 9, "stop": ["END"]}), tmp_path)
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

    async def test_turns_of_a_conversation_leave_as_they_are(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(answer()))
        turns = (Message("system", "Be brief"), Message("user", [{"type": "text", "text": "Hi"}]))
        async with provider(upstream) as openrouter:
            await openrouter.submit(a_text(messages=turns), tmp_path)
        assert upstream.only("POST", CHAT).json["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        ]

    async def test_a_picture_to_look_at_leaves_as_a_data_url(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(answer()))
        (tmp_path / "p").write_bytes(PNG)
        pictures = (Picture(tmp_path / "p", "image/png", "reference"),)
        async with provider(upstream) as openrouter:
            await openrouter.submit(a_text(pictures=pictures), tmp_path)
        assert upstream.only("POST", CHAT).json["messages"][0]["content"] == [
            {"type": "text", "text": "Hello"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        ]

    async def test_the_answer_comes_back_with_usage_and_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(answer(), X_Generation_Id="gen-77"))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(a_text(), tmp_path))
        assert done == Done(
            text="Hello there", usage=Usage(3, 5, 8), cost_nano=120_000, generation_id="gen-77", media=()
        )

    async def test_text_in_parts_is_put_together(self, upstream: Upstream, tmp_path: Path) -> None:
        parts = [
            {"type": "text", "text": "Hello "},
            {"type": "reasoning", "text": "hm"},
            {"type": "text", "text": "you"},
        ]
        upstream.on("POST", CHAT, js(answer(parts)))
        async with provider(upstream) as openrouter:
            assert the(Done, await openrouter.submit(a_text(), tmp_path)).text == "Hello you"

    @pytest.mark.parametrize("cost", [None, "cheap", {}, -1, True, float(10**9)])
    async def test_a_cost_that_is_not_told_stays_unknown(self, cost: Any, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js({**answer(), "usage": {"cost": cost}}))
        async with provider(upstream) as openrouter:
            assert the(Done, await openrouter.submit(a_text(), tmp_path)).cost_nano is None

    @pytest.mark.parametrize(("cost", "nano"), [(0, 0), (1e-7, 100), ("0.0000015", 1500), (12.5, 12_500_000_000)])
    async def test_a_cost_is_counted_to_the_nano_dollar(
        self, cost: Any, nano: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js({**answer(), "usage": {"cost": cost}}))
        async with provider(upstream) as openrouter:
            assert the(Done, await openrouter.submit(a_text(), tmp_path)).cost_nano == nano

    @pytest.mark.parametrize(
        ("reply", "code", "text"),
        [
            (answer(None, "content_filter", refusal="I will not."), ErrorCode.PROVIDER_REFUSED, "I will not."),
            (answer("Half a", "content_filter"), ErrorCode.PROVIDER_REFUSED, "Half a"),
            (answer(None, "stop", refusal="No."), ErrorCode.PROVIDER_REFUSED, "No."),
            (answer("Half a sentence", "error"), ErrorCode.PROVIDER_FAILED, "Half a sentence"),
            ({**answer(), "choices": [], "error": {"code": 502, "message": "x"}}, ErrorCode.PROVIDER_FAILED, None),
            (answer("", "length"), ErrorCode.PROVIDER_FAILED, None),
            ({"usage": USAGE}, ErrorCode.RESULT_INVALID, None),
        ],
    )
    async def test_a_success_that_is_none_ends_the_job_and_keeps_its_cost_and_words(
        self, reply: dict[str, Any], code: ErrorCode, text: str | None, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(reply))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(a_text(), tmp_path))
        assert (never.code, never.text, never.cost_nano) == (code, text, 120_000)
        upstream.only("POST", CHAT)

    @pytest.mark.parametrize("body", [[], "text", 7, None, {"choices": "x"}, {"choices": [7]}, {"choices": [{}]}])
    async def test_an_answer_that_makes_no_sense_ends_the_job_and_nothing_else(
        self, body: Any, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(body))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(a_text(), tmp_path))
        assert never.code is ErrorCode.RESULT_INVALID

    async def test_a_web_page_in_place_of_an_answer_ends_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, plain(b"<html>Welcome</html>", "text/html"))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(a_text(), tmp_path))
        assert never.code is ErrorCode.RESULT_INVALID
        assert "Welcome" in never.detail
        assert "Welcome" not in never.message


NAMES = st.sampled_from(
    [
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
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | NAMES
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6))


@given(body=JSON, status=st.sampled_from([200, 200, 200, 400, 402, 403, 429, 502]))
@settings(max_examples=100, deadline=None)
def test_no_answer_whatever_it_holds_breaks_the_program(body: Any, status: int) -> None:
    assert isinstance(finished(Answer(status=status, headers={}, body=body), ""), (Done, Again, Never))


class TestErrors:
    """The table of the fact sheet, as far as it concerns text."""

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
    async def test_a_failure_that_cost_nothing_may_be_tried_anew(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, error(status))
        async with provider(upstream) as openrouter:
            the(Again, await openrouter.submit(a_text(), tmp_path))
        upstream.only("POST", CHAT)

    @pytest.mark.parametrize("status", [408, 499, 504, 520, 524])
    async def test_a_failure_that_may_have_cost_something_is_not_tried_anew(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, error(status))
        async with provider(upstream) as openrouter:
            assert the(Never, await openrouter.submit(a_text(), tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN

    @pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 409, 410, 412, 413, 418, 422])
    async def test_a_mistake_of_ours_is_final_and_said_in_our_own_words(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, error(status, "raw words of the provider", Location="/elsewhere"))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(a_text(), tmp_path))
        assert never.code is ErrorCode.PROVIDER_FAILED
        assert "raw words" in never.detail
        assert "raw words" not in never.message
        assert never.message.endswith(".")

    async def test_the_admin_is_sent_to_the_key_and_to_the_credits(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, error(401), error(402, metadata={"limit_source": "openrouter_credits"}))
        async with provider(upstream) as openrouter:
            wrong_key = the(Never, await openrouter.submit(a_text(), tmp_path))
            no_credit = the(Never, await openrouter.submit(a_text(), tmp_path))
        assert "key" in wrong_key.message
        assert "credit" in no_credit.message

    async def test_a_full_in_flight_budget_passes(self, upstream: Upstream, tmp_path: Path) -> None:
        budget = {"limit_source": "openrouter_in_flight_budget"}
        upstream.on("POST", CHAT, error(402, metadata=budget, Retry_After="7"), error(402, metadata=budget))
        async with provider(upstream) as openrouter:
            assert the(Again, await openrouter.submit(a_text(), tmp_path)).wait == 7
            assert the(Again, await openrouter.submit(a_text(), tmp_path)).wait == 30

    @pytest.mark.parametrize(
        ("status", "code", "metadata"),
        [
            (403, 403, {"reasons": ["violence"], "flagged_input": "x"}),
            (403, 403, {"error_type": "content_policy_violation"}),
            (403, 403, {"error_type": "refusal"}),
            (403, 403, {"patterns": ["card"]}),
            (400, "moderation_blocked", {}),
            (422, "content_policy_violation", {}),
        ],
    )
    async def test_refused_content_is_told_from_other_failures(
        self, status: int, code: Any, metadata: dict[str, Any], upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js({"error": {"code": code, "message": "x", "metadata": metadata}}, status))
        async with provider(upstream) as openrouter:
            assert the(Never, await openrouter.submit(a_text(), tmp_path)).code is ErrorCode.PROVIDER_REFUSED

    @pytest.mark.parametrize(
        ("headers", "low", "high"),
        [
            ({"Retry_After": "12"}, 12, 12),
            ({"Retry_After": "1.5"}, 1.5, 1.5),
            ({"retry_after_ms": "2500"}, 2.5, 2.5),
            ({"Retry_After": "Fri, 01 Jan 2100 00:00:00 GMT"}, 3600, 3600),
            ({"Retry_After": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0, 0),
            ({"Retry_After": "999999999999"}, 3600, 3600),
            ({"X_RateLimit_Reset": "SECONDS"}, 15, 21),
            ({"X_RateLimit_Reset": "MILLISECONDS"}, 15, 21),
        ],
    )
    async def test_the_wait_that_the_provider_asks_for_is_kept_within_an_hour(
        self, headers: dict[str, str], low: float, high: float, upstream: Upstream, tmp_path: Path
    ) -> None:
        soon = time.time() + 20
        moments = {"SECONDS": str(int(soon)), "MILLISECONDS": str(int(soon * 1000))}
        said = {name.replace("_", "-"): moments.get(value, value) for name, value in headers.items()}
        upstream.on("POST", CHAT, Reply(status=429, headers=said))
        async with provider(upstream) as openrouter:
            wait = the(Again, await openrouter.submit(a_text(), tmp_path)).wait
        assert wait is not None
        assert low <= wait <= high

    @pytest.mark.parametrize("said", ["", "soon", "nan", "-5", "inf", "[]"])
    async def test_a_wait_that_makes_no_sense_is_none(self, said: str, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, error(503, Retry_After=said))
        async with provider(upstream) as openrouter:
            assert the(Again, await openrouter.submit(a_text(), tmp_path)).wait is None

    @pytest.mark.parametrize("body", [b"<html>502</html>", b"", b"[]", b'{"error": "bare text"}', b'{"error": []}'])
    async def test_an_error_in_any_form_is_understood_by_its_status(
        self, body: bytes, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, plain(body, "text/html", 502))
        async with provider(upstream) as openrouter:
            the(Again, await openrouter.submit(a_text(), tmp_path))

    async def test_an_unreachable_provider_was_sent_nothing(self, tmp_path: Path) -> None:
        base = "http://127.0.0.1:9/api/v1"
        client = Client([base])
        openrouter = OpenRouter(client, base, KEY, max_image_bytes=1, max_video_bytes=1, patience=CALM)
        again = the(Again, await openrouter.submit(a_text(), tmp_path))
        assert again.code is ErrorCode.PROVIDER_UNREACHABLE
        await client.aclose()

    @pytest.mark.parametrize("reply", [Silence("reset"), Silence("close"), Silence(), Reply(pieces=(b"{",), length=9)])
    async def test_a_lost_answer_leaves_the_outcome_unknown(
        self, reply: Reply | Silence, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, reply)
        async with provider(upstream, patience=HASTY) as openrouter:
            never = the(Never, await openrouter.submit(a_text(), tmp_path))
        assert never.code is ErrorCode.OUTCOME_UNKNOWN
        upstream.only("POST", CHAT)

    async def test_a_provider_that_quotes_the_key_does_not_get_it_into_our_records(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        key = "a-key-without-any-known-beginning"
        upstream.on("POST", CHAT, error(401, f"Incorrect API key provided: '{key}'."))
        async with provider(upstream, key) as openrouter:
            never = the(Never, await openrouter.submit(a_text(), tmp_path))
            assert key not in repr(never) + repr(openrouter)
        assert "Incorrect API key" in never.detail

    async def test_what_is_kept_of_a_long_error_is_short(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, error(400, "x" * 50_000))
        async with provider(upstream) as openrouter:
            assert len(the(Never, await openrouter.submit(a_text(), tmp_path)).detail) <= 2000


async def streamed(openrouter: OpenRouter, request: Request | None = None) -> list[Chunk]:
    return [piece async for piece in openrouter.stream(request or a_text())]


async def broken(openrouter: OpenRouter) -> tuple[str, Again | Never]:
    """The text that came before the failure, and the failure."""
    told = ""
    try:
        async for piece in openrouter.stream(a_text()):
            told += piece.delta
    except Failure as failure:
        return told, failure.outcome
    raise AssertionError("it did not fail")


class TestStreamed:
    async def test_text_comes_piece_by_piece_and_the_figures_once_at_the_end(self, upstream: Upstream) -> None:
        upstream.on(
            "POST",
            CHAT,
            sse(
                ": OPENROUTER PROCESSING",
                chunk(""),
                chunk("Hel"),
                ": OPENROUTER PROCESSING",
                chunk("lo"),
                chunk(None, "stop"),
                chunk(None, "stop", usage=USAGE),
                pause=0.03,
            ),
        )
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter)
        assert pieces == [
            Chunk(delta="Hel", generation_id="gen-1"),
            Chunk(delta="lo", generation_id="gen-1"),
            Chunk(usage=Usage(3, 5, 8), cost_nano=120_000, finish_reason="stop", generation_id="gen-1"),
        ]
        assert upstream.only("POST", CHAT).json == {
            "model": "a/writer",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
        }

    async def test_words_that_come_together_are_one_piece_and_what_is_no_words_stays_as_it_came(
        self, upstream: Upstream
    ) -> None:
        def told(**delta: Any) -> dict[str, Any]:
            return {"id": "gen-1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

        call = {"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": "{"}}]}
        more = {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}
        said = [told(role="assistant", content="Hel"), told(content="lo"), told(**call), told(**more)]
        events = sse(
            *said, told(content="!", reasoning="hm"), told(content="?"), told(content="!"), chunk(None, "stop")
        )
        upstream.on("POST", CHAT, msgspec.structs.replace(events, pieces=(b"".join(events.pieces),)))
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter, msgspec.structs.replace(a_text(), raw=True))
        assert [piece.choice for piece in pieces if piece.choice] == [
            {"role": "assistant", "content": "Hello"},
            call,
            more,
            {"content": "!", "reasoning": "hm"},
            {"content": "?!"},
        ]
        assert "".join(piece.delta for piece in pieces) == "Hello!?!"

    async def test_what_came_before_a_failure_in_the_same_piece_is_kept(self, upstream: Upstream) -> None:
        for last in ({"error": {"code": 502, "message": "down"}, "choices": []}, "data: no JSON"):
            events = sse(chunk("Hel"), chunk("lo"), last)
            upstream.on("POST", CHAT, msgspec.structs.replace(events, pieces=(b"".join(events.pieces),)))
            async with provider(upstream) as openrouter:
                text, _ = await broken(openrouter)
            assert text == "Hello"

    async def test_the_figures_of_openai_come_in_a_chunk_without_choices(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), chunk(None, "length"), {"choices": [], "usage": USAGE}))
        async with provider(upstream) as openrouter:
            assert (await streamed(openrouter))[-1] == Chunk(
                usage=Usage(3, 5, 8), cost_nano=120_000, finish_reason="length", generation_id="gen-1"
            )

    async def test_figures_that_come_before_the_last_chunk_are_kept(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi", usage=USAGE), chunk(None, "stop")))
        async with provider(upstream) as openrouter:
            last = (await streamed(openrouter))[-1]
        assert (last.cost_nano, last.usage) == (120_000, Usage(3, 5, 8))

    async def test_a_chunk_of_megabytes_is_read(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("x" * 3_000_000), chunk(None, "stop")))
        async with provider(upstream) as openrouter:
            assert len((await streamed(openrouter))[0].delta) == 3_000_000

    async def test_a_stream_that_never_stops_is_given_up(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(*[chunk("x" * 1_500_000)] * 4, done=False, ending="hang"))
        async with provider(upstream) as openrouter:
            told, outcome = await broken(openrouter)
        assert (len(told), outcome.code) == (3_000_000, ErrorCode.RESULT_TOO_LARGE)

    async def test_a_missing_end_mark_does_not_matter_after_the_finish_reason(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), chunk(None, "stop", usage=USAGE), done=False))
        async with provider(upstream) as openrouter:
            assert (await streamed(openrouter))[-1].cost_nano == 120_000

    async def test_a_connection_lost_after_the_finish_reason_loses_only_the_figures(self, upstream: Upstream) -> None:
        reply = sse(chunk("Hi"), chunk(None, "stop"), done=False, ending="reset", pause=0.05)
        upstream.on("POST", CHAT, reply)
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter)
        assert [piece.delta for piece in pieces] == ["Hi", ""]
        assert (pieces[-1].finish_reason, pieces[-1].cost_nano) == ("stop", None)

    @pytest.mark.parametrize("done", [True, False])
    async def test_an_error_as_the_only_event_is_a_failure(self, done: bool, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse({"id": "gen-1", "error": {"code": 429, "message": "raw"}}, done=done))
        async with provider(upstream) as openrouter:
            told, outcome = await broken(openrouter)
        assert told == ""
        assert the(Never, outcome).code is ErrorCode.PROVIDER_FAILED
        assert "raw" not in outcome.message

    async def test_an_error_in_the_middle_is_a_failure_after_what_was_said(self, upstream: Upstream) -> None:
        failing = chunk(None, "error", error={"code": "server_error", "message": "boom"}, usage=USAGE)
        upstream.on("POST", CHAT, sse(chunk("Half"), failing))
        async with provider(upstream) as openrouter:
            told, outcome = await broken(openrouter)
        assert told == "Half"
        never = the(Never, outcome)
        assert (never.code, never.cost_nano, never.detail) == (ErrorCode.PROVIDER_FAILED, 120_000, "boom")
        assert "What arrived is kept" in never.message

    async def test_a_stream_without_finish_reason_and_end_mark_is_truncated(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), done=False))
        async with provider(upstream) as openrouter:
            told, outcome = await broken(openrouter)
        assert (told, outcome.code) == ("Half", ErrorCode.PROVIDER_FAILED)

    async def test_a_stream_cut_in_the_middle_is_a_failure(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), done=False, ending="reset", pause=0.05))
        async with provider(upstream) as openrouter:
            told, outcome = await broken(openrouter)
        assert (told, outcome.code) == ("Half", ErrorCode.PROVIDER_FAILED)

    async def test_a_stream_that_falls_silent_is_timed_out(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), done=False, ending="hang"))
        async with provider(upstream, patience=HASTY) as openrouter:
            told, outcome = await broken(openrouter)
        assert (told, outcome.code) == ("Half", ErrorCode.TIMED_OUT)

    async def test_an_event_that_is_not_json_is_a_failure(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Half"), "data: {oops"))
        async with provider(upstream) as openrouter:
            told, outcome = await broken(openrouter)
        assert (told, outcome.code) == ("Half", ErrorCode.PROVIDER_FAILED)

    @pytest.mark.parametrize("event", [[], 7, "data: null", {"choices": [None]}, {"choices": [{"delta": []}]}])
    async def test_an_event_that_makes_no_sense_is_passed_over(self, event: Any, upstream: Upstream) -> None:
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
        never = the(Never, outcome)
        assert (never.code, never.text, never.cost_nano) == (ErrorCode.PROVIDER_REFUSED, "I will not.", 120_000)

    @pytest.mark.parametrize(
        ("reply", "kind", "code"),
        [
            (error(401), Never, ErrorCode.PROVIDER_FAILED),
            (error(429), Again, ErrorCode.PROVIDER_FAILED),
            (error(403, metadata={"reasons": ["x"]}), Never, ErrorCode.PROVIDER_REFUSED),
            (js({"error": {"code": 502, "message": "x"}}), Never, ErrorCode.PROVIDER_FAILED),
            (plain(b"<html>", "text/html", 502), Again, ErrorCode.PROVIDER_FAILED),
            (Silence("reset"), Never, ErrorCode.OUTCOME_UNKNOWN),
            (Silence(), Never, ErrorCode.OUTCOME_UNKNOWN),
        ],
    )
    async def test_an_error_before_the_stream_is_the_same_as_without_one(
        self, reply: Reply | Silence, kind: type[Again] | type[Never], code: ErrorCode, upstream: Upstream
    ) -> None:
        upstream.on("POST", CHAT, reply)
        async with provider(upstream, patience=HASTY) as openrouter:
            told, outcome = await broken(openrouter)
        assert (told, type(outcome), outcome.code) == ("", kind, code)
        upstream.only("POST", CHAT)

    async def test_a_server_that_cannot_stream_answers_in_one_piece(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, js(answer()))
        async with provider(upstream) as openrouter:
            pieces = await streamed(openrouter)
        assert [piece.delta for piece in pieces] == ["Hello there", ""]
        assert pieces[-1].cost_nano == 120_000

    async def test_closing_the_stream_hangs_up_at_once(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), done=False, ending="hang"))
        async with provider(upstream) as openrouter:
            stream = openrouter.stream(a_text())
            assert (await anext(stream)).delta == "Hi"
            await stream.aclose()
            await asyncio.wait_for(upstream.hung_up.wait(), 1)

    async def test_cancelling_the_reader_hangs_up_at_once(self, upstream: Upstream) -> None:
        upstream.on("POST", CHAT, sse(chunk("Hi"), done=False, ending="hang"))
        async with provider(upstream) as openrouter:
            reading = asyncio.create_task(streamed(openrouter))
            await asyncio.sleep(0.2)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await asyncio.wait_for(upstream.hung_up.wait(), 1)


class TestCostLater:
    async def test_the_cost_of_an_answer_that_was_left_can_be_asked_for(self, upstream: Upstream) -> None:
        upstream.on("GET", "/api/v1/generation", js({"data": {"id": "gen-1", "total_cost": 0.0015}}))
        async with provider(upstream) as openrouter:
            assert await openrouter.cost_nano("gen-1") == 1_500_000
        assert upstream.only("GET", "/api/v1/generation").query == {"id": "gen-1"}

    @pytest.mark.parametrize("reply", [error(404), Silence("reset"), js([]), js({"data": {"total_cost": "?"}})])
    async def test_a_cost_that_is_not_known_yet_is_none(self, reply: Reply | Silence, upstream: Upstream) -> None:
        upstream.on("GET", "/api/v1/generation", reply)
        async with provider(upstream) as openrouter:
            assert await openrouter.cost_nano("gen-1") is None
