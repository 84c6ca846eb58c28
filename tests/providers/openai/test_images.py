"""Images with OpenAI: generations, edits with a mask, and what its errors mean."""

import base64
import functools
from pathlib import Path
from typing import Any

from app.providers.contract import Completed, ErrorCode, Failed, InputImage, Preview, ResultFile, Retryable, Usage
from tests.kit import Cases
from tests.providers.fake_upstream import LOST_ANSWERS, Upstream, js, plain, running, sse
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openai.kit import Part, fields, form, provider, refusal
from tests.providers.openrouter.kit import (
    B64,
    KEY,
    LONGER_THAN_ANY_TIMEOUT,
    PNG,
    contents,
    expect,
    image_request,
    new_folder,
    png,
)

GENERATIONS = "/api/v1/images/generations"
EDITS = "/api/v1/images/edits"
MODEL = "gpt-image-2"
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
    "output_tokens": 1000,
    "total_tokens": 1010,
}
request = functools.partial(image_request, model=MODEL)


def images(*b64: str) -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": one} for one in b64], "output_format": "png", "usage": USAGE}


def image(folder: Path, role: str = "reference", content: bytes = PNG) -> InputImage:
    path = folder / role
    path.write_bytes(content)
    return InputImage(path, "image/png", role)


class TestGenerations:
    async def test_parameters_are_sent_as_the_model_describes_them(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", GENERATIONS, js(images(B64)))
        params = {"n": 2, "size": "1536x1024", "quality": "high", "output_format": "webp", "input_fidelity": "high"}
        async with provider(upstream) as openai:
            await openai.submit(request(params=params), tmp_path)
        sent = upstream.only("POST", GENERATIONS)
        expected = {"model": MODEL, "prompt": "A lighthouse", "n": 2, "size": "1536x1024"}
        assert sent.json == {**expected, "quality": "high", "output_format": "webp"}, "without what only edits have"
        assert sent.key == f"Bearer {KEY}"

    async def test_images_come_back_as_files_with_usage_and_the_price_of_the_tokens(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        red, blue = png("red"), png("blue")
        upstream.on("POST", GENERATIONS, js(images(base64.b64encode(red).decode(), base64.b64encode(blue).decode())))
        async with provider(upstream) as openai:
            done = expect(Completed, await openai.submit(request(params={"n": 2}), tmp_path))
        assert done == Completed(
            media=(ResultFile(tmp_path / "image-0"), ResultFile(tmp_path / "image-1")),
            usage=Usage(10, 1000, 1010),
            cost_nano=30_050_000,
        )
        assert contents(tmp_path) == {"image-0": red, "image-1": blue}

    async def test_a_cost_is_unknown_unless_every_token_has_a_price(self, upstream: Upstream, tmp_path: Path) -> None:
        table = {
            "a model that is not described": ("another", USAGE),
            "no usage": (MODEL, None),
            "parts that do not add up": (MODEL, {**USAGE, "input_tokens": 500}),
            "no output": (MODEL, {**USAGE, "output_tokens": None}),
            "a negative number": (MODEL, {**USAGE, "output_tokens": -1000}),
            "an impossible number": (MODEL, {**USAGE, "output_tokens": 1e300}),
        }
        with Cases() as cases:
            for name, (model, usage) in table.items():
                upstream.on("POST", GENERATIONS, js({**images(B64), "usage": usage}))
                async with provider(upstream) as openai:
                    outcome = await openai.submit(request(model=model), new_folder(tmp_path))
                with cases.case(name):
                    assert expect(Completed, outcome).cost_nano is None

    async def test_another_server_has_its_own_prices(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", GENERATIONS, js(images(B64)), js({**images(B64), "usage": {**USAGE, "cost": 0.5}}))
        async with provider(upstream, is_openai=False) as compatible:
            unknown = expect(Completed, await compatible.submit(request(), tmp_path))
            reported = expect(Completed, await compatible.submit(request(), new_folder(tmp_path)))
        assert (unknown.cost_nano, reported.cost_nano) == (None, 500_000_000)

    async def test_a_short_lived_link_is_fetched_at_once_and_without_the_key(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", plain(PNG, "image/png"))
        upstream.on("POST", GENERATIONS, js({"created": 1, "data": [{"url": f"{stranger.origin}/p.png"}]}))
        async with provider(upstream) as openai:
            expect(Completed, await openai.submit(request(), tmp_path))
        assert contents(tmp_path) == {"image-0": PNG}
        assert stranger.only("GET", "/p.png").key is None

    async def test_base64_is_requested_only_from_servers_that_need_it(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", GENERATIONS, js(images(B64)))
        async with provider(upstream) as openai, provider(upstream, asks_for_base64=True, name="local") as local:
            await openai.submit(request(), tmp_path)
            await local.submit(request(), new_folder(tmp_path))
        first, second = upstream.received("POST", GENERATIONS)
        assert "response_format" not in first.json
        assert second.json["response_format"] == "b64_json"

    async def test_a_server_without_keys_is_sent_none(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", GENERATIONS, js(images(B64)))
        async with provider(upstream, key=None) as local:
            expect(Completed, await local.submit(request(), tmp_path))
        assert upstream.only("POST", GENERATIONS).key is None


class TestPreviews:
    async def test_previews_arrive_before_the_result_which_is_the_same_as_without(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        partial = {"type": "image_generation.partial_image", "b64_json": B64, "partial_image_index": 1}
        completed = {"type": "image_generation.completed", "b64_json": B64, "usage": USAGE}
        upstream.on("POST", GENERATIONS, sse(partial, completed))
        previews: list[Preview] = []
        async with provider(upstream) as openai:
            wanted = request(previews=2, on_preview=previews.append)
            done = expect(Completed, await openai.submit(wanted, tmp_path))
        sent = upstream.only("POST", GENERATIONS).json
        assert (sent["stream"], sent["partial_images"]) == (True, 2)
        assert previews == [Preview(1, B64)]
        assert contents(tmp_path) == {"image-0": PNG}
        assert (done.usage, done.cost_nano) == (Usage(10, 1000, 1010), 30_050_000)

    async def test_an_edit_has_previews_too(self, upstream: Upstream, tmp_path: Path) -> None:
        partial = {"type": "image_edit.partial_image", "b64_json": B64, "partial_image_index": 0}
        upstream.on("POST", EDITS, sse(partial, {"type": "image_edit.completed", "b64_json": B64}))
        previews: list[Preview] = []
        async with provider(upstream) as openai:
            wanted = request(images=(image(tmp_path),), previews=1, on_preview=previews.append)
            expect(Completed, await openai.submit(wanted, new_folder(tmp_path)))
        assert fields(upstream.only("POST", EDITS))["stream"] == "true"
        assert len(previews) == 1

    async def test_a_server_that_cannot_stream_is_asked_again_without(self, upstream: Upstream, tmp_path: Path) -> None:
        rejected = refusal(400, "unknown_parameter", message="Unknown parameter: 'stream'.")
        upstream.on("POST", GENERATIONS, rejected, js(images(B64)))
        async with provider(upstream) as openai:
            wanted = request(previews=2, on_preview=lambda preview: None)
            expect(Completed, await openai.submit(wanted, tmp_path))
        assert "stream" not in upstream.received("POST", GENERATIONS)[1].json


class TestEdits:
    async def test_images_and_mask_are_files_with_a_name_and_a_type(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", EDITS, js(images(B64)))
        mask = png("white")
        inputs = (image(tmp_path, "mask", mask), image(tmp_path, "image"), image(tmp_path, "reference", png("red")))
        params = {"n": 2, "input_fidelity": "high"}
        async with provider(upstream) as openai:
            done = await openai.submit(request(images=inputs, params=params), new_folder(tmp_path))
        expect(Completed, done)
        sent = upstream.only("POST", EDITS)
        parts = form(sent)
        assert [(part.content, part.media_type) for part in parts["image[]"]] == [
            (PNG, "image/png"),
            (png("red"), "image/png"),
        ]
        assert parts["mask"] == [Part(mask, "mask.png", "image/png")]
        assert fields(sent) == {"model": MODEL, "prompt": "A lighthouse", "n": "2", "input_fidelity": "high"}
        assert sent.key == f"Bearer {KEY}"

    async def test_a_single_image_has_the_field_that_every_server_knows(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", EDITS, js(images(B64)))
        async with provider(upstream) as openai:
            await openai.submit(request(images=(image(tmp_path),)), new_folder(tmp_path))
        assert form(upstream.only("POST", EDITS))["image"] == [Part(PNG, "image-0.png", "image/png")]

    async def test_a_prompt_in_any_language_with_any_character_arrives_unchanged(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", EDITS, js(images(B64)))
        prompt = 'Ein "Löwe"\r\n--boundary\r\n日本 🦁'
        async with provider(upstream) as openai:
            await openai.submit(request(images=(image(tmp_path),), prompt=prompt), new_folder(tmp_path))
        assert fields(upstream.only("POST", EDITS))["prompt"] == prompt


class TestFailures:
    async def test_an_error_has_the_code_of_its_cause(self, upstream: Upstream, tmp_path: Path) -> None:
        table = {
            "moderation": (refusal(400, "moderation_blocked", "image_generation_user_error"), "PROVIDER_REFUSED"),
            "older moderation": (refusal(400, "content_policy_violation"), "PROVIDER_REFUSED"),
            "no credit": (refusal(429, "insufficient_quota", "insufficient_quota"), "PROVIDER_FAILED"),
            "limit of a project": (refusal(429, "project_spend_limit_exceeded"), "PROVIDER_FAILED"),
            "model": (refusal(404, "model_not_found"), "PROVIDER_FAILED"),
            "key": (refusal(401, "invalid_api_key"), "PROVIDER_FAILED"),
            "server error": (refusal(500, None, "server_error"), "OUTCOME_UNKNOWN"),
            "gateway error": (refusal(502, None, "server_error"), "OUTCOME_UNKNOWN"),
            "time limit": (refusal(504, None, "server_error"), "OUTCOME_UNKNOWN"),
        }
        with Cases() as cases:
            for name, (reply, code) in table.items():
                upstream.reset()
                upstream.on("POST", GENERATIONS, reply)
                async with provider(upstream) as openai:
                    outcome = await openai.submit(request(), tmp_path)
                with cases.case(name):
                    assert expect(Failed, outcome).code == ErrorCode(code)
                    assert len(upstream.requests) == 1

    async def test_only_what_was_not_begun_may_be_sent_again(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for status, code in ((429, "rate_limit_exceeded"), (429, "slow_down"), (503, "overloaded")):
                upstream.on("POST", GENERATIONS, refusal(status, code, "server_error"))
                async with provider(upstream) as openai:
                    outcome = await openai.submit(request(), tmp_path)
                with cases.case(code):
                    expect(Retryable, outcome)

    @in_manual_time
    async def test_a_request_without_an_answer_is_not_repeated(self, tmp_path: Path) -> None:
        with Cases() as cases:
            for name, lost in LOST_ANSWERS.items():
                async with running() as upstream, provider(upstream) as openai:
                    upstream.when_silent = lambda: skip(LONGER_THAN_ANY_TIMEOUT)
                    upstream.on("POST", EDITS, lost)
                    outcome = await openai.submit(request(images=(image(tmp_path),)), tmp_path)
                    with cases.case(name):
                        assert expect(Failed, outcome).code is ErrorCode.OUTCOME_UNKNOWN
                        assert len(upstream.requests) == 1
