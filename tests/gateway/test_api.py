"""The routes of `/v1` over plain HTTP: details that the `openai` package hides, and limits of Atelier's API keys."""

import json
from typing import Any

import httpx
import pytest

from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL, new_user, png
from tests.studio import Studio

MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "Count to 3"}]


@pytest.fixture
async def client(atelier: Studio) -> httpx.AsyncClient:
    """A client with the API key of a new user."""
    return await client_with_key(atelier)


async def client_with_key(atelier: Studio, **limits: Any) -> httpx.AsyncClient:
    user = await new_user(atelier)
    answer = await user.post("/api/v1/users/me/keys", json={"name": "laptop", **limits})
    assert answer.status_code == 201, answer.text
    return atelier.client(answer.json()["key"])


def check_error(answer: httpx.Response, status: int, code: str | None, param: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    assert answer.headers["x-request-id"]


async def test_an_answer_names_its_model_and_what_it_cost(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/chat/completions", json={"model": TEXT_MODEL, "messages": MESSAGES})
    assert answer.status_code == 200
    assert answer.headers["x-atelier-model"] == TEXT_MODEL
    assert float(answer.headers["x-atelier-cost-usd"]) > 0
    assert float(answer.headers["x-atelier-overhead-ms"]) >= 0
    assert answer.json()["choices"][0]["message"]["content"] == "1, 2, 3"


async def test_a_stream_ends_with_its_reason_its_tokens_and_done(client: httpx.AsyncClient) -> None:
    body = {"model": TEXT_MODEL, "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(it["choices"][0]["delta"].get("content") or "" for it in chunks) == "1, 2, 3"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_a_video_that_is_not_ready_has_the_size_that_was_requested(client: httpx.AsyncClient) -> None:
    for size in ("1280x720", "720x1280"):
        body = {"model": VIDEO_MODEL, "prompt": "[stuck] a boat", "seconds": "4", "size": size}
        video = (await client.post("/v1/videos", json=body)).json()
        assert (video["size"], video["seconds"], video["status"]) == (size, "4", "queued")


async def test_a_request_that_may_have_been_paid_for_must_not_be_sent_again(
    atelier: Studio, client: httpx.AsyncClient
) -> None:
    failing = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "[refuse] x"}]}
    answer = await client.post("/v1/chat/completions", json=failing)
    check_error(answer, 400, "content_policy_violation")
    assert answer.headers["x-should-retry"] == "false"
    check_error(await atelier.client("atl_wrong").get("/v1/models"), 401, "invalid_api_key")
    check_error(await client.get("/v1/nowhere"), 404, None)


async def test_a_repeated_idempotency_key_generates_once(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "a-click"}
    chats = [
        await client.post("/v1/chat/completions", json={"model": TEXT_MODEL, "messages": MESSAGES}, headers=headers)
        for _ in range(2)
    ]
    assert chats[0].json()["id"] == chats[1].json()["id"]
    headers = {"Idempotency-Key": "another"}
    body = {"model": VIDEO_MODEL, "prompt": "[stuck] a boat", **SHORT_VIDEO}
    videos = [await client.post("/v1/videos", json=body, headers=headers) for _ in range(2)]
    assert videos[0].json()["id"] == videos[1].json()["id"]


async def test_a_key_with_a_list_of_models_allows_these_and_no_others(atelier: Studio) -> None:
    client = await client_with_key(atelier, allowed_models=[TEXT_MODEL])
    assert [it["id"] for it in (await client.get("/v1/models")).json()["data"]] == [TEXT_MODEL]
    assert (await client.get(f"/v1/models/{TEXT_MODEL}")).status_code == 200
    check_error(await client.get(f"/v1/models/{IMAGE_MODEL}"), 404, "model_not_found", "model")
    assert (
        await client.post("/v1/chat/completions", json={"model": TEXT_MODEL, "messages": MESSAGES})
    ).status_code == 200
    for path, body in (
        ("/v1/chat/completions", {"model": "openai/gpt-5.5", "messages": MESSAGES}),
        ("/v1/images/generations", {"model": IMAGE_MODEL, "prompt": "a boat"}),
        ("/v1/videos", {"model": VIDEO_MODEL, "prompt": "a boat"}),
    ):
        check_error(await client.post(path, json=body), 403, "forbidden")
    edit = await client.post("/v1/images/edits", data={"model": IMAGE_MODEL, "prompt": "x"}, files={"image": png()})
    check_error(edit, 403, "forbidden")
    check_error(await client.post("/v1/images/generations", json={"prompt": "a boat"}), 400, None, "model")


async def test_a_key_that_has_reached_its_limit_is_out_of_quota(atelier: Studio) -> None:
    client = await client_with_key(atelier, monthly_cap_usd="0.00000001")
    body = {"model": TEXT_MODEL, "messages": MESSAGES}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    for streamed in (False, True):
        answer = await client.post("/v1/chat/completions", json={**body, "stream": streamed})
        check_error(answer, 429, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after"]) > 0


async def test_what_the_provider_says_is_wrong_is_passed_on(client: httpx.AsyncClient) -> None:
    body = {"model": TEXT_MODEL, "messages": MESSAGES, "tools": "none"}
    answer = await client.post("/v1/chat/completions", json=body)
    check_error(answer, 400, "request_rejected")
    assert "tools" in answer.json()["error"]["message"]


async def test_a_whole_number_may_be_written_as_a_float(client: httpx.AsyncClient) -> None:
    requests: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", {"model": TEXT_MODEL, "messages": MESSAGES, "max_completion_tokens": 100, "n": 1}),
        ("images/generations", {"model": IMAGE_MODEL, "prompt": "a boat", "n": 1.0}),
        ("videos", {**SHORT_VIDEO, "model": VIDEO_MODEL, "prompt": "[stuck] a boat", "duration": 1.0}),
    ]
    for path, body in requests:
        answer = await client.post(f"/v1/{path}", json=body)
        assert answer.status_code == 200, f"{path}: {answer.text}"


async def test_an_image_is_streamed_as_one_event_and_fields_that_ask_for_nothing_change_nothing(
    client: httpx.AsyncClient,
) -> None:
    body = {"model": IMAGE_MODEL, "prompt": "a boat", "partial_images": 2}
    plain = await client.post("/v1/images/generations", json={**body, "stream": False})
    assert plain.status_code == 200
    streamed = await client.post("/v1/images/generations", json={**body, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    kind, data = streamed.text.strip().splitlines()
    event = json.loads(data.removeprefix("data: "))
    assert kind == "event: image_generation.completed"
    assert (event["type"], bool(event["b64_json"])) == ("image_generation.completed", True)
    refused = await client.post("/v1/images/generations", json={**body, "prompt": "[refuse] a boat", "stream": True})
    kind, data = refused.text.strip().splitlines()
    assert (kind, json.loads(data.removeprefix("data: "))["error"]["code"]) == (
        "event: error",
        "content_policy_violation",
    )
    check_error(await client.post("/v1/images/generations", json={**body, "n": 99, "stream": True}), 400, None, "n")
