"""Keys, spending, and the cost of one generation."""

import http.client
import json

import pytest

from tests.kit import Cases
from tests.providers.simulator.kit import SECONDS, SimulatorClient, serving

PAID = (
    *("/chat/completions", "/images", "/images/generations", "/videos", "/embeddings", "/audio/speech"),
    *("/audio/transcriptions", "/moderations"),
)


def test_requests_without_a_bearer_key_are_refused(sim: SimulatorClient) -> None:
    table: list[str | None] = [None, "", "Bearer", "Basic abc", "sk-test"]
    with Cases() as cases:
        for header in table:
            with cases.case(header):
                headers = {} if header is None else {"Authorization": header}
                for path in PAID:
                    answer = sim.anonymous.post(f"{sim.origin}/api/v1{path}", json={}, headers=headers)
                    assert answer.status_code == 401
                    assert answer.json()["error"]["code"] == 401
                for path in ("/key", "/credits", "/generation?id=x", "/videos/x", "/videos/x/content"):
                    assert sim.anonymous.get(f"{sim.origin}/api/v1{path}", headers=headers).status_code == 401


def test_a_configured_key_is_the_only_one_accepted(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("keyed"), key="sk-right") as sim:
        assert sim.get("/key").status_code == 401
        assert sim.submit("not with this key").status_code == 401
        right = sim.anonymous.get(f"{sim.origin}/api/v1/key", headers={"Authorization": "Bearer sk-right"})
        assert right.status_code == 200
        assert sim.submits() == []


def test_the_key_and_the_credits_report_spending(empty: SimulatorClient) -> None:
    assert empty.get("/key").json()["data"]["usage"] == 0
    cost = empty.video("a costly video")["usage"]["cost"] + empty.image("[stamp] a cheap image").json()["usage"]["cost"]
    reported = empty.get("/key").json()["data"]
    for period in ("usage", "usage_daily", "usage_weekly", "usage_monthly"):
        assert reported[period] == pytest.approx(cost)
    assert {"label", "limit", "limit_remaining", "limit_reset", "is_free_tier", "rate_limit"} <= set(reported)
    credits_left = empty.get("/credits").json()["data"]
    assert credits_left["total_usage"] == pytest.approx(cost)
    assert credits_left["total_credits"] > cost


def test_a_failed_video_costs_nothing(empty: SimulatorClient) -> None:
    assert empty.video("[fail] a video")["status"] == "failed"
    assert empty.get("/credits").json()["data"]["total_usage"] == 0


def test_spending_survives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spent")
    with serving(folder) as sim:
        cost = sim.image("[stamp] a remembered image").json()["usage"]["cost"]
    with serving(folder) as sim:
        assert sim.get("/credits").json()["data"]["total_usage"] == pytest.approx(cost)


def test_the_cost_of_every_kind_of_generation_can_be_fetched(sim: SimulatorClient) -> None:
    text = sim.chat("Tell me about prices").json()
    reported = sim.get("/generation", id=text["id"]).json()["data"]
    assert reported["total_cost"] == text["usage"]["cost"]
    assert reported["api_type"] == "completions"
    assert reported["model"] == "openai/gpt-5.5"
    assert reported["tokens_completion"] == text["usage"]["completion_tokens"]

    video = sim.video("a video with a price")
    for id in (video["id"], video["generation_id"]):
        reported = sim.get("/generation", id=id).json()["data"]
        assert reported["total_cost"] == video["usage"]["cost"]
        assert reported["api_type"] == "video"


def test_an_unknown_generation_is_not_found(sim: SimulatorClient) -> None:
    assert sim.get("/generation", id="gen-1-nothing").status_code == 404
    assert sim.get("/generation").status_code == 400


def test_unknown_paths_and_wrong_methods_are_answered_with_an_error_envelope(sim: SimulatorClient) -> None:
    assert sim.get("/nothing").json()["error"]["code"] == 404
    assert sim.http.delete("/models").json()["error"]["code"] == 405


def test_a_body_that_is_too_large_is_refused_before_it_was_sent(sim: SimulatorClient) -> None:
    connection = http.client.HTTPConnection(sim.origin.removeprefix("http://"), timeout=SECONDS)
    try:
        connection.putrequest("POST", "/api/v1/videos")
        connection.putheader("Authorization", "Bearer sk-test")
        connection.putheader("Content-Length", str(101 * 1024 * 1024))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"]["code"] == 413
    finally:
        connection.close()
