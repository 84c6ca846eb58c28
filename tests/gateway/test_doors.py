"""The doors of `/v1` as plain HTTP: what OpenAI's own package would hide, and what only our keys have."""

import json
from typing import Any

import httpx
import pytest

from tests.api.kit import CLIP, PICTURE, SHORT, TEXT, png
from tests.studio import Studio

ASK: list[dict[str, str]] = [{"role": "user", "content": "Count to 3"}]


async def keyed(studio: Studio, **limits: Any) -> httpx.AsyncClient:
    """A program with an API key of its own."""
    person = await studio.person()
    answer = await person.post("/api/v1/users/me/keys", json={"name": "laptop", **limits})
    assert answer.status_code == 201, answer.text
    return studio.client(answer.json()["key"])


def refused(answer: httpx.Response, status: int, code: str | None, param: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    assert answer.headers["x-request-id"]


async def test_an_answer_says_what_it_was_and_what_it_cost(studio: Studio) -> None:
    client = await keyed(studio)
    answer = await client.post("/v1/chat/completions", json={"model": TEXT, "messages": ASK})
    assert answer.status_code == 200
    assert answer.headers["x-atelier-model"] == TEXT
    assert float(answer.headers["x-atelier-cost-usd"]) > 0
    assert float(answer.headers["x-atelier-overhead-ms"]) >= 0
    assert answer.json()["choices"][0]["message"]["content"] == "1, 2, 3"


async def test_a_stream_ends_with_its_reason_its_tokens_and_the_mark(studio: Studio) -> None:
    client = await keyed(studio)
    body = {"model": TEXT, "messages": ASK, "stream": True, "stream_options": {"include_usage": True}}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    *words, last, usage = [json.loads(event) for event in events[:-1]]
    assert "".join(it["choices"][0]["delta"].get("content") or "" for it in words) == "1, 2, 3"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("size", ["1280x720", "720x1280"])
async def test_a_clip_that_is_not_there_yet_says_the_size_it_was_asked_for(studio: Studio, size: str) -> None:
    client = await keyed(studio)
    body = {"model": CLIP, "prompt": "[stuck] a boat", "seconds": "4", "size": size}
    clip = (await client.post("/v1/videos", json=body)).json()
    assert (clip["size"], clip["seconds"], clip["status"]) == (size, "4", "queued")


async def test_what_may_have_been_paid_for_is_not_to_be_sent_again(studio: Studio) -> None:
    client = await keyed(studio)
    failing = {"model": TEXT, "messages": [{"role": "user", "content": "[refuse] x"}]}
    answer = await client.post("/v1/chat/completions", json=failing)
    refused(answer, 400, "content_policy_violation")
    assert answer.headers["x-should-retry"] == "false"
    nobody = await studio.client("atl_wrong").get("/v1/models")
    refused(nobody, 401, "invalid_api_key")
    refused(await client.get("/v1/nowhere"), 404, None)


async def test_one_key_asks_once_however_often_it_is_sent(studio: Studio) -> None:
    client = await keyed(studio)
    once = {"Idempotency-Key": "a-click"}
    chats = [
        await client.post("/v1/chat/completions", json={"model": TEXT, "messages": ASK}, headers=once) for _ in range(2)
    ]
    assert chats[0].json()["id"] == chats[1].json()["id"]
    once = {"Idempotency-Key": "another"}
    body = {"model": CLIP, "prompt": "a boat", **SHORT}
    clips = [await client.post("/v1/videos", json=body, headers=once) for _ in range(2)]
    assert clips[0].json()["id"] == clips[1].json()["id"]


async def test_a_key_with_a_list_of_models_opens_these_and_no_others(studio: Studio) -> None:
    client = await keyed(studio, allowed_models=[TEXT])
    assert [it["id"] for it in (await client.get("/v1/models")).json()["data"]] == [TEXT]
    assert (await client.get(f"/v1/models/{TEXT}")).status_code == 200
    refused(await client.get(f"/v1/models/{PICTURE}"), 404, "model_not_found", "model")
    assert (await client.post("/v1/chat/completions", json={"model": TEXT, "messages": ASK})).status_code == 200
    for path, body in (
        ("/v1/chat/completions", {"model": "openai/gpt-5.5", "messages": ASK}),
        ("/v1/images/generations", {"model": PICTURE, "prompt": "a boat"}),
        ("/v1/videos", {"model": CLIP, "prompt": "a boat"}),
    ):
        refused(await client.post(path, json=body), 403, "forbidden")
    edit = await client.post("/v1/images/edits", data={"model": PICTURE, "prompt": "x"}, files={"image": png()})
    refused(edit, 403, "forbidden")
    refused(await client.post("/v1/images/generations", json={"prompt": "a boat"}), 400, None, "model")


async def test_a_key_that_has_reached_its_limit_is_out_of_quota(studio: Studio) -> None:
    client = await keyed(studio, monthly_cap_usd="0.00000001")
    body = {"model": TEXT, "messages": ASK}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    for streamed in (False, True):
        answer = await client.post("/v1/chat/completions", json={**body, "stream": streamed})
        refused(answer, 429, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", "none"),
        ("tools", [{"type": "function"}]),
        ("tools", [{"type": "function", "function": {"name": "a b"}}]),
        ("stream_options", 1),
        ("n", 2),
        ("temperature", "hot"),
        ("logit_bias", []),
        ("what", 1),
    ],
)
async def test_a_wrong_value_is_named(studio: Studio, field: str, value: object) -> None:
    client = await keyed(studio)
    body = {"model": TEXT, "messages": ASK, "stream": field == "stream_options", field: value}
    refused(await client.post("/v1/chat/completions", json=body), 400, None, field)


async def test_a_whole_number_may_be_written_as_a_float(studio: Studio) -> None:
    client = await keyed(studio)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", {"model": TEXT, "messages": ASK, "max_completion_tokens": 100.0, "n": 1.0}),
        ("images/generations", {"model": PICTURE, "prompt": "a boat", "n": 1.0}),
        ("videos", {**SHORT, "model": CLIP, "prompt": "a boat", "duration": 1.0}),
    ]
    for path, body in asked:
        answer = await client.post(f"/v1/{path}", json=body)
        assert answer.status_code == 200, f"{path}: {answer.text}"
