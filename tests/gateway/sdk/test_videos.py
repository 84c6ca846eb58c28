"""Videos: created, polled, downloaded and deleted with the official `openai` package.

A prompt with `[stuck]` is for a video that is not waited for: the simulator encodes nothing for it.
"""

import base64

import pytest

from tests.gateway.sdk.conftest import User
from tests.kit import IMAGE_TO_VIDEO_MODEL, VIDEO_MODEL, decoded_image, decoded_video, png

pytestmark = pytest.mark.xdist_group("openai")  # one worker keeps one interpreter

SIZED_MODEL = "google/veo-3.1"  # takes the sizes that OpenAI's own models take


async def test_a_video_from_request_to_deletion(ann: User) -> None:
    found = await ann.run(
        """
        requested = client.videos.create(model=given["model"], prompt="A paper boat in the rain", seconds="1")
        done = client.videos.poll(requested.id, poll_interval_ms=100)
        result = {
            "requested": as_json(requested), "done": as_json(done),
            "listed": [as_json(video) for video in client.videos.list()],
        }
        """,
        model=VIDEO_MODEL,
    )
    requested, done = found["requested"], found["done"]
    assert requested["object"] == done["object"] == "video"
    assert requested["status"] in ("queued", "in_progress")
    assert requested["model"] == VIDEO_MODEL
    assert requested["created_at"] > 1_700_000_000
    assert requested["error"] is None
    assert 0 <= requested["progress"] <= 100
    assert (done["id"], done["status"], done["progress"]) == (requested["id"], "completed", 100)
    assert done["completed_at"] >= done["created_at"]
    assert (done["seconds"], done["prompt"]) == ("1", "A paper boat in the rain")
    assert found["listed"] == [done]

    (job,) = await ann.items("jobs")
    assert (job["kind"], job["status"], job["prompt"]) == ("video", "completed", done["prompt"])
    (asset,) = await ann.items("assets")
    assert asset["kind"] == "video"
    (month,) = await ann.items("users/me/spending")
    assert (month["subjects"], month["spent_usd"]) == (1, job["cost_usd"])

    found = await ann.run(
        """
        video = client.videos.download_content(given["id"])
        result = {
            "video": base64.b64encode(video.read()).decode(), "type": video.response.headers["content-type"],
            "deleted": as_json(client.videos.delete(given["id"])),
            "retrieved": error_of(client.videos.retrieve, given["id"]), "listed": len(list(client.videos.list())),
        }
        """,
        id=requested["id"],
    )
    codec, width, height, seconds, frames = decoded_video(base64.b64decode(found["video"]))
    assert codec == "h264"
    assert seconds == pytest.approx(1, abs=0.2)
    assert len(frames) > 5
    assert done["size"] == f"{width}x{height}"
    assert found["type"] == "video/mp4"
    assert found["deleted"] == {"id": requested["id"], "deleted": True, "object": "video.deleted"}
    assert "NotFoundError" in found["retrieved"]["kinds"]
    assert found["listed"] == 0
    assert await ann.items("jobs") == []
    assert await ann.items("assets") == []


async def test_a_video_has_the_size_and_the_seconds_that_were_requested(ann: User) -> None:
    requested = await ann.run(
        """
        result = as_json(
            client.videos.create(model=given["model"], prompt="[stuck] a kite", seconds="4", size="720x1280")
        )
        """,
        model=SIZED_MODEL,
    )
    assert (requested["seconds"], requested["size"]) == ("4", "720x1280")
    (job,) = await ann.items("jobs")
    assert job["params"]["duration"] == 4


async def test_a_video_starts_from_an_image_and_has_a_thumbnail(ann: User) -> None:
    status, thumbnail = await ann.run(
        """
        first = ("boat.png", base64.b64decode(given["png"]), "image/png")
        requested = client.videos.create(model=given["model"], prompt="It sails", seconds="2", input_reference=first)
        done = client.videos.poll(requested.id, poll_interval_ms=100)
        thumbnail = client.videos.download_content(requested.id, variant="thumbnail").read()
        result = [done.status, base64.b64encode(thumbnail).decode()]
        """,
        model=IMAGE_TO_VIDEO_MODEL,
        png=base64.b64encode(png(640, 360)).decode(),
    )
    assert status == "completed"
    assert decoded_image(base64.b64decode(thumbnail)).format in ("WEBP", "JPEG", "PNG")
    (job,) = await ann.items("jobs")
    assert job["generation_type"] == "image_to_video"


async def test_a_long_list_is_read_page_by_page_in_both_orders(ann: User) -> None:
    requested, pages, first = await ann.run(
        """
        requested = [
            client.videos.create(model=given["model"], prompt=f"[stuck] kite {n}", seconds="1").id for n in range(3)
        ]
        pages = {
            order: [video.id for video in client.videos.list(limit=2, order=order)] for order in ("desc", "asc")
        }
        result = [requested, pages, as_json(client.videos.list(limit=2))]
        """,
        model=VIDEO_MODEL,
    )
    assert pages == {"desc": requested[::-1], "asc": requested}
    assert (len(first["data"]), first["has_more"], first["last_id"]) == (2, True, requested[1])


async def test_a_video_that_fails_says_why(ann: User) -> None:
    done, download = await ann.run(
        """
        requested = client.videos.create(model=given["model"], prompt="[fail] a boat", seconds="1")
        done = as_json(client.videos.poll(requested.id, poll_interval_ms=100))
        result = [done, error_of(client.videos.download_content, requested.id)]
        """,
        model=VIDEO_MODEL,
    )
    assert done["status"] == "failed"
    assert done["error"]["code"]
    assert done["error"]["message"]
    assert 400 <= download["status"] < 500


async def test_a_video_that_is_not_ready_cannot_be_downloaded_yet(ann: User) -> None:
    download, status = await ann.run(
        """
        requested = client.videos.create(model=given["model"], prompt="[stuck] a boat", seconds="1")
        result = [error_of(client.videos.download_content, requested.id), client.videos.retrieve(requested.id).status]
        """,
        model=VIDEO_MODEL,
    )
    assert 400 <= download["status"] < 500
    assert download["message"]
    assert status in ("queued", "in_progress")


async def test_the_videos_of_others_are_not_found(ann: User, bob: User) -> None:
    requested = await ann.run(
        "result = client.videos.create(model=given['model'], prompt='[stuck] a kite', seconds='1').id",
        model=VIDEO_MODEL,
    )
    errors = await bob.run(
        """
        result = [error_of(call, given["id"]) for call in (
            client.videos.retrieve, client.videos.download_content, client.videos.delete)]
        """,
        id=requested,
    )
    assert ["NotFoundError" in error["kinds"] for error in errors] == [True] * 3, errors
    assert [job["id"] for job in await ann.items("jobs")] == [requested]


async def test_a_request_that_the_model_cannot_meet_names_the_wrong_parameter(ann: User) -> None:
    cases = {
        "too long": (SIZED_MODEL, {"seconds": "900"}, "seconds"),
        "not a number": (SIZED_MODEL, {"seconds": "soon"}, "seconds"),
        "an unknown size": (SIZED_MODEL, {"size": "7x7"}, "size"),
        "not these seconds": (IMAGE_TO_VIDEO_MODEL, {"seconds": "4"}, "seconds"),
        "an image is required": ("minimax/hailuo-2.3-fast", {}, "input_reference"),
    }
    errors = await ann.run(
        """
        result = {
            name: error_of(client.videos.create, model=model, prompt="A kite", **wrong)
            for name, (model, wrong, _) in given["cases"].items()
        }
        """,
        cases=cases,
    )
    failures = {
        name: errors[name]
        for name, (_, _, param) in cases.items()
        if "BadRequestError" not in errors[name]["kinds"] or errors[name]["param"] != param
    }
    assert not failures
