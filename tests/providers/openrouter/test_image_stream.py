"""Streamed image generation: previews on the way, and the same outcomes as without a stream."""

import base64
import functools
import random
from pathlib import Path
from typing import Any

from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    InputImage,
    Outcome,
    Preview,
    Request,
    ResultFile,
    Retryable,
    Usage,
)
from app.providers.openrouter import OpenRouter, Timeouts
from tests.kit import Cases
from tests.providers.fake_upstream import (
    LOST_ANSWERS,
    Recorded,
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
    DATA_URL,
    LONGER_THAN_ANY_TIMEOUT,
    PNG,
    contents,
    expect,
    image_request,
    new_folder,
    png,
    provider,
    random_json,
)

IMAGES = "/api/v1/images"
GENERATIONS = "/api/v1/images/generations"
CHAT = "/api/v1/chat/completions"
USAGE = {"prompt_tokens": 2, "completion_tokens": 1290, "total_tokens": 1292, "cost": 0.04}


def partial(image: str = B64, index: Any = 0, **more: Any) -> dict[str, Any]:
    return {"type": "image_generation.partial_image", "b64_json": image, "partial_image_index": index, **more}


def completed(image: str = B64, **more: Any) -> dict[str, Any]:
    event = {"type": "image_generation.completed", "b64_json": image, "media_type": "image/png", "created": 1}
    return {**event, "usage": USAGE, **more}


def text_chunk(text: str, phase: str = "content") -> dict[str, Any]:
    return {"type": "image_generation.text_chunk", "phase": phase, "text": text}


def failed_event(**more: Any) -> dict[str, Any]:
    details = {"message": "it broke", "code": "server_error", "param": None, "type": "image_generation_server_error"}
    return {"type": "error", "error": {**details, **more}}


class Watched:
    """A request that wants previews, and those that it got."""

    def __init__(self, **settings: Any) -> None:
        self.previews: list[Preview] = []
        self.request: Request = image_request(previews=2, on_preview=self.previews.append, **settings)

    async def submit(self, openrouter: OpenRouter, folder: Path) -> Outcome:
        return await openrouter.submit(self.request, folder)


async def outcome_of(upstream: Upstream, reply: Reply | Silence, folder: Path, **settings: Any) -> Outcome:
    """The outcome of a streamed request that gets this answer, and is sent once."""
    upstream.reset()
    upstream.on("POST", IMAGES, reply)
    async with provider(upstream, **settings) as openrouter:
        outcome = await Watched().submit(openrouter, folder)
    upstream.only("POST", IMAGES)
    return outcome


class TestPreviews:
    async def test_previews_arrive_before_the_image_which_comes_with_its_usage_and_cost(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        first, second = (base64.b64encode(png(colour)).decode() for colour in ("red", "blue"))
        stream = sse(
            ": OPENROUTER PROCESSING", partial(first), partial(second, 1), text_chunk("Hm", "draft"), completed()
        )
        for reply in (stream, joined(stream)):
            upstream.reset()
            upstream.on("POST", IMAGES, reply)
            folder = new_folder(tmp_path)
            watched = Watched()
            async with provider(upstream) as openrouter:
                done = await watched.submit(openrouter, folder)
            assert watched.previews == [Preview(0, first), Preview(1, second)]
            assert done == Completed(
                media=(ResultFile(folder / "image-0", "image/png"),), usage=Usage(2, 1290, 1292), cost_nano=40_000_000
            )
            assert contents(folder) == {"image-0": PNG}
            assert upstream.only("POST", IMAGES).json["stream"] is True

    async def test_several_images_come_in_one_event_each(self, upstream: Upstream, tmp_path: Path) -> None:
        done = expect(Completed, await outcome_of(upstream, sse(completed(), completed()), tmp_path))
        assert (len(done.media), done.cost_nano) == (2, 40_000_000)

    async def test_large_events_are_read_like_small_ones(self, upstream: Upstream, tmp_path: Path) -> None:
        large = base64.b64encode(PNG + bytes(300_000)).decode()
        upstream.on("POST", IMAGES, sse(partial(large), completed(large)))
        watched = Watched()
        async with provider(upstream) as openrouter:
            expect(Completed, await watched.submit(openrouter, tmp_path))
        assert [preview.base64 for preview in watched.previews] == [large]

    async def test_without_a_wish_for_previews_nothing_is_streamed(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js({"data": [{"b64_json": B64}]}))
        async with provider(upstream) as openrouter:
            expect(Completed, await openrouter.submit(image_request(), tmp_path))
        assert "stream" not in upstream.only("POST", IMAGES).json

    async def test_a_model_that_ignores_the_wish_answers_in_one_piece(self, upstream: Upstream, tmp_path: Path) -> None:
        done = await outcome_of(upstream, js({"data": [{"b64_json": B64}], "usage": USAGE}), tmp_path)
        assert expect(Completed, done).cost_nano == 40_000_000

    async def test_a_server_that_rejects_streaming_is_asked_without_it(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        def strict(request: Recorded) -> Reply:
            return (
                error(400, "Unknown parameter: 'stream'.")
                if "stream" in request.json
                else js({"data": [{"b64_json": B64}]})
            )

        upstream.on("POST", IMAGES, strict)
        async with provider(upstream) as openrouter:
            expect(Completed, await Watched().submit(openrouter, tmp_path))
        assert ["stream" in request.json for request in upstream.requests] == [True, False]

    async def test_the_old_route_gets_the_number_of_previews_that_are_wanted(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", GENERATIONS, sse(partial(), completed(), done=False))
        watched = Watched(route=None)
        async with provider(upstream, is_openrouter=None) as openrouter:
            expect(Completed, await watched.submit(openrouter, tmp_path))
        body = upstream.only("POST", GENERATIONS).json
        assert (body["stream"], body["partial_images"], len(watched.previews)) == (True, 2, 1)

    async def test_a_chat_model_has_no_previews(self, upstream: Upstream, tmp_path: Path) -> None:
        message = {"content": None, "images": [{"type": "image_url", "image_url": {"url": DATA_URL}}]}
        upstream.on("POST", CHAT, js({"choices": [{"finish_reason": "stop", "message": message}]}))
        async with provider(upstream) as openrouter:
            expect(Completed, await Watched(route="chat-image").submit(openrouter, tmp_path))
        assert "stream" not in upstream.only("POST", CHAT).json

    async def test_reference_images_are_sent_with_a_streamed_request_too(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        (tmp_path / "reference").write_bytes(PNG)
        upstream.on("POST", IMAGES, sse(completed()))
        images = (InputImage(tmp_path / "reference", "image/png", "reference"),)
        async with provider(upstream) as openrouter:
            expect(Completed, await Watched(images=images).submit(openrouter, new_folder(tmp_path)))
        assert len(upstream.only("POST", IMAGES).json["input_references"]) == 1

    async def test_previews_with_odd_numbers_are_counted(self, upstream: Upstream, tmp_path: Path) -> None:
        indexes: list[Any] = [None, "1", -1, 10**30, 4]
        upstream.on("POST", IMAGES, sse(*(partial(index=index) for index in indexes), partial(""), completed()))
        watched = Watched()
        async with provider(upstream) as openrouter:
            expect(Completed, await watched.submit(openrouter, tmp_path))
        assert [preview.index for preview in watched.previews] == [0, 1, 2, 3, 4]


class TestOutcomes:
    async def test_a_stream_without_an_image_ends_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        refusal = {"message": "flagged", "code": "moderation_blocked"}
        table: list[tuple[str, Reply, ErrorCode]] = [
            ("an error at first", sse(failed_event(), done=False), ErrorCode.PROVIDER_FAILED),
            ("an error after a preview", sse(partial(), failed_event()), ErrorCode.PROVIDER_FAILED),
            ("an error event", sse(partial(), 'event: error\ndata: {"message": "x"}'), ErrorCode.PROVIDER_FAILED),
            ("an error without details", sse({"type": "error", "message": "x"}), ErrorCode.PROVIDER_FAILED),
            ("a refusal", sse(partial(), failed_event(**refusal)), ErrorCode.PROVIDER_REFUSED),
            ("nothing more", sse(partial()), ErrorCode.PROVIDER_FAILED),
            ("an empty image", sse(completed("")), ErrorCode.PROVIDER_FAILED),
            ("no image at all", sse(completed("PHN2Zy8+")), ErrorCode.RESULT_INVALID),
            ("nothing that is known", sse({"type": "image_generation.dreamed"}), ErrorCode.RESULT_INVALID),
            ("no JSON", sse("data: {"), ErrorCode.RESULT_INVALID),
            ("cut after a preview", sse(partial(), done=False), ErrorCode.OUTCOME_UNKNOWN),
            ("reset after a preview", sse(partial(), done=False, ending="reset"), ErrorCode.OUTCOME_UNKNOWN),
            ("cut at once", sse(done=False), ErrorCode.OUTCOME_UNKNOWN),
            ("a whole error", js({"error": {"code": 502, "message": "x"}}), ErrorCode.PROVIDER_FAILED),
            ("a web page", plain(b"<html>", "text/html"), ErrorCode.RESULT_INVALID),
        ]
        with Cases() as cases:
            for name, reply, code in table:
                with cases.case(name):
                    failed = expect(Failed, await outcome_of(upstream, reply, new_folder(tmp_path)))
                    assert failed.code is code

    async def test_an_answer_of_text_only_is_a_failure_that_keeps_the_text(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        thought = text_chunk("Let me see", "reasoning")
        reply = sse(thought, text_chunk("What kind "), text_chunk("of lighthouse?"))
        failed = expect(Failed, await outcome_of(upstream, reply, tmp_path))
        assert (failed.code, failed.text) == (ErrorCode.PROVIDER_FAILED, "What kind of lighthouse?")

    async def test_an_image_that_has_arrived_is_kept_whatever_follows(self, upstream: Upstream, tmp_path: Path) -> None:
        endings: dict[str, Reply] = {
            "an error": sse(completed(), failed_event()),
            "the end": sse(completed(), done=False),
            "a reset": sse(completed(), partial(), done=False, ending="reset"),
            "too much": sse(completed(), completed("A" * 3_000_000)),
        }
        with Cases() as cases:
            for name, reply in endings.items():
                with cases.case(name):
                    outcome = await outcome_of(upstream, reply, new_folder(tmp_path), max_image_bytes=2000)
                    done = expect(Completed, outcome)
                    assert (len(done.media), done.cost_nano) == (1, 40_000_000)

    async def test_images_above_the_limit_are_too_large_and_previews_do_not_count(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        small = {"max_image_bytes": 2000}
        table: dict[str, Reply] = {
            "an image": sse(completed(base64.b64encode(b"x" * 3000).decode())),
            "far too large an image": sse(completed("A" * 3_000_000)),
            "an endless event": sse(f'data: {{"type": "image_generation.completed", "b64_json": "{"A" * 3_000_000}'),
            "an endless answer": js({"data": [{"b64_json": "A" * 3_000_000}]}),
        }
        with Cases() as cases:
            for name, reply in table.items():
                with cases.case(name):
                    failed = expect(Failed, await outcome_of(upstream, reply, new_folder(tmp_path), **small))
                    assert failed.code is ErrorCode.RESULT_TOO_LARGE
            with cases.case("many previews"):
                reply = sse(*[partial("A" * 400_000)] * 5, completed())
                expect(Completed, await outcome_of(upstream, reply, new_folder(tmp_path), **small))

    async def test_an_error_status_means_the_same_as_without_a_stream(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for status in (429, 502, 503, 529):
                with cases.case(status):
                    expect(Retryable, await outcome_of(upstream, error(status), new_folder(tmp_path)))
            for status in (408, 499, 500, 504, 524):
                with cases.case(status):
                    failed = expect(Failed, await outcome_of(upstream, error(status), new_folder(tmp_path)))
                    assert failed.code is ErrorCode.OUTCOME_UNKNOWN

    @in_manual_time
    async def test_a_request_without_an_answer_is_not_repeated(self, tmp_path: Path) -> None:
        silent_after_a_preview = sse(partial(), done=False, ending="hang")
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for name, reply in {**LOST_ANSWERS, "silent after a preview": silent_after_a_preview}.items():
                    with cases.case(name):
                        outcome = await outcome_of(upstream, reply, new_folder(tmp_path), timeouts=Timeouts())
                        assert expect(Failed, outcome).code is ErrorCode.OUTCOME_UNKNOWN

    @in_manual_time
    async def test_a_stream_that_never_ends_is_left_after_the_time_of_a_whole_answer(self, tmp_path: Path) -> None:
        for image in (None, completed()):
            endless = sse(*([image] if image else []), *[": OPENROUTER PROCESSING"] * 100, done=False, ending="hang")
            async with running() as upstream:
                upstream.after_piece = functools.partial(skip, Timeouts().image / 10)
                outcome = await outcome_of(upstream, endless, new_folder(tmp_path), timeouts=Timeouts())
            if image:
                expect(Completed, outcome)
            else:
                assert expect(Failed, outcome).code is ErrorCode.OUTCOME_UNKNOWN

    async def test_a_server_that_is_not_there_was_sent_nothing(self, upstream: Upstream, tmp_path: Path) -> None:
        await upstream.stop()
        async with provider(upstream) as openrouter:
            again = expect(Retryable, await Watched().submit(openrouter, tmp_path))
        assert again.code is ErrorCode.PROVIDER_UNREACHABLE

    async def test_no_event_raises_an_exception(self, upstream: Upstream, tmp_path: Path) -> None:
        rng = random.Random(7)
        names = (
            "type",
            "b64_json",
            "partial_image_index",
            "usage",
            "cost",
            "error",
            "text",
            "phase",
            "code",
            "message",
        )
        kinds = ("image_generation.partial_image", "image_generation.text_chunk", "image_generation.completed", "error")
        with Cases() as cases:
            for number in range(100):
                event = {name: random_json(rng, names) for name in names if rng.random() < 0.6}
                if rng.random() < 0.8:
                    event["type"] = rng.choice(kinds)
                with cases.case(number, event):
                    assert await outcome_of(upstream, sse(event, completed()), new_folder(tmp_path))
