"""Speech and transcriptions: real audio files, and what was spoken comes back."""

import base64
import io
import wave
from typing import Any

import av
import pytest

from tests.kit import Cases
from tests.providers.simulator.kit import SPEECH_MODEL, TRANSCRIPTION_MODEL, SimulatorClient

SENTENCE = "Granite is a rock — 花崗岩."


def speak(sim: SimulatorClient, text: str = SENTENCE, **more: Any) -> bytes:
    answer = sim.http.post("/audio/speech", json={"model": SPEECH_MODEL, "input": text, "voice": "alloy", **more})
    assert answer.status_code == 200, answer.text
    return answer.content


def transcribe(sim: SimulatorClient, data: bytes, format: str = "mp3", **more: Any) -> dict[str, Any]:
    audio = {"data": base64.b64encode(data).decode(), "format": format}
    answer = sim.http.post("/audio/transcriptions", json={"model": TRANSCRIPTION_MODEL, "input_audio": audio, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_speech_is_real_audio_of_a_plausible_length(sim: SimulatorClient) -> None:
    expected = len(SENTENCE) / 15
    with wave.open(io.BytesIO(speak(sim, response_format="wav"))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.getnframes() / 24_000 == pytest.approx(expected, abs=0.01)
    with av.open(io.BytesIO(speak(sim, response_format="mp3")), "r") as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
        assert container.format.name == "mp3"
        assert seconds == pytest.approx(expected, abs=0.15)
    assert len(speak(sim)) == pytest.approx(expected * 48_000, abs=100)
    assert len(speak(sim, speed=2)) == pytest.approx(expected * 24_000, abs=100)
    assert speak(sim) == speak(sim) != speak(sim, voice="onyx")


def test_speech_has_a_generation_id_and_a_media_type(sim: SimulatorClient) -> None:
    for format, media_type in (("mp3", "audio/mpeg"), ("wav", "audio/wav"), ("pcm", "audio/pcm"), (None, "audio/pcm")):
        body = {"model": SPEECH_MODEL, "input": [{"text": "one"}, {"text": "two"}], "response_format": format}
        answer = sim.http.post("/audio/speech", json=body)
        assert answer.headers["content-type"] == media_type
        job = sim.get("/generation", id=answer.headers["x-generation-id"]).json()["data"]
        assert job["total_cost"] == pytest.approx(7 * 0.000012)


def test_what_was_spoken_is_transcribed(sim: SimulatorClient) -> None:
    for format in ("mp3", "wav"):
        body = transcribe(sim, speak(sim, f"[slow] {SENTENCE}", response_format=format), format)
        assert body["text"] == SENTENCE
        assert body["usage"]["seconds"] == pytest.approx(len(SENTENCE) / 15, abs=0.1)
        assert body["usage"]["cost"] == pytest.approx(body["usage"]["seconds"] * 0.00003)


def test_other_audio_has_a_text_that_follows_from_its_bytes(sim: SimulatorClient) -> None:
    noise = [bytes([level]) * 64_000 for level in (1, 2)]  # two seconds each
    texts = [transcribe(sim, data, "pcm")["text"] for data in (*noise, noise[0])]
    assert texts[0] == texts[2] != texts[1]
    assert [len(text.split()) for text in texts] == [5, 5, 5]


def test_a_form_as_openai_takes_it(sim: SimulatorClient) -> None:
    files = {"file": ("speech.mp3", speak(sim, response_format="mp3"), "audio/mpeg")}
    data: dict[str, Any] = {
        "model": TRANSCRIPTION_MODEL,
        "response_format": "verbose_json",
        "language": "fr",
        "prompt": "a form",
        "timestamp_granularities[]": ["word", "segment"],
    }
    body = sim.http.post("/audio/transcriptions", files=files, data=data).json()
    assert (body["task"], body["language"], body["text"]) == ("transcribe", "fr", SENTENCE)
    assert body["duration"] == body["segments"][-1]["end"] == body["words"][-1]["end"] == body["usage"]["seconds"]
    assert " ".join(word["word"] for word in body["words"]) == SENTENCE
    assert "".join(segment["text"] for segment in body["segments"]).strip() == SENTENCE
    text = sim.http.post("/audio/transcriptions", files=files, data={**data, "response_format": "text"})
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == f"{SENTENCE}\n"
    assert all(line["request"]["file"].startswith("sha256:") for line in sim.submits("a form"))


def test_invalid_requests_are_refused(sim: SimulatorClient) -> None:
    audio = {"data": "AAAA", "format": "pcm"}
    table: list[tuple[str, dict[str, Any]]] = [
        *(("/audio/speech", {"input": wrong}) for wrong in ("", " ", None, [], [{"voice": "x"}], "a" * 4097)),
        *(("/audio/speech", {"input": "a", "speed": wrong}) for wrong in (0.1, 5, "1")),
        ("/audio/speech", {"input": "a", "response_format": "aiff"}),
        *(
            ("/audio/transcriptions", {"input_audio": wrong})
            for wrong in (None, "AAAA", {"data": "AAAA"}, {"url": "x"})
        ),
        ("/audio/transcriptions", {"input_audio": {"data": "no base64", "format": "mp3"}}),
        ("/audio/transcriptions", {"input_audio": {"data": "AAAA", "format": "mp3"}}),
        ("/audio/transcriptions", {"input_audio": audio, "response_format": "srt"}),
    ]
    models = {"/audio/speech": SPEECH_MODEL, "/audio/transcriptions": TRANSCRIPTION_MODEL}
    with Cases() as cases:
        for number, (path, wrong) in enumerate(table):
            with cases.case(number):
                assert sim.http.post(path, json={"model": models[path], **wrong}).status_code == 400
    for form in ({"model": (None, TRANSCRIPTION_MODEL)}, {"file": ("a.mp3", b"not audio")}):
        assert sim.http.post("/audio/transcriptions", files=form).status_code == 400
