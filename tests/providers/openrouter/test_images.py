"""Image generation with OpenRouter: the choice of route, requests, and the handling of responses."""

import base64
import functools
from pathlib import Path
from typing import Any

import pytest

from app.providers.contract import Completed, ErrorCode, Failed, InputImage, ResultFile, Retryable, Usage
from app.providers.openrouter import Timeouts
from tests.kit import Cases
from tests.providers.fake_upstream import (
    LOST_ANSWERS,
    Recorded,
    Reply,
    Silence,
    Upstream,
    error,
    js,
    plain,
    running,
)
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import (
    B64,
    DATA_URL,
    KEY,
    LONGER_THAN_ANY_TIMEOUT,
    PNG,
    contents,
    expect,
    image_request,
    new_folder,
    png,
    provider,
    text_request,
)

CHAT = "/api/v1/chat/completions"
IMAGES = "/api/v1/images"
GENERATIONS = "/api/v1/images/generations"
USAGE = {"prompt_tokens": 2, "completion_tokens": 1290, "total_tokens": 1292, "cost": 0.04}
WRONG_MODALITIES = error(404, "No endpoints found that support the requested output modalities: image")
WRONG_ROUTE = error(404, "a/painter is not available on this endpoint")


def images(*b64: str, **more: Any) -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": one, "media_type": "image/png"} for one in b64], "usage": USAGE, **more}


def chat_answer(*urls: str, content: str | None = None) -> dict[str, Any]:
    """The answer of a chat model with images."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    message = {"role": "assistant", "content": content, "images": parts}
    return {"id": "gen-9", "choices": [{"finish_reason": "stop", "message": message}], "usage": USAGE}


def references(folder: Path) -> tuple[InputImage, ...]:
    (folder / "reference").write_bytes(PNG)
    return (InputImage(folder / "reference", "image/png", "reference"),)


class TestImageRoute:
    async def test_every_parameter_is_sent_under_the_name_of_the_upstream_api(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        params = {
            "n": 2,
            "aspect_ratio": "16:9",
            "image_size": "2K",
            "size": "1024x1024",
            "quality": "high",
            "background": "transparent",
            "output_format": "webp",
            "output_compression": 80,
            "negative_prompt": "fog",
            "seed": 7,
        }
        async with provider(upstream) as openrouter:
            await openrouter.submit(image_request(params=params, images=references(tmp_path)), tmp_path)
        request = upstream.only("POST", IMAGES)
        assert request.json == {
            "model": "a/painter",
            "prompt": "A lighthouse",
            "n": 2,
            "aspect_ratio": "16:9",
            "resolution": "2K",
            "size": "1024x1024",
            "quality": "high",
            "background": "transparent",
            "output_format": "webp",
            "output_compression": 80,
            "negative_prompt": "fog",
            "seed": 7,
            "input_references": [{"type": "image_url", "image_url": {"url": DATA_URL}}],
        }
        assert request.key == f"Bearer {KEY}"

    async def test_parameters_that_were_not_set_are_not_sent(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            await openrouter.submit(image_request(), tmp_path)
        assert upstream.only("POST", IMAGES).json == {"model": "a/painter", "prompt": "A lighthouse"}

    async def test_images_come_back_as_files_with_usage_and_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        red, blue = png("red"), png("blue")
        reply = images(base64.b64encode(red).decode(), base64.b64encode(blue).decode())
        upstream.on("POST", IMAGES, js(reply, X_Generation_Id="gen-3"))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(image_request(params={"n": 2}), tmp_path))
        assert done == Completed(
            media=(ResultFile(tmp_path / "image-0", "image/png"), ResultFile(tmp_path / "image-1", "image/png")),
            usage=Usage(2, 1290, 1292),
            cost_nano=40_000_000,
            generation_id="gen-3",
        )
        assert contents(tmp_path) == {"image-0": red, "image-1": blue}

    async def test_a_missing_type_and_missing_padding_are_accepted(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js({"data": [{"b64_json": B64.rstrip("=")}]}))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(image_request(), tmp_path))
        assert done.media == (ResultFile(tmp_path / "image-0", None),)
        assert contents(tmp_path) == {"image-0": PNG}

    async def test_data_urls_and_links_are_accepted_as_well(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", plain(PNG, "image/png"))
        upstream.on("GET", "/files/q.png", plain(PNG, "image/png"))
        rows = [{"b64_json": DATA_URL}, {"url": f"{stranger.origin}/p.png"}, {"url": f"{upstream.origin}/files/q.png"}]
        upstream.on("POST", IMAGES, js({"data": rows}))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(image_request(), tmp_path))
        assert [media.reported_mime for media in done.media] == ["image/png"] * 3
        assert set(contents(tmp_path).values()) == {PNG}
        assert stranger.only("GET", "/p.png").key is None
        assert upstream.only("GET", "/files/q.png").key == f"Bearer {KEY}"

    async def test_a_link_that_fails_is_fetched_again_because_the_image_is_paid_for(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", error(503), Silence("reset"), plain(PNG, "image/png"))
        upstream.on("POST", IMAGES, js({"data": [{"url": f"{stranger.origin}/p.png"}]}))
        async with provider(upstream) as openrouter:
            expect(Completed, await openrouter.submit(image_request(), tmp_path))
        upstream.only("POST", IMAGES)

    async def test_a_link_to_a_private_address_is_not_followed(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[str] = ["http://169.254.169.254/p.png", "http://10.0.0.1/p", "https://user:x@8.8.8.8/p"]
        with Cases() as cases:
            for link in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(link):
                    upstream.on("POST", IMAGES, js({"data": [{"url": link}], "usage": USAGE}))
                    async with provider(upstream) as openrouter:
                        failed = expect(Failed, await openrouter.submit(image_request(), folder))
                    assert (failed.code, failed.cost_nano) == (ErrorCode.RESULT_INVALID, 40_000_000)

    async def test_active_content_and_invalid_data_are_not_kept(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[dict[str, str]] = [
            {"b64_json": B64, "media_type": "image/svg+xml"},
            {"b64_json": base64.b64encode(b'\n <svg onload="x()"/>').decode()},
            {"b64_json": base64.b64encode(b"<!DOCTYPE html>").decode(), "media_type": "image/png"},
            {"b64_json": "data:image/svg+xml;utf8,%3Csvg/%3E"},
            {"b64_json": "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()},
            {"b64_json": "data:image/png;base64"},
            {"b64_json": "data:image/png;base64,"},
            {"b64_json": "a"},
            {"b64_json": "bücher"},
        ]
        with Cases() as cases:
            for row in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(row):
                    upstream.on("POST", IMAGES, js({"data": [row], "usage": USAGE}))
                    async with provider(upstream) as openrouter:
                        failed = expect(Failed, await openrouter.submit(image_request(), folder))
                    assert (failed.code, failed.cost_nano) == (ErrorCode.RESULT_INVALID, 40_000_000)
                    assert contents(folder) == {}

    async def test_valid_images_are_kept_when_another_is_invalid(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images("PHN2Zy8+", B64)))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(image_request(), tmp_path))
        assert done.media == (ResultFile(tmp_path / "image-1", "image/png"),)

    async def test_an_image_above_the_limit_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images(base64.b64encode(b"x" * 3000).decode())))
        async with provider(upstream, max_image_bytes=2000) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(), tmp_path))
        assert (failed.code, failed.cost_nano) == (ErrorCode.RESULT_TOO_LARGE, 40_000_000)

    async def test_a_linked_image_above_the_limit_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", "/p", plain(b"x" * 3000))
        upstream.on("POST", IMAGES, js({"data": [{"url": f"{upstream.origin}/p"}]}))
        async with provider(upstream, max_image_bytes=2000) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(), tmp_path))
        assert failed.code is ErrorCode.RESULT_TOO_LARGE

    async def test_an_answer_far_above_the_limit_is_not_read(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images("A" * 3_000_000)))
        async with provider(upstream, max_image_bytes=2000) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(), tmp_path))
        assert failed.code is ErrorCode.RESULT_TOO_LARGE

    async def test_a_full_disk_ends_the_job_and_keeps_its_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        (tmp_path / "image-0").symlink_to("/dev/full")
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(), tmp_path))
        assert (failed.code, failed.cost_nano) == (ErrorCode.STORAGE_FULL, 40_000_000)

    async def test_a_missing_folder_raises_an_exception(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            with pytest.raises(FileNotFoundError):
                await openrouter.submit(image_request(), tmp_path / "nowhere")

    async def test_a_success_without_an_image_ends_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[Any, ErrorCode]] = [
            ({"data": [], "usage": USAGE}, ErrorCode.PROVIDER_FAILED),
            ({"data": [None, 7, {}, {"b64_json": 7}]}, ErrorCode.PROVIDER_FAILED),
            ({"error": {"code": 502, "message": "x"}}, ErrorCode.PROVIDER_FAILED),
            ({"error": {"code": 403, "message": "flagged by moderation"}}, ErrorCode.PROVIDER_REFUSED),
            ({"id": "x"}, ErrorCode.RESULT_INVALID),
            ([], ErrorCode.RESULT_INVALID),
            ("text", ErrorCode.RESULT_INVALID),
        ]
        with Cases() as cases:
            for body, code in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(body, code):
                    upstream.on("POST", IMAGES, js(body))
                    async with provider(upstream) as openrouter:
                        assert expect(Failed, await openrouter.submit(image_request(), folder)).code is code


class TestChatRoute:
    async def test_the_request_has_prompt_modalities_and_configuration(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(chat_answer(DATA_URL)))
        request = image_request(
            route="chat-image",
            output_modalities=("image", "text"),
            params={"aspect_ratio": "21:9", "image_size": "4K", "seed": 3},
        )
        async with provider(upstream) as openrouter:
            await openrouter.submit(request, tmp_path)
        assert upstream.only("POST", CHAT).json == {
            "model": "a/painter",
            "messages": [{"role": "user", "content": "A lighthouse"}],
            "modalities": ["image", "text"],
            "image_config": {"aspect_ratio": "21:9", "image_size": "4K"},
            "seed": 3,
        }

    async def test_reference_images_are_parts_of_the_message(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(chat_answer(DATA_URL)))
        request = image_request(route="chat-image", output_modalities=("image",), images=references(tmp_path))
        async with provider(upstream) as openrouter:
            await openrouter.submit(request, tmp_path)
        assert upstream.only("POST", CHAT).json == {
            "model": "a/painter",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "A lighthouse"},
                        {"type": "image_url", "image_url": {"url": DATA_URL}},
                    ],
                }
            ],
            "modalities": ["image"],
        }

    async def test_images_and_text_come_back_together(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(chat_answer(DATA_URL, content="Here it is.")))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(image_request(route="chat-image"), tmp_path))
        assert (done.text, done.cost_nano, done.generation_id) == ("Here it is.", 40_000_000, "gen-9")
        assert done.media == (ResultFile(tmp_path / "image-0", "image/png"),)

    async def test_a_linked_image_and_one_inside_the_text_are_found(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", plain(PNG, "image/png"))
        body = chat_answer(f"{stranger.origin}/p.png")
        body["choices"][0]["message"]["content"] = [
            {"type": "text", "text": "Two."},
            {"type": "image_url", "image_url": DATA_URL},
        ]
        upstream.on("POST", CHAT, js(body))
        async with provider(upstream) as openrouter:
            done = expect(Completed, await openrouter.submit(image_request(route="chat-image"), tmp_path))
        assert (len(done.media), done.text) == (2, "Two.")

    async def test_an_answer_of_text_only_is_a_failure_that_keeps_the_text(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(chat_answer(content="What kind of lighthouse?")))
        async with provider(upstream) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(route="chat-image"), tmp_path))
        assert (failed.code, failed.text) == (ErrorCode.PROVIDER_FAILED, "What kind of lighthouse?")
        assert failed.cost_nano == 40_000_000
        assert "text instead of an image" in failed.message

    async def test_a_refusal_is_reported_with_its_text(self, upstream: Upstream, tmp_path: Path) -> None:
        body = chat_answer()
        body["choices"][0] |= {"finish_reason": "content_filter", "message": {"refusal": "I cannot do that."}}
        upstream.on("POST", CHAT, js(body))
        async with provider(upstream) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(route="chat-image"), tmp_path))
        assert (failed.code, failed.text) == (ErrorCode.PROVIDER_REFUSED, "I cannot do that.")


def modalities(request: Recorded) -> list[str]:
    found: list[str] = request.json["modalities"]
    return found


class TestRouteChoice:
    async def test_the_catalog_decides_on_the_route_and_then_the_name_of_the_model(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[tuple[dict[str, Any], str, list[str] | None]] = [
            ({"route": "images"}, IMAGES, None),
            ({"route": "images", "model": "x/flux.9"}, IMAGES, None),
            ({"route": "chat-image", "output_modalities": ("image",)}, CHAT, ["image"]),
            ({"route": "chat-image", "output_modalities": ("text", "image")}, CHAT, ["image", "text"]),
            ({"route": "chat-image", "output_modalities": ("text", "image", "audio")}, CHAT, ["image", "text"]),
            ({"route": None, "output_modalities": ("image", "text")}, CHAT, ["image", "text"]),
            ({"route": None, "model": "black-forest-labs/FLUX.3"}, CHAT, ["image"]),
            ({"route": None, "model": "openai/gpt-5-image-mini"}, CHAT, ["image"]),
            ({"route": None, "model": "openai/dall-e-9"}, IMAGES, None),
        ]
        with Cases() as cases:
            for settings, path, expected in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(settings):
                    upstream.on("POST", IMAGES, js(images(B64)))
                    upstream.on("POST", CHAT, js(chat_answer(DATA_URL)))
                    async with provider(upstream) as openrouter:
                        expect(Completed, await openrouter.submit(image_request(**settings), folder))
                    request = upstream.only("POST", path)
                    assert len(upstream.requests) == 1
                    assert request.json.get("modalities") == expected

    async def test_a_compatible_server_is_asked_on_the_old_route_with_its_parameters_only(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", GENERATIONS, js({"data": [{"b64_json": B64}]}))
        params = {"n": 2, "size": "1024x1024", "quality": "high", "aspect_ratio": "1:1", "image_size": "1K", "seed": 1}
        async with provider(upstream, is_openrouter=None) as openrouter:
            expect(Completed, await openrouter.submit(image_request(route=None, params=params), tmp_path))
        assert upstream.only("POST", GENERATIONS).json == {
            "model": "a/painter",
            "prompt": "A lighthouse",
            "n": 2,
            "size": "1024x1024",
            "quality": "high",
        }
        assert len(upstream.requests) == 1

    async def test_references_are_refused_on_the_old_route(self, upstream: Upstream, tmp_path: Path) -> None:
        async with provider(upstream, is_openrouter=False) as openrouter:
            request = image_request(route=None, images=references(tmp_path))
            failed = expect(Failed, await openrouter.submit(request, tmp_path))
        assert failed.code is ErrorCode.PROVIDER_FAILED
        assert upstream.requests == []

    async def test_the_other_modalities_are_tried_and_remembered(self, upstream: Upstream, tmp_path: Path) -> None:
        def strict(request: Recorded) -> Reply:
            return js(chat_answer(DATA_URL)) if modalities(request) == ["image", "text"] else WRONG_MODALITIES

        upstream.on("POST", CHAT, strict)
        request = image_request(route="chat-image", output_modalities=("image",))
        async with provider(upstream) as openrouter:
            for _ in range(2):
                expect(Completed, await openrouter.submit(request, tmp_path))
        assert [modalities(one) for one in upstream.requests] == [["image"], ["image", "text"], ["image", "text"]]

    async def test_the_other_route_is_tried_and_remembered(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Reply] = [WRONG_ROUTE, error(400, "This model is not supported on this endpoint.")]
        with Cases() as cases:
            for refusal in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(refusal):
                    upstream.on("POST", CHAT, refusal)
                    upstream.on("POST", IMAGES, js(images(B64)))
                    async with provider(upstream) as openrouter:
                        for _ in range(2):
                            expect(Completed, await openrouter.submit(image_request(route="chat-image"), folder))
                    assert [one.path for one in upstream.requests] == [CHAT, IMAGES, IMAGES]

    async def test_an_unknown_model_is_tried_on_every_route_once(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, WRONG_ROUTE)
        upstream.on("POST", CHAT, WRONG_MODALITIES)
        async with provider(upstream) as openrouter:
            failed = expect(Failed, await openrouter.submit(image_request(route=None), tmp_path))
        assert failed.code is ErrorCode.PROVIDER_FAILED
        assert [(one.path, one.json.get("modalities")) for one in upstream.requests] == [
            (IMAGES, None),
            (CHAT, ["image"]),
            (CHAT, ["image", "text"]),
        ]

    async def test_after_another_error_no_other_route_is_tried(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[int] = [400, 404]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("POST", IMAGES, error(status, "No such model"))
                    async with provider(upstream) as openrouter:
                        expect(Failed, await openrouter.submit(image_request(), folder))
                    assert len(upstream.requests) == 1

    async def test_the_remembered_route_of_an_image_model_does_not_affect_its_text(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        text = {"choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}]}
        upstream.on("POST", CHAT, js(text))
        async with provider(upstream) as openrouter:
            await openrouter.submit(image_request(), tmp_path)
            assert expect(Completed, await openrouter.submit(text_request(model="a/painter"), tmp_path)).text == "Hi"


ROUTES = (("images", IMAGES), ("chat-image", CHAT))


class TestErrors:
    async def test_a_failure_that_is_not_billed_may_be_retried(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for route, path in ROUTES:
                for status in (429, 502, 503, 529):
                    upstream.reset()
                    upstream.on("POST", path, error(status, Retry_After="3"))
                    with cases.case(route, status):
                        async with provider(upstream) as openrouter:
                            again = expect(Retryable, await openrouter.submit(image_request(route=route), tmp_path))
                        assert again.wait == 3
                        assert len(upstream.requests) == 1

    async def test_a_failure_that_may_be_billed_is_not_retried(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for route, path in ROUTES:
                for status in (408, 499, 500, 504, 524):
                    upstream.reset()
                    upstream.on("POST", path, error(status))
                    with cases.case(route, status):
                        async with provider(upstream) as openrouter:
                            failed = expect(Failed, await openrouter.submit(image_request(route=route), tmp_path))
                        assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                        assert len(upstream.requests) == 1

    @in_manual_time
    async def test_a_request_without_an_answer_is_not_repeated(self, tmp_path: Path) -> None:
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for route, path in ROUTES:
                    for name, reply in LOST_ANSWERS.items():
                        upstream.reset()
                        upstream.on("POST", path, reply)
                        with cases.case(route, name):
                            async with provider(upstream, timeouts=Timeouts()) as openrouter:
                                failed = expect(Failed, await openrouter.submit(image_request(route=route), tmp_path))
                            assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                            assert len(upstream.requests) == 1

    async def test_moderation_is_a_refusal(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for route, path in ROUTES:
                upstream.reset()
                upstream.on("POST", path, error(403, "x", {"reasons": ["sexual"], "flagged_input": "…"}))
                with cases.case(route):
                    async with provider(upstream) as openrouter:
                        failed = expect(Failed, await openrouter.submit(image_request(route=route), tmp_path))
                    assert failed.code is ErrorCode.PROVIDER_REFUSED
