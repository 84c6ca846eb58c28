"""Every provider against a scripted server, for faults that no persona plays."""

import random
from pathlib import Path

import pytest

from app.providers.contract import Completed, ErrorCode, Failed, Failure, Kind, Pending, Provider, Retryable
from tests.kit import Cases
from tests.providers.conformance.conftest import connected
from tests.providers.conformance.jobs import files_below, outcome_of
from tests.providers.conformance.under_test import ALL, KEY, MAX_IMAGE, ProviderUnderTest
from tests.providers.fake_upstream import LOST_ANSWERS, Reply, Silence, Upstream, error, js, plain, running
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import (
    LONGER_THAN_ANY_TIMEOUT,
    MP4,
    PNG,
    contents,
    expect,
    new_folder,
    random_object,
)

FILES = {Kind.IMAGE: (PNG, "image/png"), Kind.VIDEO: (MP4, "video/mp4")}
STATES: tuple[object, ...] = ("completed", "COMPLETED", "failed", "queued", "IN_QUEUE", "in_progress", None, 7, [], "x")
NAMES = (
    "id",
    "status",
    "data",
    "url",
    "b64_json",
    "choices",
    "message",
    "content",
    "error",
    "code",
    "usage",
    "cost",
    "x",
)


@in_manual_time
async def test_a_lost_answer_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    with Cases() as cases:
        for under_test in ALL:
            for kind, path in under_test.submits.items():
                for name, lost in LOST_ANSWERS.items():
                    async with (
                        running() as upstream,
                        connected(under_test, [upstream.origin + base for base in under_test.base_paths]) as provider,
                    ):
                        upstream.when_silent = lambda: skip(LONGER_THAN_ANY_TIMEOUT)
                        upstream.on("POST", path, lost)
                        with cases.case(under_test.name, kind, name):
                            outcome = await provider.submit(under_test.request(kind, "Hello"), new_folder(tmp_path))
                            assert expect(Failed, outcome).code is ErrorCode.OUTCOME_UNKNOWN
                            assert len(upstream.requests) == 1


async def test_an_unreachable_provider_was_sent_nothing(under_test: ProviderUnderTest, tmp_path: Path) -> None:
    async with running() as upstream:
        bases = [upstream.origin + base for base in under_test.base_paths]
    async with connected(under_test, bases) as provider:
        for kind in under_test.requests:
            outcome = expect(Retryable, await provider.submit(under_test.request(kind, "Hello"), tmp_path))
            assert outcome.code is ErrorCode.PROVIDER_UNREACHABLE


async def test_a_busy_provider_may_be_asked_again_when_it_says(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind, path in under_test.submits.items():
            upstream.on("POST", path, error(429, "slow down", Retry_After="7"))
            with cases.case(kind):
                assert expect(Retryable, await scripted.submit(under_test.request(kind, "Hello"), tmp_path)).wait == 7


async def test_a_time_limit_upstream_leaves_the_outcome_unknown(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind, path in under_test.submits.items():
            upstream.on("POST", path, plain(b"<html>", "text/html", 504))
            with cases.case(kind):
                failed = expect(Failed, await scripted.submit(under_test.request(kind, "Hello"), tmp_path))
                assert failed.code is ErrorCode.OUTCOME_UNKNOWN


async def test_a_paid_request_is_not_sent_to_where_it_is_redirected(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind, path in under_test.submits.items():
            for status in (301, 302, 303, 307, 308):
                upstream.on("POST", path, js({}, status, Location=stranger.origin + path))
                with cases.case(kind, status):
                    expect(Failed, await scripted.submit(under_test.request(kind, "Hello"), tmp_path))
    assert not stranger.requests


async def test_a_malformed_answer_is_a_failure_that_is_not_repeated(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    answers: dict[str, Reply] = {
        "html": plain(b"<html>", "text/html"),
        "empty": plain(b"", "application/json"),
        "null": js(None),
        "a list": js([]),
        "a number": js(7),
        "an empty object": js({}),
        "nested without end": plain(b'{"a":' * 2000, "application/json"),
        "not UTF-8": plain(b'{"id": "\xff\xfe"}', "application/json"),
    }
    with Cases() as cases:
        for kind, path in under_test.submits.items():
            for name, reply in answers.items():
                upstream.on("POST", path, reply)
                with cases.case(kind, name):
                    expect(Failed, await scripted.submit(under_test.request(kind, "Hello"), new_folder(tmp_path)))


async def test_no_answer_raises_an_exception(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    rng = random.Random(7)
    for kind, path in under_test.submits.items():
        for _ in range(40):
            answer = random_object(rng, NAMES)
            upstream.on("POST", path, js(answer))
            outcome = await scripted.submit(under_test.request(kind, "Hello"), new_folder(tmp_path))
            assert isinstance(outcome, Completed | Failed | Retryable | Pending), answer


async def test_no_answer_to_a_poll_raises_an_exception(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    rng = random.Random(7)
    for kind, path in under_test.polls.items():
        under_test.script_result(upstream, kind, ["https://192.0.2.1/never"])
        submitted = expect(Pending, await scripted.submit(under_test.request(kind, "Hello"), new_folder(tmp_path)))
        for _ in range(40):
            answer = random_object(rng, NAMES) | {"status": rng.choice(STATES)}
            upstream.on("GET", path, js(answer))
            outcome = await scripted.poll(submitted.upstream_job, new_folder(tmp_path))
            assert isinstance(outcome, Failed | Pending), answer


async def test_a_poll_that_fails_does_not_fail_the_job(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    answers = (
        error(401),
        error(404),
        error(429),
        error(500),
        Silence("reset"),
        plain(b"<html>", "text/html"),
        js({}),
        js([]),
    )
    with Cases() as cases:
        for kind in under_test.polled:
            under_test.script_result(upstream, kind, ["https://192.0.2.1/never"])
            submitted = expect(Pending, await scripted.submit(under_test.request(kind, "Hello"), new_folder(tmp_path)))
            for reply in answers:
                upstream.on("GET", under_test.polls[kind], reply)
                with cases.case(kind, reply):
                    polled = expect(Pending, await scripted.poll(submitted.upstream_job, tmp_path))
                    assert polled.upstream_job.id == submitted.upstream_job.id
        with cases.case("only jobs are polled"):
            assert set(under_test.polled) <= set(under_test.media)


async def test_results_at_links_are_fetched_without_the_key(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.media:
            content, mime = FILES[kind]
            stranger.on("GET", "/result", plain(content, mime))
            under_test.script_result(upstream, kind, [f"{stranger.origin}/result"])
            with cases.case(kind):
                done = expect(Completed, await outcome_of(scripted, under_test.request(kind, "Hello"), tmp_path))
                assert done.media[0].path.read_bytes() == content
                assert stranger.requests[-1].key is None
                assert KEY not in str(stranger.requests)


async def test_a_link_to_a_private_address_is_not_followed(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.media:
            for link in (
                "http://10.1.2.3/x",
                "http://169.254.169.254/latest/meta-data",
                "file:///etc/passwd",
                "gopher://x",
            ):
                under_test.script_result(upstream, kind, [link])
                with cases.case(kind, link):
                    folder = new_folder(tmp_path)
                    expect(Failed, await outcome_of(scripted, under_test.request(kind, "Hello"), folder))
                    assert files_below(folder) == []


async def test_what_can_be_fetched_of_several_results_is_kept(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/good", plain(PNG, "image/png"))
    stranger.on("GET", "/large", plain(b"\0" * (MAX_IMAGE + 1), "image/png"))
    links = [f"{stranger.origin}{path}" for path in ("/gone", "/good", "/large")]
    under_test.script_result(upstream, Kind.IMAGE, links)
    done = expect(Completed, await outcome_of(scripted, under_test.request(Kind.IMAGE, "Hello"), tmp_path))
    assert [media.path.read_bytes() for media in done.media] == [PNG]


async def test_a_linked_result_above_the_limit_is_too_large(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/large", plain(b"\0" * (MAX_IMAGE + 1), "image/png"))
    under_test.script_result(upstream, Kind.IMAGE, [f"{stranger.origin}/large"])
    outcome = await outcome_of(scripted, under_test.request(Kind.IMAGE, "Hello"), tmp_path)
    assert expect(Failed, outcome).code is ErrorCode.RESULT_TOO_LARGE
    assert contents(tmp_path) == {}


async def test_closing_a_stream_hangs_up_at_once(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream
) -> None:
    if Kind.TEXT not in under_test.requests:
        pytest.skip(f"{under_test.name} has no text")
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}\n\n'
    reply = Reply(headers={"Content-Type": "text/event-stream"}, pieces=(event,), chunked=True, ending="hang")
    upstream.on("POST", under_test.submits[Kind.TEXT], reply)
    stream = scripted.stream(under_test.request(Kind.TEXT, "Hello"))
    assert (await anext(stream)).delta == "Hello"
    await stream.aclose()  # type: ignore[attr-defined]
    await upstream.client_disconnected()


async def test_an_error_before_a_stream_is_the_same_as_without_one(
    under_test: ProviderUnderTest, scripted: Provider, upstream: Upstream, tmp_path: Path
) -> None:
    if Kind.TEXT not in under_test.requests:
        pytest.skip(f"{under_test.name} has no text")
    request = under_test.request(Kind.TEXT, "Hello")
    with Cases() as cases:
        for status in (400, 401, 403, 404, 429, 500, 503, 504):
            upstream.on("POST", under_test.submits[Kind.TEXT], error(status, "no"))
            whole = await scripted.submit(request, tmp_path)
            with cases.case(status), pytest.raises(Failure) as failure:
                [chunk async for chunk in scripted.stream(request)]
            with cases.case(status, "the same"):
                assert failure.value.outcome == whole
