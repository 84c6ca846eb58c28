"""Moderation in OpenAI's format."""

from typing import Any

from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient


def results(sim: SimulatorClient, given: Any, **more: Any) -> list[dict[str, Any]]:
    answer = sim.http.post("/moderations", json={"input": given, **more})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"id", "model", "results"}
    found: list[dict[str, Any]] = body["results"]
    return found


def test_plain_words_are_flagged_in_their_category(sim: SimulatorClient) -> None:
    harmless, violent = results(sim, ["A quiet walk", "I will kill him"], model="omni-moderation-latest")
    assert not harmless["flagged"]
    assert not any(harmless["categories"].values())
    assert violent["flagged"]
    assert [name for name, flagged in violent["categories"].items() if flagged] == ["violence"]
    assert violent["category_scores"]["violence"] > 0.9
    assert len(violent["categories"]) == len(violent["category_applied_input_types"]) == 13


def test_one_text_or_the_parts_of_a_message_have_one_result(sim: SimulatorClient) -> None:
    parts = [
        {"type": "text", "text": "what an idiot"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    for given in ("what an idiot", parts):
        (result,) = results(sim, given)
        assert result["categories"]["harassment"]


def test_invalid_requests_are_refused(sim: SimulatorClient) -> None:
    table: list[dict[str, Any]] = [
        {},
        {"input": None},
        {"input": []},
        {"input": [1]},
        {"input": "a", "model": "openai/gpt-5.5"},
    ]
    with Cases() as cases:
        for body in table:
            with cases.case(body):
                assert sim.http.post("/moderations", json=body).status_code == 400
