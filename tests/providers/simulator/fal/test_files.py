"""Generated files of the simulated fal are real, and on another host, which notes whether it was sent a key."""

from typing import Any

import httpx

from tests.kit import Cases
from tests.providers.simulator.fal.conftest import FalClient
from tests.providers.simulator.kit import SimulatorClient, open_image


def first_file(fal: FalClient, prompt: str, **more: Any) -> httpx.Response:
    url = fal.result(prompt, **more).json()["images"][0]["url"]
    return fal.http.get(url)


def test_an_image_has_the_requested_size_and_format(fal: FalClient) -> None:
    table = {
        "square": (512, 512),
        "portrait_16_9": (576, 1024),
        "landscape_4_3": (1024, 768),
    }
    with Cases() as cases:
        for size, expected in table.items():
            with cases.case(size):
                answer = first_file(fal, f"a river {size}", image_size=size, output_format="png")
                image = open_image(answer.content)
                assert (image.size, image.format) == (expected, "PNG")
                assert answer.headers["content-type"] == "image/png"


def test_a_file_is_on_another_host_and_needs_no_key(fal: FalClient, sim: SimulatorClient) -> None:
    links = fal.submitted("[stamp] elsewhere")
    url = fal.get(links["response_url"]).json()["images"][0]["url"]
    assert not url.startswith(sim.origin)
    fal.http.get(url)
    fal.get(url)
    assert [visit["authorization"] for visit in sim.visits(links["request_id"])] == [False, True]


def test_a_video_is_a_video(fal: FalClient) -> None:
    result = fal.result("[stamp] waves", "fal-ai/veo3.1", duration="4s", resolution="720p").json()
    assert fal.http.get(result["video"]["url"]).content[4:8] == b"ftyp"


def test_an_unknown_file_is_missing(fal: FalClient, sim: SimulatorClient) -> None:
    id = fal.submitted("[stamp] files")["request_id"]
    with Cases() as cases:
        for path in (f"{id}/0.exe", f"{id}/x.png", f"{'0' * 36}/0.png", "..%2Fsecret/0.png"):
            with cases.case(path):
                assert fal.http.get(f"{sim.origin}/simulator/fal/files/{path}").status_code == 404


def test_a_file_may_be_broken_in_several_ways(fal: FalClient) -> None:
    assert first_file(fal, "[gone] [stamp]").status_code == 404
    assert b"neither" in first_file(fal, "[badmedia] [stamp]").content
    assert fal.result("[data-url] [stamp]").json()["images"][0]["url"].startswith("data:image/jpeg;base64,")
    assert fal.result("[private] [stamp]").json()["images"][0]["url"].startswith("http://10.")
    assert fal.result("[empty] [stamp]").json()["images"] == []
    black = open_image(first_file(fal, "[nsfw] [stamp]").content)
    assert black.getbbox() is None
    try:
        first_file(fal, "[cut] [stamp]")
    except httpx.RemoteProtocolError:
        return
    raise AssertionError("the file was complete")
