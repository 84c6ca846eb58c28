"""Pictures from OpenRouter: which route they take, what leaves on each, and what becomes of what comes back."""

import base64
from pathlib import Path
from typing import Any

import pytest

from app.providers.contract import Again, Done, ErrorCode, Media, Never, Picture, Usage
from tests.providers.asking import B64, DATA_URL, HASTY, KEY, PNG, a_text, an_image, contents, png, provider, the
from tests.providers.fake_upstream import Recorded, Reply, Silence, Upstream, error, js, plain

CHAT = "/api/v1/chat/completions"
IMAGES = "/api/v1/images"
GENERATIONS = "/api/v1/images/generations"
USAGE = {"prompt_tokens": 2, "completion_tokens": 1290, "total_tokens": 1292, "cost": 0.04}
WRONG_MODALITIES = error(404, "No endpoints found that support the requested output modalities: image")
WRONG_ROUTE = error(404, "a/painter is not available on this endpoint")


def images(*b64: str, **more: Any) -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": one, "media_type": "image/png"} for one in b64], "usage": USAGE, **more}


def painted(*urls: str, content: str | None = None) -> dict[str, Any]:
    """A conversation's answer with pictures."""
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    message = {"role": "assistant", "content": content, "images": pictures}
    return {"id": "gen-9", "choices": [{"finish_reason": "stop", "message": message}], "usage": USAGE}


def references(folder: Path) -> tuple[Picture, ...]:
    (folder / "reference").write_bytes(PNG)
    return (Picture(folder / "reference", "image/png", "reference"),)


class TestTheImageRoute:
    async def test_every_setting_leaves_under_the_name_of_the_wire(self, upstream: Upstream, tmp_path: Path) -> None:
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
            await openrouter.submit(an_image(params=params, pictures=references(tmp_path)), tmp_path)
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

    async def test_nothing_leaves_that_was_not_asked_for(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            await openrouter.submit(an_image(), tmp_path)
        assert upstream.only("POST", IMAGES).json == {"model": "a/painter", "prompt": "A lighthouse"}

    async def test_pictures_come_back_as_files_with_usage_and_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        red, blue = png("red"), png("blue")
        reply = images(base64.b64encode(red).decode(), base64.b64encode(blue).decode())
        upstream.on("POST", IMAGES, js(reply, X_Generation_Id="gen-3"))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(an_image(params={"n": 2}), tmp_path))
        assert done == Done(
            media=(Media(tmp_path / "picture-0", "image/png"), Media(tmp_path / "picture-1", "image/png")),
            usage=Usage(2, 1290, 1292),
            cost_nano=40_000_000,
            generation_id="gen-3",
        )
        assert contents(tmp_path) == {"picture-0": red, "picture-1": blue}

    async def test_a_missing_type_and_missing_padding_do_not_matter(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js({"data": [{"b64_json": B64.rstrip("=")}]}))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(an_image(), tmp_path))
        assert done.media == (Media(tmp_path / "picture-0", None),)
        assert contents(tmp_path) == {"picture-0": PNG}

    async def test_a_data_url_and_a_link_are_taken_as_well(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", plain(PNG, "image/png"))
        upstream.on("GET", "/files/q.png", plain(PNG, "image/png"))
        rows = [{"b64_json": DATA_URL}, {"url": f"{stranger.origin}/p.png"}, {"url": f"{upstream.origin}/files/q.png"}]
        upstream.on("POST", IMAGES, js({"data": rows}))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(an_image(), tmp_path))
        assert [media.said_mime for media in done.media] == ["image/png"] * 3
        assert set(contents(tmp_path).values()) == {PNG}
        assert stranger.only("GET", "/p.png").key is None
        assert upstream.only("GET", "/files/q.png").key == f"Bearer {KEY}"

    async def test_a_link_that_stumbles_is_asked_again_because_the_picture_is_paid_for(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", error(503), Silence("reset"), plain(PNG, "image/png"))
        upstream.on("POST", IMAGES, js({"data": [{"url": f"{stranger.origin}/p.png"}]}))
        async with provider(upstream) as openrouter:
            the(Done, await openrouter.submit(an_image(), tmp_path))
        upstream.only("POST", IMAGES)

    @pytest.mark.parametrize("link", ["http://169.254.169.254/p.png", "http://10.0.0.1/p", "https://user:x@8.8.8.8/p"])
    async def test_a_link_to_a_place_inside_is_not_followed(
        self, link: str, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js({"data": [{"url": link}], "usage": USAGE}))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(), tmp_path))
        assert (never.code, never.cost_nano) == (ErrorCode.RESULT_INVALID, 40_000_000)

    @pytest.mark.parametrize(
        "row",
        [
            {"b64_json": B64, "media_type": "image/svg+xml"},
            {"b64_json": base64.b64encode(b'\n <svg onload="x()"/>').decode()},
            {"b64_json": base64.b64encode(b"<!DOCTYPE html>").decode(), "media_type": "image/png"},
            {"b64_json": "data:image/svg+xml;utf8,%3Csvg/%3E"},
            {"b64_json": "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()},
            {"b64_json": "data:image/png;base64"},
            {"b64_json": "data:image/png;base64,"},
            {"b64_json": "a"},
            {"b64_json": "bücher"},
        ],
    )
    async def test_what_is_active_content_or_no_picture_at_all_is_not_kept(
        self, row: dict[str, str], upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js({"data": [row], "usage": USAGE}))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(), tmp_path))
        assert (never.code, never.cost_nano) == (ErrorCode.RESULT_INVALID, 40_000_000)
        assert contents(tmp_path) == {}

    async def test_good_pictures_are_kept_beside_a_bad_one(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images("PHN2Zy8+", B64)))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(an_image(), tmp_path))
        assert done.media == (Media(tmp_path / "picture-1", "image/png"),)

    async def test_a_picture_above_the_cap_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images(base64.b64encode(b"x" * 3000).decode())))
        async with provider(upstream, max_image_bytes=2000) as openrouter:
            never = the(Never, await openrouter.submit(an_image(), tmp_path))
        assert (never.code, never.cost_nano) == (ErrorCode.RESULT_TOO_LARGE, 40_000_000)

    async def test_a_linked_picture_above_the_cap_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", "/p", plain(b"x" * 3000))
        upstream.on("POST", IMAGES, js({"data": [{"url": f"{upstream.origin}/p"}]}))
        async with provider(upstream, max_image_bytes=2000) as openrouter:
            never = the(Never, await openrouter.submit(an_image(), tmp_path))
        assert never.code is ErrorCode.RESULT_TOO_LARGE

    async def test_an_answer_beyond_all_bounds_is_not_read(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images("A" * 3_000_000)))
        async with provider(upstream, max_image_bytes=2000) as openrouter:
            never = the(Never, await openrouter.submit(an_image(), tmp_path))
        assert never.code is ErrorCode.RESULT_TOO_LARGE

    async def test_a_full_disk_ends_the_job_and_keeps_its_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        (tmp_path / "picture-0").symlink_to("/dev/full")
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(), tmp_path))
        assert (never.code, never.cost_nano) == (ErrorCode.STORAGE_FULL, 40_000_000)

    async def test_a_folder_that_is_not_there_is_a_bug_of_ours(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            with pytest.raises(FileNotFoundError):
                await openrouter.submit(an_image(), tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"data": [], "usage": USAGE}, ErrorCode.PROVIDER_FAILED),
            ({"data": [None, 7, {}, {"b64_json": 7}]}, ErrorCode.PROVIDER_FAILED),
            ({"error": {"code": 502, "message": "x"}}, ErrorCode.PROVIDER_FAILED),
            ({"error": {"code": 403, "message": "flagged by moderation"}}, ErrorCode.PROVIDER_REFUSED),
            ({"id": "x"}, ErrorCode.RESULT_INVALID),
            ([], ErrorCode.RESULT_INVALID),
            ("text", ErrorCode.RESULT_INVALID),
        ],
    )
    async def test_a_success_without_a_picture_ends_the_job(
        self, body: Any, code: ErrorCode, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js(body))
        async with provider(upstream) as openrouter:
            assert the(Never, await openrouter.submit(an_image(), tmp_path)).code is code


class TestTheChatRoute:
    async def test_the_request_holds_prompt_modalities_and_configuration(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(painted(DATA_URL)))
        request = an_image(
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

    async def test_reference_pictures_are_parts_of_the_message(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(painted(DATA_URL)))
        request = an_image(route="chat-image", output_modalities=("image",), pictures=references(tmp_path))
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

    async def test_pictures_and_words_come_back_together(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", CHAT, js(painted(DATA_URL, content="Here it is.")))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(an_image(route="chat-image"), tmp_path))
        assert (done.text, done.cost_nano, done.generation_id) == ("Here it is.", 40_000_000, "gen-9")
        assert done.media == (Media(tmp_path / "picture-0", "image/png"),)

    async def test_a_hosted_picture_and_one_among_the_words_are_found(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/p.png", plain(PNG, "image/png"))
        body = painted(f"{stranger.origin}/p.png")
        body["choices"][0]["message"]["content"] = [
            {"type": "text", "text": "Two."},
            {"type": "image_url", "image_url": DATA_URL},
        ]
        upstream.on("POST", CHAT, js(body))
        async with provider(upstream) as openrouter:
            done = the(Done, await openrouter.submit(an_image(route="chat-image"), tmp_path))
        assert (len(done.media), done.text) == (2, "Two.")

    async def test_an_answer_in_words_is_a_failure_that_shows_the_words(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, js(painted(content="What kind of lighthouse?")))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(route="chat-image"), tmp_path))
        assert (never.code, never.text) == (ErrorCode.PROVIDER_FAILED, "What kind of lighthouse?")
        assert never.cost_nano == 40_000_000
        assert "words" in never.message

    async def test_a_refusal_is_a_refusal(self, upstream: Upstream, tmp_path: Path) -> None:
        body = painted()
        body["choices"][0] |= {"finish_reason": "content_filter", "message": {"refusal": "I cannot draw that."}}
        upstream.on("POST", CHAT, js(body))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(route="chat-image"), tmp_path))
        assert (never.code, never.text) == (ErrorCode.PROVIDER_REFUSED, "I cannot draw that.")


def modalities(request: Recorded) -> list[str]:
    found: list[str] = request.json["modalities"]
    return found


class TestWhichRoute:
    @pytest.mark.parametrize(
        ("more", "path", "asked"),
        [
            ({"route": "images"}, IMAGES, None),
            ({"route": "images", "model": "x/flux.9"}, IMAGES, None),
            ({"route": "chat-image", "output_modalities": ("image",)}, CHAT, ["image"]),
            ({"route": "chat-image", "output_modalities": ("text", "image")}, CHAT, ["image", "text"]),
            ({"route": "chat-image", "output_modalities": ("text", "image", "audio")}, CHAT, ["image", "text"]),
            ({"route": None, "output_modalities": ("image", "text")}, CHAT, ["image", "text"]),
            ({"route": None, "model": "black-forest-labs/FLUX.3"}, CHAT, ["image"]),
            ({"route": None, "model": "openai/gpt-5-image-mini"}, CHAT, ["image"]),
            ({"route": None, "model": "openai/dall-e-9"}, IMAGES, None),
        ],
    )
    async def test_the_catalogue_decides_and_then_the_slug(
        self, more: dict[str, Any], path: str, asked: list[str] | None, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        upstream.on("POST", CHAT, js(painted(DATA_URL)))
        async with provider(upstream) as openrouter:
            the(Done, await openrouter.submit(an_image(**more), tmp_path))
        request = upstream.only("POST", path)
        assert len(upstream.requests) == 1
        assert request.json.get("modalities") == asked

    async def test_a_server_that_is_only_compatible_gets_the_old_route_last(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", GENERATIONS, js({"data": [{"b64_json": B64}]}))
        params = {"n": 2, "size": "1024x1024", "quality": "high", "aspect_ratio": "1:1", "image_size": "1K", "seed": 1}
        async with provider(upstream, is_openrouter=None) as openrouter:
            the(Done, await openrouter.submit(an_image(route=None, params=params), tmp_path))
        assert upstream.only("POST", GENERATIONS).json == {
            "model": "a/painter",
            "prompt": "A lighthouse",
            "n": 2,
            "size": "1024x1024",
            "quality": "high",
        }
        assert len(upstream.requests) == 1

    async def test_the_old_route_takes_no_reference_and_says_so(self, upstream: Upstream, tmp_path: Path) -> None:
        async with provider(upstream, is_openrouter=False) as openrouter:
            request = an_image(route=None, pictures=references(tmp_path))
            never = the(Never, await openrouter.submit(request, tmp_path))
        assert never.code is ErrorCode.PROVIDER_FAILED
        assert upstream.requests == []

    async def test_the_other_modalities_are_tried_and_remembered(self, upstream: Upstream, tmp_path: Path) -> None:
        def strict(request: Recorded) -> Reply:
            return js(painted(DATA_URL)) if modalities(request) == ["image", "text"] else WRONG_MODALITIES

        upstream.on("POST", CHAT, strict)
        request = an_image(route="chat-image", output_modalities=("image",))
        async with provider(upstream) as openrouter:
            for _ in range(2):
                the(Done, await openrouter.submit(request, tmp_path))
        assert [modalities(one) for one in upstream.requests] == [["image"], ["image", "text"], ["image", "text"]]

    @pytest.mark.parametrize("refusal", [WRONG_ROUTE, error(400, "This model is not supported on this endpoint.")])
    async def test_the_other_route_is_tried_and_remembered(
        self, refusal: Reply, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", CHAT, refusal)
        upstream.on("POST", IMAGES, js(images(B64)))
        async with provider(upstream) as openrouter:
            for _ in range(2):
                the(Done, await openrouter.submit(an_image(route="chat-image"), tmp_path))
        assert [one.path for one in upstream.requests] == [CHAT, IMAGES, IMAGES]

    async def test_an_unknown_model_is_found_over_every_route_once(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, WRONG_ROUTE)
        upstream.on("POST", CHAT, WRONG_MODALITIES)
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(route=None), tmp_path))
        assert never.code is ErrorCode.PROVIDER_FAILED
        assert [(one.path, one.json.get("modalities")) for one in upstream.requests] == [
            (IMAGES, None),
            (CHAT, ["image"]),
            (CHAT, ["image", "text"]),
        ]

    @pytest.mark.parametrize("status", [400, 404])
    async def test_another_error_tries_no_other_route(self, status: int, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", IMAGES, error(status, "No such model"))
        async with provider(upstream) as openrouter:
            the(Never, await openrouter.submit(an_image(), tmp_path))
        assert len(upstream.requests) == 1

    async def test_what_is_remembered_of_a_picture_model_does_not_touch_its_text(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", IMAGES, js(images(B64)))
        text = {"choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}]}
        upstream.on("POST", CHAT, js(text))
        async with provider(upstream) as openrouter:
            await openrouter.submit(an_image(), tmp_path)
            assert the(Done, await openrouter.submit(a_text(model="a/painter"), tmp_path)).text == "Hi"


@pytest.mark.parametrize(("route", "path"), [("images", IMAGES), ("chat-image", CHAT)])
class TestErrors:
    @pytest.mark.parametrize("status", [429, 502, 503, 529])
    async def test_a_failure_that_is_not_billed_may_be_tried_anew(
        self, status: int, route: str, path: str, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", path, error(status, Retry_After="3"))
        async with provider(upstream) as openrouter:
            assert the(Again, await openrouter.submit(an_image(route=route), tmp_path)).wait == 3
        assert len(upstream.requests) == 1

    @pytest.mark.parametrize("status", [408, 499, 500, 504, 524])
    async def test_a_failure_that_may_be_billed_is_not_tried_anew(
        self, status: int, route: str, path: str, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", path, error(status))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(route=route), tmp_path))
        assert never.code is ErrorCode.OUTCOME_UNKNOWN
        assert len(upstream.requests) == 1

    @pytest.mark.parametrize("reply", [Silence("reset"), Silence("close"), Silence(), Reply(pieces=(b"{",), length=9)])
    async def test_a_lost_answer_is_not_asked_for_again(
        self, reply: Reply | Silence, route: str, path: str, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", path, reply)
        async with provider(upstream, patience=HASTY) as openrouter:
            never = the(Never, await openrouter.submit(an_image(route=route), tmp_path))
        assert never.code is ErrorCode.OUTCOME_UNKNOWN
        assert len(upstream.requests) == 1

    async def test_moderation_is_a_refusal(self, route: str, path: str, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", path, error(403, "x", {"reasons": ["sexual"], "flagged_input": "…"}))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(an_image(route=route), tmp_path))
        assert never.code is ErrorCode.PROVIDER_REFUSED
