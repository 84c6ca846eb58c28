"""Clips from OpenRouter: handed in once, asked about without ever losing them, fetched without giving the key away."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.providers.client import Client
from app.providers.contract import Again, Done, ErrorCode, Later, Media, Never, Outcome, Picture, Ticket
from app.providers.openrouter import OpenRouter
from tests.providers.asking import CALM, DATA_URL, HASTY, KEY, MP4, PNG, a_video, contents, provider, the
from tests.providers.fake_upstream import Recorded, Reply, Silence, Upstream, error, js, plain

VIDEOS = "/api/v1/videos"
ID = "gen-vid-1763-abc"
POLL = f"{VIDEOS}/{ID}"
CONTENT = f"{POLL}/content"
TICKET = Ticket(ID)


def state(status: str, **more: Any) -> Reply:
    return js({"id": ID, "polling_url": f"/api/v1/videos/{ID}", "status": status, **more})


async def polled(upstream: Upstream, folder: Path, ticket: Ticket = TICKET, **settings: Any) -> Outcome:
    async with provider(upstream, **settings) as openrouter:
        return await openrouter.poll(ticket, folder)


class TestSubmit:
    async def test_every_setting_and_frame_leaves_under_the_name_of_the_wire(
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
        pictures = tuple(Picture(tmp_path / "p", "image/png", role) for role in roles)
        async with provider(upstream) as openrouter:
            await openrouter.submit(a_video(params=params, pictures=pictures), tmp_path)
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

    async def test_a_clip_from_a_picture_alone_leaves_without_a_prompt(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, state("pending"))
        async with provider(upstream) as openrouter:
            await openrouter.submit(a_video(prompt=""), tmp_path)
        assert upstream.only("POST", VIDEOS).json == {"model": "a/film"}

    @pytest.mark.parametrize("status", [200, 201, 202])
    async def test_a_clip_that_is_taken_on_has_a_ticket(self, status: int, upstream: Upstream, tmp_path: Path) -> None:
        body = {"id": ID, "polling_url": f"/api/v1/videos/{ID}", "status": "pending"}
        upstream.on("POST", VIDEOS, js(body, status))
        async with provider(upstream) as openrouter:
            later = the(Later, await openrouter.submit(a_video(), tmp_path))
        assert later == Later(ticket=Ticket(ID, f"{upstream.origin}{POLL}"), state="pending")

    @pytest.mark.parametrize(
        "told",
        [
            None,
            7,
            "",
            "http://evil.test/api/v1/videos/x",
            "//evil.test/x",
            "http://[",
            "javascript:x",
            "ftp://127.0.0.1/",
        ],
    )
    async def test_a_foreign_polling_address_is_not_kept(self, told: Any, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", VIDEOS, js({"id": ID, "polling_url": told}, 202))
        async with provider(upstream) as openrouter:
            later = the(Later, await openrouter.submit(a_video(), tmp_path))
        assert later.ticket == Ticket(ID, None)

    @pytest.mark.parametrize("identifier", [None, "", "  ", ".", "..", [], {}, True, "x" * 501])
    async def test_a_clip_without_an_id_may_have_been_taken_on(
        self, identifier: Any, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, js({"id": identifier, "status": "pending"}, 202))
        async with provider(upstream) as openrouter:
            assert the(Never, await openrouter.submit(a_video(), tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN

    async def test_a_success_that_is_a_web_page_may_have_taken_it_on(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", VIDEOS, plain(b"<html>", "text/html"))
        async with provider(upstream) as openrouter:
            assert the(Never, await openrouter.submit(a_video(), tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN

    async def test_an_error_dressed_as_a_success_is_a_failure(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", VIDEOS, js({"error": {"code": 400, "message": "duration: too long"}}))
        async with provider(upstream) as openrouter:
            never = the(Never, await openrouter.submit(a_video(), tmp_path))
        assert never.code is ErrorCode.PROVIDER_FAILED
        assert "duration" in never.detail

    @pytest.mark.parametrize("status", [429, 503, 529])
    async def test_a_clip_that_was_not_taken_on_may_be_handed_in_anew(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, error(status, Retry_After="4"))
        async with provider(upstream) as openrouter:
            assert the(Again, await openrouter.submit(a_video(), tmp_path)).wait == 4

    @pytest.mark.parametrize("status", [408, 499, 500, 502, 504, 520, 524])
    async def test_a_clip_that_may_have_been_taken_on_is_never_handed_in_again(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, error(status))
        async with provider(upstream) as openrouter:
            assert the(Never, await openrouter.submit(a_video(), tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN
        upstream.only("POST", VIDEOS)

    @pytest.mark.parametrize("reply", [Silence("reset"), Silence("close"), Silence(), Reply(pieces=(b"{",), length=9)])
    async def test_a_lost_answer_is_never_asked_for_again(
        self, reply: Reply | Silence, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", VIDEOS, reply)
        async with provider(upstream, patience=HASTY) as openrouter:
            assert the(Never, await openrouter.submit(a_video(), tmp_path)).code is ErrorCode.OUTCOME_UNKNOWN
        upstream.only("POST", VIDEOS)

    async def test_an_unreachable_provider_was_handed_nothing(self, tmp_path: Path) -> None:
        base = "http://127.0.0.1:9/api/v1"
        client = Client([base])
        openrouter = OpenRouter(client, base, KEY, max_image_bytes=1, max_video_bytes=1, patience=CALM)
        assert the(Again, await openrouter.submit(a_video(), tmp_path)).code is ErrorCode.PROVIDER_UNREACHABLE
        await client.aclose()


class TestPoll:
    async def test_the_stored_address_is_asked_with_the_key(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", "/jobs/7", state("pending"))
        await polled(upstream, tmp_path, Ticket(ID, f"{upstream.origin}/jobs/7"))
        assert upstream.only("GET", "/jobs/7").key == f"Bearer {KEY}"

    async def test_an_address_of_another_origin_is_never_asked(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("pending"))
        the(Later, await polled(upstream, tmp_path, Ticket(ID, f"{stranger.origin}{POLL}")))
        assert stranger.connections == 0
        assert upstream.only("GET", POLL).key == f"Bearer {KEY}"

    @pytest.mark.parametrize(
        ("identifier", "path"),
        [
            ("a/../../keys", "/api/v1/videos/a%2F..%2F..%2Fkeys"),
            ("x?y=1#z", "/api/v1/videos/x%3Fy%3D1%23z"),
            ("gen vid é", "/api/v1/videos/gen%20vid%20%C3%A9"),
        ],
    )
    async def test_an_id_is_one_part_of_the_path_whatever_it_holds(
        self, identifier: str, path: str, upstream: Upstream, tmp_path: Path
    ) -> None:
        await polled(upstream, tmp_path, Ticket(identifier))
        assert [(request.path, request.query) for request in upstream.requests] == [(path, {})]

    async def test_behind_a_proxy_that_adds_a_folder_the_id_leads_to_the_clip(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/proxy/api/v1/videos/x", state("in_progress"))
        base = f"{upstream.origin}/proxy/api/v1"
        client = Client([base])
        openrouter = OpenRouter(client, base, KEY, max_image_bytes=1, max_video_bytes=1, patience=CALM)
        later = the(Later, await openrouter.poll(Ticket("x", f"{upstream.origin}/api/v1/videos/x"), tmp_path))
        assert later.state == "in_progress"
        await client.aclose()

    @pytest.mark.parametrize("word", ["pending", "in_progress", "awaiting_review", "", "COMPLETED"])
    async def test_a_clip_that_is_not_at_an_end_goes_on(self, word: str, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state(word))
        assert await polled(upstream, tmp_path) == Later(ticket=TICKET, state=word or "unknown")

    @pytest.mark.parametrize(("told", "progress"), [(40, 40), (40.0, 40), (101, None), (-1, None), ("4", None)])
    async def test_progress_is_passed_on_where_it_is_told(
        self, told: Any, progress: int | None, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("in_progress", progress=told))
        assert the(Later, await polled(upstream, tmp_path)).progress == progress

    @pytest.mark.parametrize("status", [400, 401, 403, 408, 429, 500, 502, 503, 504, 524, 529])
    async def test_a_poll_that_fails_does_not_fail_the_clip(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, error(status, Retry_After="40"))
        later = the(Later, await polled(upstream, tmp_path))
        assert (later.ticket, later.wait) == (TICKET, 40)

    @pytest.mark.parametrize("reply", [Silence("reset"), Silence("close"), Silence(), Reply(pieces=(b"{",), length=9)])
    async def test_a_poll_without_an_answer_does_not_fail_the_clip(
        self, reply: Reply | Silence, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, reply)
        assert the(Later, await polled(upstream, tmp_path, patience=HASTY)).ticket == TICKET

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"null", b'"completed"', b"{}", b'{"status":7}'])
    async def test_a_poll_that_makes_no_sense_does_not_fail_the_clip(
        self, body: bytes, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, plain(body, "application/json"))
        the(Later, await polled(upstream, tmp_path))

    async def test_a_clip_that_is_missing_is_given_up_after_five_polls_in_a_row(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, *[error(404)] * 4, state("pending"), error(404))
        async with provider(upstream) as openrouter:
            for _ in range(4):
                assert the(Later, await openrouter.poll(TICKET, tmp_path)).state == "missing"
            assert the(Later, await openrouter.poll(TICKET, tmp_path)).state == "pending"
            for _ in range(4):
                assert the(Later, await openrouter.poll(TICKET, tmp_path)).state == "missing"
            assert the(Never, await openrouter.poll(TICKET, tmp_path)).code is ErrorCode.PROVIDER_EXPIRED

    async def test_a_provider_in_trouble_is_logged_once_and_once_when_it_has_healed(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, *[error(503)] * 3, Silence("reset"), *[state("pending")] * 3, error(401))
        async with provider(upstream) as openrouter:
            with capture_logs() as lines:
                for _ in range(8):
                    the(Later, await openrouter.poll(TICKET, tmp_path))
        assert [line["event"] for line in lines] == [
            "polls are not answered",
            "polls are answered again",
            "polls are not answered",
        ]

    async def test_a_state_that_is_not_known_is_logged_once(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("dreaming"))
        async with provider(upstream) as openrouter:
            with capture_logs() as lines:
                for _ in range(3):
                    the(Later, await openrouter.poll(TICKET, tmp_path))
        assert [line["state"] for line in lines] == ["dreaming"]

    async def test_polls_of_one_clip_do_not_count_for_another(self, upstream: Upstream, tmp_path: Path) -> None:
        async with provider(upstream) as openrouter:
            for number in range(8):
                the(Later, await openrouter.poll(Ticket(f"clip-{number}"), tmp_path))

    async def test_a_clip_that_is_gone_is_given_up(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, error(410))
        assert the(Never, await polled(upstream, tmp_path)).code is ErrorCode.PROVIDER_EXPIRED

    @pytest.mark.parametrize(
        ("word", "told", "code"),
        [
            ("failed", "worker crashed in /srv/gpu", ErrorCode.PROVIDER_FAILED),
            ("failed", None, ErrorCode.PROVIDER_FAILED),
            ("failed", {"code": 500, "message": "worker crashed in /srv/gpu"}, ErrorCode.PROVIDER_FAILED),
            ("failed", "Blocked by content policy", ErrorCode.PROVIDER_REFUSED),
            ("failed", {"code": "moderation_blocked"}, ErrorCode.PROVIDER_REFUSED),
            ("cancelled", None, ErrorCode.PROVIDER_FAILED),
            ("expired", None, ErrorCode.PROVIDER_EXPIRED),
        ],
    )
    async def test_the_providers_last_word_ends_the_clip_with_its_cost(
        self, word: str, told: Any, code: ErrorCode, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state(word, error=told, usage={"cost": 0.25}))
        never = the(Never, await polled(upstream, tmp_path))
        assert (never.code, never.cost_nano) == (code, 250_000_000)
        assert "/srv/gpu" not in never.message


def done(cost: int | None = None, mime: str | None = "video/mp4", folder: Path = Path()) -> Done:
    return Done(media=(Media(folder / "clip-0", mime),), cost_nano=cost)


class TestFetch:
    async def test_a_signed_link_is_fetched_without_the_key(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/signed", plain(MP4, "video/mp4"))
        urls = {"urls": [f"{stranger.origin}/signed?sig=x"], "unsigned_urls": [f"{upstream.origin}{CONTENT}"]}
        upstream.on("GET", POLL, state("completed", usage={"cost": 1.5}, expires_at=1, generation_id="gen-5", **urls))
        outcome = the(Done, await polled(upstream, tmp_path))
        assert outcome == Done(
            media=(Media(tmp_path / "clip-0", "video/mp4"),), cost_nano=1_500_000_000, generation_id="gen-5"
        )
        assert contents(tmp_path) == {"clip-0": MP4}
        assert stranger.only("GET", "/signed").key is None
        assert upstream.asked("GET", CONTENT) == []

    async def test_an_unsigned_link_of_the_own_origin_is_fetched_with_the_key(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        upstream.on("GET", POLL, state("completed", unsigned_urls=[f"{upstream.origin}{CONTENT}?index=0"]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert upstream.only("GET", CONTENT).key == f"Bearer {KEY}"

    async def test_an_unsigned_link_of_another_origin_is_fetched_without_the_key(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/clip", plain(MP4, "video/mp4"))
        upstream.on("GET", POLL, state("completed", unsigned_urls=[f"{stranger.origin}/clip"]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert stranger.only("GET", "/clip").key is None

    async def test_without_any_link_the_content_is_asked_for_by_id(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("completed"))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        request = upstream.only("GET", CONTENT)
        assert (request.query, request.key) == ({"index": "0"}, f"Bearer {KEY}")

    async def test_the_old_field_for_the_link_is_understood(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/clip", plain(MP4, ""))
        upstream.on("GET", POLL, state("completed", video_url=f"{stranger.origin}/clip"))
        assert await polled(upstream, tmp_path) == done(mime=None, folder=tmp_path)

    async def test_a_relative_link_is_the_providers_own(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        upstream.on("GET", POLL, state("completed", unsigned_urls=[CONTENT]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)

    async def test_the_next_address_is_tried_when_one_fails(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/dead", error(403, "expired signature"))
        stranger.on("GET", "/gone", error(404))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        links = {"urls": [f"{stranger.origin}/dead"], "unsigned_urls": [f"{stranger.origin}/gone"]}
        upstream.on("GET", POLL, state("completed", **links))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert all(request.key is None for request in stranger.requests)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_signed_link_of_the_own_origin_that_wants_the_key_after_all_gets_it(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        def strict(request: Recorded) -> Reply:
            return plain(MP4, "video/mp4") if request.key else error(status)

        upstream.on("GET", "/signed", strict)
        upstream.on("GET", POLL, state("completed", urls=[f"{upstream.origin}/signed"]))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert [request.key for request in upstream.asked("GET", "/signed")] == [None, f"Bearer {KEY}"]

    async def test_a_redirect_to_another_origin_does_not_take_the_key_along(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/store", plain(MP4, "video/mp4"))
        upstream.on("GET", CONTENT, plain(b"", status=302, Location=f"{stranger.origin}/store"))
        upstream.on("GET", POLL, state("completed"))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)
        assert upstream.only("GET", CONTENT).key == f"Bearer {KEY}"
        assert stranger.only("GET", "/store").key is None

    @pytest.mark.parametrize(
        "link", ["http://169.254.169.254/clip", "http://10.0.0.1/clip", "file:///etc/passwd", "http://[", "x" * 9]
    )
    async def test_a_link_to_a_place_inside_is_passed_over(self, link: str, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("completed", urls=[link], unsigned_urls=[link]))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        assert await polled(upstream, tmp_path) == done(folder=tmp_path)

    async def test_several_clips_of_one_job_all_come(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/0", plain(MP4 + b"0", "video/mp4"))
        upstream.on("GET", CONTENT, plain(MP4 + b"1", "video/mp4"))
        upstream.on("GET", POLL, state("completed", urls=[f"{stranger.origin}/0"], unsigned_urls=["/nothing", CONTENT]))
        assert len(the(Done, await polled(upstream, tmp_path)).media) == 2
        assert contents(tmp_path) == {"clip-0": MP4 + b"0", "clip-1": MP4 + b"1"}

    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
    async def test_a_clip_that_is_not_ready_to_be_fetched_is_fetched_later(
        self, status: int, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("completed"))
        upstream.on("GET", CONTENT, error(status), plain(MP4, "video/mp4"))
        async with provider(upstream) as openrouter:
            assert await openrouter.poll(TICKET, tmp_path) == Later(ticket=TICKET, state="completed")
            assert await openrouter.poll(TICKET, tmp_path) == done(folder=tmp_path)

    @pytest.mark.parametrize("reply", [Silence("reset"), Reply(pieces=(b"half",), length=8)])
    async def test_a_fetch_that_breaks_off_is_begun_anew_later(
        self, reply: Reply | Silence, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("completed"))
        upstream.on("GET", CONTENT, reply, plain(MP4, "video/mp4"))
        async with provider(upstream) as openrouter:
            the(Later, await openrouter.poll(TICKET, tmp_path))
            assert contents(tmp_path) == {}
            the(Done, await openrouter.poll(TICKET, tmp_path))
        assert contents(tmp_path) == {"clip-0": MP4}

    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (error(404), ErrorCode.PROVIDER_EXPIRED),
            (error(410), ErrorCode.PROVIDER_EXPIRED),
            (error(401), ErrorCode.PROVIDER_FAILED),
            (error(403), ErrorCode.PROVIDER_FAILED),
            (plain(b"<html>Sign in</html>", "text/html; charset=utf-8"), ErrorCode.RESULT_INVALID),
            (js({"error": "x"}), ErrorCode.RESULT_INVALID),
            (plain(b"", "video/mp4"), ErrorCode.RESULT_INVALID),
        ],
    )
    async def test_a_clip_that_cannot_be_fetched_ends_with_its_cost(
        self, reply: Reply, code: ErrorCode, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("completed", usage={"cost": 0.5}))
        upstream.on("GET", CONTENT, reply)
        never = the(Never, await polled(upstream, tmp_path))
        assert (never.code, never.cost_nano) == (code, 500_000_000)

    async def test_a_clip_above_the_cap_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", POLL, state("completed", usage={"cost": 0.5}))
        upstream.on("GET", CONTENT, plain(b"x" * 3000, "video/mp4"))
        never = the(Never, await polled(upstream, tmp_path, max_video_bytes=2000))
        assert (never.code, never.cost_nano) == (ErrorCode.RESULT_TOO_LARGE, 500_000_000)
        assert contents(tmp_path) == {}

    async def test_a_full_disk_ends_the_clip_with_its_cost(self, upstream: Upstream, tmp_path: Path) -> None:
        (tmp_path / "clip-0").symlink_to("/dev/full")
        upstream.on("GET", POLL, state("completed", usage={"cost": 0.5}))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        never = the(Never, await polled(upstream, tmp_path))
        assert (never.code, never.cost_nano) == (ErrorCode.STORAGE_FULL, 500_000_000)

    @pytest.mark.parametrize("field", ["urls", "unsigned_urls", "video_url", "usage", "error", "generation_id"])
    @pytest.mark.parametrize("value", [7, "x", [], [7, None, {}], {}, {"cost": []}, True])
    async def test_a_field_of_the_wrong_type_does_not_lose_the_clip(
        self, field: str, value: Any, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", POLL, state("completed", **{field: value}))
        upstream.on("GET", CONTENT, plain(MP4, "video/mp4"))
        the(Done, await polled(upstream, tmp_path))


async def test_a_clip_cannot_be_cancelled_upstream(upstream: Upstream) -> None:
    async with provider(upstream) as openrouter:
        assert openrouter.can_cancel is False
        assert await openrouter.cancel(TICKET) is False
    assert upstream.requests == []
