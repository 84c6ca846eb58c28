"""The handlers that two services share: each answers with its own models, names and costs."""

from typing import Any

from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient

OPENROUTER = "/api/v1"
OPENAI = "/openai/v1"


def post(sim: SimulatorClient, base: str, path: str, body: dict[str, Any], prefix: str = "") -> Any:
    return sim.http.post(f"{sim.origin}{base}{path}", json={**body, "model": prefix + body["model"]})


def test_embeddings_have_a_cost_at_openrouter_only(sim: SimulatorClient) -> None:
    body = {"model": "text-embedding-3-small", "input": "Glaciers"}
    openrouter = post(sim, OPENROUTER, "/embeddings", body, "openai/")
    openai = post(sim, OPENAI, "/embeddings", body)
    assert openrouter.json()["data"] == openai.json()["data"]
    assert openrouter.json()["usage"]["cost"] > 0
    assert "cost" not in openai.json()["usage"]
    assert "x-generation-id" in openrouter.headers
    assert "x-request-id" in openai.headers


def test_speech_has_the_default_format_of_its_service(sim: SimulatorClient) -> None:
    body = {"model": "gpt-4o-mini-tts", "input": "Hello", "voice": "alloy"}
    assert post(sim, OPENROUTER, "/audio/speech", body, "openai/").headers["content-type"] == "audio/pcm"
    assert post(sim, OPENAI, "/audio/speech", body).headers["content-type"] == "audio/mpeg"


def test_openai_takes_recordings_in_forms_only(sim: SimulatorClient) -> None:
    speech = post(sim, OPENAI, "/audio/speech", {"model": "gpt-4o-mini-tts", "input": "Hello there", "voice": "ash"})
    files = {"file": ("a.mp3", speech.content, "audio/mpeg")}
    url = f"{sim.origin}{OPENAI}/audio/transcriptions"
    assert sim.http.post(url, data={"model": "whisper-1"}, files=files).json()["text"] == "Hello there"
    refused = sim.http.post(url, json={"model": "whisper-1", "input_audio": {"data": "", "format": "mp3"}})
    assert refused.status_code == 400


def test_moderations_are_the_same(sim: SimulatorClient) -> None:
    body = {"model": "omni-moderation-latest", "input": "I will attack"}
    with Cases() as cases:
        for base in (OPENROUTER, OPENAI):
            with cases.case(base):
                assert post(sim, base, "/moderations", body).json()["results"][0]["flagged"] is True


def test_each_service_has_its_own_models(sim: SimulatorClient) -> None:
    listed = {
        base: {row["id"] for row in sim.get(f"{sim.origin}{base}/models").json()["data"]}
        for base in (OPENROUTER, OPENAI)
    }
    assert "gpt-5.5" in listed[OPENAI]
    assert "openai/gpt-5.5" in listed[OPENROUTER]
    assert not listed[OPENAI] & listed[OPENROUTER]
