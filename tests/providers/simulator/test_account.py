"""Keys, spending, and the price of one generation."""

import http.client
import json

import pytest

from tests.providers.simulator.caller import Caller, serving

PAID = ("/chat/completions", "/images", "/images/generations", "/videos")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "sk-test"])
def test_without_a_bearer_key_nothing_is_sold(sim: Caller, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in PAID:
        answer = sim.stranger.post(f"{sim.origin}/api/v1{path}", json={}, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == 401
    for path in ("/key", "/credits", "/generation?id=x", "/videos/x", "/videos/x/content"):
        assert sim.stranger.get(f"{sim.origin}/api/v1{path}", headers=headers).status_code == 401


def test_with_a_key_set_only_that_key_is_good(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("keyed"), key="sk-right") as sim:
        assert sim.get("/key").status_code == 401
        assert sim.submit("not with this key").status_code == 401
        right = sim.stranger.get(f"{sim.origin}/api/v1/key", headers={"Authorization": "Bearer sk-right"})
        assert right.status_code == 200
        assert sim.submits() == []


def test_the_key_tells_what_was_spent(fresh: Caller) -> None:
    assert fresh.get("/key").json()["data"]["usage"] == 0
    cost = fresh.video("a costly clip")["usage"]["cost"] + fresh.image("a cheap picture").json()["usage"]["cost"]
    told = fresh.get("/key").json()["data"]
    for period in ("usage", "usage_daily", "usage_weekly", "usage_monthly"):
        assert told[period] == pytest.approx(cost)
    assert {"label", "limit", "limit_remaining", "limit_reset", "is_free_tier", "rate_limit"} <= set(told)
    credits_left = fresh.get("/credits").json()["data"]
    assert credits_left["total_usage"] == pytest.approx(cost)
    assert credits_left["total_credits"] > cost


def test_a_clip_that_fails_costs_nothing(fresh: Caller) -> None:
    assert fresh.video("[fail] a clip that fails")["status"] == "failed"
    assert fresh.get("/credits").json()["data"]["total_usage"] == 0


def test_what_was_spent_is_remembered(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spent")
    with serving(folder) as sim:
        cost = sim.image("a remembered picture").json()["usage"]["cost"]
    with serving(folder) as sim:
        assert sim.get("/credits").json()["data"]["total_usage"] == pytest.approx(cost)


def test_every_kind_of_generation_can_be_priced_afterwards(sim: Caller) -> None:
    text = sim.chat("Tell me about prices").json()
    told = sim.get("/generation", id=text["id"]).json()["data"]
    assert told["total_cost"] == text["usage"]["cost"]
    assert told["api_type"] == "completions"
    assert told["model"] == "openai/gpt-5.5"
    assert told["tokens_completion"] == text["usage"]["completion_tokens"]

    clip = sim.video("a clip with a price")
    for id in (clip["id"], clip["generation_id"]):
        told = sim.get("/generation", id=id).json()["data"]
        assert told["total_cost"] == clip["usage"]["cost"]
        assert told["api_type"] == "video"


def test_a_generation_nobody_made_is_missing(sim: Caller) -> None:
    assert sim.get("/generation", id="gen-1-nothing").status_code == 404
    assert sim.get("/generation").status_code == 400


def test_unknown_addresses_and_wrong_methods_answer_in_the_envelope(sim: Caller) -> None:
    assert sim.get("/nothing").json()["error"]["code"] == 404
    assert sim.http.delete("/models").json()["error"]["code"] == 405


def test_a_body_that_is_too_large_is_refused_before_it_has_come(sim: Caller) -> None:
    connection = http.client.HTTPConnection(sim.origin.removeprefix("http://"), timeout=5)
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
