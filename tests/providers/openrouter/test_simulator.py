"""The provider against its simulator: both follow the same documentation, and here they must agree.

Which requests were accepted, and who received the key, is read from the simulator's own logs.
"""

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.providers.client import Client
from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    Failure,
    InputImage,
    Outcome,
    Pending,
    Preview,
    Request,
    Retryable,
)
from app.providers.openrouter import OpenRouter, Timeouts
from tests.kit import Cases
from tests.providers.openrouter.kit import PNG, expect, image_request, new_folder, text_request, video_request
from tests.providers.simulator.kit import SimulatorClient, serving

TEXT_MODEL = "deepseek/deepseek-v4"
IMAGE_MODEL = "bytedance-seed/seedream-5"
CHAT_IMAGE_MODEL = "google/gemini-3-pro-image"
VIDEO_MODEL = "kwaivgi/kling-v3.0-pro"
SHORT: dict[str, Any] = {"duration": 2, "resolution": "480p", "aspect_ratio": "16:9"}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorClient]:
    with serving(tmp_path_factory.mktemp("simulator")) as client:
        yield client


@pytest.fixture
async def openrouter(simulator: SimulatorClient) -> AsyncIterator[OpenRouter]:
    base = f"{simulator.origin}/api/v1"
    client = Client([base])
    yield OpenRouter(
        client,
        base,
        "a-key",
        max_image_bytes=10_000_000,
        max_video_bytes=50_000_000,
        is_openrouter=True,
        timeouts=Timeouts(between_downloads=0.01),
    )
    await client.aclose()


async def outcome_of_video(openrouter: OpenRouter, request: Request, folder: Path) -> Outcome:
    """The final outcome, polled until it is there."""
    outcome = await openrouter.submit(request, folder)
    for _ in range(20):
        if not isinstance(outcome, Pending):
            break
        outcome = await openrouter.poll(outcome.upstream_job, folder)
    return outcome


async def test_every_model_has_a_route_and_a_schema_that_its_own_defaults_fit(openrouter: OpenRouter) -> None:
    offers = {offer.id: offer for offer in await openrouter.offers()}
    assert [offers[model].route for model in (TEXT_MODEL, CHAT_IMAGE_MODEL, IMAGE_MODEL, VIDEO_MODEL)] == [
        "chat",
        "chat-image",
        "images",
        "videos",
    ]
    for offer in offers.values():
        properties = offer.parameters["properties"]
        defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
        jsonschema_rs.validate(offer.parameters, defaults)


async def test_text_is_generated_and_priced(openrouter: OpenRouter, tmp_path: Path) -> None:
    done = expect(
        Completed, await openrouter.submit(text_request(model=TEXT_MODEL, params={"temperature": 0.5}), tmp_path)
    )
    assert done.text
    assert done.usage is not None
    assert done.cost_nano is not None
    assert done.generation_id is not None
    assert await openrouter.cost_nano(done.generation_id) == done.cost_nano


async def test_text_is_streamed_with_its_cost_at_the_end(openrouter: OpenRouter) -> None:
    chunks = [chunk async for chunk in openrouter.stream(text_request(model=TEXT_MODEL))]
    assert len(chunks) > 1
    assert all(chunk.delta for chunk in chunks[:-1])
    assert not chunks[-1].delta
    assert (chunks[-1].finish_reason, chunks[-1].cost_nano is None) == ("stop", False)


async def test_a_stream_that_goes_wrong_is_a_failure(openrouter: OpenRouter) -> None:
    with Cases() as cases:
        for fault in ("cut", "error-in-stream", "error-first"):
            with cases.case(fault), pytest.raises(Failure):
                [chunk async for chunk in openrouter.stream(text_request(model=TEXT_MODEL, prompt=f"[{fault}] Hello"))]


async def test_an_image_is_generated_on_the_route_of_its_model(openrouter: OpenRouter, tmp_path: Path) -> None:
    offers = {offer.id: offer for offer in await openrouter.offers()}
    with Cases() as cases:
        for model in (IMAGE_MODEL, CHAT_IMAGE_MODEL, "openai/gpt-image-2", "black-forest-labs/flux.2-pro"):
            folder = new_folder(tmp_path)
            (folder / "reference").write_bytes(PNG)
            request = image_request(
                model=model,
                prompt="[stamp] A lighthouse",
                route=offers[model].route,
                output_modalities=offers[model].output_modalities,
                images=(InputImage(folder / "reference", "image/png", "reference"),),
            )
            with cases.case(model):
                done = expect(Completed, await openrouter.submit(request, folder))
                assert done.media[0].path.read_bytes().startswith(b"\x89PNG")
                assert done.cost_nano


async def test_previews_come_where_the_model_can_send_them(openrouter: OpenRouter, tmp_path: Path) -> None:
    with Cases() as cases:
        for model, route, number in (
            ("openai/gpt-image-2", "images", 1),
            (IMAGE_MODEL, "images", 0),
            (CHAT_IMAGE_MODEL, "chat-image", 0),
        ):
            previews: list[Preview] = []
            request = image_request(
                model=model, prompt="[stamp] A lighthouse", route=route, previews=2, on_preview=previews.append
            )
            with cases.case(model):
                done = expect(Completed, await openrouter.submit(request, new_folder(tmp_path)))
                assert done.media[0].path.read_bytes().startswith(b"\x89PNG")
                assert done.cost_nano
                assert len(previews) == number
                assert all(base64.b64decode(preview.base64).startswith(b"\x89PNG") for preview in previews)


async def test_a_stream_of_images_that_goes_wrong_ends_like_a_whole_answer(
    openrouter: OpenRouter, simulator: SimulatorClient, tmp_path: Path
) -> None:
    codes = {
        "ambiguous": ErrorCode.OUTCOME_UNKNOWN,
        "cut": ErrorCode.OUTCOME_UNKNOWN,
        "error-first": ErrorCode.PROVIDER_FAILED,
        "error-in-stream": ErrorCode.PROVIDER_FAILED,
        "error-200": ErrorCode.PROVIDER_FAILED,
        "text-only": ErrorCode.PROVIDER_FAILED,
        "refuse": ErrorCode.PROVIDER_REFUSED,
        "huge": ErrorCode.RESULT_TOO_LARGE,
        "fail": ErrorCode.PROVIDER_FAILED,
    }
    with Cases() as cases:
        for command, code in codes.items():
            previews: list[Preview] = []
            request = image_request(
                model="openai/gpt-image-2",
                prompt=f"[{command}] [stamp] A lighthouse in a stream",
                previews=1,
                on_preview=previews.append,
            )
            with cases.case(command):
                outcome = await openrouter.submit(request, new_folder(tmp_path))
                assert isinstance(outcome, Retryable if command == "fail" else Failed)
                assert outcome.code is code
                assert len(simulator.submits(request.prompt)) == (0 if command == "refuse" else 1)


async def test_the_route_of_an_unlisted_model_is_found(openrouter: OpenRouter, tmp_path: Path) -> None:
    request = image_request(model=CHAT_IMAGE_MODEL, prompt="[stamp] A lighthouse", route=None)
    expect(Completed, await openrouter.submit(request, tmp_path))


async def test_a_video_is_generated_and_downloaded_however_its_links_look(
    openrouter: OpenRouter, simulator: SimulatorClient, tmp_path: Path
) -> None:
    with Cases() as cases:
        for command in ("absolute", "foreign-poll", "urls", "no-urls", "video_url", "redirect", "odd-state"):
            request = video_request(model=VIDEO_MODEL, params=SHORT, prompt=f"[{command}] [stamp] Waves")
            with cases.case(command):
                done = expect(Completed, await outcome_of_video(openrouter, request, new_folder(tmp_path)))
                assert done.media[0].path.read_bytes()[4:8] == b"ftyp"
                assert done.cost_nano
    visits = simulator.anonymous.get(f"{simulator.origin}/simulator/redirects").json()
    assert visits
    assert not any(visit["authorization"] for visit in visits)


async def test_a_request_with_an_unknown_outcome_was_sent_once(
    openrouter: OpenRouter, simulator: SimulatorClient, tmp_path: Path
) -> None:
    requests = {
        "text": text_request(model=TEXT_MODEL, prompt="[ambiguous] One text"),
        "image": image_request(model=IMAGE_MODEL, prompt="[ambiguous] One image"),
        "video": video_request(model=VIDEO_MODEL, prompt="[ambiguous] One video", params=SHORT),
    }
    with Cases() as cases:
        for kind, request in requests.items():
            with cases.case(kind):
                failed = expect(Failed, await openrouter.submit(request, tmp_path))
                assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                assert len(simulator.submits(request.prompt)) == 1


async def test_a_failed_video_has_the_code_of_its_cause(openrouter: OpenRouter, tmp_path: Path) -> None:
    codes = {
        "fail": ErrorCode.PROVIDER_FAILED,
        "cancelled": ErrorCode.PROVIDER_FAILED,
        "expire": ErrorCode.PROVIDER_EXPIRED,
        "gone": ErrorCode.PROVIDER_EXPIRED,
        "refuse": ErrorCode.PROVIDER_REFUSED,
        "huge": ErrorCode.RESULT_TOO_LARGE,
    }
    with Cases() as cases:
        for command, code in codes.items():
            request = video_request(model=VIDEO_MODEL, params=SHORT, prompt=f"[{command}] Waves")
            with cases.case(command):
                assert expect(Failed, await outcome_of_video(openrouter, request, tmp_path)).code is code
