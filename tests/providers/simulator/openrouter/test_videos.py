"""Videos: submitted, polled, downloaded."""

import re
from typing import Any

import pytest

from tests.kit import Cases
from tests.providers.simulator.kit import SHORT, VIDEO_MODEL, ManualClock, SimulatorClient, data_url, two_halves

VEO = {"model": "google/veo-3.1", "duration": 4, "resolution": "720p", "aspect_ratio": "16:9"}


def frame(kind: str, url: str | None = None) -> dict[str, Any]:
    given = url or data_url(two_halves())
    return {"type": "image_url", "image_url": {"url": given}, "frame_type": kind}


def test_a_request_is_answered_202_with_a_relative_polling_url(sim: SimulatorClient) -> None:
    answer = sim.submit("a kite")
    body = answer.json()
    assert answer.status_code == 202
    assert set(body) == {"id", "polling_url", "status"}
    assert body["status"] == "pending"
    assert re.fullmatch(r"gen-vid-\d+-[A-Za-z0-9]{20}", body["id"])
    assert body["polling_url"] == f"/api/v1/videos/{body['id']}"
    assert sim.get(body["polling_url"]).status_code == 200


def test_without_delays_the_first_poll_finds_it_completed(sim: SimulatorClient) -> None:
    state = sim.video("a kite at noon")
    assert set(state) == {"id", "polling_url", "status", "generation_id", "unsigned_urls", "usage"}
    assert state["status"] == "completed"
    assert state["usage"] == {"cost": 0.1, "is_byok": False}
    assert state["unsigned_urls"] == [f"{sim.origin}/api/v1/videos/{state['id']}/content?index=0"]


def test_a_finished_video_is_downloaded_with_the_key(sim: SimulatorClient) -> None:
    state = sim.video("[stamp] a kite at dusk")
    answer = sim.get(state["unsigned_urls"][0])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content[4:8] == b"ftyp"
    assert sim.anonymous.get(state["unsigned_urls"][0]).status_code == 401


def test_every_download_has_the_same_content(sim: SimulatorClient) -> None:
    state = sim.video("[stamp] a kite at midnight")
    assert sim.content(state["id"]).content == sim.content(state["id"]).content


def test_a_video_whose_file_was_deleted_is_rendered_again(sim: SimulatorClient) -> None:
    state = sim.video("[stamp] a kite in spring")
    before = sim.content(state["id"]).content
    (sim.folder / "videos" / f"{state['id']}.mp4").unlink()
    assert sim.content(state["id"]).content == before


def test_a_job_has_one_video(sim: SimulatorClient) -> None:
    state = sim.video("a kite in autumn")
    assert sim.get(f"/videos/{state['id']}/content", index=1).status_code == 404


def test_an_unknown_job_is_not_found(sim: SimulatorClient) -> None:
    for path in ("/videos/gen-vid-1-nothing", "/videos/gen-vid-1-nothing/content", "/videos/..%2f..%2fsecret"):
        answer = sim.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == 404


def test_a_video_is_pending_then_in_progress_then_completed(timed: SimulatorClient, clock: ManualClock) -> None:
    id = timed.submit("[stamp] a long road").json()["id"]
    seen = []
    # 2 seconds of waiting, then 6 and half a second more for each of the 2 seconds of the video.
    for seconds in (0, 1.9, 0.2, 6.8, 0.2):
        clock.advance(seconds)
        seen.append(timed.poll(id)["status"])
        answer = timed.content(id)
        assert answer.status_code == (200 if seen[-1] == "completed" else 409)
        assert answer.status_code == 200 or answer.json()["error"]["code"] == 409
    assert seen == ["pending", "pending", "in_progress", "in_progress", "completed"]


def test_supported_parameters_are_accepted(sim: SimulatorClient) -> None:
    table: list[dict[str, Any]] = [
        {**VEO, "generate_audio": True, "seed": 3},
        {**VEO, "frame_images": [frame("first_frame"), frame("last_frame")]},
        {**VEO, "input_references": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        {**VEO, "callback_url": "https://example.org/hook"},
        {"model": "google/veo-3.1", "size": "720x1280"},
        {"model": "minimax/hailuo-2.3-fast", "prompt": None, "frame_images": [frame("first_frame")]},
        {"model": "alibaba/wan-2.6", "duration": 2},
        {"model": "alibaba/wan-2.6"},
    ]
    with Cases() as cases:
        for settings in table:
            with cases.case(settings):
                answer = sim.http.post("/videos", json={"prompt": "an accepted video", **settings})
                assert answer.status_code == 202, answer.text
                assert sim.poll(answer.json()["id"])["usage"]["cost"] > 0


def test_unsupported_parameters_are_refused(sim: SimulatorClient) -> None:
    table: list[tuple[dict[str, Any], str]] = [
        ({"prompt": None}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"duration": 7}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"resolution": "4K"}, "resolution"),
        ({"aspect_ratio": "2:3"}, "aspect_ratio"),
        ({"model": "google/veo-3.1", "size": "100x100", "duration": 4, "resolution": "720p"}, "size"),
        ({"model": "alibaba/wan-2.6", "resolution": "999p"}, "resolution"),
        ({"model": "alibaba/wan-2.6", "resolution": "4K"}, "size"),
        ({"model": "alibaba/wan-2.6", "aspect_ratio": "wide"}, "aspect_ratio"),
        ({"model": "alibaba/wan-2.6", "duration": 600}, "duration"),
        ({"generate_audio": True}, "generate_audio"),
        ({"seed": "lucky"}, "seed"),
        ({"callback_url": "http://example.org/hook"}, "callback_url"),
        ({"frame_images": ["https://example.org/a.png"]}, "frame_images"),
        ({"frame_images": [{"type": "image_url", "frame_type": "first_frame"}]}, "frame_images"),
        ({"frame_images": [frame("middle_frame")]}, "frame_images"),
        ({"input_references": [{"type": "image_url", "image_url": {"url": "https://a"}}]}, "input_references"),
        ({"model": "minimax/hailuo-2.3-fast", "duration": 6, "resolution": "768p"}, "first_frame"),
        (
            {
                "model": "minimax/hailuo-2.3-fast",
                "duration": 6,
                "resolution": "768p",
                "frame_images": [frame("first_frame"), frame("last_frame")],
            },
            "last_frame",
        ),
        ({"frame_images": [frame("first_frame", "data:image/png;base64,aGVsbG8=")]}, "image"),
        ({"model": "unknown/model"}, "model"),
    ]
    with Cases() as cases:
        for wrong, name in table:
            with cases.case(wrong):
                body = {"model": VIDEO_MODEL, "prompt": "a refused video", **SHORT, **wrong}
                answer = sim.http.post("/videos", json=body)
                assert answer.status_code == 400, answer.text
                assert name in answer.json()["error"]["message"]
                assert sim.submits("a refused video") == []


def test_a_model_of_another_endpoint_is_not_found(sim: SimulatorClient) -> None:
    assert sim.submit("elsewhere", model="openai/gpt-5.5").status_code == 404


def test_a_video_costs_what_its_model_says(sim: SimulatorClient) -> None:
    table: list[tuple[dict[str, Any], float]] = [
        ({**VEO, "generate_audio": True}, 1.6),
        ({**VEO, "generate_audio": False}, 0.8),
        ({"model": "google/veo-3.1", "duration": 8}, 3.2),
        ({"duration": 5, "resolution": "1080p"}, 0.7),
        ({"model": "minimax/hailuo-2.3-fast", "duration": 6, "frame_images": [frame("first_frame")]}, 0.192),
    ]
    with Cases() as cases:
        for settings, cost in table:
            with cases.case(settings):
                answer = sim.http.post("/videos", json={"model": VIDEO_MODEL, "prompt": "a priced video", **settings})
                assert sim.poll(answer.json()["id"])["usage"]["cost"] == pytest.approx(cost)
