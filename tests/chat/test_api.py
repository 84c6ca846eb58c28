"""Chat for programs, over HTTP and with the simulator on the provider's wire format."""

import asyncio
import base64
import json
import re
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.chat.conftest import until
from tests.studio import Studio, running

TEXT = "anthropic/claude-sonnet-5"
ASK: list[dict[str, Any]] = [{"role": "user", "content": "Count to 12"}]
COUNTED = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"


def picture(mime: str = "png") -> str:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(buffer, mime)
    return f"data:image/{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"


async def text_model(ann: httpx.AsyncClient, **wanted: Any) -> str:
    models = (await ann.get("/api/v1/ai/models", params={"output": "text", "limit": 100})).json()["items"]
    found: str = next(
        it["id"]
        for it in models
        if it["output_modalities"] == ["text"] and all(value in it[name] for name, value in wanted.items())
    )
    return found


@pytest.fixture
async def ann(studio: Studio) -> httpx.AsyncClient:
    return await studio.person()


@pytest.fixture
async def model(ann: httpx.AsyncClient) -> str:
    return await text_model(ann)


async def streamed(ann: httpx.AsyncClient, body: dict[str, Any]) -> list[Any]:
    """The events of a streamed answer; the end mark as it is."""
    events: list[Any] = []
    async with ann.stream("POST", "/api/v1/ai/chat", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers, "a compressor would hold it back"
        async for line in answer.aiter_lines():
            if line:
                assert line.startswith("data: ")
                payload = line.removeprefix("data: ")
                events.append(payload if payload == "[DONE]" else json.loads(payload))
    return events


async def rows(studio: Studio) -> list[dict[str, Any]]:
    sql = "select * from messages where conversation_id is null order by created_at"
    return await studio.program.database.read(lambda tx: tx.rows(sql))


async def test_an_answer_in_one_piece(studio: Studio, ann: httpx.AsyncClient, model: str) -> None:
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": ASK})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"id", "model", "message", "usage", "cost_usd"}
    assert body["model"] == model
    assert body["message"] == {"role": "assistant", "content": COUNTED}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert Decimal(body["cost_usd"]) >= 0
    (row,) = await rows(studio)
    assert (row["id"], row["text"], row["status"]) == (body["id"], COUNTED, "complete")
    spent = await studio.program.database.read(
        lambda tx: tx.value("select spent_nano from ledger where subject_id = $1 and entry = 'settlement'", body["id"])
    )
    assert Decimal(spent) / 10**9 == Decimal(body["cost_usd"])


async def test_an_answer_as_it_comes(studio: Studio, ann: httpx.AsyncClient, model: str) -> None:
    events = await streamed(ann, {"model": model, "messages": ASK})
    *deltas, last, done = events
    assert done == "[DONE]"
    assert all(set(it) == {"delta"} for it in deltas)
    assert "".join(it["delta"] for it in deltas) == last["message"]["content"] == COUNTED
    assert set(last) == {"id", "model", "message", "usage", "cost_usd"}
    (row,) = await rows(studio)
    assert (row["id"], row["text"], row["status"]) == (last["id"], COUNTED, "complete")


async def test_all_that_was_said_before_is_told(ann: httpx.AsyncClient, model: str) -> None:
    messages = [
        {"role": "system", "content": "You are a ship's cook."},
        {"role": "user", "content": "Tell me about bread"},
        {"role": "assistant", "content": "Bread it is."},
        {"role": "user", "content": [{"type": "text", "text": "And salt"}, {"type": "text", "text": "in it"}]},
    ]
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": messages})
    text = answer.json()["message"]["content"]
    assert "ship's cook" in text
    assert "bread" in text.lower()
    assert "salt" in text


async def test_a_picture_goes_along_to_a_model_that_takes_one(ann: httpx.AsyncClient) -> None:
    seeing = await text_model(ann, input_modalities="image")
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture()}},
        {"type": "image_url", "image_url": {"url": picture("jpeg"), "detail": "low"}},
    ]
    body = {"model": seeing, "messages": [{"role": "user", "content": content}]}
    answer = await ann.post("/api/v1/ai/chat", json=body)
    assert answer.status_code == 200, answer.text
    assert "You sent 2 pictures along." in answer.json()["message"]["content"]


async def test_the_models_parameters_are_taken_beside(ann: httpx.AsyncClient, model: str) -> None:
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": ASK, "max_tokens": 3})
    assert answer.status_code == 200, answer.text
    assert COUNTED.startswith(answer.json()["message"]["content"].strip())
    assert answer.json()["message"]["content"].strip() != COUNTED


SYSTEM = {"role": "system", "content": "x"}
PART = {"type": "image_url", "image_url": {"url": picture()}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
    ({"model": "maker/unknown"}, "model"),
    ({"model": "recraft/recraft-v4"}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": ASK * 201}, "messages"),
    ({"messages": [*ASK, {"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [SYSTEM]}, "messages"),
    ({"messages": ["hello"]}, "messages.0"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "  "}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "a\x00b"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": None, "content": "x"}]}, "messages.0.role"),
    ({"messages": [SYSTEM, {"role": "user", "content": ["x"]}]}, "messages.1.content.0"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
    ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "system", "content": [PART]}, *ASK]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": "x" * 1_000_001}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "x" * 600_000}] * 2}, "messages"),
    ({"stream": "yes"}, "stream"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 9}, "temperature"),
    ({"colour": "red"}, "colour"),
]


async def test_what_is_wrong_is_named(studio: Studio, ann: httpx.AsyncClient, model: str) -> None:
    for change, field in WRONG:
        answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": ASK, **change})
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["code"] == "VALIDATION_ERROR"
        assert set(error["details"]["fields"]) == {field}
    assert await rows(studio) == [], "nothing was asked"


ELSEWHERE = [
    "https://example.org/a.png",
    "http://169.254.169.254/latest",
    "data:text/html;base64,PGI+",
    "data:image/svg+xml;base64,PHN2Zz4=",
    "data:image/png;base64,not base64!",
    "data:image/png,plain",
    "file:///etc/passwd",
    "data:image/png;base64," + "A" * 14_000_000,
    "",
    None,
]


async def test_a_picture_at_an_address_is_not_fetched(ann: httpx.AsyncClient) -> None:
    seeing = await text_model(ann, input_modalities="image")
    for url in ELSEWHERE:
        content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]
        body = {"model": seeing, "messages": [{"role": "user", "content": content}]}
        answer = await ann.post("/api/v1/ai/chat", json=body)
        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]["fields"]) == {"messages.0.content.1.image_url"}


async def test_a_picture_for_a_model_that_takes_none_is_refused(studio: Studio, ann: httpx.AsyncClient) -> None:
    models = (await ann.get("/api/v1/ai/models", params={"output": "text", "limit": 100})).json()["items"]
    blind = next(it["id"] for it in models if it["input_modalities"] == ["text"])
    answer = await ann.post("/api/v1/ai/chat", json={"model": blind, "messages": [{"role": "user", "content": [PART]}]})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]["fields"]) == {"messages"}
    assert await rows(studio) == []


async def test_a_body_without_measure_is_refused(ann: httpx.AsyncClient, model: str) -> None:
    messages = [{"role": "user", "content": "x" * (25 * 1024 * 1024)}]
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": messages})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "FILE_TOO_LARGE"


async def test_it_wants_a_bearer(studio: Studio) -> None:
    answer = await studio.client().post("/api/v1/ai/chat", json={"model": "x", "messages": ASK})
    assert answer.status_code == 401
    browser = await studio.person_in_browser()
    answer = await browser.post("/api/v1/ai/chat", json={"model": "x", "messages": ASK})
    assert answer.status_code == 401, "never by cookie"


FAILURES = [
    ("error-in-stream", 502, "PROVIDER_FAILED"),
    ("error-first", 502, "PROVIDER_FAILED"),
    ("error-200", 502, "PROVIDER_FAILED"),
    ("cut", 502, "PROVIDER_FAILED"),
    ("fail", 502, None),
    ("html", 502, None),
    ("refuse", 400, "PROVIDER_REFUSED"),
    ("credits", 502, None),
    ("huge", 502, "RESULT_TOO_LARGE"),
]


@pytest.mark.parametrize(("name", "status", "code"), FAILURES, ids=[name for name, _, _ in FAILURES])
async def test_a_failure_is_told_in_both_ways(
    studio: Studio, ann: httpx.AsyncClient, model: str, name: str, status: int, code: str | None
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": f"[{name}] Count to 12"}]}
    answer = await ann.post("/api/v1/ai/chat", json=body)
    assert answer.status_code == status, answer.text
    plain = answer.json()["error"]
    events = await streamed(ann, body)
    assert events[-1] == "[DONE]"
    error = events[-2]["error"]
    assert (error["code"], error["message"]) == (plain["code"], plain["message"])
    assert error["details"].keys() == plain["details"].keys() == {"id", "code"}
    assert code is None or error["details"]["code"] == plain["details"]["code"] == code
    assert [it["id"] for it in await rows(studio)] == [plain["details"]["id"], error["details"]["id"]]
    assert {it["status"] for it in await rows(studio)} == {"failed"}
    if name in ("error-in-stream", "cut"):
        said = "".join(it["delta"] for it in events[:-2])
        assert said
        assert COUNTED.startswith(said)
        assert (await rows(studio))[1]["text"] == said, "what came is kept"


@pytest.mark.parametrize("name", ["ratelimit", "overloaded", "busy", "in-flight"])
async def test_what_passes_by_itself_is_waited_for(ann: httpx.AsyncClient, model: str, name: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": f"[{name}] Count to 12"}]}
    answer = await ann.post("/api/v1/ai/chat", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"]["content"] == COUNTED


async def test_a_price_that_nobody_says_is_null(ann: httpx.AsyncClient, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "[no-cost] Count to 12"}]}
    assert (await ann.post("/api/v1/ai/chat", json=body)).json()["cost_usd"] is None


async def test_it_comes_while_it_is_made(ann: httpx.AsyncClient, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "[trickle] Count to 12"}], "stream": True}
    async with asyncio.timeout(20), ann.stream("POST", "/api/v1/ai/chat", json=body) as answer:
        assert answer.status_code == 200, "the head comes before the first word"


@pytest.mark.parametrize("streaming", [True, False])
async def test_hanging_up_stops_the_model_and_settles_what_was_used(slow: Studio, streaming: bool) -> None:
    ann = await slow.person()
    body = {
        "model": await text_model(ann),
        "messages": [{"role": "user", "content": "Count to 400"}],
        "stream": streaming,
    }
    if streaming:
        async with ann.stream("POST", "/api/v1/ai/chat", json=body) as answer:
            async for line in answer.aiter_lines():
                if '"delta"' in line:
                    break
    else:
        with pytest.raises(httpx.ReadTimeout):
            await ann.post("/api/v1/ai/chat", json=body, timeout=1.5)
    await until(lambda: not slow.program.chat._answers._live)
    found = await rows(slow)
    assert found[0]["status"] == "stopped"
    assert found[0]["text"]
    assert not found[0]["text"].endswith("400")
    await until(lambda: not slow.program.chat._answers._bills)  # the provider tells a moment later what it came to
    entries = await slow.program.database.read(
        lambda tx: tx.rows("select entry, spent_nano from ledger where subject_id = $1", found[0]["id"])
    )
    assert sorted(it["entry"] for it in entries) == ["correction", "hold", "settlement"]
    (cost,) = [it["cost_nano"] for it in await rows(slow)]
    assert cost == sum(it["spent_nano"] or 0 for it in entries) > 0


async def test_two_people_do_not_see_each_other(studio: Studio, ann: httpx.AsyncClient, model: str) -> None:
    bob = await studio.person("bob@studio.example")
    answers = await asyncio.gather(
        *(
            client.post(
                "/api/v1/ai/chat", json={"model": model, "messages": [{"role": "user", "content": f"Say exactly: {n}"}]}
            )
            for n, client in enumerate([ann, bob] * 10)
        )
    )
    assert [it.json()["message"]["content"] for it in answers] == [str(n) for n in range(20)]


async def test_the_document_tells_both_ways(studio: Studio) -> None:
    document = (await studio.client().get("/api/v1/openapi.json")).json()
    operation = document["paths"]["/api/v1/ai/chat"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "stream"} <= set(schema["properties"])
    assert {"200", "400", "401", "413", "502"} <= set(operation["responses"])


async def test_questions_are_counted_as_paid_work(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_RATE_LIMITS="on") as studio:
        ann = await studio.person()
        for _ in range(60):
            assert (await ann.post("/api/v1/ai/chat", json={})).status_code == 400
        answer = await ann.post("/api/v1/ai/chat", json={})
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["error"]["code"] == "RATE_LIMITED"


# Once


async def test_a_hundred_questions_at_once_with_one_key_are_asked_once(ann: httpx.AsyncClient, model: str) -> None:
    body, key = {"model": model, "messages": ASK}, {"Idempotency-Key": "one-click"}
    answers = await asyncio.gather(*(ann.post("/api/v1/ai/chat", json=body, headers=key) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert {answer.json()["message"]["content"] for answer in answers} == {COUNTED}
    (month,) = (await ann.get("/api/v1/users/me/spending")).json()["items"]
    assert month["subjects"] == 1

    other = {**body, "messages": [{"role": "user", "content": "Count to 3"}]}
    assert (await ann.post("/api/v1/ai/chat", json=other, headers=key)).status_code == 409
    picture = {"model": "recraft/recraft-v4", "prompt": "a boat"}
    assert (await ann.post("/api/v1/generate/image", json=picture, headers=key)).status_code == 409


async def test_a_double_click_begins_one_conversation(studio: Studio) -> None:
    browser = await studio.person_in_browser("ann@studio.example")
    page = (await browser.get("/chat/new")).text
    key = re.findall(r'name="idempotency_key" value="(\w+)"', page)[0]
    form = {"text": "Count to 3", "model": TEXT, "idempotency_key": key}
    first, second = await asyncio.gather(*(browser.send_form("/chat", form) for _ in range(2)))
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]
