"""Clips, asked for, awaited, fetched and deleted with OpenAI's own Python package."""

import base64
from typing import Any

import pytest

from tests.api.kit import CLIP, FRAMED, png, seen, watched
from tests.gateway.sdk.conftest import Person

Json = dict[str, Any]
SIZED = "google/veo-3.1"  # takes the sizes that OpenAI's own models take


async def items(person: Person, path: str) -> list[Json]:
    found: list[Json] = (await person.http.get(f"/api/v1/{path}")).json()["items"]
    return found


async def test_a_clip_from_its_wish_to_its_end(ann: Person) -> None:
    found = await ann.run(
        """
        asked = client.videos.create(model=given["model"], prompt="A paper boat in the rain", seconds="1")
        done = client.videos.poll(asked.id, poll_interval_ms=100)
        clip = client.videos.download_content(asked.id)
        listed = [plain(video) for video in client.videos.list()]
        deleted = plain(client.videos.delete(asked.id))
        said = {
            "asked": plain(asked), "done": plain(done), "listed": listed, "deleted": deleted,
            "clip": base64.b64encode(clip.read()).decode(), "type": clip.response.headers["content-type"],
            "gone": refused(client.videos.retrieve, asked.id), "left": len(list(client.videos.list())),
        }
        """,
        model=CLIP,
    )
    asked, done = found["asked"], found["done"]
    assert asked["object"] == done["object"] == "video"
    assert asked["status"] in ("queued", "in_progress")
    assert asked["model"] == CLIP
    assert asked["created_at"] > 1_700_000_000
    assert asked["error"] is None
    assert 0 <= asked["progress"] <= 100
    assert (done["id"], done["status"], done["progress"]) == (asked["id"], "completed", 100)
    assert done["completed_at"] >= done["created_at"]
    assert (done["seconds"], done["prompt"]) == ("1", "A paper boat in the rain")
    codec, width, height, seconds, frames = watched(base64.b64decode(found["clip"]))
    assert codec == "h264"
    assert seconds == pytest.approx(1, abs=0.2)
    assert len(frames) > 5
    assert done["size"] == f"{width}x{height}"
    assert found["type"] == "video/mp4"
    assert found["listed"] == [done]
    assert found["deleted"] == {"id": asked["id"], "deleted": True, "object": "video.deleted"}
    assert "NotFoundError" in found["gone"]["kinds"]
    assert found["left"] == 0
    assert await items(ann, "jobs") == []
    assert await items(ann, "assets") == []


async def test_a_clip_is_in_the_jobs_the_library_and_the_spending(ann: Person) -> None:
    made = await ann.run(
        """
        asked = client.videos.create(model=given["model"], prompt="A kite", seconds="1")
        said = plain(client.videos.poll(asked.id, poll_interval_ms=100))
        """,
        model=CLIP,
    )
    (job,) = await items(ann, "jobs")
    assert (job["kind"], job["status"], job["prompt"]) == ("video", "completed", made["prompt"])
    (asset,) = await items(ann, "assets")
    assert asset["kind"] == "video"
    (month,) = await items(ann, "users/me/spending")
    assert (month["subjects"], month["spent_usd"]) == (1, job["cost_usd"])


async def test_a_clip_has_the_size_and_the_seconds_that_were_asked_for(ann: Person) -> None:
    asked = await ann.run(
        """
        said = plain(client.videos.create(model=given["model"], prompt="A kite", seconds="4", size="720x1280"))
        """,
        model=SIZED,
    )
    assert (asked["seconds"], asked["size"]) == ("4", "720x1280")
    (job,) = await items(ann, "jobs")
    assert job["params"]["duration"] == 4


async def test_a_clip_starts_from_a_picture_and_has_a_still(ann: Person) -> None:
    found = await ann.run(
        """
        first = ("boat.png", base64.b64decode(given["png"]), "image/png")
        asked = client.videos.create(model=given["model"], prompt="It sails", seconds="2", input_reference=first)
        done = client.videos.poll(asked.id, poll_interval_ms=100)
        still = client.videos.download_content(asked.id, variant="thumbnail").read()
        said = [done.status, base64.b64encode(still).decode()]
        """,
        model=FRAMED,
        png=base64.b64encode(png(640, 360)).decode(),
    )
    assert found[0] == "completed"
    assert seen(base64.b64decode(found[1])).format in ("WEBP", "JPEG", "PNG")
    (job,) = await items(ann, "jobs")
    assert job["generation_type"] == "image_to_video"


async def test_a_long_list_is_read_page_by_page_in_both_orders(ann: Person) -> None:
    found = await ann.run(
        """
        asked = [client.videos.create(model=given["model"], prompt=f"Kite {n}", seconds="1").id for n in range(3)]
        pages = {
            order: [video.id for video in client.videos.list(limit=2, order=order)] for order in ("desc", "asc")
        }
        first = client.videos.list(limit=2)
        said = [asked, pages, plain(first)]
        """,
        model=CLIP,
    )
    asked, pages, first = found
    assert pages == {"desc": asked[::-1], "asc": asked}
    assert (len(first["data"]), first["has_more"], first["last_id"]) == (2, True, asked[1])


async def test_a_clip_that_fails_says_why(ann: Person) -> None:
    found = await ann.run(
        """
        asked = client.videos.create(model=given["model"], prompt="[fail] a boat", seconds="1")
        done = plain(client.videos.poll(asked.id, poll_interval_ms=100))
        said = [done, refused(client.videos.download_content, asked.id)]
        """,
        model=CLIP,
    )
    assert found[0]["status"] == "failed"
    assert found[0]["error"]["code"]
    assert found[0]["error"]["message"]
    assert 400 <= found[1]["status"] < 500


async def test_a_clip_that_is_not_ready_cannot_be_fetched_yet(ann: Person) -> None:
    found = await ann.run(
        """
        asked = client.videos.create(model=given["model"], prompt="[stuck] a boat", seconds="1")
        said = [refused(client.videos.download_content, asked.id), client.videos.retrieve(asked.id).status]
        """,
        model=CLIP,
    )
    assert 400 <= found[0]["status"] < 500
    assert found[0]["message"]
    assert found[1] in ("queued", "in_progress")


async def test_the_clips_of_others_are_not_there(ann: Person, bob: Person) -> None:
    asked = await ann.run(
        "said = client.videos.create(model=given['model'], prompt='A kite', seconds='1').id", model=CLIP
    )
    found = await bob.run(
        """
        said = [refused(deed, given["id"]) for deed in (
            client.videos.retrieve, client.videos.download_content, client.videos.delete)]
        """,
        id=asked,
    )
    for each in found:
        assert "NotFoundError" in each["kinds"], each
    assert [job["id"] for job in await items(ann, "jobs")] == [asked]


@pytest.mark.parametrize(
    ("model", "wrong", "param"),
    [
        (SIZED, {"seconds": "900"}, "seconds"),
        (SIZED, {"seconds": "soon"}, "seconds"),
        (SIZED, {"size": "7x7"}, "size"),
        (FRAMED, {"seconds": "4"}, "seconds"),
        ("minimax/hailuo-2.3-fast", {}, "input_reference"),
    ],
    ids=["too long", "no number", "a strange size", "not these seconds", "a picture is needed"],
)
async def test_a_wish_that_the_model_cannot_meet_names_what_is_wrong(
    ann: Person, model: str, wrong: Json, param: str
) -> None:
    found = await ann.run(
        "said = refused(client.videos.create, model=given['model'], prompt='A kite', **given['wrong'])",
        model=model,
        wrong=wrong,
    )
    assert "BadRequestError" in found["kinds"], found
    assert found["param"] == param
