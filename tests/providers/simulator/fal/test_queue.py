"""The simulated queue answers as fal documents it: 202 while a job runs, and three states of which one has two meanings."""

from tests.kit import Cases
from tests.providers.simulator.fal.conftest import MODEL, FalClient
from tests.providers.simulator.kit import ManualClock


def test_a_submit_is_answered_with_the_urls_of_the_request(fal: FalClient) -> None:
    body = fal.submitted("[stamp] urls")
    base = f"{fal.queue}/fal-ai/flux/requests/{body['request_id']}"
    assert body == {
        "status": "IN_QUEUE",
        "queue_position": 0,
        "request_id": body["request_id"],
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
    }


def test_the_key_has_a_scheme_of_its_own(fal: FalClient) -> None:
    with Cases() as cases:
        for header in ("", "Bearer id:secret", "key id:secret", "Key"):
            with cases.case(header):
                answer = fal.http.post(f"{fal.queue}/{MODEL}", json={}, headers={"Authorization": header})
                assert answer.status_code == 401
                assert isinstance(answer.json()["detail"], str)


def test_the_status_is_202_until_the_job_has_ended(timed_fal: FalClient, clock: ManualClock) -> None:
    links = timed_fal.submitted("[stamp] states")
    seen = []
    for _ in range(4):
        answer = timed_fal.get(links["status_url"], logs=1)
        seen.append((answer.status_code, answer.json()["status"], len(answer.json().get("logs") or [])))
        clock.advance(1)
    assert seen == [(202, "IN_QUEUE", 0), (202, "IN_PROGRESS", 1), (202, "IN_PROGRESS", 6), (200, "COMPLETED", 11)]
    assert timed_fal.get(links["status_url"]).json()["logs"] is None


def test_a_result_is_there_after_the_end_only(timed_fal: FalClient, clock: ManualClock) -> None:
    links = timed_fal.submitted("[stamp] early", num_images=2)
    assert timed_fal.get(links["response_url"]).status_code == 400
    clock.advance(9)
    answer = timed_fal.get(links["response_url"])
    assert (answer.status_code, answer.headers["x-fal-billable-units"]) == (200, "2")
    assert len(answer.json()["images"]) == 2
    assert answer.json()["has_nsfw_concepts"] == [False, False]


def test_the_rest_of_the_models_id_is_not_part_of_a_requests_url(fal: FalClient) -> None:
    id = fal.submitted("[stamp] sub-path")["request_id"]
    assert fal.get(f"{fal.queue}/{MODEL}/requests/{id}/status").status_code == 405
    assert fal.get(f"{fal.queue}/other/app/requests/{id}/status").status_code == 404
    assert fal.get(f"{fal.queue}/fal-ai/flux/requests/{'0' * 36}/status").status_code == 404
    assert fal.submit("x", "fal-ai/no-such-model").status_code == 404


def test_an_input_is_checked_when_the_job_runs(fal: FalClient) -> None:
    links = fal.submitted("[stamp]", num_inference_steps=1000)
    assert fal.get(links["status_url"]).json()["status"] == "COMPLETED"
    answer = fal.get(links["response_url"])
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", "num_inference_steps"]
    assert problem["type"] == "value_error"


def test_a_cancel_has_four_answers(timed_fal: FalClient, clock: ManualClock) -> None:
    waiting, running, ended = (timed_fal.submitted(f"[stamp] {name}") for name in ("a", "[stuck] b", "c"))
    assert timed_fal.put(waiting["cancel_url"]).json() == {"status": "OK"}
    clock.advance(9)
    answers = {name: timed_fal.put(links["cancel_url"]) for name, links in (("running", running), ("ended", ended))}
    answers["missing"] = timed_fal.put(f"{timed_fal.queue}/fal-ai/flux/requests/{'0' * 36}/cancel")
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "running": 202,
        "ended": 400,
        "missing": 404,
    }
    assert answers["running"].json() == {"status": "CANCELLATION_REQUESTED"}
    assert answers["ended"].json() == {"status": "ALREADY_COMPLETED"}
    for links in (waiting, running):
        state = timed_fal.get(links["status_url"]).json()
        assert (state["status"], state["error_type"]) == ("COMPLETED", "client_cancelled")
        assert timed_fal.get(links["response_url"]).status_code == 499


def test_errors_have_one_of_two_shapes(fal: FalClient) -> None:
    table = {
        "fail": (500, list, None),
        "refuse": (422, list, None),
        "no-media": (422, list, None),
        "invalid": (422, list, None),
        "detail": (422, str, None),
        "runner": (503, str, "runner_disconnected"),
        "cancelled": (499, str, "client_cancelled"),
    }
    with Cases() as cases:
        for command, (status, shape, kind) in table.items():
            with cases.case(command):
                links = fal.submitted(f"[{command}] waves")
                assert fal.get(links["status_url"]).json().get("error_type") == kind
                answer = fal.get(links["response_url"])
                assert (answer.status_code, type(answer.json()["detail"])) == (status, shape)
                assert answer.headers.get("x-fal-error-type") == kind
