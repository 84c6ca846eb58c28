"""Videos of the compatible server, as OpenAI had them."""

from typing import Any

import httpx

from tests.kit import Cases
from tests.providers.simulator.kit import ManualClock, SimulatorClient
from tests.providers.simulator.openai.kit import COMPATIBLE, error_of, png

INVALID = "invalid_request_error"


def submit(sim: SimulatorClient, prompt: str, **more: Any) -> httpx.Response:
    files = more.pop("files", [])
    fields = {"model": "sora-2", "prompt": prompt, **more}
    parts: list[Any] = [(name, (None, value)) for name, value in fields.items()]
    return sim.http.post(f"{sim.origin}{COMPATIBLE}/videos", files=[*parts, *files])


def video(sim: SimulatorClient, id: str, path: str = "") -> httpx.Response:
    return sim.http.get(f"{sim.origin}{COMPATIBLE}/videos/{id}{path}")


def test_a_video_is_queued_then_in_progress_then_completed(timed: SimulatorClient, clock: ManualClock) -> None:
    state = submit(timed, "[stamp] Waves", seconds="4", size="1280x720").json()
    assert (state["object"], state["status"], state["progress"]) == ("video", "queued", 0)
    clock.advance(4)
    answer = video(timed, state["id"])
    assert answer.json()["status"] == "in_progress"
    assert 0 < answer.json()["progress"] < 100
    assert answer.headers["openai-poll-after-ms"] == "1000"
    clock.advance(20)
    done = video(timed, state["id"]).json()
    assert (done["status"], done["progress"], done["seconds"], done["size"]) == ("completed", 100, "4", "1280x720")
    assert done["expires_at"] > done["completed_at"]
    content = video(timed, state["id"], "/content")
    assert content.headers["content-type"] == "video/mp4"
    assert content.content[4:8] == b"ftyp"


def test_a_failed_video_has_an_error(sim: SimulatorClient) -> None:
    state = video(sim, submit(sim, "[fail] Waves").json()["id"]).json()
    assert state["status"] == "failed"
    assert state["error"]["type"] == "server_error"


def test_an_image_may_be_the_first_frame(sim: SimulatorClient) -> None:
    files = [("input_reference", ("a.png", png((64, 64), "red"), "image/png"))]
    state = submit(sim, "[stamp] Waves", files=files).json()
    assert video(sim, state["id"], "/content").content[4:8] == b"ftyp"


def test_only_a_video_that_has_ended_can_be_deleted(timed: SimulatorClient, clock: ManualClock) -> None:
    id = submit(timed, "[stamp] Waves").json()["id"]
    error_of(timed.http.delete(f"{timed.origin}{COMPATIBLE}/videos/{id}"), 400, INVALID, None)
    clock.advance(60)
    assert timed.http.delete(f"{timed.origin}{COMPATIBLE}/videos/{id}").json()["deleted"] is True


def test_what_the_model_does_not_know_is_refused(sim: SimulatorClient) -> None:
    with Cases() as cases:
        for parameters in ({"seconds": "5"}, {"size": "100x100"}, {"duration": "4"}, {"prompt": " "}):
            with cases.case(parameters):
                error_of(submit(sim, **{"prompt": "Waves", **parameters}), 400, INVALID, None)


def test_a_video_that_does_not_exist_is_not_found(sim: SimulatorClient) -> None:
    for id in ("video_1", "gen-vid-1", "x"):
        error_of(video(sim, id), 404, INVALID, None)
