"""The provider against its simulator: both follow the same documentation, and here they must agree.

Which requests were accepted, and who received the key, is read from the simulator's own logs.
"""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.providers.client import Client
from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    InputImage,
    Kind,
    ModelOffer,
    Outcome,
    Pending,
    Request,
    Retryable,
    UpstreamJob,
)
from app.providers.fal import Fal
from app.providers.fal.descriptions import described
from tests.kit import Cases
from tests.providers.fal.kit import image_request
from tests.providers.openrouter.kit import contents, expect, new_folder
from tests.providers.simulator.kit import ManualClock, SimulatorClient, difference, open_image, png, serving, two_halves

FILL = "fal-ai/flux-pro/v1/fill"
POLLS = 20


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorClient]:
    with serving(tmp_path_factory.mktemp("simulator"), key="id:secret") as client:
        yield client


@pytest.fixture
async def fal(simulator: SimulatorClient) -> AsyncIterator[Fal]:
    async for provider in connected(simulator):
        yield provider


async def connected(simulator: SimulatorClient, key: str = "id:secret") -> AsyncIterator[Fal]:
    urls = f"{simulator.origin}/fal/queue", f"{simulator.origin}/fal/rest"
    client = Client(urls)
    yield Fal(client, *urls, key, max_image_bytes=10_000_000, max_video_bytes=50_000_000)
    await client.aclose()


async def final_outcome(fal: Fal, request: Request, folder: Path) -> Outcome:
    """The last outcome, polled until it is there."""
    outcome = await fal.submit(request, folder)
    for _ in range(POLLS):
        if not isinstance(outcome, Pending):
            break
        outcome = await fal.poll(outcome.upstream_job, folder)
    return outcome


def request_of(offer: ModelOffer, folder: Path, *, every_input: bool) -> Request:
    """A request with every parameter at its default, and with the required inputs or all of them."""
    properties: dict[str, Any] = offer.parameters["properties"]
    images = []
    for slot in offer.inputs:
        if slot.required or every_input:
            path = folder / f"{slot.role.value}.png"
            path.write_bytes(png(two_halves()))
            images.append(InputImage(path, "image/png", slot.role.value))
    return image_request(
        kind=Kind.VIDEO if "video" in offer.output_modalities else Kind.IMAGE,
        model=offer.id,
        prompt="[stamp] A lighthouse" if "text" in offer.input_modalities else "",
        params={name: one["default"] for name, one in properties.items() if "default" in one},
        images=tuple(images),
    )


async def test_every_described_model_generates_from_its_defaults_without_and_with_its_optional_inputs(
    fal: Fal, tmp_path: Path
) -> None:
    with Cases() as cases:
        for offer in described().values():
            for every_input in {False, bool(offer.inputs) and offer.output_modalities == ("image",)}:
                with cases.case(offer.id, every_input):
                    folder = new_folder(tmp_path)
                    request = request_of(offer, folder, every_input=every_input)
                    done = expect(Completed, await final_outcome(fal, request, new_folder(tmp_path)))
                    assert len(done.media) == request.params.get("n", 1)


async def test_an_area_is_filled_and_the_rest_of_the_image_is_kept(fal: Fal, tmp_path: Path) -> None:
    mask = Image.new("L", (320, 180))
    mask.paste(255, (0, 0, 160, 180))
    for name, content in (("image", png(two_halves())), ("mask", png(mask))):
        (tmp_path / name).write_bytes(content)
    images = tuple(InputImage(tmp_path / role, "image/png", role) for role in ("image", "mask"))
    request = image_request(model=FILL, params={"output_format": "png"}, images=images)
    done = expect(Completed, await final_outcome(fal, request, new_folder(tmp_path)))
    filled, original = Image.open(done.media[0].path).convert("RGB"), two_halves()
    left, right = (0, 0, 160, 180), (160, 0, 320, 180)
    assert difference(filled.crop(left), original.crop(left)) > 10
    assert difference(filled.crop(right), original.crop(right)) == 0


async def test_a_large_input_is_uploaded_and_used(fal: Fal, simulator: SimulatorClient, tmp_path: Path) -> None:
    noise = Image.effect_noise((700, 700), 100)
    (tmp_path / "image").write_bytes(png(noise))
    assert (tmp_path / "image").stat().st_size > 256 * 1024
    (tmp_path / "mask").write_bytes(png(Image.new("L", (700, 700))))
    images = tuple(InputImage(tmp_path / role, "image/png", role) for role in ("image", "mask"))
    request = image_request(model=FILL, prompt="uploaded", params={"output_format": "png"}, images=images)
    done = expect(Completed, await final_outcome(fal, request, new_folder(tmp_path)))
    assert difference(open_image(done.media[0].path.read_bytes()), noise) == 0
    (submit,) = simulator.submits("uploaded")
    assert submit["request"]["image_url"].startswith("http")


async def test_the_key_never_reaches_the_hosts_of_files(fal: Fal, simulator: SimulatorClient, tmp_path: Path) -> None:
    expect(Completed, await final_outcome(fal, image_request(prompt="[redirect] [stamp]"), tmp_path))
    visits = simulator.anonymous.get(f"{simulator.origin}/simulator/redirects").json()
    assert visits
    assert not any(visit["authorization"] for visit in visits)


async def test_a_request_with_an_unknown_outcome_was_sent_once(
    fal: Fal, simulator: SimulatorClient, tmp_path: Path
) -> None:
    request = image_request(prompt="[ambiguous] Once")
    assert expect(Failed, await fal.submit(request, tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN
    assert len(simulator.submits(request.prompt)) == 1


async def test_each_fault_has_the_outcome_of_its_cause(fal: Fal, tmp_path: Path) -> None:
    codes = {
        "credits": ErrorCode.PROVIDER_FAILED,
        "html": ErrorCode.OUTCOME_UNKNOWN,
        "unreachable": ErrorCode.OUTCOME_UNKNOWN,
        "fail": ErrorCode.PROVIDER_FAILED,
        "refuse": ErrorCode.PROVIDER_REFUSED,
        "no-media": ErrorCode.PROVIDER_REFUSED,
        "invalid": ErrorCode.REQUEST_REJECTED,
        "detail": ErrorCode.REQUEST_REJECTED,
        "runner": ErrorCode.PROVIDER_FAILED,
        "cancelled": ErrorCode.PROVIDER_FAILED,
        "forgotten": ErrorCode.PROVIDER_EXPIRED,
        "nsfw": ErrorCode.PROVIDER_REFUSED,
        "empty": ErrorCode.PROVIDER_FAILED,
        "private": ErrorCode.RESULT_INVALID,
        "gone": ErrorCode.PROVIDER_EXPIRED,
        "huge": ErrorCode.RESULT_TOO_LARGE,
    }
    with Cases() as cases:
        for command, code in codes.items():
            with cases.case(command):
                outcome = await final_outcome(fal, image_request(prompt=f"[{command}] Waves"), tmp_path)
                assert expect(Failed, outcome).code is code


async def test_what_does_not_matter_does_not_matter(fal: Fal, tmp_path: Path) -> None:
    with Cases() as cases:
        for command in ("no-links", "foreign-links", "odd-state", "data-url", "notyet", "redirect"):
            folder = new_folder(tmp_path)
            with cases.case(command):
                request = image_request(prompt=f"[{command}] [stamp] Waves", params={"output_format": "png"})
                assert len(expect(Completed, await final_outcome(fal, request, folder)).media) == 4


async def test_of_several_images_those_that_are_not_blocked_are_kept(fal: Fal, tmp_path: Path) -> None:
    request = image_request(prompt="[nsfw-one] [stamp] Waves", params={"n": 3, "output_format": "png"})
    done = expect(Completed, await final_outcome(fal, request, tmp_path))
    assert len(done.media) == 2
    assert all(Image.open(io.BytesIO(content)).getbbox() for content in contents(tmp_path).values())


async def test_a_busy_service_is_tried_again(fal: Fal, tmp_path: Path) -> None:
    for command in ("ratelimit", "overloaded"):
        request = image_request(prompt=f"[{command}] [stamp] Waves")
        assert expect(Retryable, await fal.submit(request, tmp_path)).wait == 1
        expect(Pending, await fal.submit(request, tmp_path))


async def test_wrong_inputs_are_reported_as_the_result_of_the_job(fal: Fal, tmp_path: Path) -> None:
    table: list[dict[str, Any]] = [
        {"params": {"num_inference_steps": 1000}},
        {"params": {"unknown": 1}},
        {"params": {"n": 9}},
        {"prompt": ""},
    ]
    with Cases() as cases:
        for more in table:
            with cases.case(more):
                failed = expect(Failed, await final_outcome(fal, image_request(**more), tmp_path))
                assert failed.code is ErrorCode.REQUEST_REJECTED
                assert failed.reason


async def test_a_job_passes_through_the_queue_with_progress(tmp_path: Path) -> None:
    clock = ManualClock()
    with serving(tmp_path / "simulator", speed=1, clock=clock) as simulator:
        async for fal in connected(simulator):
            pending = expect(Pending, await fal.submit(image_request(prompt="[stamp]"), tmp_path))
            seen = []
            for _ in range(POLLS):
                seen.append((pending.state, pending.progress))
                clock.advance(0.5)
                outcome = await fal.poll(pending.upstream_job, tmp_path)
                if isinstance(outcome, Completed):
                    break
                pending = expect(Pending, outcome)
    assert seen == [
        ("IN_QUEUE, position 3", None),
        ("IN_QUEUE, position 2", None),
        *(("IN_PROGRESS", percent) for percent in (0, 20, 50, 70)),
    ]


async def test_a_cancelled_job_leaves_the_queue_or_is_stopped(tmp_path: Path) -> None:
    clock = ManualClock()
    with serving(tmp_path / "simulator", speed=1, clock=clock) as simulator:
        async for fal in connected(simulator):
            jobs = {}
            for name, seconds in (("queued", 0.0), ("running", 2.0), ("ended", 9.0)):
                pending = expect(Pending, await fal.submit(image_request(prompt=f"[stamp] {name}"), tmp_path))
                clock.advance(seconds)
                jobs[name] = (await fal.cancel(pending.upstream_job), await fal.poll(pending.upstream_job, tmp_path))
            pending = expect(Pending, await fal.submit(image_request(prompt="[stamp] [uncancellable]"), tmp_path))
            assert await fal.cancel(pending.upstream_job)
            clock.advance(9)
            expect(Completed, await fal.poll(pending.upstream_job, tmp_path))
            assert not await fal.cancel(UpstreamJob("0" * 36, pending.upstream_job.polling_url))
    assert {name: accepted for name, (accepted, _) in jobs.items()} == {"queued": True, "running": True, "ended": False}
    assert "cancelled" in expect(Failed, jobs["queued"][1]).message
    assert "cancelled" in expect(Failed, jobs["running"][1]).message
    expect(Completed, jobs["ended"][1])


async def test_a_wrong_key_is_rejected(simulator: SimulatorClient, tmp_path: Path) -> None:
    async for fal in connected(simulator, "another"):
        failed = expect(Failed, await fal.submit(image_request(), tmp_path))
        assert "API key" in failed.message
    bearer = simulator.http.post(f"{simulator.origin}/fal/queue/fal-ai/flux/dev", json={})
    assert bearer.status_code == 401
