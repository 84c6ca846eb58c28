"""Every failure that can be asked for in a prompt happens as its sentence says, for every kind of work it names.

One small function shows one directive for one kind; the last test makes sure that none is missing.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from functools import wraps
from typing import Any

import httpx
import msgspec
import pytest

from app.providers.simulator.faults import DIRECTIVES, asked, without
from app.providers.simulator.memory import Kind, Memory
from app.providers.simulator.wire import Streamed
from tests.providers.simulator.caller import (
    CHAT_PAINTER,
    FILMMAKER,
    PAINTER,
    SHORT,
    STREAMING_PAINTER,
    TALKING_PAINTER,
    Caller,
    conversation,
    events,
    picture_in,
    picture_of,
    said,
)

Show = Callable[[Caller], None]

SHOWN: list[tuple[str, Kind, Show]] = []
KINDS: tuple[Kind, ...] = ("text", "image", "video")
MUCH = 24 * 1024 * 1024


def shows(name: str, *kinds: Kind) -> Callable[[Show], Show]:
    """Register a function as the one that shows this directive for these kinds."""

    def register(show: Show) -> Show:
        SHOWN.extend((name, kind, show) for kind in kinds)
        return show

    return register


def told(show: Callable[[Caller, Kind], None], kind: Kind) -> Show:
    """The function that shows it, knowing its kind."""

    @wraps(show)
    def knowing(sim: Caller) -> None:
        show(sim, kind)

    return knowing


def each(name: str, *kinds: Kind) -> Callable[[Callable[[Caller, Kind], None]], Callable[[Caller, Kind], None]]:
    """The same for a function that is told the kind."""

    def register(show: Callable[[Caller, Kind], None]) -> Callable[[Caller, Kind], None]:
        for kind in kinds:
            SHOWN.append((name, kind, told(show, kind)))
        return show

    return register


def paid(sim: Caller, kind: Kind, prompt: str) -> httpx.Response:
    """One paid request of this kind."""
    if kind == "text":
        return sim.chat(prompt)
    return sim.image(prompt) if kind == "image" else sim.submit(prompt)


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """The error in an answer, which must be in the envelope and agree with the status."""
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    return error


# It does not work, and the service says so


@each("fail", "text", "image")
def failed_work_is_a_502(sim: Caller, kind: Kind) -> None:
    answer = paid(sim, kind, f"[fail] {kind}")
    assert answer.status_code == 502
    assert refusal(answer)["metadata"]["error_type"] == "provider_unavailable"
    assert len(sim.submits(f"[fail] {kind}")) == 1


@shows("fail", "text")
def a_failed_stream_never_begins(sim: Caller) -> None:
    answer = sim.chat("[fail] streamed", stream=True)
    assert answer.status_code == 502
    refusal(answer)


@shows("fail", "video")
def failed_clip_says_why(sim: Caller) -> None:
    state = sim.video("[fail] a clip")
    assert state["status"] == "failed"
    assert state["error"]
    assert "usage" not in state
    assert sim.content(state["id"]).status_code == 404


@shows("expire", "video")
def expired_clip_is_gone(sim: Caller) -> None:
    state = sim.video("[expire] a clip")
    assert state["status"] == "expired"
    assert sim.content(state["id"]).status_code == 410


@shows("cancelled", "video")
def cancelled_clip_has_no_bytes(sim: Caller) -> None:
    state = sim.video("[cancelled] a clip")
    assert state["status"] == "cancelled"
    assert sim.content(state["id"]).status_code == 404


@each("refuse", *KINDS)
def refused_content_is_a_403_with_reasons(sim: Caller, kind: Kind) -> None:
    answer = paid(sim, kind, f"[refuse] {kind}")
    assert answer.status_code == 403
    told = refusal(answer)["metadata"]
    assert told["error_type"] == "content_policy_violation"
    assert {"reasons", "flagged_input", "provider_name", "model_slug"} <= set(told)
    assert sim.submits(f"[refuse] {kind}") == []


def nothing_to_pay_with(sim: Caller, kind: Kind, name: str, source: str) -> None:
    answer = paid(sim, kind, f"[{name}] {kind}")
    assert answer.status_code == 402
    assert refusal(answer)["metadata"]["limit_source"] == source
    assert "retry-after" not in answer.headers
    assert sim.submits(f"[{name}] {kind}") == []


@each("credits", *KINDS)
def without_credits_nothing_is_made(sim: Caller, kind: Kind) -> None:
    nothing_to_pay_with(sim, kind, "credits", "openrouter_credits")


@each("key-limit", *KINDS)
def beyond_the_limit_of_the_key_nothing_is_made(sim: Caller, kind: Kind) -> None:
    nothing_to_pay_with(sim, kind, "key-limit", "openrouter_key_limit")


def only_the_first_try_fails(sim: Caller, kind: Kind, name: str, status: int) -> httpx.Response:
    prompt = f"[{name}] {kind}"
    first = paid(sim, kind, prompt)
    assert first.status_code == status
    refusal(first)
    assert sim.submits(prompt) == []
    assert paid(sim, kind, prompt).status_code in (200, 202)
    assert len(sim.submits(prompt)) == 1
    return first


@each("ratelimit", *KINDS)
def the_first_try_is_one_too_many(sim: Caller, kind: Kind) -> None:
    first = only_the_first_try_fails(sim, kind, "ratelimit", 429)
    assert first.headers["retry-after"] == "2"
    assert int(first.headers["x-ratelimit-reset"]) > 1e12


@each("in-flight", *KINDS)
def the_first_try_waits_for_unpaid_work(sim: Caller, kind: Kind) -> None:
    first = only_the_first_try_fails(sim, kind, "in-flight", 402)
    assert first.headers["retry-after"] == "2"
    assert refusal(first)["metadata"]["limit_source"] == "openrouter_in_flight_budget"


@each("overloaded", *KINDS)
def the_first_try_finds_nobody_free(sim: Caller, kind: Kind) -> None:
    only_the_first_try_fails(sim, kind, "overloaded", 503)


@each("busy", *KINDS)
def the_first_try_finds_the_provider_overloaded(sim: Caller, kind: Kind) -> None:
    only_the_first_try_fails(sim, kind, "busy", 529)


@each("html", *KINDS)
def a_web_page_comes_instead_of_data(sim: Caller, kind: Kind) -> None:
    answer = paid(sim, kind, f"[html] {kind}")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert sim.submits(f"[html] {kind}") == []


# The line breaks


@each("unreachable", *KINDS)
def the_line_breaks_before_the_work_is_taken(sim: Caller, kind: Kind) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        paid(sim, kind, f"[unreachable] {kind}")
    assert sim.submits(f"[unreachable] {kind}") == []


@each("ambiguous", *KINDS)
def the_line_breaks_after_the_work_is_taken(sim: Caller, kind: Kind) -> None:
    spent = sim.get("/credits").json()["data"]["total_usage"]
    with pytest.raises(httpx.RemoteProtocolError):
        paid(sim, kind, f"[ambiguous] {kind}")
    line = sim.submits(f"[ambiguous] {kind}")
    assert len(line) == 1
    assert sim.get("/credits").json()["data"]["total_usage"] > spent
    assert sim.get("/generation", id=line[0]["id"]).status_code == 200


@each("cut", "text", "image")
def an_answer_breaks_off_in_the_middle(sim: Caller, kind: Kind) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="message body"):
        paid(sim, kind, f"[cut] {kind}")


@shows("cut", "image")
def a_picture_in_a_conversation_breaks_off_in_the_middle(sim: Caller) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="message body"):
        sim.chat("[cut] drawn", model=CHAT_PAINTER, modalities=["image"])


@shows("cut", "text")
def a_stream_ends_without_an_end(sim: Caller) -> None:
    text = sim.stream("[cut] tell me about opal")
    chunks = events(text)
    assert said(chunks)
    assert "[DONE]" not in text
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


@shows("cut", "image")
def a_stream_of_pictures_ends_after_the_preview(sim: Caller) -> None:
    text = sim.image("[cut] streamed", model=STREAMING_PAINTER, stream=True).text
    assert [event["type"] for event in events(text)] == ["image_generation.partial_image"]
    assert "[DONE]" not in text


@shows("cut", "video")
def a_clip_breaks_off_in_the_middle(sim: Caller) -> None:
    state = sim.video("[cut] a clip")
    with pytest.raises(httpx.RemoteProtocolError):
        sim.content(state["id"])


def two_bytes(sim: Caller, method: str, path: str, body: Any = None) -> None:
    start = time.monotonic()
    with sim.http.stream(method, path, json=body) as answer:
        pieces = answer.iter_raw()
        assert [len(next(pieces)), len(next(pieces))] == [1, 1]
    assert 0.9 < time.monotonic() - start < 10


@shows("trickle", "text")
def words_trickle(sim: Caller) -> None:
    two_bytes(sim, "POST", "/chat/completions", conversation("[trickle] a", stream=True))
    two_bytes(sim, "POST", "/chat/completions", conversation("[trickle] b"))


@shows("trickle", "image")
def a_picture_trickles(sim: Caller) -> None:
    two_bytes(sim, "POST", "/images", {"model": PAINTER, "prompt": "[trickle]"})


@shows("trickle", "video")
def a_clip_trickles(sim: Caller) -> None:
    two_bytes(sim, "GET", f"/videos/{sim.video('[trickle] a clip')['id']}/content")


# Time


@each("stuck", "text", "image")
def the_answer_never_comes(sim: Caller, kind: Kind) -> None:
    body = {"model": PAINTER, "prompt": "[stuck]"} if kind == "image" else conversation("[stuck]")
    path = "/images" if kind == "image" else "/chat/completions"
    with pytest.raises(httpx.ReadTimeout):
        sim.http.post(path, json=body, timeout=0.3)


@shows("stuck", "text")
def the_stream_shows_signs_of_life_and_nothing_else(sim: Caller) -> None:
    with sim.http.stream("POST", "/chat/completions", json=conversation("[stuck]", stream=True)) as answer:
        lines = answer.iter_lines()
        told = [next(lines) for _ in range(4)]
    assert told == [": OPENROUTER PROCESSING", "", ": OPENROUTER PROCESSING", ""]


@shows("stuck", "video")
def the_clip_never_ends(sim: Caller) -> None:
    state = sim.video("[stuck] a clip")
    assert state["status"] == "in_progress"
    assert sim.content(state["id"]).status_code == 409


@shows("odd-state", "video")
def the_clip_is_for_a_while_in_a_state_nobody_knows(sim: Caller) -> None:
    state = sim.video("[odd-state] a clip")
    assert state["status"] not in ("pending", "in_progress", "completed", "failed", "cancelled", "expired")
    assert sim.poll(state["id"])["status"] == "completed"


# The result is not what it should be


@shows("badmedia", "image")
def the_picture_is_none(sim: Caller) -> None:
    data = base64.b64decode(sim.image("[badmedia] a").json()["data"][0]["b64_json"], validate=True)
    assert data.startswith(b"This was never a picture")
    message = sim.chat("[badmedia] b", model=CHAT_PAINTER, modalities=["image"]).json()["choices"][0]["message"]
    assert message["images"][0]["image_url"]["url"].startswith("data:image/png;base64,VGhpcyB3YXMg")


@shows("badmedia", "video")
def the_clip_is_none(sim: Caller) -> None:
    answer = sim.content(sim.video("[badmedia] a clip")["id"])
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content.startswith(b"This was never a clip")


def without_end(sim: Caller, method: str, path: str, body: Any = None) -> bytes:
    """The beginning of an answer that goes on after more than anyone would take."""
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
def the_words_have_no_end(sim: Caller) -> None:
    assert without_end(sim, "POST", "/chat/completions", conversation("[huge]")).startswith(b'{"id":"gen-')
    streamed = without_end(sim, "POST", "/chat/completions", conversation("[huge]", stream=True))
    assert b'"content":"and on and on "' in streamed


@shows("huge", "image")
def the_picture_has_no_end(sim: Caller) -> None:
    head = without_end(sim, "POST", "/images", {"model": PAINTER, "prompt": "[huge]"})
    assert b'"b64_json":"AAAA' in head
    body = conversation("[huge]", model=CHAT_PAINTER, modalities=["image"])
    assert b"data:image/png;base64,AAAA" in without_end(sim, "POST", "/chat/completions", body)


@shows("huge", "video")
def the_clip_has_no_end(sim: Caller) -> None:
    head = without_end(sim, "GET", f"/videos/{sim.video('[huge] a clip')['id']}/content")
    assert head[4:8] == b"ftyp"


@shows("words-only", "image")
def the_model_answers_in_words(sim: Caller) -> None:
    answer = sim.chat("[words-only] a pony", model=TALKING_PAINTER, modalities=["image", "text"]).json()
    assert answer["choices"][0]["message"]["images"] == []
    assert "pony" in answer["choices"][0]["message"]["content"]
    assert sim.image("[words-only] a pony").json()["data"] == []
    streamed = events(sim.image("[words-only] a pony", model=STREAMING_PAINTER, stream=True).text)
    assert [event["type"] for event in streamed][-1] == "image_generation.text_chunk"


@shows("error-in-stream", "text")
def an_error_comes_in_the_middle(sim: Caller) -> None:
    chunks = events(sim.stream("[error-in-stream] tell me about jasper"))
    assert said(chunks)
    assert chunks[-1]["error"]["code"] == 502
    assert chunks[-1]["error"]["metadata"]["error_type"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "error"
    choice = sim.chat("[error-in-stream] tell me about agate").json()["choices"][0]
    assert choice["finish_reason"] == "error"
    assert choice["error"]["code"] == 502
    assert choice["message"]["content"]


@shows("error-in-stream", "image")
def an_error_comes_after_the_preview(sim: Caller) -> None:
    text = sim.image("[error-in-stream]", model=STREAMING_PAINTER, stream=True).text
    assert [event["type"] for event in events(text)] == ["image_generation.partial_image", "error"]
    assert set(events(text)[-1]["error"]) == {"message", "code", "param", "type"}


@shows("error-first", "text")
def the_first_word_is_an_error(sim: Caller) -> None:
    answer = sim.chat("[error-first] a", stream=True)
    assert answer.status_code == 200
    chunks = events(answer.text)
    assert len(chunks) == 1
    assert chunks[0]["error"]["message"]
    assert "[DONE]" not in answer.text


@shows("error-first", "image")
def the_first_event_is_an_error(sim: Caller) -> None:
    text = sim.image("[error-first]", model=STREAMING_PAINTER, stream=True).text
    assert [event["type"] for event in events(text)] == ["error"]


@each("error-200", "text", "image")
def an_error_is_dressed_as_a_success(sim: Caller, kind: Kind) -> None:
    answer = paid(sim, kind, f"[error-200] {kind}")
    assert answer.status_code == 200
    assert set(answer.json()) <= {"id", "error"}
    assert answer.json()["error"]["message"]


@shows("error-200", "text")
def an_error_comes_in_place_of_a_stream(sim: Caller) -> None:
    answer = sim.chat("[error-200] streamed", stream=True)
    assert answer.status_code == 200
    assert set(answer.json()) == {"id", "error"}


# How the clip is fetched


@shows("absolute", "video")
def the_polling_address_is_given_in_full(sim: Caller) -> None:
    body = sim.submit("[absolute] a clip").json()
    assert body["polling_url"] == f"{sim.origin}/api/v1/videos/{body['id']}"
    assert sim.get(body["polling_url"]).json()["status"] == "completed"


@shows("foreign-poll", "video")
def the_polling_address_leads_to_another_origin_that_remembers_who_came(sim: Caller) -> None:
    body = sim.submit("[foreign-poll] a clip").json()
    assert body["polling_url"].startswith("http://localhost:")
    assert not body["polling_url"].startswith(sim.origin)
    assert sim.visits(body["id"]) == []
    assert sim.get(body["polling_url"]).json()["status"] == "completed"
    assert [visit["authorization"] for visit in sim.visits(body["id"])] == [True]


@shows("urls", "video")
def a_signed_link_needs_no_key_and_is_good_for_this_clip_only(sim: Caller) -> None:
    state, other = sim.video("[urls] a clip"), sim.video("[urls] another clip")
    assert state["unsigned_urls"]
    assert time.time() < state["expires_at"] < time.time() + 2 * 3600
    link = httpx.URL(state["urls"][0])
    answer = sim.stranger.get(link)
    assert answer.status_code == 200
    assert answer.content[4:8] == b"ftyp"
    assert [visit["authorization"] for visit in sim.visits(state["id"])] == [False]
    later = link.copy_set_param("expires_at", str(state["expires_at"] + 1))
    stolen = link.copy_with(path=f"/simulator/openrouter/signed/{other['id']}")
    for forged in (later, stolen, link.copy_remove_param("token"), link.copy_remove_param("expires_at")):
        assert sim.stranger.get(forged).status_code == 403


@shows("no-urls", "video")
def the_clip_is_complete_without_any_link(sim: Caller) -> None:
    state = sim.video("[no-urls] a clip")
    assert state["status"] == "completed"
    assert not {"urls", "unsigned_urls", "video_url"} & set(state)
    assert sim.content(state["id"]).status_code == 200


@shows("video_url", "video")
def the_link_is_in_the_old_field(sim: Caller) -> None:
    state = sim.video("[video_url] a clip")
    assert "unsigned_urls" not in state
    assert sim.get(state["video_url"]).content[4:8] == b"ftyp"


@shows("redirect", "video")
def the_fetch_is_led_to_another_origin_that_remembers_whether_it_saw_the_key(sim: Caller) -> None:
    state = sim.video("[redirect] a clip")
    answer = sim.content(state["id"])
    assert answer.status_code == 302
    target = answer.headers["location"]
    assert target.startswith("http://localhost:")
    assert sim.stranger.get(target).content[4:8] == b"ftyp"
    sim.get(target)
    assert [visit["authorization"] for visit in sim.visits(state["id"])] == [False, True]


@shows("gone", "video")
def the_clip_has_been_thrown_away(sim: Caller) -> None:
    state = sim.video("[gone] a clip")
    assert state["status"] == "completed"
    assert sim.content(state["id"]).status_code == 410


@shows("notyet", "video")
def the_first_fetch_comes_too_early(sim: Caller) -> None:
    state = sim.video("[notyet] a clip")
    assert state["status"] == "completed"
    assert [sim.content(state["id"]).status_code for _ in range(3)] == [409, 200, 200]


# Money, and an old address


def usage(sim: Caller, kind: Kind, prompt: str) -> tuple[str, dict[str, Any]]:
    """The id of a generation and the usage it was answered with."""
    if kind == "video":
        state = sim.video(prompt)
        return state["id"], state["usage"]
    body = paid(sim, kind, prompt).json()
    return sim.submits(prompt)[-1]["id"], body["usage"]


@each("no-cost", *KINDS)
def the_price_is_never_told(sim: Caller, kind: Kind) -> None:
    id, told = usage(sim, kind, f"[no-cost] {kind}")
    assert told
    assert "cost" not in told
    assert [sim.get("/generation", id=id).status_code for _ in range(2)] == [404, 404]


@each("late-cost", *KINDS)
def the_price_can_be_asked_for_a_little_later(sim: Caller, kind: Kind) -> None:
    id, told = usage(sim, kind, f"[late-cost] {kind}")
    assert "cost" not in told
    assert sim.get("/generation", id=id).status_code == 404
    assert sim.get("/generation", id=id).json()["data"]["total_cost"] > 0


@shows("no-cost", "text")
def the_price_of_a_stream_is_never_told(sim: Caller) -> None:
    last = events(sim.stream("[no-cost] streamed"))[-1]
    assert last["usage"]["total_tokens"] > 0
    assert "cost" not in last["usage"]


@shows("stamp", "image")
def the_picture_is_as_large_as_a_stamp(sim: Caller) -> None:
    assert picture_of(sim.image("[stamp] a boat", aspect_ratio="16:9")).size == (64, 64)
    answer = sim.chat("[stamp] a boat", model=CHAT_PAINTER, modalities=["image"]).json()
    assert picture_in(answer["choices"][0]["message"]["images"][0]["image_url"]["url"]).size == (64, 64)


@shows("generations", "image")
def the_old_address_works(sim: Caller) -> None:
    answer = sim.http.post("/images/generations", json={"model": PAINTER, "prompt": "[generations] old style"})
    assert answer.status_code == 200
    assert picture_of(answer).size == (1024, 1024)
    assert sim.submits("[generations] old style")[0]["endpoint"] == "/images/generations"


@pytest.mark.parametrize(
    ("name", "kind", "show"), SHOWN, ids=[f"{name}-{kind}-{show.__name__}" for name, kind, show in SHOWN]
)
def test_the_directive_does_what_it_says(sim: Caller, name: str, kind: Kind, show: Show) -> None:
    assert kind in DIRECTIVES[name].kinds
    show(sim)


@pytest.mark.parametrize("kind", KINDS)
def test_slow_takes_five_times_as_long(unhurried: Caller, kind: Kind) -> None:
    if kind == "video":
        memory = Memory(unhurried.folder)
        jobs = [memory.job(unhurried.submit(prompt).json()["id"]) for prompt in ("a road", "[slow] a road")]
        waits = [job.runs - job.created for job in jobs if job is not None]
        assert waits == pytest.approx([0.2, 1.0])
        return
    start = time.monotonic()
    assert paid(unhurried, kind, "[slow] a road").status_code == 200
    # Five times a tenth of what a text and a picture usually take.
    assert time.monotonic() - start > {"text": 0.4, "image": 0.75}[kind]


def test_every_directive_is_shown_for_every_kind_it_names() -> None:
    shown = {(name, kind) for name, kind, _ in SHOWN} | {("slow", kind) for kind in KINDS}
    assert shown == {(name, kind) for name, directive in DIRECTIVES.items() for kind in directive.kinds}


def test_every_directive_is_explained_in_a_sentence() -> None:
    for name, directive in DIRECTIVES.items():
        assert directive.sentence.endswith("."), name
        assert directive.sentence[0].isupper(), name
        assert 20 < len(directive.sentence) < 120, name


def test_a_directive_is_found_anywhere_and_in_any_case_but_only_for_its_kinds() -> None:
    assert asked("a [FAIL] lighthouse [unknown] [urls]", "video") == {"fail", "urls"}
    assert asked("a [fail] lighthouse [urls]", "text") == {"fail"}
    assert asked("fail (urls)", "video") == frozenset()


def test_a_directive_is_not_part_of_what_is_drawn_or_answered(sim: Caller) -> None:
    assert without("[slow] a  [boat] at sea [urls]") == "a [boat] at sea"
    plain, marked = (sim.chat(prompt).json()["choices"][0]["message"] for prompt in ("on tin", "[late-cost] on tin"))
    assert plain == marked


def test_a_failure_in_an_earlier_message_is_forgiven(sim: Caller) -> None:
    messages = [
        {"role": "user", "content": "[fail] first"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "second"},
    ]
    assert sim.http.post("/chat/completions", json={"model": "openai/gpt-5.5", "messages": messages}).status_code == 200


async def test_a_client_that_leaves_an_endless_answer_is_noticed() -> None:
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
    await asyncio.wait_for(Streamed(pieces(), "image/png")(scope, receive, send), 20)
    assert ended.is_set()


def test_answers_without_measure_do_not_hold_up_the_others(fresh: Caller) -> None:
    with fresh.http.stream("POST", "/images", json={"model": PAINTER, "prompt": "[huge]"}) as endless:
        next(endless.iter_raw())
        body = msgspec.json.encode({"model": FILMMAKER, "prompt": "beside it", **SHORT})
        answer = fresh.stranger.post(f"{fresh.origin}/api/v1/videos", content=body, headers=fresh.http.headers)
        assert answer.status_code == 202, "answered although nobody reads the other one to its end"
