"""Videos of servers that still offer OpenAI's former API for them."""

from pathlib import Path
from typing import Any

from app.providers.contract import Completed, ErrorCode, Failed, InputImage, Pending, UpstreamJob
from tests.kit import Cases
from tests.providers.fake_upstream import Reply, Silence, Upstream, js, plain
from tests.providers.openai.kit import Part, fields, form, provider, refusal
from tests.providers.openrouter.kit import KEY, MP4, PNG, contents, expect, new_folder, video_request

VIDEOS = "/api/v1/videos"
JOB = UpstreamJob("video_1")


def state(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "video_1", "object": "video", "model": "sora-2", "status": status, "progress": 0, **more}


async def test_a_request_is_a_form_with_the_first_image_as_a_file(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", VIDEOS, js(state("queued")))
    (tmp_path / "frame").write_bytes(PNG)
    request = video_request(
        model="sora-2",
        params={"seconds": "8", "size": "1280x720"},
        images=(InputImage(tmp_path / "frame", "image/png"),),
    )
    async with provider(upstream) as openai:
        pending = expect(Pending, await openai.submit(request, new_folder(tmp_path)))
    sent = upstream.only("POST", VIDEOS)
    assert fields(sent) == {"model": "sora-2", "prompt": "Waves", "seconds": "8", "size": "1280x720"}
    assert form(sent)["input_reference"] == [Part(PNG, "reference.png", "image/png")]
    assert (pending.upstream_job, pending.state) == (JOB, "queued")


async def test_a_job_in_progress_says_how_far_it_is_and_when_to_ask_again(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("GET", f"{VIDEOS}/video_1", js(state("in_progress", progress=40), openai_poll_after_ms="2500"))
    async with provider(upstream) as openai:
        pending = expect(Pending, await openai.poll(JOB, tmp_path))
    assert (pending.state, pending.progress, pending.wait) == ("in_progress", 40, 2.5)


async def test_a_completed_video_is_downloaded_with_the_key(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("GET", f"{VIDEOS}/video_1", js(state("completed", progress=100)))
    upstream.on("GET", f"{VIDEOS}/video_1/content", plain(MP4, "video/mp4"))
    async with provider(upstream) as openai:
        done = expect(Completed, await openai.poll(JOB, tmp_path))
    assert contents(tmp_path) == {"video-0": MP4}
    assert done.cost_nano is None
    download = upstream.only("GET", f"{VIDEOS}/video_1/content")
    assert (download.key, download.query) == (f"Bearer {KEY}", {})


async def test_the_key_does_not_follow_a_redirect_to_another_origin(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    upstream.on("GET", f"{VIDEOS}/video_1", js(state("completed")))
    upstream.on("GET", f"{VIDEOS}/video_1/content", js({}, 302, Location=f"{stranger.origin}/v.mp4"))
    stranger.on("GET", "/v.mp4", plain(MP4, "video/mp4"))
    async with provider(upstream) as openai:
        expect(Completed, await openai.poll(JOB, tmp_path))
    assert stranger.only("GET", "/v.mp4").key is None


async def test_a_final_state_ends_the_job(upstream: Upstream, tmp_path: Path) -> None:
    table = {
        "failed": (state("failed", error={"code": "server_error", "message": "no"}), "PROVIDER_FAILED"),
        "refused": (state("failed", error={"code": "moderation_blocked", "message": "no"}), "PROVIDER_REFUSED"),
    }
    with Cases() as cases:
        for name, (body, code) in table.items():
            upstream.on("GET", f"{VIDEOS}/video_1", js(body))
            async with provider(upstream) as openai:
                with cases.case(name):
                    assert expect(Failed, await openai.poll(JOB, tmp_path)).code == ErrorCode(code)


async def test_a_server_without_videos_offers_none(upstream: Upstream, tmp_path: Path) -> None:
    with Cases() as cases:
        for status in (404, 410):
            upstream.on("POST", VIDEOS, refusal(status, None))
            async with provider(upstream) as openai:
                with cases.case(status):
                    failed = expect(Failed, await openai.submit(video_request(), tmp_path))
                    assert failed.code is ErrorCode.PROVIDER_FAILED
                    assert "no longer offers" in failed.message or "not currently offer" in failed.message


async def test_a_video_can_be_deleted_where_the_server_allows_it(upstream: Upstream) -> None:
    table: dict[str, tuple[Reply | Silence, bool]] = {
        "deleted": (js({"id": "video_1", "deleted": True}), True),
        "in progress": (refusal(400, "invalid_request"), False),
        "unknown": (refusal(404, None), False),
        "not deleted": (js({"id": "video_1", "deleted": False}), False),
        "no answer": (Silence("reset"), False),
    }
    with Cases() as cases:
        for name, (reply, accepted) in table.items():
            upstream.on("DELETE", f"{VIDEOS}/video_1", reply)
            async with provider(upstream) as openai:
                with cases.case(name):
                    assert await openai.cancel(JOB) is accepted
