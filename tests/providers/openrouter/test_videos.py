"""Video generation with OpenRouter: submit once, poll without losing a job, download without leaking the key."""

import functools
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from app.providers.client import Client
from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    InputImage,
    Outcome,
    Pending,
    ResultFile,
    Retryable,
    UpstreamJob,
)
from app.providers.openrouter import OpenRouter, Timeouts
from tests.kit import Cases, logged
from tests.providers.fake_upstream import (
    LOST_ANSWERS,
    Recorded,
    Reply,
    Silence,
    Upstream,
    error,
    js,
    plain,
    running,
)
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import (
    DATA_URL,
    KEY,
    LONGER_THAN_ANY_TIMEOUT,
    MP4,
    PATIENT,
    PNG,
    contents,
    expect,
    new_folder,
    provider,
    video_request,
)

VIDEOS = "/api/v1/videos"
ID = "gen-vid-1763-abc"
POLL = f"{VIDEOS}/{ID}"
CONTENT = f"{POLL}/content"
UPSTREAM_JOB = UpstreamJob(ID)


def state(status: str, **more: Any) -> Reply:
    return js({"id": ID, "polling_url": f"/api/v1/videos/{ID}", "status": status, **more})


async def polled(
    upstream: Upstream, folder: Path, upstream_job: UpstreamJob = UPSTREAM_JOB, **settings: Any
) -> Outcome:
    async with provider(upstream, **settings) as openrouter:
        return await openrouter.poll(upstream_job, folder)


class TestSubmit:
    async def test_every_parameter_and_frame_is_sent_under_the_name_of_the_upstream_api(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, state("pending"))
        (tmp_path / "p").write_bytes(PNG)
        params = {
            "aspect_ratio": "16:9",
            "resolution": "1080p",
            "size": "1920x1080",
            "duration": 8,
            "seed": 1,
            "generate_audio": False,
            "creativity": 2,
            "upscale_factor": 1.5,
        }
        roles = ("first_frame", "last_frame", "reference")
        images = tuple(InputImage(tmp_path / "p", "image/png", role) for role in roles)
        async with provider(upstream) as openrouter:
            await openrouter.submit(video_request(params=params, images=images), tmp_path)
        part = {"type": "image_url", "image_url": {"url": DATA_URL}}
        request = upstream.only("POST", VIDEOS)
        assert request.json == {
            "model": "a/film",
            "prompt": "Waves",
            **params,
            "frame_images": [{**part, "frame_type": "first_frame"}, {**part, "frame_type": "last_frame"}],
            "input_references": [part],
        }
        assert request.key == f"Bearer {KEY}"

    async def test_a_request_without_a_prompt_is_sent_without_one(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", VIDEOS, state("pending"))
        async with provider(upstream) as openrouter:
            await openrouter.submit(video_request(prompt=""), tmp_path)
        assert upstream.only("POST", VIDEOS).json == {"model": "a/film"}

    async def test_an_accepted_request_has_an_upstream_job(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[int] = [200, 201, 202]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    body = {"id": ID, "polling_url": f"/api/v1/videos/{ID}", "status": "pending"}
                    upstream.on("POST", VIDEOS, js(body, status))
                    async with provider(upstream) as openrouter:
                        pending = expect(Pending, await openrouter.submit(video_request(), folder))
                    assert pending == Pending(upstream_job=UpstreamJob(ID, f"{upstream.origin}{POLL}"), state="pending")

    async def test_a_polling_url_of_another_origin_is_not_kept(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Any] = [
            None,
            7,
            "",
            "http://evil.test/api/v1/videos/x",
            "//evil.test/x",
            "http://[",
            "javascript:x",
            "ftp://127.0.0.1/",
        ]
        with Cases() as cases:
            for url in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(url):
                    upstream.on("POST", VIDEOS, js({"id": ID, "polling_url": url}, 202))
                    async with provider(upstream) as openrouter:
                        pending = expect(Pending, await openrouter.submit(video_request(), folder))
                    assert pending.upstream_job == UpstreamJob(ID, None)

    async def test_a_success_without_an_id_leaves_the_outcome_unknown(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Any] = [None, "", "  ", ".", "..", [], {}, True, "x" * 501]
        with Cases() as cases:
            for identifier in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(identifier):
                    upstream.on("POST", VIDEOS, js({"id": identifier, "status": "pending"}, 202))
                    async with provider(upstream) as openrouter:
                        assert (
                            expect(Failed, await openrouter.submit(video_request(), folder)).code
                            is ErrorCode.OUTCOME_UNKNOWN
                        )

    async def test_a_success_with_an_html_page_leaves_the_outcome_unknown(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, plain(b"<html>", "text/html"))
        async with provider(upstream) as openrouter:
            assert expect(Failed, await openrouter.submit(video_request(), tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN

    async def test_an_error_with_the_status_200_is_a_failure(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", VIDEOS, js({"error": {"code": 400, "message": "duration: too long"}}))
        async with provider(upstream) as openrouter:
            failed = expect(Failed, await openrouter.submit(video_request(), tmp_path))
        assert failed.code is ErrorCode.PROVIDER_FAILED
        assert "duration" in failed.detail

    async def test_a_request_that_was_not_accepted_may_be_retried(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[int] = [429, 503, 529]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("POST", VIDEOS, error(status, Retry_After="4"))
                    async with provider(upstream) as openrouter:
                        assert expect(Retryable, await openrouter.submit(video_request(), folder)).wait == 4

    async def test_a_request_that_may_have_been_accepted_is_never_repeated(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[int] = [408, 499, 500, 502, 504, 520, 524]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("POST", VIDEOS, error(status))
                    async with provider(upstream) as openrouter:
                        assert (
                            expect(Failed, await openrouter.submit(video_request(), folder)).code
                            is ErrorCode.OUTCOME_UNKNOWN
                        )
                    upstream.only("POST", VIDEOS)

    @in_manual_time
    async def test_a_request_without_an_answer_is_never_repeated(self, tmp_path: Path) -> None:
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for name, reply in LOST_ANSWERS.items():
                    upstream.reset()
                    upstream.on("POST", VIDEOS, reply)
                    with cases.case(name):
                        async with provider(upstream, timeouts=Timeouts()) as openrouter:
                            failed = expect(Failed, await openrouter.submit(video_request(), tmp_path))
                        assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                        upstream.only("POST", VIDEOS)

    async def test_an_unreachable_provider_was_sent_nothing(self, tmp_path: Path) -> None:
        base = "http://127.0.0.1:9/api/v1"
        client = Client([base])
        openrouter = OpenRouter(client, base, KEY, max_image_bytes=1, max_video_bytes=1, timeouts=PATIENT)
        assert (
            expect(Retryable, await openrouter.submit(video_request(), tmp_path)).code is ErrorCode.PROVIDER_UNREACHABLE
        )
        await client.aclose()


class TestPoll:
    async def test_the_stored_url_is_polled_with_the_key(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", "/jobs/7", state("pending"))
        await polled(upstream, tmp_path, UpstreamJob(ID, f"{upstream.origin}/jobs/7"))
        assert upstream.only("GET", "/jobs/7").key == f"Bearer {KEY}"

    async def test_a_url_of_another_origin_is_never_polled(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("pending"))
        expect(Pending, await polled(upstream, tmp_path, UpstreamJob(ID, f"{stranger.origin}{POLL}")))
        assert stranger.connections == 0
        assert upstream.only("GET", POLL).key == f"Bearer {KEY}"

    async def test_an_id_is_always_one_segment_of_the_path(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[str, str]] = [
            ("a/../../keys", "/api/v1/videos/a%2F..%2F..%2Fkeys"),
            ("x?y=1#z", "/api/v1/videos/x%3Fy%3D1%23z"),
            ("gen vid é", "/api/v1/videos/gen%20vid%20%C3%A9"),
        ]
        with Cases() as cases:
            for identifier, path in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(identifier, path):
                    await polled(upstream, folder, UpstreamJob(identifier))
                    assert [(request.path, request.query) for request in upstream.requests] == [(path, {})]

    async def test_behind_a_proxy_that_adds_a_path_the_job_is_found_by_its_id(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/proxy/api/v1/videos/x", state("in_progress"))
        base = f"{upstream.origin}/proxy/api/v1"
        client = Client([base])
        openrouter = OpenRouter(client, base, KEY, max_image_bytes=1, max_video_bytes=1, timeouts=PATIENT)
        pending = expect(
            Pending, await openrouter.poll(UpstreamJob("x", f"{upstream.origin}/api/v1/videos/x"), tmp_path)
        )
        assert pending.state == "in_progress"
        await client.aclose()

    async def test_an_unfinished_job_continues(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[str] = ["pending", "in_progress", "awaiting_review", "", "COMPLETED"]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("GET", POLL, state(status))
                    assert await polled(upstream, folder) == Pending(
                        upstream_job=UPSTREAM_JOB, state=status or "unknown"
                    )

    async def test_valid_progress_is_returned(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[Any, int | None]] = [(40, 40), (40.0, 40), (101, None), (-1, None), ("4", None)]
        with Cases() as cases:
            for value, progress in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(value, progress):
                    upstream.on("GET", POLL, state("in_progress", progress=value))
                    assert expect(Pending, await polled(upstream, folder)).progress == progress

    async def test_a_failed_poll_does_not_fail_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[int] = [400, 401, 403, 408, 429, 500, 502, 503, 504, 524, 529]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("GET", POLL, error(status, Retry_After="40"))
                    pending = expect(Pending, await polled(upstream, folder))
                    assert (pending.upstream_job, pending.wait) == (UPSTREAM_JOB, 40)

    @in_manual_time
    async def test_a_poll_without_an_answer_does_not_fail_the_job(self, tmp_path: Path) -> None:
        async with running() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for name, reply in LOST_ANSWERS.items():
                    upstream.reset()
                    upstream.on("GET", POLL, reply)
                    with cases.case(name):
                        assert (
                            expect(Pending, await polled(upstream, tmp_path, timeouts=Timeouts())).upstream_job
                            == UPSTREAM_JOB
                        )

    async def test_an_invalid_answer_to_a_poll_does_not_fail_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[bytes] = [b"", b"<html>", b"[]", b"7", b"null", b'"completed"', b"{}", b'{"status":7}']
        with Cases() as cases:
            for body in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(body):
                    upstream.on("GET", POLL, plain(body, "application/json"))
                    expect(Pending, await polled(upstream, folder))

    async def test_a_missing_job_is_given_up_after_five_polls_in_a_row(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, *[error(404)] * 4, state("pending"), error(404))
        async with provider(upstream) as openrouter:
            for _ in range(4):
                assert expect(Pending, await openrouter.poll(UPSTREAM_JOB, tmp_path)).state == "missing"
            assert expect(Pending, await openrouter.poll(UPSTREAM_JOB, tmp_path)).state == "pending"
            for _ in range(4):
                assert expect(Pending, await openrouter.poll(UPSTREAM_JOB, tmp_path)).state == "missing"
            assert expect(Failed, await openrouter.poll(UPSTREAM_JOB, tmp_path)).code is ErrorCode.PROVIDER_EXPIRED

    async def test_unanswered_polls_are_logged_once_and_once_when_they_are_answered_again(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, *[error(503)] * 3, Silence("reset"), *[state("pending")] * 3, error(401))
        async with provider(upstream) as openrouter:
            with capture_logs() as lines:
                for _ in range(8):
                    expect(Pending, await openrouter.poll(UPSTREAM_JOB, tmp_path))
        assert [line["event"] for line in logged(lines, "providers.openrouter")] == [
            "video polls failing",
            "video polls recovered",
            "video polls failing",
        ]

    async def test_an_unknown_state_is_logged_once(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("dreaming"))
        async with provider(upstream) as openrouter:
            with capture_logs() as lines:
                for _ in range(3):
                    expect(Pending, await openrouter.poll(UPSTREAM_JOB, tmp_path))
        assert [line["state"] for line in logged(lines, "providers.openrouter")] == ["dreaming"]

    async def test_missing_polls_of_one_job_do_not_count_for_another(self, upstream: Upstream, tmp_path: Path) -> None:
        async with provider(upstream) as openrouter:
            for number in range(8):
                expect(Pending, await openrouter.poll(UpstreamJob(f"job-{number}"), tmp_path))

    async def test_a_job_that_is_gone_is_abandoned(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, error(410))
        assert expect(Failed, await polled(upstream, tmp_path)).code is ErrorCode.PROVIDER_EXPIRED

    async def test_a_final_state_ends_the_job_with_its_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[str, Any, ErrorCode]] = [
            ("failed", "worker crashed in /srv/gpu", ErrorCode.PROVIDER_FAILED),
            ("failed", None, ErrorCode.PROVIDER_FAILED),
            ("failed", {"code": 500, "message": "worker crashed in /srv/gpu"}, ErrorCode.PROVIDER_FAILED),
            ("failed", "Blocked by content policy", ErrorCode.PROVIDER_REFUSED),
            ("failed", {"code": "moderation_blocked"}, ErrorCode.PROVIDER_REFUSED),
            ("cancelled", None, ErrorCode.PROVIDER_FAILED),
            ("expired", None, ErrorCode.PROVIDER_EXPIRED),
        ]
        with Cases() as cases:
            for status, cause, code in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status, cause):
                    upstream.on("GET", POLL, state(status, error=cause, usage={"cost": 0.25}))
                    failed = expect(Failed, await polled(upstream, folder))
                    assert (failed.code, failed.cost_nano) == (code, 250_000_000)
                    assert "/srv/gpu" not in failed.message


def done(cost: int | None = None, mime: str | None = "video/mp4", folder: Path = Path()) -> Completed:
    return Completed(media=(ResultFile(folder / "video-0", mime),), cost_nano=cost)


class TestDownload:
    async def test_a_signed_link_is_downloaded_without_the_key(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/signed", plain(MP4, "video/mp4"))
        urls = {"urls": [f"{stranger.origin}/signed?sig=x"], "unsigned_urls": [f"{upstream.origin}{CONTENT}"]}
        upstream.on("GET", POLL, state("completed", usage={"cost": 1.5}, expires_at=1, generation_id="gen-5", **urls))
        outcome = expect(Completed, await polled(upstream, tmp_path))
        assert outcome == Completed(
            media=(ResultFile(tmp_path / "video-0", "video/mp4"),), cost_nano=1_500_000_000, generation_id="gen-5"
        )
        assert contents(tmp_path) == {"video-0": MP4}
        assert stranger.only("GET", "/signed").key is None
        assert upstream.received("GET", CONTENT) == []

    async def test_an_unsigned_link_of_the_providers_origin_is_downloaded_with_the_key(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        upstream.on("GET", POLL, state("completed", unsigned_urls=[f"{upstream.origin}{CONTENT}?index=0"]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert upstream.only("GET", CONTENT).key == f"Bearer {KEY}"

    async def test_an_unsigned_link_of_another_origin_is_downloaded_without_the_key(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/video", plain(MP4, "video/mp4"))
        upstream.on("GET", POLL, state("completed", unsigned_urls=[f"{stranger.origin}/video"]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert stranger.only("GET", "/video").key is None

    async def test_without_any_link_the_content_is_downloaded_by_id(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("completed"))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        request = upstream.only("GET", CONTENT)
        assert (request.query, request.key) == ({"index": "0"}, f"Bearer {KEY}")

    async def test_the_old_field_for_the_link_is_supported(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/video", plain(MP4, ""))
        upstream.on("GET", POLL, state("completed", video_url=f"{stranger.origin}/video"))
        assert await polled(upstream, tmp_path) == done(mime=None, folder=tmp_path)

    async def test_a_relative_link_belongs_to_the_providers_origin(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        upstream.on("GET", POLL, state("completed", unsigned_urls=[CONTENT]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)

    async def test_the_next_link_is_tried_when_one_fails(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/dead", error(403, "expired signature"))
        stranger.on("GET", "/gone", error(404))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        links = {"urls": [f"{stranger.origin}/dead"], "unsigned_urls": [f"{stranger.origin}/gone"]}
        upstream.on("GET", POLL, state("completed", **links))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert all(request.key is None for request in stranger.requests)

    async def test_a_signed_link_of_the_providers_origin_that_requires_the_key_gets_it(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[int] = [401, 403]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):

                    def strict(request: Recorded, status: int = status) -> Reply:
                        return plain(MP4, "video/mp4") if request.key else error(status)

                    upstream.on("GET", "/signed", strict)
                    upstream.on("GET", POLL, state("completed", urls=[f"{upstream.origin}/signed"]))
                    assert await polled(upstream, folder) == done(folder=folder)
                    assert [request.key for request in upstream.received("GET", "/signed")] == [None, f"Bearer {KEY}"]

    async def test_the_key_does_not_follow_a_redirect_to_another_origin(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/store", plain(MP4, "video/mp4"))
        upstream.on("GET", CONTENT, plain(b"", status=302, Location=f"{stranger.origin}/store"))
        upstream.on("GET", POLL, state("completed"))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert upstream.only("GET", CONTENT).key == f"Bearer {KEY}"
        assert stranger.only("GET", "/store").key is None

    async def test_a_link_to_a_private_address_is_ignored(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[str] = [
            "http://169.254.169.254/video",
            "http://10.0.0.1/video",
            "file:///etc/passwd",
            "http://[",
            "x" * 9,
        ]
        with Cases() as cases:
            for link in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(link):
                    upstream.on("GET", POLL, state("completed", urls=[link], unsigned_urls=[link]))
                    upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
                    assert await polled(upstream, folder) == done(folder=folder)

    async def test_all_videos_of_one_job_are_downloaded(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/0", plain(MP4 + b"0", "video/mp4"))
        upstream.on("GET", CONTENT, plain(MP4 + b"1", "video/mp4"))
        upstream.on("GET", POLL, state("completed", urls=[f"{stranger.origin}/0"], unsigned_urls=["/nothing", CONTENT]))
        assert len(expect(Completed, await polled(upstream, tmp_path)).media) == 2
        assert contents(tmp_path) == {"video-0": MP4 + b"0", "video-1": MP4 + b"1"}

    async def test_a_video_that_is_gone_is_missing_and_the_others_are_kept(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/1", plain(MP4, "video/mp4"))
        upstream.on("GET", CONTENT, error(404))
        links = [f"{stranger.origin}/gone", f"{stranger.origin}/1"]
        upstream.on("GET", POLL, state("completed", urls=links))
        outcome = expect(Completed, await polled(upstream, tmp_path))
        assert [(index, path.name) for index, path in outcome.outputs] == [(1, "video-1")]
        assert [(each.index, each.code) for each in outcome.missing] == [(0, ErrorCode.PROVIDER_EXPIRED)]

    async def test_a_video_that_is_not_ready_is_downloaded_later(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[int] = [408, 409, 429, 500, 502, 503, 504]
        with Cases() as cases:
            for status in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(status):
                    upstream.on("GET", POLL, state("completed"))
                    upstream.on("GET", CONTENT, error(status), plain(MP4, "video/mp4"))
                    async with provider(upstream) as openrouter:
                        assert await openrouter.poll(UPSTREAM_JOB, folder) == Pending(
                            upstream_job=UPSTREAM_JOB, state="completed"
                        )
                        assert await openrouter.poll(UPSTREAM_JOB, folder) == done(folder=folder)

    async def test_an_interrupted_download_is_repeated_later(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Reply | Silence] = [Silence("reset"), Reply(pieces=(b"half",), length=8)]
        with Cases() as cases:
            for reply in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(reply):
                    upstream.on("GET", POLL, state("completed"))
                    upstream.on("GET", CONTENT, reply, plain(MP4, "video/mp4"))
                    async with provider(upstream) as openrouter:
                        expect(Pending, await openrouter.poll(UPSTREAM_JOB, folder))
                        assert contents(folder) == {}
                        expect(Completed, await openrouter.poll(UPSTREAM_JOB, folder))
                    assert contents(folder) == {"video-0": MP4}

    async def test_a_video_that_cannot_be_downloaded_ends_the_job_with_its_cost(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        table: list[tuple[Reply, ErrorCode]] = [
            (error(404), ErrorCode.PROVIDER_EXPIRED),
            (error(410), ErrorCode.PROVIDER_EXPIRED),
            (error(401), ErrorCode.PROVIDER_FAILED),
            (error(403), ErrorCode.PROVIDER_FAILED),
            (plain(b"<html>Sign in</html>", "text/html; charset=utf-8"), ErrorCode.RESULT_INVALID),
            (js({"error": "x"}), ErrorCode.RESULT_INVALID),
            (plain(b"", "video/mp4"), ErrorCode.RESULT_INVALID),
        ]
        with Cases() as cases:
            for reply, code in table:
                upstream.reset()
                folder = new_folder(tmp_path)
                with cases.case(code, reply):
                    upstream.on("GET", POLL, state("completed", usage={"cost": 0.5}))
                    upstream.on("GET", CONTENT, reply)
                    failed = expect(Failed, await polled(upstream, folder))
                    assert (failed.code, failed.cost_nano) == (code, 500_000_000)

    async def test_a_video_above_the_limit_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("completed", usage={"cost": 0.5}))
        upstream.on("GET", CONTENT, plain(b"x" * 3000, "video/mp4"))
        failed = expect(Failed, await polled(upstream, tmp_path, max_video_bytes=2000))
        assert (failed.code, failed.cost_nano) == (ErrorCode.RESULT_TOO_LARGE, 500_000_000)
        assert contents(tmp_path) == {}

    async def test_a_full_disk_ends_the_job_with_its_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        (tmp_path / "video-0").symlink_to("/dev/full")
        upstream.on("GET", POLL, state("completed", usage={"cost": 0.5}))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        failed = expect(Failed, await polled(upstream, tmp_path))
        assert (failed.code, failed.cost_nano) == (ErrorCode.STORAGE_FULL, 500_000_000)

    async def test_a_field_of_the_wrong_type_does_not_lose_the_video(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[str] = ["urls", "unsigned_urls", "video_url", "usage", "error", "generation_id"]
        table2: list[Any] = [7, "x", [], [7, None, {}], {}, {"cost": []}, True]
        with Cases() as cases:
            for field in table:
                for value in table2:
                    upstream.reset()
                    folder = new_folder(tmp_path)
                    with cases.case(field, value):
                        upstream.on("GET", POLL, state("completed", **{field: value}))
                        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
                        expect(Completed, await polled(upstream, folder))


async def test_a_job_cannot_be_cancelled_upstream(upstream: Upstream) -> None:
    async with provider(upstream) as openrouter:
        assert openrouter.can_cancel is False
        assert await openrouter.cancel(UPSTREAM_JOB) is False
    assert upstream.requests == []
