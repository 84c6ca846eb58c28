"""Available models: three lists merged, with a parameter schema for each model."""

import functools
import random
from collections.abc import Sequence
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from app.base.errors import Upstream as UpstreamError
from app.providers.contract import ModelOffer
from app.providers.openrouter import Timeouts, catalog
from tests.kit import Cases
from tests.providers.fake_upstream import Reply, Silence, Upstream, error, js, plain, running
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import (
    KEY,
    LONGER_THAN_ANY_TIMEOUT,
    provider,
    random_object,
)

MODELS = "/api/v1/models"
IMAGE_MODELS = "/api/v1/images/models"
VIDEO_MODELS = "/api/v1/videos/models"


def row(model: str = "a/writer", inputs: Any = ("text",), outputs: Any = ("text",), **more: Any) -> dict[str, Any]:
    architecture = {"input_modalities": list(inputs), "output_modalities": list(outputs), "modality": "x->y"}
    return {"id": model, "name": f"The {model}", "architecture": architecture, **more}


def listed(*rows: Any, **more: Any) -> Reply:
    return js({"data": list(rows), **more})


async def offered(
    upstream: Upstream, models: Sequence[Any] = (), images: Sequence[Any] = (), videos: Sequence[Any] = ()
) -> dict[str, ModelOffer]:
    upstream.on("GET", MODELS, listed(*models))
    upstream.on("GET", IMAGE_MODELS, listed(*images))
    upstream.on("GET", VIDEO_MODELS, listed(*videos))
    async with provider(upstream) as openrouter:
        return {offer.id: offer for offer in await openrouter.offers()}


async def schema(upstream: Upstream, **lists: Sequence[Any]) -> dict[str, Any]:
    """The parameter schema of the only model."""
    (offer,) = (await offered(upstream, **lists)).values()
    jsonschema_rs.meta.validate(offer.parameters)
    assert offer.parameters["type"] == "object"
    assert offer.parameters["additionalProperties"] is False
    for parameter in offer.parameters["properties"].values():
        assert parameter["title"]
        default = parameter.get("default")
        assert default is None or jsonschema_rs.is_valid(parameter, default)
    return offer.parameters


def image_row(model: str = "a/painter", /, **descriptors: Any) -> dict[str, Any]:
    return {
        "id": model,
        "name": "Painter",
        "architecture": {"input_modalities": ["text"], "output_modalities": ["image"]},
        "supported_parameters": descriptors,
        "supports_streaming": True,
    }


def enum(*values: Any) -> dict[str, Any]:
    return {"type": "enum", "values": list(values)}


def span(low: Any, high: Any) -> dict[str, Any]:
    return {"type": "range", "min": low, "max": high}


class TestModelLists:
    async def test_all_modalities_are_requested_with_the_key(self, upstream: Upstream) -> None:
        await offered(upstream, models=[row()])
        assert upstream.only("GET", MODELS).query == {"output_modalities": "all"}
        assert [request.path for request in upstream.requests] == [MODELS, IMAGE_MODELS, VIDEO_MODELS]
        assert {request.key for request in upstream.requests} == {f"Bearer {KEY}"}

    async def test_a_text_model_is_offered_as_it_is_listed(self, upstream: Upstream) -> None:
        found = await offered(
            upstream,
            models=[
                row(
                    inputs=("text", "image"),
                    description="Writes.",
                    context_length=1000,
                    created=1_700_000_000,
                    pricing={"prompt": "0.0000012", "completion": "0", "image": "0.0010", "discount": 0},
                    supported_parameters=[],
                )
            ],
        )
        assert found == {
            "a/writer": ModelOffer(
                id="a/writer",
                name="The a/writer",
                description="Writes.",
                input_modalities=("text", "image"),
                output_modalities=("text",),
                context_length=1000,
                pricing={"prompt": "0.0000012", "completion": "0", "image": "0.0010"},
                parameters={"type": "object", "additionalProperties": False, "properties": {}},
                route="chat",
                created=1_700_000_000,
            )
        }

    async def test_each_model_has_the_route_it_is_served_on(self, upstream: Upstream) -> None:
        found = await offered(
            upstream,
            models=[
                row("a/writer"),
                row("a/talker", outputs=("text", "audio")),
                row("a/both", outputs=("image", "text")),
                row("a/painter", outputs=("image",)),
                row("a/drawer", outputs=("image", "text")),
                row("a/film", outputs=("video",)),
                row("a/lost-film", outputs=("video",)),
                row("a/ear", inputs=("audio",), outputs=("transcription",)),
                row("a/vector", outputs=("embeddings",)),
                {"id": "a/plain"},
            ],
            images=[image_row("a/painter"), image_row("a/drawer"), image_row("a/new-painter")],
            videos=[{"id": "a/film"}, {"id": "a/new-film", "name": "New film"}],
        )
        assert {model: offer.route for model, offer in found.items()} == {
            "a/writer": "chat",
            "a/talker": "chat",
            "a/both": "chat-image",
            "a/painter": "images",
            "a/drawer": "images",
            "a/film": "videos",
            "a/lost-film": "videos",
            "a/plain": "chat",
            "a/new-painter": "images",
            "a/new-film": "videos",
        }
        assert found["a/new-film"].output_modalities == ("video",)
        assert found["a/new-film"].name == "New film"
        assert found["a/plain"].output_modalities == ("text",)
        assert found["a/drawer"].output_modalities == ("image", "text")

    async def test_pages_are_followed_on_the_providers_origin_only(
        self, upstream: Upstream, stranger: Upstream
    ) -> None:
        upstream.on(
            "GET",
            MODELS,
            listed(row("a/1"), links={"next": "/api/v1/models?offset=1"}),
            listed(row("a/2"), links={"next": f"{stranger.origin}/models"}),
        )
        upstream.on("GET", IMAGE_MODELS, listed())
        upstream.on("GET", VIDEO_MODELS, listed(links={"next": None}))
        async with provider(upstream) as openrouter:
            assert [offer.id for offer in await openrouter.offers()] == ["a/1", "a/2"]
        assert upstream.received("GET", MODELS)[1].query == {"offset": "1"}
        assert stranger.connections == 0

    async def test_endless_pages_are_cut_off(self, upstream: Upstream) -> None:
        upstream.on("GET", MODELS, listed(row("a/1"), links={"next": "/api/v1/models"}))
        upstream.on("GET", IMAGE_MODELS, listed())
        upstream.on("GET", VIDEO_MODELS, listed())
        async with provider(upstream) as openrouter:
            assert len(await openrouter.offers()) == 1
        assert len(upstream.received("GET", MODELS)) == 50

    async def test_a_compatible_server_may_lack_a_special_model_list(self, upstream: Upstream) -> None:
        table: list[str] = [IMAGE_MODELS, VIDEO_MODELS]
        with Cases() as cases:
            for path in table:
                upstream.reset()
                with cases.case(path):
                    for one in (MODELS, IMAGE_MODELS, VIDEO_MODELS):
                        upstream.on("GET", one, listed(row()))
                    upstream.on("GET", path, error(404))
                    async with provider(upstream) as openrouter:
                        assert [offer.id for offer in await openrouter.offers()] == ["a/writer"]

    @in_manual_time
    async def test_a_model_list_that_is_not_available_leaves_the_earlier_list(self) -> None:
        replies: dict[str, Reply | Silence] = {
            "401": error(401),
            "429": error(429),
            "500": error(500),
            "503": error(503),
            "web page": plain(b"<html>", "text/html"),
            "list": js([]),
            "object in place of the list": js({"data": {}}),
            "empty object": js({}),
            "reset": Silence("reset"),
            "silent": Silence(),
        }
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for path in (MODELS, IMAGE_MODELS, VIDEO_MODELS):
                    for name, reply in replies.items():
                        upstream.reset()
                        for one in (MODELS, IMAGE_MODELS, VIDEO_MODELS):
                            upstream.on("GET", one, listed(row()))
                        upstream.on("GET", path, reply)
                        with cases.case(path, name):
                            async with provider(upstream, timeouts=Timeouts()) as openrouter:
                                with pytest.raises(UpstreamError, match="kept"):
                                    await openrouter.offers()

    async def test_the_main_model_list_is_required(self, upstream: Upstream) -> None:
        upstream.on("GET", IMAGE_MODELS, listed(image_row()))
        upstream.on("GET", VIDEO_MODELS, listed())
        async with provider(upstream) as openrouter:
            with pytest.raises(UpstreamError):
                await openrouter.offers()

    async def test_an_empty_list_is_an_error(self, upstream: Upstream) -> None:
        with pytest.raises(UpstreamError):
            await offered(upstream)


class TestInvalidRows:
    async def test_a_row_without_a_valid_id_is_left_out(self, upstream: Upstream) -> None:
        table: list[Any] = [
            None,
            7,
            "a/x",
            [],
            {},
            {"id": None},
            {"id": ""},
            {"id": 7},
            {"id": "with space"},
            {"id": "x" * 201},
        ]
        with Cases() as cases:
            for odd in table:
                upstream.reset()
                with cases.case(odd):
                    found = await offered(upstream, models=[odd, row()], images=[odd], videos=[odd])
                    assert list(found) == ["a/writer"]

    async def test_fields_of_the_wrong_type_are_ignored(self, upstream: Upstream) -> None:
        table: list[Any] = [None, 7, True, "x", [], [None, 7], {}, {"x": []}, -5, 1.5, [[]], {"min": "x"}]
        with Cases() as cases:
            for odd in table:
                upstream.reset()
                with cases.case(odd):
                    fields = [
                        "name",
                        "description",
                        "context_length",
                        "created",
                        "architecture",
                        "pricing",
                        "supported_parameters",
                        "top_provider",
                        "default_parameters",
                        "supported_resolutions",
                        "supported_aspect_ratios",
                        "supported_sizes",
                        "supported_durations",
                        "supported_frame_images",
                        "generate_audio",
                        "seed",
                        "creativity",
                        "upscale_factor",
                        "pricing_skus",
                        "supports_streaming",
                    ]
                    broken = dict.fromkeys(fields, odd)
                    found = await offered(
                        upstream,
                        models=[{"id": "a/odd", **broken}, row()],
                        images=[
                            {"id": "a/odd-painter", **broken},
                            image_row(n=odd, seed=odd, quality=odd, resolution=odd),
                        ],
                        videos=[{"id": "a/odd-film", **broken}],
                    )
                    assert {"a/writer", "a/painter", "a/odd-painter", "a/odd-film"} <= set(found)
                    for offer in found.values():
                        jsonschema_rs.meta.validate(offer.parameters)

    async def test_invalid_prices_are_left_out(self, upstream: Upstream) -> None:
        prices = {
            "prompt": "-1",
            "completion": "0.000002",
            "request": None,
            "image": "free",
            "audio": 0.0000001,
            "web_search": True,
            "overrides": [{"prompt": "1"}],
            "discount": 0.5,
            "internal_reasoning": "NaN",
        }
        found = await offered(upstream, models=[row(pricing=prices)])
        assert found["a/writer"].pricing == {"completion": "0.000002", "audio": "0.0000001"}


NAMES = (
    "id",
    "name",
    "description",
    "created",
    "context_length",
    "architecture",
    "input_modalities",
    "output_modalities",
    "pricing",
    "prompt",
    "supported_parameters",
    "type",
    "values",
    "min",
    "max",
    "n",
    "size",
    "seed",
    "resolution",
    "default_parameters",
    "temperature",
    "top_provider",
    "max_completion_tokens",
    "supported_durations",
    "supported_frame_images",
    "generate_audio",
    "creativity",
    "pricing_skus",
)


def test_no_row_raises_an_exception() -> None:
    with Cases() as cases:
        for seed in range(400):
            rng = random.Random(seed)
            rows = [random_object(rng, NAMES) for _ in range(3)]
            row, image, video = rows[0], rng.choice((None, rows[1])), rng.choice((None, rows[2]))
            with cases.case("seed", seed):
                offer = catalog.offer("a/model", row, image, video)
                if offer is not None:
                    jsonschema_rs.meta.validate(offer.parameters)
                    msgspec.json.encode(offer)


class TestTextSchema:
    async def test_only_supported_parameters_are_offered_in_the_order_of_the_form(self, upstream: Upstream) -> None:
        supported = ["seed", "stop", "tools", "top_p", "max_tokens", "temperature", "reasoning", "presence_penalty"]
        found = await schema(
            upstream,
            models=[
                row(
                    supported_parameters=supported,
                    context_length=8000,
                    top_provider={"max_completion_tokens": 2000},
                    default_parameters={"temperature": 0.7, "top_p": 3, "seed": None, "tools": 1},
                )
            ],
        )
        properties = found["properties"]
        assert list(properties) == [
            "temperature",
            "top_p",
            "max_tokens",
            "reasoning_effort",
            "presence_penalty",
            "stop",
            "seed",
        ]
        assert properties["temperature"] == {
            "title": "Temperature",
            "type": "number",
            "minimum": 0,
            "maximum": 2,
            "default": 0.7,
        }
        assert "default" not in properties["top_p"]
        assert properties["max_tokens"]["maximum"] == 2000
        assert properties["reasoning_effort"]["enum"] == ["minimal", "low", "medium", "high"]

    async def test_defaults_of_one_model_do_not_reach_the_next(self, upstream: Upstream) -> None:
        supported = ["temperature"]
        found = await offered(
            upstream,
            models=[
                row("a/1", supported_parameters=supported, default_parameters={"temperature": 1}),
                row("a/2", supported_parameters=supported),
            ],
        )
        assert "default" not in found["a/2"].parameters["properties"]["temperature"]

    async def test_a_model_without_a_list_of_parameters_has_the_usual_ones(self, upstream: Upstream) -> None:
        found = await schema(upstream, models=[{"id": "local"}])
        assert list(found["properties"]) == ["temperature", "top_p", "max_tokens"]


class TestImageSchema:
    async def test_descriptors_get_the_names_of_our_api_in_the_order_of_the_form(self, upstream: Upstream) -> None:
        found = await schema(
            upstream,
            images=[
                image_row(
                    seed=span(0, 99),
                    stream={"type": "boolean"},
                    input_references=span(0, 4),
                    output_compression=span(0, 100),
                    output_format=enum("png", "svg", "webp"),
                    background=enum("auto", "transparent"),
                    quality=enum("low", "auto"),
                    n=span(1, 20),
                    size=enum("1024x1024", "auto"),
                    resolution=enum("1K", "2K"),
                    aspect_ratio=enum("1:1", "16:9"),
                    negative_prompt={"type": "string"},
                    style=enum("a"),
                )
            ],
            models=[row()][:0],
        )
        properties = found["properties"]
        assert list(properties) == [
            "aspect_ratio",
            "image_size",
            "size",
            "n",
            "quality",
            "background",
            "output_format",
            "output_compression",
            "negative_prompt",
            "seed",
        ]
        assert properties["aspect_ratio"] == {"title": "Aspect ratio", "type": "string", "enum": ["1:1", "16:9"]}
        assert properties["image_size"]["enum"] == ["1K", "2K"]
        assert (properties["n"]["minimum"], properties["n"]["maximum"], properties["n"]["default"]) == (1, 10, 1)
        assert properties["quality"]["default"] == "auto"
        assert properties["output_format"]["enum"] == ["png", "webp"]
        assert (properties["seed"]["minimum"], properties["seed"]["maximum"]) == (0, 99)

    async def test_a_parameter_without_a_choice_is_left_out(self, upstream: Upstream) -> None:
        table: list[tuple[str, dict[str, Any]]] = [
            ("n", span(1, 1)),
            ("n", enum(1)),
            ("n", {"type": "boolean"}),
            ("output_format", enum("svg")),
            ("quality", enum()),
            ("resolution", span(5, 1)),
            ("aspect_ratio", {"type": "colour"}),
        ]
        with Cases() as cases:
            for name, descriptor in table:
                upstream.reset()
                with cases.case(name, descriptor):
                    assert (await schema(upstream, images=[image_row(**{name: descriptor})]))["properties"] == {}

    async def test_a_seed_without_bounds_has_the_usual_ones(self, upstream: Upstream) -> None:
        found = await schema(upstream, images=[image_row(seed={"type": "boolean"})])
        assert found["properties"]["seed"] == {"title": "Seed", "type": "integer", "minimum": 0, "maximum": 2**31 - 1}

    async def test_a_model_that_accepts_references_accepts_images(self, upstream: Upstream) -> None:
        found = await offered(
            upstream, models=[row()], images=[image_row("a/1", input_references=span(0, 3)), image_row("a/2")]
        )
        assert found["a/1"].input_modalities == ("text", "image")
        assert found["a/2"].input_modalities == ("text",)

    async def test_a_model_that_generates_images_in_chat_accepts_the_documented_values(
        self, upstream: Upstream
    ) -> None:
        models = [row(outputs=("image", "text"), supported_parameters=["seed", "temperature"])]
        found = await schema(upstream, models=models)
        properties = found["properties"]
        assert list(properties) == ["aspect_ratio", "image_size", "seed"]
        assert len(properties["aspect_ratio"]["enum"]) == 10
        assert properties["aspect_ratio"]["default"] == "1:1"
        assert (properties["image_size"]["enum"], properties["image_size"]["default"]) == (["1K", "2K", "4K"], "1K")


class TestVideoSchema:
    async def test_the_values_of_the_row_become_the_schema(self, upstream: Upstream) -> None:
        film = {
            "id": "a/film",
            "supported_resolutions": ["720p", "1080p"],
            "supported_aspect_ratios": ["16:9"],
            "supported_sizes": ["1280x720"],
            "supported_durations": [8, 4, 6],
            "supported_frame_images": ["last_frame", "first_frame", "middle"],
            "generate_audio": True,
            "seed": True,
            "creativity": None,
            "upscale_factor": None,
            "pricing_skus": {"duration_seconds": "0.40"},
        }
        offer = (await offered(upstream, models=[row("a/film", outputs=("video",))], videos=[film]))["a/film"]
        properties = offer.parameters["properties"]
        assert list(properties) == ["aspect_ratio", "resolution", "size", "duration", "generate_audio", "seed"]
        assert properties["resolution"] == {"title": "Resolution", "type": "string", "enum": ["720p", "1080p"]}
        assert properties["duration"] == {"title": "Duration in seconds", "type": "integer", "enum": [4, 6, 8]}
        assert properties["generate_audio"]["default"] is True
        assert offer.parameters["x-frames"] == ["first_frame", "last_frame"]
        assert "x-prompt" not in offer.parameters
        assert offer.input_modalities == ("text", "image")
        assert offer.pricing == {"duration_seconds": "0.40"}

    async def test_unknown_values_are_unrestricted_and_empty_lists_are_left_out(self, upstream: Upstream) -> None:
        unknown = await schema(upstream, videos=[{"id": "a/film"}])
        assert list(unknown["properties"]) == ["aspect_ratio", "resolution", "duration"]
        assert unknown["properties"]["duration"] == {
            "title": "Duration in seconds",
            "type": "integer",
            "minimum": 1,
            "maximum": 60,
        }
        lists = ("supported_resolutions", "supported_aspect_ratios", "supported_sizes", "supported_durations")
        nothing = await schema(upstream, videos=[{"id": "a/film", **{name: [] for name in lists}, "seed": False}])
        assert nothing["properties"] == {}
        assert "x-frames" not in nothing

    async def test_a_model_without_text_input_needs_no_prompt(self, upstream: Upstream) -> None:
        film = {"id": "a/film", "supported_frame_images": ["first_frame"]}
        offer = (await offered(upstream, models=[row("a/film", ("image",), ("video",))], videos=[film]))["a/film"]
        assert offer.parameters["x-prompt"] == "optional"
        assert offer.input_modalities == ("image",)

    async def test_an_upscaling_model_needs_no_prompt_and_has_parameters_of_its_own(self, upstream: Upstream) -> None:
        upscaling = {"id": "a/up", "creativity": {"min": 0, "max": 3}, "upscale_factor": {"min": 1, "max": 4.5}}
        found = await schema(upstream, videos=[upscaling])
        assert found["properties"]["creativity"] == {
            "title": "Creativity",
            "type": "integer",
            "minimum": 0,
            "maximum": 3,
        }
        assert found["properties"]["upscale_factor"]["maximum"] == 4.5
        assert found["x-prompt"] == "optional"
