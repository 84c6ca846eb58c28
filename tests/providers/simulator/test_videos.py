"""Clips: submitted, waited for, fetched."""

import re
import time
from typing import Any

import pytest

from tests.providers.simulator.caller import FILMMAKER, SHORT, Caller, data_url, two_halves

VEO = {"model": "google/veo-3.1", "duration": 4, "resolution": "720p", "aspect_ratio": "16:9"}


def frame(kind: str, url: str | None = None) -> dict[str, Any]:
    given = url or data_url(two_halves())
    return {"type": "image_url", "image_url": {"url": given}, "frame_type": kind}


def test_a_submit_is_answered_202_with_a_relative_address_to_ask_at(sim: Caller) -> None:
    answer = sim.submit("a kite")
    body = answer.json()
    assert answer.status_code == 202
    assert set(body) == {"id", "polling_url", "status"}
    assert body["status"] == "pending"
    assert re.fullmatch(r"gen-vid-\d+-[A-Za-z0-9]{20}", body["id"])
    assert body["polling_url"] == f"/api/v1/videos/{body['id']}"
    assert sim.get(body["polling_url"]).status_code == 200


def test_without_delays_the_first_poll_finds_it_completed(sim: Caller) -> None:
    state = sim.video("a kite at noon")
    assert set(state) == {"id", "polling_url", "status", "generation_id", "unsigned_urls", "usage"}
    assert state["status"] == "completed"
    assert state["usage"] == {"cost": 0.1, "is_byok": False}
    assert state["unsigned_urls"] == [f"{sim.origin}/api/v1/videos/{state['id']}/content?index=0"]


def test_the_finished_clip_is_fetched_with_the_key(sim: Caller) -> None:
    state = sim.video("a kite at dusk")
    answer = sim.get(state["unsigned_urls"][0])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content[4:8] == b"ftyp"
    assert sim.stranger.get(state["unsigned_urls"][0]).status_code == 401


def test_the_clip_is_the_same_however_often_it_is_fetched(sim: Caller) -> None:
    state = sim.video("a kite at midnight")
    assert sim.content(state["id"]).content == sim.content(state["id"]).content


def test_the_clip_is_made_again_when_its_file_was_thrown_away(sim: Caller) -> None:
    state = sim.video("a kite in spring")
    before = sim.content(state["id"]).content
    (sim.folder / "clips" / f"{state['id']}.mp4").unlink()
    assert sim.content(state["id"]).content == before


def test_only_the_first_clip_exists(sim: Caller) -> None:
    state = sim.video("a kite in autumn")
    assert sim.get(f"/videos/{state['id']}/content", index=1).status_code == 404


def test_an_invented_job_is_missing(sim: Caller) -> None:
    for path in ("/videos/gen-vid-1-nothing", "/videos/gen-vid-1-nothing/content", "/videos/..%2f..%2fsecret"):
        answer = sim.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == 404


def test_a_clip_is_pending_then_in_progress_then_completed(unhurried: Caller) -> None:
    start = time.monotonic()
    id = unhurried.submit("a long road").json()["id"]
    seen: list[str] = []
    while not seen or seen[-1] != "completed":
        status = unhurried.poll(id)["status"]
        if not seen or seen[-1] != status:
            seen.append(status)
        if status != "completed":
            early = unhurried.content(id)
            assert early.status_code in (409, 200)
        time.sleep(0.02)
        assert time.monotonic() - start < 20
    assert seen == ["pending", "in_progress", "completed"]
    # At a tenth of the usual speed: 2 s waiting, 6 s and half a second for each of 2 seconds of film.
    assert 0.8 < time.monotonic() - start < 6, "not at the usual speed, which would be 9 seconds"
    assert unhurried.content(id).status_code == 200


def test_a_clip_that_is_not_ready_cannot_be_fetched(unhurried: Caller) -> None:
    answer = unhurried.content(unhurried.submit("a longer road").json()["id"])
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == 409


@pytest.mark.parametrize(
    "asked",
    [
        {**VEO, "generate_audio": True, "seed": 3},
        {**VEO, "frame_images": [frame("first_frame"), frame("last_frame")]},
        {**VEO, "input_references": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        {**VEO, "callback_url": "https://example.org/hook"},
        {"model": "google/veo-3.1", "size": "720x1280"},
        {"model": "minimax/hailuo-2.3-fast", "prompt": None, "frame_images": [frame("first_frame")]},
        {"model": "alibaba/wan-2.6", "duration": 2},
        {"model": "alibaba/wan-2.6"},
    ],
)
def test_what_a_model_takes_is_accepted(sim: Caller, asked: dict[str, Any]) -> None:
    answer = sim.http.post("/videos", json={"prompt": "an accepted clip", **asked})
    assert answer.status_code == 202, answer.text
    assert sim.poll(answer.json()["id"])["usage"]["cost"] > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
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
        ({"frame_images": [frame("first_frame", "data:image/png;base64,aGVsbG8=")]}, "picture"),
        ({"model": "nobody/nothing"}, "model"),
    ],
)
def test_what_a_model_does_not_take_is_refused(sim: Caller, wrong: dict[str, Any], said: str) -> None:
    body = {"model": FILMMAKER, "prompt": "a refused clip", **SHORT, **wrong}
    answer = sim.http.post("/videos", json=body)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    assert sim.submits("a refused clip") == []


def test_a_model_of_another_endpoint_is_missing_here(sim: Caller) -> None:
    assert sim.submit("elsewhere", model="openai/gpt-5.5").status_code == 404


@pytest.mark.parametrize(
    ("asked", "cost"),
    [
        ({**VEO, "generate_audio": True}, 1.6),
        ({**VEO, "generate_audio": False}, 0.8),
        ({"model": "google/veo-3.1", "duration": 8}, 3.2),
        ({"duration": 5, "resolution": "1080p"}, 0.7),
        ({"model": "minimax/hailuo-2.3-fast", "duration": 6, "frame_images": [frame("first_frame")]}, 0.192),
    ],
)
def test_a_clip_costs_what_its_model_says(sim: Caller, asked: dict[str, Any], cost: float) -> None:
    answer = sim.http.post("/videos", json={"model": FILMMAKER, "prompt": "a priced clip", **asked})
    assert sim.poll(answer.json()["id"])["usage"]["cost"] == pytest.approx(cost)
