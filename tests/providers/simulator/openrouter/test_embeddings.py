"""Embeddings: similar texts have similar vectors, in every form that clients send and ask for."""

import array
import base64
import math
from typing import Any

import pytest

from tests.kit import Cases
from tests.providers.simulator.kit import EMBEDDING_MODEL, SimulatorClient


def embed(sim: SimulatorClient, given: Any, **more: Any) -> dict[str, Any]:
    answer = sim.http.post("/embeddings", json={"model": EMBEDDING_MODEL, "input": given, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def vectors(sim: SimulatorClient, given: Any, **more: Any) -> list[list[float]]:
    return [row["embedding"] for row in embed(sim, given, **more)["data"]]


def similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_response_has_the_fields_of_the_service_and_a_price(sim: SimulatorClient) -> None:
    body = embed(sim, ["granite", "basalt and marble"])
    assert (body["object"], body["model"]) == ("list", EMBEDDING_MODEL)
    assert [(row["object"], row["index"]) for row in body["data"]] == [("embedding", 0), ("embedding", 1)]
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] == 7
    assert body["usage"]["cost"] == pytest.approx(7 * 0.00000002)
    job = sim.get("/generation", id=body["id"]).json()["data"]
    assert (job["api_type"], job["total_cost"]) == ("embeddings", body["usage"]["cost"])


def test_similar_texts_have_similar_vectors(sim: SimulatorClient) -> None:
    cat, cats, stocks = vectors(sim, ["A cat sleeps on the sofa", "Two cats sleep on a sofa", "Shares fell in Tokyo"])
    assert similarity(cat, cats) > 0.4 > 0.2 > abs(similarity(cat, stocks))
    assert all(math.isclose(similarity(one, one), 1, abs_tol=1e-5) for one in (cat, cats, stocks))
    assert vectors(sim, "A cat sleeps on the sofa") == [cat]


def test_every_form_of_input_and_output(sim: SimulatorClient) -> None:
    table: list[tuple[Any, int]] = [
        ("text", 1),
        (["a", "b", "c"], 3),
        ([1, 2, 3], 1),
        ([[1, 2], [3]], 2),
        ([{"content": [{"type": "text", "text": "part"}]}], 1),
        ("…!", 1),
    ]
    with Cases() as cases:
        for given, count in table:
            for dimensions in (None, 1, 8, 1536):
                with cases.case(given, dimensions):
                    found = vectors(sim, given, dimensions=dimensions)
                    assert [len(one) for one in found] == [dimensions or 1536] * count
                    packed = vectors(sim, given, dimensions=dimensions, encoding_format="base64")
                    for one, text in zip(found, packed, strict=True):
                        assert array.array("f", base64.b64decode(text)).tolist() == pytest.approx(one)  # type: ignore[arg-type]


def test_invalid_requests_are_refused(sim: SimulatorClient) -> None:
    inputs: list[Any] = ["", [], [""], [[]], [1, "a"], [True], {"a": 1}, None, ["a"] * 2049]
    table: list[dict[str, Any]] = [
        *({"input": wrong} for wrong in inputs),
        *({"dimensions": wrong} for wrong in (0, 1537, "8")),
        {"encoding_format": "int8"},
        {"input": "word " * 9000},
    ]
    with Cases() as cases:
        for number, wrong in enumerate(table):
            with cases.case(number):
                answer = sim.http.post("/embeddings", json={"model": EMBEDDING_MODEL, "input": "a", **wrong})
                assert answer.status_code == 400
    assert sim.http.post("/embeddings", json={"model": "openai/gpt-5.5", "input": "a"}).status_code == 404
