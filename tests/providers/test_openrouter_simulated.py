"""The provider against the simulator that plays it: two readings of one fact sheet, and here they must agree.

What was taken on, and to whom the key was shown, is judged by the simulator's own logs.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.providers.client import Client
from app.providers.contract import Done, ErrorCode, Failure, Later, Never, Outcome, Picture, Request
from app.providers.openrouter import OpenRouter, Patience
from tests.providers.asking import PNG, a_text, a_video, an_image, the
from tests.providers.simulator.caller import Caller, serving

PATIENT = Patience(between_downloads=0.1)
WRITER = "deepseek/deepseek-v4"
PAINTER = "bytedance-seed/seedream-5"
CHAT_PAINTER = "google/gemini-3-pro-image"
FILM = "kwaivgi/kling-v3.0-pro"
SHORT: dict[str, Any] = {"duration": 2, "resolution": "480p", "aspect_ratio": "16:9"}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with serving(tmp_path_factory.mktemp("simulator")) as caller:
        yield caller


@pytest.fixture
async def openrouter(simulator: Caller) -> AsyncIterator[OpenRouter]:
    base = f"{simulator.origin}/api/v1"
    client = Client([base])
    yield OpenRouter(
        client,
        base,
        "a-key",
        max_image_bytes=10_000_000,
        max_video_bytes=50_000_000,
        is_openrouter=True,
        patience=PATIENT,
    )
    await client.aclose()


async def filmed(openrouter: OpenRouter, request: Request, folder: Path) -> Outcome:
    """The end of a clip, asked about until it is there."""
    outcome = await openrouter.submit(request, folder)
    for _ in range(20):
        if not isinstance(outcome, Later):
            break
        outcome = await openrouter.poll(outcome.ticket, folder)
    return outcome


async def test_every_model_has_a_route_and_a_form_that_its_own_defaults_fit(openrouter: OpenRouter) -> None:
    offers = {offer.id: offer for offer in await openrouter.offers()}
    assert [offers[model].route for model in (WRITER, CHAT_PAINTER, PAINTER, FILM)] == [
        "chat",
        "chat-image",
        "images",
        "videos",
    ]
    for offer in offers.values():
        properties = offer.parameters["properties"]
        defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
        jsonschema_rs.validate(offer.parameters, defaults)


async def test_text_is_written_and_priced(openrouter: OpenRouter, tmp_path: Path) -> None:
    done = the(Done, await openrouter.submit(a_text(model=WRITER, params={"temperature": 0.5}), tmp_path))
    assert done.text
    assert done.usage is not None
    assert done.cost_nano is not None
    assert done.generation_id is not None
    assert await openrouter.cost_nano(done.generation_id) == done.cost_nano


async def test_text_is_streamed_with_its_figures_at_the_end(openrouter: OpenRouter) -> None:
    chunks = [chunk async for chunk in openrouter.stream(a_text(model=WRITER))]
    assert len(chunks) > 1
    assert all(chunk.delta for chunk in chunks[:-1])
    assert not chunks[-1].delta
    assert (chunks[-1].finish_reason, chunks[-1].cost_nano is None) == ("stop", False)


@pytest.mark.parametrize("fault", ["cut", "error-in-stream", "error-first"])
async def test_a_stream_that_goes_wrong_is_a_failure(fault: str, openrouter: OpenRouter) -> None:
    with pytest.raises(Failure):
        [chunk async for chunk in openrouter.stream(a_text(model=WRITER, prompt=f"[{fault}] Hello"))]


@pytest.mark.parametrize("model", [PAINTER, CHAT_PAINTER, "openai/gpt-image-2", "black-forest-labs/flux.2-pro"])
async def test_a_picture_is_made_over_the_route_of_its_model(
    model: str, openrouter: OpenRouter, tmp_path: Path
) -> None:
    (offer,) = [offer for offer in await openrouter.offers() if offer.id == model]
    (tmp_path / "reference").write_bytes(PNG)
    request = an_image(
        model=model,
        route=offer.route,
        output_modalities=offer.output_modalities,
        pictures=(Picture(tmp_path / "reference", "image/png", "reference"),),
    )
    done = the(Done, await openrouter.submit(request, tmp_path))
    assert done.media[0].path.read_bytes().startswith(b"\x89PNG")
    assert done.cost_nano


async def test_a_model_that_the_catalogue_does_not_know_is_found_all_the_same(
    openrouter: OpenRouter, tmp_path: Path
) -> None:
    the(Done, await openrouter.submit(an_image(model=CHAT_PAINTER, route=None), tmp_path))


@pytest.mark.parametrize("how", ["absolute", "foreign-poll", "urls", "no-urls", "video_url", "redirect", "odd-state"])
async def test_a_clip_is_made_and_fetched_however_it_is_handed_over(
    how: str, openrouter: OpenRouter, simulator: Caller, tmp_path: Path
) -> None:
    request = a_video(model=FILM, params=SHORT, prompt=f"[{how}] Waves")
    done = the(Done, await filmed(openrouter, request, tmp_path))
    assert done.media[0].path.read_bytes()[4:8] == b"ftyp"
    assert done.cost_nano
    visits = simulator.stranger.get(f"{simulator.origin}/simulator/redirects").json()
    assert not any(visit["authorization"] for visit in visits)


@pytest.mark.parametrize("kind", ["text", "image", "video"])
async def test_what_is_ambiguous_was_taken_on_once(
    kind: str, openrouter: OpenRouter, simulator: Caller, tmp_path: Path
) -> None:
    prompt = f"[ambiguous] One {kind}"
    requests = {
        "text": a_text(model=WRITER, prompt=prompt),
        "image": an_image(model=PAINTER, prompt=prompt),
        "video": a_video(model=FILM, prompt=prompt, params=SHORT),
    }
    never = the(Never, await openrouter.submit(requests[kind], tmp_path))
    assert never.code is ErrorCode.OUTCOME_UNKNOWN
    assert len(simulator.submits(prompt)) == 1


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("fail", ErrorCode.PROVIDER_FAILED),
        ("cancelled", ErrorCode.PROVIDER_FAILED),
        ("expire", ErrorCode.PROVIDER_EXPIRED),
        ("gone", ErrorCode.PROVIDER_EXPIRED),
        ("refuse", ErrorCode.PROVIDER_REFUSED),
        ("huge", ErrorCode.RESULT_TOO_LARGE),
    ],
)
async def test_a_clip_that_comes_to_nothing_says_why(
    how: str, code: ErrorCode, openrouter: OpenRouter, tmp_path: Path
) -> None:
    request = a_video(model=FILM, params=SHORT, prompt=f"[{how}] Waves")
    assert the(Never, await filmed(openrouter, request, tmp_path)).code is code
