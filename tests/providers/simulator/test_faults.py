"""Each simulator command does what its sentence says, for each kind of output it supports.

A small function shows one command for one kind; the last tests make sure that none is missing.
"""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import av
import httpx
import msgspec
import pytest

from app.providers.simulator.faults import DIRECTIVES, faults_in, strip_faults
from app.providers.simulator.responses import StreamedResponse
from app.providers.simulator.state import JobStore, Kind
from tests.kit import Cases
from tests.providers.simulator.kit import (
    CHAT_IMAGE_MODEL,
    CHAT_TEXT_AND_IMAGE_MODEL,
    EMBEDDING_MODEL,
    IMAGE_MODEL,
    SECONDS,
    SHORT,
    SPEECH_MODEL,
    STAMP,
    STREAMING_IMAGE_MODEL,
    TRANSCRIPTION_MODEL,
    VIDEO_MODEL,
    ManualClock,
    SimulatorClient,
    conversation,
    events,
    image_in,
    image_of,
    streamed_text,
    until,
)

Show = Callable[[SimulatorClient], None]
ShowKind = Callable[[SimulatorClient, Kind], None]
ShowTimed = Callable[[SimulatorClient, ManualClock], None]

SHOWN: list[tuple[str, Kind, str, Show]] = []
SHOWN_IN_MANUAL_TIME: list[tuple[str, Kind, str, ShowTimed]] = []
CALLS: tuple[Kind, ...] = ("embeddings", "speech", "transcription", "moderation")
KINDS: tuple[Kind, ...] = ("text", "image", "video", *CALLS)
CALL_SECONDS: dict[Kind, float] = {"embeddings": 0.2, "speech": 1.0, "transcription": 1.0, "moderation": 0.2}
MUCH = 24 * 1024 * 1024


def shows(name: str, *kinds: Kind) -> Callable[[Show], Show]:
    """Registers a test of this command for these kinds of output."""

    def register(show: Show) -> Show:
        SHOWN.extend((name, kind, show.__name__, show) for kind in kinds)
        return show

    return register


def each(name: str, *kinds: Kind) -> Callable[[ShowKind], ShowKind]:
    """The same for a test that takes the kind."""

    def register(show: ShowKind) -> ShowKind:
        SHOWN.extend((name, kind, show.__name__, partial(show, kind=kind)) for kind in kinds)  # type: ignore[call-arg]
        return show

    return register


def shows_in_manual_time(name: str, *kinds: Kind) -> Callable[[ShowTimed], ShowTimed]:
    """The same for a test that takes a simulator with normal delays, and its clock."""

    def register(show: ShowTimed) -> ShowTimed:
        SHOWN_IN_MANUAL_TIME.extend((name, kind, show.__name__, show) for kind in kinds)
        return show

    return register


def request_of(kind: Kind, prompt: str) -> tuple[str, dict[str, Any]]:
    """Path and body of a request of this kind."""
    if kind == "text":
        return "/chat/completions", conversation(prompt)
    if kind == "image":
        return "/images", {"model": IMAGE_MODEL, "prompt": prompt}
    if kind == "video":
        return "/videos", {"model": VIDEO_MODEL, "prompt": prompt, **SHORT}
    if kind == "transcription":
        audio = {"data": base64.b64encode(bytes(3200)).decode(), "format": "pcm"}
        return "/audio/transcriptions", {"model": TRANSCRIPTION_MODEL, "input_audio": audio, "prompt": prompt}
    path, model = {
        "embeddings": ("/embeddings", EMBEDDING_MODEL),
        "speech": ("/audio/speech", SPEECH_MODEL),
        "moderation": ("/moderations", None),
    }[kind]
    return path, {"model": model, "input": prompt}


def paid(sim: SimulatorClient, kind: Kind, prompt: str) -> httpx.Response:
    """One paid request of this kind."""
    path, body = request_of(kind, prompt)
    return sim.http.post(path, json=body)


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """The error in a response, after checking that its code equals the status."""
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    return error


# Errors


@each("fail", "text", "image", *CALLS)
def failed_work_is_a_502(sim: SimulatorClient, kind: Kind) -> None:
    answer = paid(sim, kind, f"[fail] [stamp] {kind}")
    assert answer.status_code == 502
    assert refusal(answer)["metadata"]["error_type"] == "provider_unavailable"
    assert len(sim.submits(f"[fail] [stamp] {kind}")) == 1


@shows("fail", "text")
def a_failed_stream_never_begins(sim: SimulatorClient) -> None:
    answer = sim.chat("[fail] streamed", stream=True)
    assert answer.status_code == 502
    refusal(answer)


@shows("fail", "video")
def a_failed_video_has_an_error(sim: SimulatorClient) -> None:
    state = sim.video("[fail] a video")
    assert state["status"] == "failed"
    assert state["error"]
    assert "usage" not in state
    assert sim.content(state["id"]).status_code == 404


@shows("expire", "video")
def an_expired_video_is_gone(sim: SimulatorClient) -> None:
    state = sim.video("[expire] a video")
    assert state["status"] == "expired"
    assert sim.content(state["id"]).status_code == 410


@shows("cancelled", "video")
def a_cancelled_video_has_no_content(sim: SimulatorClient) -> None:
    state = sim.video("[cancelled] a video")
    assert state["status"] == "cancelled"
    assert sim.content(state["id"]).status_code == 404


@each("refuse", *KINDS)
def refused_content_is_a_403_with_reasons(sim: SimulatorClient, kind: Kind) -> None:
    answer = paid(sim, kind, f"[refuse] [stamp] {kind}")
    assert answer.status_code == 403
    metadata = refusal(answer)["metadata"]
    assert metadata["error_type"] == "content_policy_violation"
    assert {"reasons", "flagged_input", "provider_name", "model_slug"} <= set(metadata)
    assert sim.submits(f"[refuse] [stamp] {kind}") == []


def check_refused_payment(sim: SimulatorClient, kind: Kind, name: str, source: str) -> None:
    answer = paid(sim, kind, f"[{name}] [stamp] {kind}")
    assert answer.status_code == 402
    assert refusal(answer)["metadata"]["limit_source"] == source
    assert "retry-after" not in answer.headers
    assert sim.submits(f"[{name}] [stamp] {kind}") == []


@each("credits", *KINDS)
def without_credits_nothing_is_generated(sim: SimulatorClient, kind: Kind) -> None:
    check_refused_payment(sim, kind, "credits", "openrouter_credits")


@each("key-limit", *KINDS)
def above_the_limit_of_the_key_nothing_is_generated(sim: SimulatorClient, kind: Kind) -> None:
    check_refused_payment(sim, kind, "key-limit", "openrouter_key_limit")


def check_only_the_first_try_fails(sim: SimulatorClient, kind: Kind, name: str, status: int) -> httpx.Response:
    prompt = f"[{name}] [stamp] {kind}"
    first = paid(sim, kind, prompt)
    assert first.status_code == status
    refusal(first)
    assert sim.submits(prompt) == []
    assert paid(sim, kind, prompt).status_code in (200, 202)
    assert len(sim.submits(prompt)) == 1
    return first


@each("ratelimit", *KINDS)
def the_first_try_exceeds_the_rate_limit(sim: SimulatorClient, kind: Kind) -> None:
    first = check_only_the_first_try_fails(sim, kind, "ratelimit", 429)
    assert first.headers["retry-after"] == "2"
    assert int(first.headers["x-ratelimit-reset"]) > 1e12


@each("ratelimit-long", *KINDS)
def every_try_exceeds_the_rate_limit_for_half_an_hour(sim: SimulatorClient, kind: Kind) -> None:
    prompt = f"[ratelimit-long] [stamp] {kind}"
    for answer in (paid(sim, kind, prompt), paid(sim, kind, prompt)):
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1800"
    assert sim.submits(prompt) == []


@shows("too-long", "text")
def the_conversation_is_too_long(sim: SimulatorClient) -> None:
    answer = sim.chat("[too-long] hello")
    assert answer.status_code == 400
    assert "maximum context length is 400000 tokens" in refusal(answer)["message"]
    assert refusal(answer)["metadata"]["error_type"] == "context_length_exceeded"


@each("in-flight", *KINDS)
def the_first_try_exceeds_the_in_flight_budget(sim: SimulatorClient, kind: Kind) -> None:
    first = check_only_the_first_try_fails(sim, kind, "in-flight", 402)
    assert first.headers["retry-after"] == "2"
    assert refusal(first)["metadata"]["limit_source"] == "openrouter_in_flight_budget"


@each("overloaded", *KINDS)
def the_first_try_finds_no_provider(sim: SimulatorClient, kind: Kind) -> None:
    check_only_the_first_try_fails(sim, kind, "overloaded", 503)


@each("busy", *KINDS)
def the_first_try_finds_the_provider_overloaded(sim: SimulatorClient, kind: Kind) -> None:
    check_only_the_first_try_fails(sim, kind, "busy", 529)


@each("html", *KINDS)
def a_web_page_comes_instead_of_data(sim: SimulatorClient, kind: Kind) -> None:
    answer = paid(sim, kind, f"[html] [stamp] {kind}")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert sim.submits(f"[html] [stamp] {kind}") == []


# Broken connections


@each("unreachable", *KINDS)
def the_connection_breaks_before_the_request_is_accepted(sim: SimulatorClient, kind: Kind) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        paid(sim, kind, f"[unreachable] [stamp] {kind}")
    assert sim.submits(f"[unreachable] [stamp] {kind}") == []


@each("ambiguous", *KINDS)
def the_connection_breaks_after_the_request_is_accepted(sim: SimulatorClient, kind: Kind) -> None:
    spent = sim.get("/credits").json()["data"]["total_usage"] - (kind == "moderation")  # which is free
    with pytest.raises(httpx.RemoteProtocolError):
        paid(sim, kind, f"[ambiguous] [stamp] {kind}")
    line = sim.submits(f"[ambiguous] [stamp] {kind}")
    assert len(line) == 1
    assert sim.get("/credits").json()["data"]["total_usage"] > spent
    assert sim.get("/generation", id=line[0]["id"]).status_code == 200


@each("cut", "text", "image", *CALLS)
def an_answer_breaks_off_in_the_middle(sim: SimulatorClient, kind: Kind) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="message body"):
        paid(sim, kind, f"[cut] [stamp] {kind}")


@shows("cut", "image")
def an_image_of_a_chat_model_breaks_off_in_the_middle(sim: SimulatorClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="message body"):
        sim.chat("[cut] [stamp] an image", model=CHAT_IMAGE_MODEL, modalities=["image"])


@shows("cut", "text")
def a_stream_ends_without_an_end(sim: SimulatorClient) -> None:
    text = sim.stream("[cut] tell me about opal")
    chunks = events(text)
    assert streamed_text(chunks)
    assert "[DONE]" not in text
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


@shows("cut", "image")
def a_stream_of_images_ends_after_the_preview(sim: SimulatorClient) -> None:
    text = sim.image("[cut] [stamp] streamed", model=STREAMING_IMAGE_MODEL, stream=True).text
    assert [event["type"] for event in events(text)] == ["image_generation.partial_image"]
    assert "[DONE]" not in text


@shows("cut", "video")
def a_video_breaks_off_in_the_middle(sim: SimulatorClient) -> None:
    state = sim.video("[cut] [stamp] a video")
    with pytest.raises(httpx.RemoteProtocolError):
        sim.content(state["id"])


def check_trickle(
    sim: SimulatorClient,
    clock: ManualClock,
    method: str,
    path: str,
    body: Any = None,
    *,
    delays: tuple[float, ...] = (),
) -> None:
    """After the normal delays, three pauses of one second let four bytes through."""
    clock.slept.clear()
    clock.allowed = len(delays) + 3
    received = b""
    with sim.http.stream(method, path, json=body) as answer:
        for piece in answer.iter_raw():
            received += piece
            if len(received) >= 4:
                break
        until(lambda: len(clock.slept) == len(delays) + 4)
    assert len(received) == 4
    assert clock.slept == [*delays, 1, 1, 1, 1]
    until(lambda: clock.sleeping == 0)  # the server has noticed that the client left
    clock.allowed = float("inf")


@shows_in_manual_time("trickle", "text")
def text_trickles(timed: SimulatorClient, clock: ManualClock) -> None:
    streamed = conversation("[trickle] a", stream=True)
    check_trickle(timed, clock, "POST", "/chat/completions", streamed)
    check_trickle(timed, clock, "POST", "/chat/completions", conversation("[trickle] b"), delays=(0.8,))


@shows_in_manual_time("trickle", "image")
def an_image_trickles(timed: SimulatorClient, clock: ManualClock) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "[trickle] [stamp]"}
    check_trickle(timed, clock, "POST", "/images", body, delays=(1.5,))


@shows_in_manual_time("trickle", *CALLS)
def the_answer_of_a_call_trickles(timed: SimulatorClient, clock: ManualClock) -> None:
    for kind, seconds in CALL_SECONDS.items():
        path, body = request_of(kind, "[trickle] a")
        check_trickle(timed, clock, "POST", path, body, delays=(seconds,))


@shows_in_manual_time("trickle", "video")
def a_video_trickles(timed: SimulatorClient, clock: ManualClock) -> None:
    id = timed.submit("[trickle] [stamp] a video").json()["id"]
    clock.advance(100)
    check_trickle(timed, clock, "GET", f"/videos/{id}/content")


# Time


@each("stuck", "text", "image", *CALLS)
def the_answer_never_comes(sim: SimulatorClient, kind: Kind) -> None:
    path, body = request_of(kind, "[stuck]")
    with pytest.raises(httpx.ReadTimeout):
        sim.http.post(path, json=body, timeout=httpx.Timeout(SECONDS, read=0.1))


@shows_in_manual_time("stuck", "text")
def the_stream_has_nothing_but_comments(timed: SimulatorClient, clock: ManualClock) -> None:
    clock.slept.clear()
    clock.allowed = 20
    with timed.http.stream("POST", "/chat/completions", json=conversation("[stuck]", stream=True)) as answer:
        lines = answer.iter_lines()
        received = [next(lines) for _ in range(40)]
        until(lambda: len(clock.slept) == 21)
    assert received == [": OPENROUTER PROCESSING", ""] * 20
    assert clock.slept == [0.5] * 21
    until(lambda: clock.sleeping == 0)


@shows("stuck", "video")
def the_video_is_never_finished(sim: SimulatorClient) -> None:
    state = sim.video("[stuck] a video")
    assert state["status"] == "in_progress"
    assert sim.content(state["id"]).status_code == 409


@shows_in_manual_time("slow", "text", "image", *CALLS)
def an_answer_takes_five_times_as_long(timed: SimulatorClient, clock: ManualClock) -> None:
    usual: dict[Kind, float] = {"text": 0.8, "image": 1.5, **CALL_SECONDS}
    for kind, seconds in usual.items():
        for command, factor in (("", 1), ("[slow]", 5)):
            clock.slept.clear()
            assert paid(timed, kind, f"{command} [stamp] a road").status_code == 200
            assert clock.slept == [seconds * factor]


@shows_in_manual_time("slow", "video")
def a_video_takes_five_times_as_long(timed: SimulatorClient, clock: ManualClock) -> None:
    store = JobStore(timed.folder)
    jobs = [store.job(timed.submit(prompt).json()["id"]) for prompt in ("a road", "[slow] a road")]
    waits = [job.starts_at - job.created_at for job in jobs if job is not None]
    runs = [job.ends_at - job.starts_at for job in jobs if job is not None and job.ends_at is not None]
    assert waits == pytest.approx([2, 10])
    assert runs == pytest.approx([7, 35])


@shows("stamp", "video")
def the_video_is_as_large_as_a_stamp(sim: SimulatorClient) -> None:
    content = sim.content(sim.video("[stamp] a boat")["id"]).content
    with av.open(io.BytesIO(content)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == STAMP


@shows("odd-state", "video")
def the_video_has_an_unknown_state_for_a_while(sim: SimulatorClient) -> None:
    state = sim.video("[odd-state] a video")
    assert state["status"] not in ("pending", "in_progress", "completed", "failed", "cancelled", "expired")
    assert sim.poll(state["id"])["status"] == "completed"


# Wrong results


@shows("badmedia", "image")
def the_image_is_invalid(sim: SimulatorClient) -> None:
    data = base64.b64decode(sim.image("[badmedia] a").json()["data"][0]["b64_json"], validate=True)
    assert data.startswith(b"This is not an image")
    message = sim.chat("[badmedia] b", model=CHAT_IMAGE_MODEL, modalities=["image"]).json()["choices"][0]["message"]
    assert message["images"][0]["image_url"]["url"].startswith("data:image/png;base64,VGhpcyBpcyBu")


@shows("badmedia", "video")
def the_video_is_invalid(sim: SimulatorClient) -> None:
    answer = sim.content(sim.video("[badmedia] a video")["id"])
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content.startswith(b"This is not a video")


@shows("badmedia", "speech")
def the_speech_is_invalid(sim: SimulatorClient) -> None:
    answer = paid(sim, "speech", "[badmedia] hello")
    assert answer.headers["content-type"] == "audio/pcm"
    assert answer.content.startswith(b"This is not audio")


def check_endless(sim: SimulatorClient, method: str, path: str, body: Any = None) -> bytes:
    """The beginning of a response that is far too large to read."""
    with sim.http.stream(method, path, json=body) as answer:
        assert answer.status_code == 200
        assert "content-length" not in answer.headers
        seen, head = 0, b""
        for piece in answer.iter_raw(1024 * 1024):
            head = head or piece
            seen += len(piece)
            if seen > MUCH:
                return head
    raise AssertionError(f"it ended after {seen} bytes")


@shows("huge", "text")
def the_text_is_endless(sim: SimulatorClient) -> None:
    assert check_endless(sim, "POST", "/chat/completions", conversation("[huge]")).startswith(b'{"id":"gen-')
    streamed = check_endless(sim, "POST", "/chat/completions", conversation("[huge]", stream=True))
    assert b'"content":"and on and on "' in streamed


@shows("huge", "image")
def the_image_is_endless(sim: SimulatorClient) -> None:
    head = check_endless(sim, "POST", "/images", {"model": IMAGE_MODEL, "prompt": "[huge]"})
    assert b'"b64_json":"AAAA' in head
    body = conversation("[huge]", model=CHAT_IMAGE_MODEL, modalities=["image"])
    assert b"data:image/png;base64,AAAA" in check_endless(sim, "POST", "/chat/completions", body)


@shows("huge", "speech")
def the_speech_is_endless(sim: SimulatorClient) -> None:
    check_endless(sim, "POST", *request_of("speech", "[huge] hello"))


@shows("huge", "video")
def the_video_is_endless(sim: SimulatorClient) -> None:
    head = check_endless(sim, "GET", f"/videos/{sim.video('[huge] a video')['id']}/content")
    assert head[4:8] == b"ftyp"


@shows("text-only", "image")
def the_model_answers_with_text(sim: SimulatorClient) -> None:
    answer = sim.chat("[text-only] a pony", model=CHAT_TEXT_AND_IMAGE_MODEL, modalities=["image", "text"]).json()
    assert answer["choices"][0]["message"]["images"] == []
    assert "pony" in answer["choices"][0]["message"]["content"]
    assert sim.image("[text-only] a pony").json()["data"] == []
    streamed = events(sim.image("[text-only] a pony", model=STREAMING_IMAGE_MODEL, stream=True).text)
    assert [event["type"] for event in streamed][-1] == "image_generation.text_chunk"


@shows("error-in-stream", "text")
def an_error_comes_in_the_middle(sim: SimulatorClient) -> None:
    chunks = events(sim.stream("[error-in-stream] tell me about jasper"))
    assert streamed_text(chunks)
    assert chunks[-1]["error"]["code"] == 502
    assert chunks[-1]["error"]["metadata"]["error_type"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "error"
    choice = sim.chat("[error-in-stream] tell me about agate").json()["choices"][0]
    assert choice["finish_reason"] == "error"
    assert choice["error"]["code"] == 502
    assert choice["message"]["content"]


@shows("error-in-stream", "image")
def an_error_comes_after_the_preview(sim: SimulatorClient) -> None:
    text = sim.image("[error-in-stream] [stamp]", model=STREAMING_IMAGE_MODEL, stream=True).text
    assert [event["type"] for event in events(text)] == ["image_generation.partial_image", "error"]
    assert set(events(text)[-1]["error"]) == {"message", "code", "param", "type"}


@shows("error-first", "text")
def the_first_chunk_is_an_error(sim: SimulatorClient) -> None:
    answer = sim.chat("[error-first] a", stream=True)
    assert answer.status_code == 200
    chunks = events(answer.text)
    assert len(chunks) == 1
    assert chunks[0]["error"]["message"]
    assert "[DONE]" not in answer.text


@shows("error-first", "image")
def the_first_event_is_an_error(sim: SimulatorClient) -> None:
    text = sim.image("[error-first]", model=STREAMING_IMAGE_MODEL, stream=True).text
    assert [event["type"] for event in events(text)] == ["error"]


@each("error-200", "text", "image", "embeddings", "transcription", "moderation")
def an_error_has_the_status_200(sim: SimulatorClient, kind: Kind) -> None:
    answer = paid(sim, kind, f"[error-200] [stamp] {kind}")
    assert answer.status_code == 200
    assert set(answer.json()) <= {"id", "error"}
    assert answer.json()["error"]["message"]


@shows("error-200", "text")
def an_error_comes_in_place_of_a_stream(sim: SimulatorClient) -> None:
    answer = sim.chat("[error-200] streamed", stream=True)
    assert answer.status_code == 200
    assert set(answer.json()) == {"id", "error"}


# How the video is downloaded


@shows("absolute", "video")
def the_polling_url_is_absolute(sim: SimulatorClient) -> None:
    body = sim.submit("[absolute] a video").json()
    assert body["polling_url"] == f"{sim.origin}/api/v1/videos/{body['id']}"
    assert sim.get(body["polling_url"]).json()["status"] == "completed"


@shows("foreign-poll", "video")
def the_polling_url_leads_to_another_origin_that_logs_requests(sim: SimulatorClient) -> None:
    body = sim.submit("[foreign-poll] a video").json()
    assert body["polling_url"].startswith("http://localhost:")
    assert not body["polling_url"].startswith(sim.origin)
    assert sim.visits(body["id"]) == []
    assert sim.get(body["polling_url"]).json()["status"] == "completed"
    assert [visit["authorization"] for visit in sim.visits(body["id"])] == [True]


@shows("urls", "video")
def a_signed_link_needs_no_key_and_is_valid_for_this_video_only(sim: SimulatorClient) -> None:
    state, other = sim.video("[urls] [stamp] a video"), sim.video("[urls] [stamp] another video")
    assert state["unsigned_urls"]
    assert time.time() < state["expires_at"] < time.time() + 2 * 3600
    link = httpx.URL(state["urls"][0])
    answer = sim.anonymous.get(link)
    assert answer.status_code == 200
    assert answer.content[4:8] == b"ftyp"
    assert [visit["authorization"] for visit in sim.visits(state["id"])] == [False]
    later = link.copy_set_param("expires_at", str(state["expires_at"] + 1))
    stolen = link.copy_with(path=f"/simulator/openrouter/signed/{other['id']}")
    for forged in (later, stolen, link.copy_remove_param("token"), link.copy_remove_param("expires_at")):
        assert sim.anonymous.get(forged).status_code == 403


@shows("no-urls", "video")
def the_video_is_completed_without_any_link(sim: SimulatorClient) -> None:
    state = sim.video("[no-urls] [stamp] a video")
    assert state["status"] == "completed"
    assert not {"urls", "unsigned_urls", "video_url"} & set(state)
    assert sim.content(state["id"]).status_code == 200


@shows("video_url", "video")
def the_link_is_in_the_old_field(sim: SimulatorClient) -> None:
    state = sim.video("[video_url] [stamp] a video")
    assert "unsigned_urls" not in state
    assert sim.get(state["video_url"]).content[4:8] == b"ftyp"


@shows("redirect", "video")
def the_download_is_redirected_to_another_origin_that_logs_keys(sim: SimulatorClient) -> None:
    state = sim.video("[redirect] [stamp] a video")
    answer = sim.content(state["id"])
    assert answer.status_code == 302
    target = answer.headers["location"]
    assert target.startswith("http://localhost:")
    assert sim.anonymous.get(target).content[4:8] == b"ftyp"
    sim.get(target)
    assert [visit["authorization"] for visit in sim.visits(state["id"])] == [False, True]


@shows("gone", "video")
def the_video_has_been_deleted(sim: SimulatorClient) -> None:
    state = sim.video("[gone] a video")
    assert state["status"] == "completed"
    assert sim.content(state["id"]).status_code == 410


@shows("notyet", "video")
def the_first_download_comes_too_early(sim: SimulatorClient) -> None:
    state = sim.video("[notyet] [stamp] a video")
    assert state["status"] == "completed"
    assert [sim.content(state["id"]).status_code for _ in range(3)] == [409, 200, 200]


# Cost, and an old route


def usage(sim: SimulatorClient, kind: Kind, prompt: str) -> tuple[str, dict[str, Any]]:
    """The id of a generation and the usage in its response."""
    if kind == "video":
        state = sim.video(prompt)
        return state["id"], state["usage"]
    body = paid(sim, kind, prompt).json()
    return sim.submits(prompt)[-1]["id"], body["usage"]


@each("no-cost", "text", "image", "video", "embeddings", "transcription")
def the_cost_is_never_reported(sim: SimulatorClient, kind: Kind) -> None:
    id, reported = usage(sim, kind, f"[no-cost] [stamp] {kind}")
    assert reported
    assert "cost" not in reported
    assert [sim.get("/generation", id=id).status_code for _ in range(2)] == [404, 404]


@each("late-cost", "text", "image", "video", "embeddings", "transcription")
def the_cost_is_available_later(sim: SimulatorClient, kind: Kind) -> None:
    id, reported = usage(sim, kind, f"[late-cost] [stamp] {kind}")
    assert "cost" not in reported
    assert sim.get("/generation", id=id).status_code == 404
    assert sim.get("/generation", id=id).json()["data"]["total_cost"] > 0


@shows("no-cost", "speech")
@shows("late-cost", "speech")
def the_cost_of_speech_is_only_at_the_generation(sim: SimulatorClient) -> None:
    for prompt, statuses in (("cost", [200, 200]), ("[late-cost]", [404, 200]), ("[no-cost]", [404, 404])):
        id = paid(sim, "speech", prompt).headers["x-generation-id"]
        answers = [sim.get("/generation", id=id) for _ in range(2)]
        assert [answer.status_code for answer in answers] == statuses
    assert sim.get("/generation", id=sim.submits("cost")[0]["id"]).json()["data"]["api_type"] == "tts"


@shows("no-cost", "text")
def the_cost_of_a_stream_is_never_reported(sim: SimulatorClient) -> None:
    last = events(sim.stream("[no-cost] streamed"))[-1]
    assert last["usage"]["total_tokens"] > 0
    assert "cost" not in last["usage"]


@shows("stamp", "image")
def the_image_is_as_large_as_a_stamp(sim: SimulatorClient) -> None:
    assert image_of(sim.image("[stamp] a boat", aspect_ratio="16:9")).size == STAMP
    answer = sim.chat("[stamp] a boat", model=CHAT_IMAGE_MODEL, modalities=["image"]).json()
    assert image_in(answer["choices"][0]["message"]["images"][0]["image_url"]["url"]).size == STAMP


@shows("upstream:NAME", "text")
def the_answer_has_a_habit_of_real_providers(sim: SimulatorClient) -> None:
    assert sim.chat("[upstream:reasoning] a").json()["choices"][0]["message"]["reasoning_details"]


@shows("generations", "image")
def the_old_route_works(sim: SimulatorClient) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "[generations] [stamp] the old route"}
    answer = sim.http.post("/images/generations", json=body)
    assert answer.status_code == 200
    assert image_of(answer).size == STAMP
    assert sim.submits("[generations] [stamp] the old route")[0]["endpoint"] == "/images/generations"


@pytest.mark.parametrize("name", sorted({name for name, *_ in SHOWN}))
def test_the_command_does_what_its_sentence_says(sim: SimulatorClient, name: str) -> None:
    with Cases() as cases:
        for _, kind, title, show in (entry for entry in SHOWN if entry[0] == name):
            with cases.case(kind, title):
                assert kind in DIRECTIVES[name].kinds
                show(sim)


def test_a_command_about_time_does_what_its_sentence_says(timed: SimulatorClient, clock: ManualClock) -> None:
    with Cases() as cases:
        for name, kind, title, show in SHOWN_IN_MANUAL_TIME:
            with cases.case(name, kind, title):
                clock.allowed = float("inf")
                assert kind in DIRECTIVES[name].kinds
                show(timed, clock)


def test_every_command_is_shown_for_every_kind_that_it_names() -> None:
    shown = {(name, kind) for name, kind, *_ in (*SHOWN, *SHOWN_IN_MANUAL_TIME)}
    assert shown == {(name, kind) for name, directive in DIRECTIVES.items() for kind in directive.kinds}


def test_every_command_is_explained_in_a_sentence() -> None:
    for name, directive in DIRECTIVES.items():
        assert directive.sentence.endswith("."), name
        assert directive.sentence[0].isupper(), name
        assert 20 < len(directive.sentence) < (200 if name == "upstream:NAME" else 120), name


def test_a_command_is_found_anywhere_and_in_any_case_but_only_for_its_kinds() -> None:
    assert faults_in("a [FAIL] lighthouse [unknown] [urls]", "video") == {"fail", "urls"}
    assert faults_in("a [fail] lighthouse [urls]", "text") == {"fail"}
    assert faults_in("fail (urls)", "video") == frozenset()
    assert faults_in("[upstream:NaN] [upstream:magic] [upstream:NAME] [slow:nan]", "text") == {"upstream:nan"}


def test_a_command_is_not_part_of_the_prompt(sim: SimulatorClient) -> None:
    assert strip_faults("[slow] a  [boat] at sea [urls] [upstream:sse]") == "a [boat] at sea"
    plain, marked = (sim.chat(prompt).json()["choices"][0]["message"] for prompt in ("on tin", "[late-cost] on tin"))
    assert plain == marked


def test_a_command_in_an_earlier_message_is_ignored(sim: SimulatorClient) -> None:
    messages = [
        {"role": "user", "content": "[fail] first"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "second"},
    ]
    assert sim.http.post("/chat/completions", json={"model": "openai/gpt-5.5", "messages": messages}).status_code == 200


async def test_an_endless_answer_ends_when_its_client_disconnects() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more"
                begun.set()
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def receive() -> Any:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        assert message["type"] in ("http.response.start", "http.response.body")

    scope: Any = {"type": "http"}
    await asyncio.wait_for(StreamedResponse(pieces(), "image/png")(scope, receive, send), SECONDS)
    assert ended.is_set()


def test_endless_answers_do_not_block_others(empty: SimulatorClient) -> None:
    with empty.http.stream("POST", "/images", json={"model": IMAGE_MODEL, "prompt": "[huge]"}) as endless:
        next(endless.iter_raw())
        body = msgspec.json.encode({"model": VIDEO_MODEL, "prompt": "beside it", **SHORT})
        answer = empty.anonymous.post(f"{empty.origin}/api/v1/videos", content=body, headers=empty.http.headers)
        assert answer.status_code == 202, "answered although the other answer is not read to its end"
