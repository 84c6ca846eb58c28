"""Embeddings, moderations, speech and transcriptions of `/v1`: requests and answers pass through, and every call is in the ledger."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from tests.gateway.test_api import check_error, client_with_key
from tests.kit import Cases, Json, eventually, key_client
from tests.providers.fake_upstream import Reply, Silence, Upstream, error, js, plain
from tests.studio import Studio

EMBEDDING_MODEL = "openai/text-embedding-3-small"
SPEECH_MODEL = "openai/gpt-4o-mini-tts"
TRANSCRIPTION_MODEL = "openai/whisper-large-v3"
RECORDING = b"RIFF a recording"

# Per operation: a request, and where it arrives at the provider.
CALLS: dict[str, tuple[Json, str]] = {
    "embeddings": ({"model": EMBEDDING_MODEL, "input": ["a", "b"]}, "/api/v1/embeddings"),
    "moderations": ({"model": "omni-moderation-latest", "input": "a"}, "/api/v1/moderations"),
    "audio/speech": ({"model": SPEECH_MODEL, "input": "a", "voice": "ash"}, "/api/v1/audio/speech"),
    "audio/transcriptions": (
        {"model": TRANSCRIPTION_MODEL, "input_audio": {"data": "UklGRg==", "format": "wav"}},
        "/api/v1/audio/transcriptions",
    ),
}
USAGE = {"prompt_tokens": 3, "total_tokens": 3, "cost": 0.000002}


async def spent(client: httpx.AsyncClient) -> tuple[str, int, int]:
    """What the user spent this month, on how many subjects, and for how many of them the cost is unknown."""
    months = (await client.get("/api/v1/users/me/spending")).json()["items"]
    return (months[0]["spent_usd"], months[0]["subjects"], months[0]["unknown"]) if months else ("0", 0, 0)


def over_the_wire(studio: Studio, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with the same key whose responses can be read while they are written."""
    return studio.client(client.headers["Authorization"].removeprefix("Bearer "))


async def test_texts_become_vectors(atelier: Studio) -> None:
    client = await key_client(atelier, "caller")
    answer = await client.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": ["boat", "ship"]})
    assert answer.status_code == 200, answer.text
    assert [len(item["embedding"]) for item in answer.json()["data"]] == [1536, 1536]
    assert answer.headers["x-atelier-model"] == EMBEDDING_MODEL
    assert float(answer.headers["x-atelier-cost-usd"]) > 0


async def test_speech_is_written_down_again(atelier: Studio) -> None:
    client = await key_client(atelier, "caller")
    spoken = await client.post("/v1/audio/speech", json={"model": SPEECH_MODEL, "input": "Boats float", "voice": "ash"})
    assert (spoken.status_code, spoken.headers["content-type"]) == (200, "audio/mpeg")
    written = await client.post(
        "/v1/audio/transcriptions",
        data={"model": TRANSCRIPTION_MODEL, "response_format": "verbose_json", "timestamp_granularities[]": "word"},
        files={"file": ("speech.mp3", spoken.content, "audio/mpeg")},
    )
    assert written.status_code == 200, written.text
    assert written.json()["text"]
    assert written.json()["words"]
    text = await client.post(
        "/v1/audio/transcriptions",
        data={"model": TRANSCRIPTION_MODEL, "response_format": "text"},
        files={"file": ("speech", spoken.content, "audio/mpeg")},
    )
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.strip() == written.json()["text"]


async def test_a_moderation_needs_no_model(atelier: Studio) -> None:
    client = await key_client(atelier, "caller")
    answer = await client.post("/v1/moderations", json={"input": ["a boat"]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["flagged"] is False


async def test_requests_and_json_answers_pass_through_unchanged(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    reply = {"data": [{"embedding": [0.1, None, -1e-9]}], "usage": USAGE, "new": {"deep": [1, {}]}, "text": "ä😀"}
    with Cases() as cases:
        for name, (request, path) in CALLS.items():
            given = {**request, "dimensions": 8, "user": None, "a field from the future": {"deep": [1]}}
            scripted.on("POST", path, js(reply))
            with cases.case(name):
                answer = await caller.post(f"/v1/{name}", json=given)
                assert answer.status_code == 200, answer.text
                assert answer.json() == reply
                assert answer.headers["x-atelier-cost-usd"] == "0.000002"
                sent = scripted.only("POST", path).json
                assert {field: sent[field] for field in given} == given
            scripted.requests.clear()


async def test_a_form_becomes_the_json_that_the_provider_takes(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    _, path = CALLS["audio/transcriptions"]
    scripted.on("POST", path, js({"text": "Hello"}))
    fields = {
        "model": TRANSCRIPTION_MODEL,
        "temperature": "0.5",
        "language": "de",
        "stream": "false",
        "include[]": ["logprobs", "other"],
    }
    file = {"file": ("take 1.WAV", RECORDING, "application/octet-stream")}
    answer = await caller.post("/v1/audio/transcriptions", data=fields, files=file)
    assert answer.status_code == 200, answer.text
    assert scripted.only("POST", path).json == {
        "model": TRANSCRIPTION_MODEL,
        "temperature": 0.5,
        "language": "de",
        "stream": False,
        "include": ["logprobs", "other"],
        "input_audio": {"data": base64.b64encode(RECORDING).decode(), "format": "wav"},
    }


async def test_a_form_that_cannot_be_sent_names_the_field(caller: httpx.AsyncClient) -> None:
    file = {"file": ("a.mp3", b"x", "audio/mpeg")}
    model = {"model": TRANSCRIPTION_MODEL}
    cases: dict[str, tuple[Json, Any]] = {
        "model": ({}, file),
        "temperature": ({**model, "temperature": "warm"}, file),
        "stream": ({**model, "stream": "maybe"}, file),
        "file": ({**model, "file": "text"}, {"other": ("a", b"x")}),
    }
    for field, (data, files) in cases.items():
        check_error(await caller.post("/v1/audio/transcriptions", data=data, files=files), 400, None, field)
    nameless = {"file": ("recording", b"x", "text/plain")}
    check_error(await caller.post("/v1/audio/transcriptions", data=model, files=nameless), 400, None, "file")
    for name in ("embeddings", "audio/speech"):
        check_error(await caller.post(f"/v1/{name}", json={"input": "a"}), 400, None, "model")


async def test_audio_is_streamed_as_it_comes(
    scripted_studio: Studio, caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    gate = asyncio.Semaphore(1)
    request, path = CALLS["audio/speech"]
    pieces = (b"\x00\xff" * 50, b"second", b"third")
    scripted.on("POST", path, Reply(headers={"Content-Type": "audio/pcm;rate=24000"}, pieces=pieces, gate=gate))
    client = over_the_wire(scripted_studio, caller)
    async with client.stream("POST", "/v1/audio/speech", json=request) as answer:
        assert answer.headers["content-type"] == "audio/pcm;rate=24000"
        assert "content-encoding" not in answer.headers
        received = answer.aiter_raw()
        assert (await anext(received)).startswith(b"\x00\xff")  # before the rest has been sent
        gate.release()
        gate.release()
        rest = b"".join([piece async for piece in received])
    assert rest.endswith(b"secondthird")
    assert scripted.only("POST", path).json["response_format"] == "mp3"


async def test_events_of_a_transcription_are_passed_on(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    request, path = CALLS["audio/transcriptions"]
    events = b'data: {"type": "transcript.text.delta", "delta": "He"}\n\ndata: [DONE]\n\n'
    scripted.on("POST", path, plain(events, "text/event-stream"))
    answer = await caller.post("/v1/audio/transcriptions", json={**request, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == events


async def test_a_media_type_that_a_browser_could_run_is_not_passed_on(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    request, path = CALLS["audio/speech"]
    for declared in ("text/html", "image/svg+xml", "audio/mpeg, text/html"):
        scripted.on("POST", path, plain(b"<script>", declared))
        answer = await caller.post("/v1/audio/speech", json=request)
        assert (answer.headers["content-type"], answer.content) == ("application/octet-stream", b"<script>")


async def test_failures_are_reported_as_in_chat(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    failures: dict[str, tuple[Reply | Silence, int, str | None]] = {
        "no such endpoint": (error(404, "Not Found"), 404, "not_offered"),
        "not with this method": (plain(b"<html>", "text/html", 405), 404, "not_offered"),
        "a wrong setting": (error(400, "dimensions: too many"), 400, "request_rejected"),
        "too long": (error(400, "maximum context length is 8192 tokens"), 400, "context_length_exceeded"),
        "refused": (error(403, "flagged", {"reasons": ["violence"]}), 400, "content_policy_violation"),
        "limits requests": (error(429, Retry_After="1800"), 429, "rate_limit_exceeded"),
        "an error inside": (js({"error": {"message": "no"}}), 502, "provider_failed"),
        "not JSON": (plain(b"{", "application/json"), 502, "result_invalid"),
        "lost": (Silence("close"), 502, "outcome_unknown"),
    }
    with Cases() as cases:
        for name, (request, path) in CALLS.items():
            for what, (reply, status, code) in failures.items():
                scripted.on("POST", path, reply)
                with cases.case((name, what)):
                    answer = await caller.post(f"/v1/{name}", json=request)
                    check_error(answer, status, code)
    assert answer.json()["error"]["message"]


async def test_a_rejected_setting_is_explained_in_the_providers_words(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    request, path = CALLS["embeddings"]
    scripted.on("POST", path, error(400, "dimensions: expected at most 1536"))
    answer = await caller.post("/v1/embeddings", json=request)
    assert "dimensions: expected at most 1536" in answer.json()["error"]["message"]


async def test_what_was_certainly_not_answered_is_asked_again(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    request, path = CALLS["embeddings"]
    scripted.on("POST", path, error(503), js({"data": [], "usage": USAGE}))
    answer = await caller.post("/v1/embeddings", json=request)
    assert answer.status_code == 200, answer.text
    assert len(scripted.received("POST", path)) == 2


async def test_audio_that_breaks_off_does_not_look_complete_and_is_no_bug(
    scripted_studio: Studio, caller: httpx.AsyncClient, scripted: Upstream, capfd: pytest.CaptureFixture[str]
) -> None:
    request, path = CALLS["audio/speech"]
    scripted.on(
        "POST",
        path,
        Reply(headers={"Content-Type": "audio/mpeg"}, pieces=(b"first",), length=100),
    )
    with pytest.raises(httpx.RemoteProtocolError):
        await over_the_wire(scripted_studio, caller).post("/v1/audio/speech", json=request)
    assert "Exception in ASGI" not in capfd.readouterr().err


async def test_every_call_is_in_the_ledger_with_its_cost_or_as_unknown(
    scripted_studio: Studio, scripted: Upstream
) -> None:
    client = await key_client(scripted_studio, "payer")
    request, path = CALLS["embeddings"]
    scripted.on("POST", path, js({"data": [], "usage": USAGE}))
    assert (await client.post("/v1/embeddings", json=request)).status_code == 200
    request, path = CALLS["audio/transcriptions"]
    scripted.on("POST", path, js({"text": "no usage"}))
    assert (await client.post("/v1/audio/transcriptions", json=request)).status_code == 200
    assert await spent(client) == ("0.000002", 2, 1)


async def test_the_cost_of_speech_is_looked_up_afterwards(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    request, path = CALLS["audio/speech"]
    scripted.on("POST", path, plain(b"sound", "audio/mpeg", X_Generation_Id="gen-7"))
    scripted.on("GET", "/api/v1/generation", js({"data": {"total_cost": 0.5}}))
    assert (await caller.post("/v1/audio/speech", json=request)).content == b"sound"
    assert await eventually(lambda: spent(caller), lambda found: found[2] == 0) == ("0.5", 1, 0)
    assert scripted.only("GET", "/api/v1/generation").query == {"id": "gen-7"}


async def test_the_limits_of_a_key_hold(atelier: Studio) -> None:
    limited = await client_with_key(atelier, allowed_models=[EMBEDDING_MODEL], monthly_cap_usd="0.000000001")
    for name, (request, _) in CALLS.items():
        if name != "embeddings":
            answer = await limited.post(f"/v1/{name}", json=request)
            assert answer.status_code in (403, 404), (name, answer.text)
    request = CALLS["embeddings"][0]
    assert (await limited.post("/v1/embeddings", json=request)).status_code == 200
    answer = await limited.post("/v1/embeddings", json=request)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")


async def test_a_disabled_model_is_not_passed_on_as_an_unknown_one(scripted_studio: Studio, scripted: Upstream) -> None:
    client = await key_client(scripted_studio, "caller")
    admin = await scripted_studio.user("admin@studio.example")
    changed = await admin.put("/api/v1/admin/models/tests%2Fmodel", json={"enabled": False})
    assert changed.status_code == 200, changed.text
    try:
        scripted.requests.clear()
        answer = await client.post("/v1/embeddings", json={"model": "tests/model", "input": "a"})
        check_error(answer, 404, "model_not_found", "model")
        assert not scripted.requests
    finally:
        await admin.put("/api/v1/admin/models/tests%2Fmodel", json={"enabled": True})


async def test_a_caller_who_disconnects_stops_the_call(
    scripted_studio: Studio, caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    request, path = CALLS["embeddings"]
    scripted.on("POST", path, Silence())
    call = asyncio.create_task(over_the_wire(scripted_studio, caller).post("/v1/embeddings", json=request))
    await scripted.request_arrived()
    call.cancel()
    assert await eventually(lambda: spent(caller), lambda found: found[1] == 1) == ("0", 1, 1)


async def test_large_answers_arrive_whole(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    request, path = CALLS["embeddings"]
    vectors = [{"embedding": [index / 7] * 1536, "index": index} for index in range(300)]
    scripted.on("POST", path, js({"data": vectors, "usage": USAGE}))
    answer = await caller.post("/v1/embeddings", json=request)
    assert json.loads(answer.content)["data"] == vectors
