"""Embeddings, moderations, speech and transcriptions with OpenAI."""

import base64
from typing import Any

import pytest

from app.providers.contract import Chunk, ErrorCode, Failed, Failure, Operation, Usage
from tests.kit import Cases
from tests.providers.fake_upstream import Upstream, js, plain
from tests.providers.openai.kit import Part, fields, form, provider, refusal
from tests.providers.openrouter.kit import expect_failed, text_request

EMBEDDINGS = "/api/v1/embeddings"
TRANSCRIPTIONS = "/api/v1/audio/transcriptions"
RECORDING = {"data": base64.b64encode(b"sound").decode(), "format": "m4a"}


async def answer(upstream: Upstream, operation: Operation, body: dict[str, Any], model: str = "m") -> list[Chunk]:
    request = text_request(model=model, operation=operation, body=body)
    async with provider(upstream) as openai:
        return [chunk async for chunk in openai.stream(request)]


async def failure(upstream: Upstream, operation: Operation, body: dict[str, Any]) -> Failed:
    with pytest.raises(Failure) as raised:
        await answer(upstream, operation, body)
    return expect_failed(raised.value)


async def test_embeddings_pass_unchanged_and_cost_what_their_tokens_cost(upstream: Upstream) -> None:
    reply = {"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 50, "total_tokens": 50}}
    upstream.on("POST", EMBEDDINGS, js(reply))
    body = {"input": "Hi", "dimensions": 1, "x": [None]}
    chunks = await answer(upstream, Operation.EMBEDDINGS, body, "text-embedding-3-small")
    assert upstream.only("POST", EMBEDDINGS).json == {**body, "model": "text-embedding-3-small"}
    assert chunks[0].media_type == "application/json"
    assert (chunks[-1].usage, chunks[-1].cost_nano) == (Usage(50, None, 50), 1000)


async def test_speech_passes_in_bytes(upstream: Upstream) -> None:
    upstream.on("POST", "/api/v1/audio/speech", plain(b"ID3 sound", "audio/mpeg"))
    chunks = await answer(upstream, Operation.SPEECH, {"input": "Hi", "voice": "alloy", "response_format": "mp3"})
    assert b"".join(chunk.event for chunk in chunks if isinstance(chunk.event, bytes)) == b"ID3 sound"
    assert chunks[0].media_type == "audio/mpeg"


async def test_a_recording_is_sent_as_a_file(upstream: Upstream) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 5, "total_tokens": 19}
    upstream.on("POST", TRANSCRIPTIONS, js({"text": "Hello", "usage": usage}))
    body = {
        "input_audio": RECORDING,
        "language": "en",
        "temperature": 0.5,
        "stream": False,
        "prompt": None,
        "timestamp_granularities": ["word", "segment"],
    }
    chunks = await answer(upstream, Operation.TRANSCRIPTIONS, body, "whisper-1")
    sent = upstream.only("POST", TRANSCRIPTIONS)
    assert form(sent)["file"] == [Part(b"sound", "recording.m4a", "audio/mp4")]
    assert [part.content for part in form(sent)["timestamp_granularities[]"]] == [b"word", b"segment"]
    expected = {"model": "whisper-1", "language": "en", "temperature": "0.5", "stream": "false"}
    assert fields(sent) == {**expected, "timestamp_granularities[]": "word"}
    assert chunks[-1].usage == Usage(14, 5, 19)


async def test_a_recording_that_cannot_be_sent_is_rejected_before_anything_is_sent(upstream: Upstream) -> None:
    recordings: tuple[Any, ...] = (
        None,
        {},
        "text",
        {**RECORDING, "data": "%"},
        {**RECORDING, "format": 'mp3"\r\nX: y'},
        {"url": "x"},
    )
    with Cases() as cases:
        for recording in recordings:
            with cases.case(recording):
                failed = await failure(upstream, Operation.TRANSCRIPTIONS, {"input_audio": recording})
                assert (failed.code, failed.carried_out) == (ErrorCode.REQUEST_REJECTED, False)
    assert not upstream.requests


async def test_an_operation_that_the_server_lacks_is_not_offered(upstream: Upstream) -> None:
    upstream.on("POST", "/api/v1/moderations", refusal(404, None))
    failed = await failure(upstream, Operation.MODERATIONS, {"input": "Hi"})
    assert (failed.code, failed.carried_out) == (ErrorCode.NOT_OFFERED, False)
