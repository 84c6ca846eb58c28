"""fal's queue: a request is submitted once, its job is never lost, and a completed job is not always a success."""

import functools
import random
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from app.providers.client import Client
from app.providers.contract import Completed, ErrorCode, Failed, Outputs, Pending, Retryable, UpstreamJob
from app.providers.fal import Fal, FalTimeouts
from tests.kit import Cases, logged
from tests.providers.fake_upstream import LOST_ANSWERS, Reply, Silence, Upstream, js, plain
from tests.providers.fake_upstream import running as running_upstream
from tests.providers.fal.kit import (
    AUTHORIZATION,
    CANCEL,
    ID,
    KEY,
    PATIENT,
    REQUEST,
    STATUS,
    SUBMIT,
    accepted,
    completed,
    image,
    image_request,
    invalid,
    on_result,
    polled,
    provider,
    queued,
    running,
    upstream_job,
    video_request,
    wrong,
)
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import LONGER_THAN_ANY_TIMEOUT, PNG, contents, expect, new_folder, random_object

NAMES = (
    *("status", "queue_position", "logs", "message", "response_url", "error", "error_type", "request_id", "detail"),
    *("loc", "msg", "type", "images", "image", "video", "url", "content_type", "has_nsfw_concepts", "x"),
)


class TestSubmit:
    async def test_a_request_is_accepted_with_its_position_in_the_queue(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("POST", SUBMIT, accepted(upstream))
        async with provider(upstream) as fal:
            pending = expect(Pending, await fal.submit(image_request(), tmp_path))
        assert pending.upstream_job == UpstreamJob(ID, f"{upstream.origin}{STATUS}#fal-ai/flux/dev")
        assert pending.state == "IN_QUEUE, position 3"
        assert upstream.only("POST", SUBMIT).key == AUTHORIZATION

    async def test_a_status_url_that_is_not_the_queues_is_built_from_the_model(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        models = {
            "fal-ai/flux/dev": "fal-ai/flux",
            "fal-ai/veo3.1": "fal-ai/veo3.1",
            "workflows/ann/my-flow/x": "workflows/ann/my-flow",
            "comfy/ann/my-graph": "comfy/ann/my-graph",
        }
        links: list[Any] = [
            None,
            7,
            "",
            "http://evil.test/status",
            "//evil.test/status",
            "http://[",
            "ftp://x/status",
            "/other",
        ]
        with Cases() as cases:
            for model, app in models.items():
                for link in links:
                    upstream.reset()
                    upstream.on("POST", f"/queue/{model}", js({"request_id": ID, "status_url": link}))
                    with cases.case(model, link):
                        async with provider(upstream) as fal:
                            pending = expect(Pending, await fal.submit(image_request(model=model), tmp_path))
                        url = f"{upstream.origin}/queue/{app}/requests/{ID}/status"
                        assert pending.upstream_job == UpstreamJob(ID, f"{url}#{model}")

    async def test_a_success_without_an_id_leaves_the_outcome_unknown(self, upstream: Upstream, tmp_path: Path) -> None:
        ids: list[Any] = [None, "", " ", ".", "..", 7, [], True, "x" * 501]
        replies = [js({"request_id": id}) for id in ids]
        with Cases() as cases:
            for reply in [*replies, js([]), js(None), plain(b"<html>", "text/html"), plain(b"", "application/json")]:
                upstream.on("POST", SUBMIT, reply)
                with cases.case(reply.pieces):
                    async with provider(upstream) as fal:
                        failed = expect(Failed, await fal.submit(image_request(), tmp_path))
                    assert (failed.code, failed.carried_out) == (ErrorCode.OUTCOME_UNKNOWN, True)

    async def test_a_request_that_was_not_accepted_may_be_sent_again(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for status in (429, 503, 529):
                upstream.on("POST", SUBMIT, wrong(status, Retry_After="4"))
                with cases.case(status):
                    async with provider(upstream) as fal:
                        assert expect(Retryable, await fal.submit(image_request(), tmp_path)).wait == 4

    async def test_a_request_that_may_have_been_accepted_is_never_sent_again(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        replies = {str(status): wrong(status) for status in (408, 499, 500, 502, 504, 520, 524)}
        replies["503 with a request id"] = wrong(503, x_fal_request_id=ID)
        replies["an answer without an end"] = js({"request_id": "x" * 33 * 1024 * 1024})
        with Cases() as cases:
            for name, reply in replies.items():
                upstream.reset()
                upstream.on("POST", SUBMIT, reply)
                with cases.case(name):
                    async with provider(upstream) as fal:
                        failed = expect(Failed, await fal.submit(image_request(), tmp_path))
                    assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                    upstream.only("POST", SUBMIT)

    @in_manual_time
    async def test_a_request_without_an_answer_is_never_sent_again(self, tmp_path: Path) -> None:
        async with running_upstream() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for name, reply in LOST_ANSWERS.items():
                    upstream.reset()
                    upstream.on("POST", SUBMIT, reply)
                    with cases.case(name):
                        async with provider(upstream, timeouts=FalTimeouts()) as fal:
                            failed = expect(Failed, await fal.submit(image_request(), tmp_path))
                        assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                        upstream.only("POST", SUBMIT)

    async def test_an_unreachable_provider_was_sent_nothing(self, tmp_path: Path) -> None:
        url = "http://127.0.0.1:9/queue"
        client = Client([url])
        fal = Fal(client, url, url, KEY, max_image_bytes=1, max_video_bytes=1, timeouts=PATIENT)
        assert expect(Retryable, await fal.submit(image_request(), tmp_path)).code is ErrorCode.PROVIDER_UNREACHABLE
        await client.aclose()

    async def test_a_rejected_request_says_why_and_costs_nothing(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[Reply, ErrorCode, str]] = [
            (wrong(401), ErrorCode.PROVIDER_FAILED, "API key"),
            (wrong(403, "Forbidden"), ErrorCode.PROVIDER_FAILED, "no access"),
            (wrong(402), ErrorCode.PROVIDER_FAILED, "no credit"),
            (wrong(403, "User is locked. Reason: Exhausted balance."), ErrorCode.PROVIDER_FAILED, "no credit"),
            (wrong(404, "Application not found"), ErrorCode.PROVIDER_FAILED, "does not currently offer"),
            (wrong(413), ErrorCode.PROVIDER_FAILED, "too large"),
            (plain(b"", status=307, Location="/elsewhere"), ErrorCode.PROVIDER_FAILED, "base URL"),
            (wrong(422, invalid("missing", "prompt")), ErrorCode.REQUEST_REJECTED, "settings"),
            (wrong(422, invalid("content_policy_violation")), ErrorCode.PROVIDER_REFUSED, "refused"),
            (wrong(400, "Your prompt violates our content policy"), ErrorCode.PROVIDER_REFUSED, "refused"),
        ]
        with Cases() as cases:
            for reply, code, words in table:
                upstream.on("POST", SUBMIT, reply)
                with cases.case(reply.status, reply.pieces):
                    async with provider(upstream) as fal:
                        failed = expect(Failed, await fal.submit(image_request(), tmp_path))
                    assert (failed.code, failed.carried_out, failed.cost_nano) == (code, False, 0)
                    assert words in failed.message

    async def test_a_request_that_lacks_a_required_file_is_not_sent(self, upstream: Upstream, tmp_path: Path) -> None:
        async with provider(upstream) as fal:
            failed = expect(Failed, await fal.submit(video_request(model="fal-ai/stable-video"), tmp_path))
        assert (failed.code, failed.carried_out) == (ErrorCode.REQUEST_REJECTED, False)
        assert not upstream.requests

    async def test_the_url_for_the_webhook_is_part_of_the_submit(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("POST", SUBMIT, accepted(upstream))
        async with provider(upstream, callback=lambda job: f"https://studio.example/webhooks/fal/{job}-x?y=1&z") as fal:
            await fal.submit(image_request(job_id="7"), tmp_path)
        assert upstream.only("POST", SUBMIT).query == {"fal_webhook": "https://studio.example/webhooks/fal/7-x?y=1&z"}


class TestPoll:
    async def test_the_status_is_asked_for_with_the_key_and_the_logs(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", STATUS, queued(upstream, 2))
        assert expect(Pending, await polled(upstream, tmp_path)).state == "IN_QUEUE, position 2"
        request = upstream.only("GET", STATUS)
        assert (request.key, request.query) == (AUTHORIZATION, {"logs": "1"})

    async def test_the_progress_is_the_last_percentage_in_the_logs(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[tuple[tuple[str, ...], int | None]] = [
            ((), None),
            (("loading",), None),
            (("  7%|▋         | 2/28 [00:00<00:02]", " 50%|█████     | 14/28 [00:01<00:01]"), 50),
            (("10%", "saving"), 10),
            (("99.6 % done",), 99),
            (("100%|██████████| 28/28", "gain 250%"), 100),
            (("step 3", "1e9%"), None),
        ]
        with Cases() as cases:
            for messages, progress in table:
                upstream.on("GET", STATUS, running(upstream, *messages))
                with cases.case(messages):
                    pending = expect(Pending, await polled(upstream, tmp_path))
                    assert (pending.state, pending.progress) == ("IN_PROGRESS", progress)

    async def test_logs_of_any_shape_do_not_matter(self, upstream: Upstream, tmp_path: Path) -> None:
        table: list[Any] = [None, 7, "50%", {}, [None], [[]], [{"message": None}], [{"message": 7}], [{}]]
        with Cases() as cases:
            for logs in table:
                upstream.on("GET", STATUS, running(upstream, logs=logs))
                with cases.case(logs):
                    assert expect(Pending, await polled(upstream, tmp_path)).progress is None

    async def test_a_new_job_is_polled_soon_and_an_old_one_less_often(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", STATUS, queued(upstream))
        pending = expect(Pending, await polled(upstream, tmp_path))
        assert pending.poll_within is not None
        assert pending.poll_within <= 2

    async def test_a_failed_poll_does_not_fail_the_job(self, upstream: Upstream, tmp_path: Path) -> None:
        replies = [wrong(status) for status in (400, 401, 403, 405, 422, 429, 500, 502, 503, 504)]
        replies += [plain(body, "application/json") for body in (b"", b"[]", b"7", b"null", b"{}", b'{"status":7}')]
        replies += [plain(b"<html>", "text/html", 502), plain(b"", status=302, Location="http://evil.test/")]
        with Cases() as cases:
            for reply in replies:
                upstream.on("GET", STATUS, reply)
                with cases.case(reply.status, reply.pieces):
                    assert expect(Pending, await polled(upstream, tmp_path)).upstream_job == upstream_job(upstream)

    @in_manual_time
    async def test_a_poll_without_an_answer_does_not_fail_the_job(self, tmp_path: Path) -> None:
        async with running_upstream() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for path in (STATUS, REQUEST):
                    for name, reply in LOST_ANSWERS.items():
                        upstream.on("GET", STATUS, completed(upstream))
                        upstream.on("GET", path, reply)
                        with cases.case(path, name):
                            outcome = await polled(upstream, tmp_path, timeouts=FalTimeouts())
                            assert expect(Pending, outcome).upstream_job == upstream_job(upstream)

    async def test_a_url_of_another_origin_is_never_polled(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        async with provider(upstream) as fal:
            for url in (f"{stranger.origin}{STATUS}", None, "", "http://["):
                expect(Pending, await fal.poll(UpstreamJob(ID, url), tmp_path))
                assert not await fal.cancel(UpstreamJob(ID, url))
        assert (stranger.connections, upstream.connections) == (0, 0)

    async def test_a_response_url_of_another_origin_is_not_followed(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", STATUS, completed(upstream, response_url=f"{stranger.origin}/steal"))
        upstream.on("GET", REQUEST, wrong(422, invalid("value_error")))
        expect(Failed, await polled(upstream, tmp_path))
        assert stranger.connections == 0
        assert upstream.only("GET", REQUEST).key == AUTHORIZATION

    async def test_a_missing_job_is_given_up_after_five_polls_in_a_row(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", STATUS, *[wrong(404)] * 4, queued(upstream), wrong(404))
        async with provider(upstream) as fal:
            states = [expect(Pending, await fal.poll(upstream_job(upstream), tmp_path)).state for _ in range(9)]
            assert states == [*["missing"] * 4, "IN_QUEUE, position 0", *["missing"] * 4]
            failed = expect(Failed, await fal.poll(upstream_job(upstream), tmp_path))
        assert failed.code is ErrorCode.PROVIDER_EXPIRED

    async def test_a_job_or_a_result_that_is_gone_has_expired(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", STATUS, wrong(410))
        assert expect(Failed, await polled(upstream, tmp_path)).code is ErrorCode.PROVIDER_EXPIRED
        on_result(upstream, wrong(410))
        assert expect(Failed, await polled(upstream, tmp_path)).code is ErrorCode.PROVIDER_EXPIRED

    async def test_an_unknown_state_continues_and_is_logged_once(self, upstream: Upstream, tmp_path: Path) -> None:
        upstream.on("GET", STATUS, js({"status": "DREAMING"}, 202))
        async with provider(upstream) as fal:
            with capture_logs() as lines:
                for _ in range(3):
                    assert expect(Pending, await fal.poll(upstream_job(upstream), tmp_path)).state == "DREAMING"
        assert [line["event"] for line in logged(lines, "providers.fal")] == ["unknown job state"]

    async def test_unanswered_polls_are_logged_once_and_once_when_they_are_answered_again(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        upstream.on("GET", STATUS, *[wrong(503)] * 2, Silence("reset"), *[queued(upstream)] * 2, wrong(401))
        async with provider(upstream) as fal:
            with capture_logs() as lines:
                for _ in range(6):
                    expect(Pending, await fal.poll(upstream_job(upstream), tmp_path))
        assert [line["event"] for line in logged(lines, "providers.fal")] == [
            "polls failing",
            "polls recovered",
            "polls failing",
        ]


class TestEnd:
    async def test_a_completed_job_with_an_error_has_failed(self, upstream: Upstream, tmp_path: Path) -> None:
        """The error may be in the status, in the result or in a header; the result's body need not even be JSON."""
        table: list[tuple[dict[str, Any], Reply, ErrorCode]] = [
            ({}, wrong(422, invalid("value_error")), ErrorCode.REQUEST_REJECTED),
            ({}, wrong(422, invalid("a_new_type")), ErrorCode.REQUEST_REJECTED),
            ({}, wrong(422, "Unprocessable"), ErrorCode.REQUEST_REJECTED),
            ({}, wrong(422, invalid("content_policy_violation", "prompt")), ErrorCode.PROVIDER_REFUSED),
            ({}, wrong(422, invalid("no_media_generated")), ErrorCode.PROVIDER_REFUSED),
            ({}, wrong(500, invalid("internal_server_error")), ErrorCode.PROVIDER_FAILED),
            ({}, wrong(504, invalid("generation_timeout")), ErrorCode.PROVIDER_FAILED),
            ({}, wrong(422, invalid("downstream_service_unavailable")), ErrorCode.PROVIDER_FAILED),
            ({}, wrong(503, "No runner", x_fal_error_type="runner_scheduling_failure"), ErrorCode.PROVIDER_FAILED),
            ({}, js({"detail": "x", "error_type": "runner_disconnected"}, 503), ErrorCode.PROVIDER_FAILED),
            ({"error": "it broke"}, plain(b"<html>", "text/html", 500), ErrorCode.PROVIDER_FAILED),
            ({"error": "it broke", "error_type": "runner_server_error"}, js({}), ErrorCode.PROVIDER_FAILED),
            ({"error": "Cancelled", "error_type": "client_cancelled"}, wrong(499), ErrorCode.PROVIDER_FAILED),
            ({"error": "NSFW content", "error_type": "content_policy_violation"}, js({}), ErrorCode.PROVIDER_REFUSED),
        ]
        with Cases() as cases:
            for state, result, code in table:
                on_result(upstream, result, **state)
                with cases.case(state, result.status, result.pieces):
                    failed = expect(Failed, await polled(upstream, tmp_path))
                    assert failed.code is code
                    assert failed.cost_nano == (0 if result.status >= 500 else None)
                    assert failed.detail

    async def test_an_error_about_an_input_says_what_to_do(self, upstream: Upstream, tmp_path: Path) -> None:
        table = {
            "image_too_small": "larger",
            "image_too_large": "smaller",
            "image_load_error": "read the input image",
            "file_too_large": "too large",
            "unsupported_image_format": "PNG",
            "feature_not_supported": "combination",
        }
        with Cases() as cases:
            for kind, words in table.items():
                on_result(upstream, wrong(422, invalid(kind, message="see /app/models/x.py or http://10.0.0.1/y")))
                with cases.case(kind):
                    failed = expect(Failed, await polled(upstream, tmp_path))
                    assert words in failed.message
                    assert failed.reason == "image_url: see … or …"

    async def test_a_result_that_cannot_be_read_now_is_read_later(self, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for status in (202, 401, 403, 408, 409, 429, 500, 502, 503, 504):
                on_result(upstream, plain(b"<html>", "text/html", status))
                with cases.case(status):
                    assert expect(Pending, await polled(upstream, tmp_path)).upstream_job == upstream_job(upstream)

    async def test_an_output_object_above_the_limit_is_too_large(self, upstream: Upstream, tmp_path: Path) -> None:
        on_result(upstream, js({"images": [{"url": "data:image/png;base64," + "A" * 2_000_000}]}))
        outcome = await polled(upstream, tmp_path, max_image_bytes=1000)
        assert expect(Failed, outcome).code is ErrorCode.RESULT_TOO_LARGE

    async def test_the_key_is_nowhere_in_an_error(self, upstream: Upstream, tmp_path: Path) -> None:
        on_result(upstream, wrong(422, invalid("value_error", message=f"Key {KEY} is wrong")))
        failed = expect(Failed, await polled(upstream, tmp_path))
        assert KEY not in failed.detail + failed.message

    async def test_a_job_from_its_submit_to_its_image(
        self, upstream: Upstream, stranger: Upstream, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/a.png", plain(PNG, "image/png"))
        upstream.on("POST", SUBMIT, accepted(upstream))
        upstream.on("GET", STATUS, queued(upstream, 1), running(upstream, " 50%"), completed(upstream))
        upstream.on("GET", REQUEST, js({"images": [{"url": f"{stranger.origin}/a.png", "content_type": "image/png"}]}))
        async with provider(upstream) as fal:
            outcome = await fal.submit(image_request(), tmp_path)
            states = []
            while isinstance(outcome, Pending):
                states.append(outcome.state)
                outcome = await fal.poll(outcome.upstream_job, tmp_path)
        assert states == ["IN_QUEUE, position 3", "IN_QUEUE, position 1", "IN_PROGRESS"]
        assert len(expect(Completed, outcome).media) == 1
        assert list(contents(tmp_path).values()) == [PNG]
        assert stranger.only("GET", "/a.png").key is None


class TestCancel:
    async def test_a_cancel_is_accepted_or_not(self, upstream: Upstream) -> None:
        table = {
            "OK": (200, True),
            "CANCELLATION_REQUESTED": (202, True),
            "ALREADY_COMPLETED": (400, False),
            "NOT_FOUND": (404, False),
            "broken": (502, False),
        }
        with Cases() as cases:
            for status, (code, expected) in table.items():
                upstream.reset()
                upstream.on("PUT", CANCEL, js({"status": status}, code))
                with cases.case(status):
                    async with provider(upstream) as fal:
                        assert await fal.cancel(upstream_job(upstream)) is expected
                    assert upstream.only("PUT", CANCEL).key == AUTHORIZATION

    @in_manual_time
    async def test_a_cancel_without_an_answer_is_not_accepted(self, tmp_path: Path) -> None:
        async with running_upstream() as upstream:
            upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
            with Cases() as cases:
                for name, reply in LOST_ANSWERS.items():
                    upstream.on("PUT", CANCEL, reply)
                    with cases.case(name):
                        async with provider(upstream, timeouts=FalTimeouts()) as fal:
                            assert not await fal.cancel(upstream_job(upstream))


async def test_a_request_with_an_image_goes_to_the_endpoint_for_images(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", f"{SUBMIT}/image-to-image", accepted(upstream))
    async with provider(upstream) as fal:
        await fal.submit(image_request(images=(image(new_folder(tmp_path) / "a", PNG),)), tmp_path)
    assert upstream.only("POST", f"{SUBMIT}/image-to-image").json["image_url"].startswith("data:image/png;base64,")


async def test_an_admins_description_decides_what_the_fields_are_called(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", "/queue/ours/model", accepted(upstream))
    request = image_request(
        model="ours/model", params={"n": 3}, inputs=(), outputs=Outputs(default=1, max=4, field="how_many")
    )
    async with provider(upstream) as fal:
        assert isinstance(await fal.submit(request, tmp_path), Pending)
    assert upstream.only("POST", "/queue/ours/model").json == {"prompt": "A lighthouse", "how_many": 3}


async def test_no_answer_raises_an_exception(upstream: Upstream, tmp_path: Path) -> None:
    rng = random.Random(7)
    async with provider(upstream) as fal:
        for _ in range(60):
            state, result = ({**random_object(rng, NAMES), "status": "COMPLETED"}, random_object(rng, NAMES))
            for answer in (random_object(rng, NAMES), state):
                upstream.on("GET", STATUS, js(answer, rng.choice((200, 202, 422))))
                upstream.on("GET", REQUEST, js(result, rng.choice((200, 200, 422, 500))))
                outcome = await fal.poll(upstream_job(upstream), tmp_path)
                assert isinstance(outcome, Completed | Failed | Pending), (answer, result)
