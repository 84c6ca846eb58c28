"""The chat API, with the simulator on the wire format of the provider."""

import asyncio
import base64
import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from app.chat.streaming import StreamingAnswer
from tests.chat.conftest import until
from tests.chat.pace import Pace
from tests.kit import IMAGE_MODEL, Cases, eventually, new_email
from tests.studio import Studio, running

TEXT_MODEL = "anthropic/claude-sonnet-5"
ASK: list[dict[str, Any]] = [{"role": "user", "content": "Count to 12"}]
COUNTED = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"


def image_url(format: str = "png") -> str:
    """A small image as a data URL."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(buffer, format)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"


async def text_model(client: httpx.AsyncClient, **properties: Any) -> str:
    models = (await client.get("/api/v1/ai/models", params={"output": "text", "limit": 100})).json()["items"]
    found: str = next(
        it["id"]
        for it in models
        if it["output_modalities"] == ["text"] and all(value in it[name] for name, value in properties.items())
    )
    return found


@pytest.fixture
async def ann(atelier: Studio) -> httpx.AsyncClient:
    """A new user whose requests call the application in process."""
    return await atelier.user(new_email("ann"), direct=True)


@pytest.fixture
async def remote(atelier: Studio) -> httpx.AsyncClient:
    """A new user whose requests go over HTTP."""
    return await atelier.user(new_email("remote"))


@pytest.fixture
async def model(ann: httpx.AsyncClient) -> str:
    return await text_model(ann)


def asking(text: str, model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def streamed(client: httpx.AsyncClient, body: dict[str, Any]) -> list[Any]:
    """The events of a streamed answer; the end mark as it is."""
    events: list[Any] = []
    async with client.stream("POST", "/api/v1/ai/chat", json={**body, "stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers, "compression would hold the events back"
        async for line in answer.aiter_lines():
            if line:
                assert line.startswith("data: ")
                payload = line.removeprefix("data: ")
                events.append(payload if payload == "[DONE]" else json.loads(payload))
    return events


async def user_id(client: httpx.AsyncClient) -> str:
    id: str = (await client.get("/api/v1/users/me")).json()["id"]
    return id


async def saved(studio: Studio, client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The answers of this user that are in the database, oldest first."""
    owner = await user_id(client)
    sql = "select * from messages where conversation_id is null and owner_id = $1 order by created_at"
    return await studio.program.database.read(lambda tx: tx.rows("messages", sql, owner))


async def test_an_answer_in_one_piece(atelier: Studio, ann: httpx.AsyncClient, model: str) -> None:
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": ASK})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"id", "model", "message", "usage", "cost_usd"}
    assert body["model"] == model
    assert body["message"] == {"role": "assistant", "content": COUNTED}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert Decimal(body["cost_usd"]) >= 0
    (row,) = await saved(atelier, ann)
    assert (row["id"], row["text"], row["status"]) == (body["id"], COUNTED, "complete")
    spent = await atelier.program.database.read(
        lambda tx: tx.value(
            "ledger", "select spent_nano from ledger where subject_id = $1 and entry = 'settlement'", body["id"]
        )
    )
    assert Decimal(spent) / 10**9 == Decimal(body["cost_usd"])


async def test_an_answer_is_streamed(atelier: Studio, remote: httpx.AsyncClient, model: str) -> None:
    events = await streamed(remote, {"model": model, "messages": ASK})
    *deltas, last, done = events
    assert done == "[DONE]"
    assert all(set(it) == {"delta"} for it in deltas)
    assert "".join(it["delta"] for it in deltas) == last["message"]["content"] == COUNTED
    assert set(last) == {"id", "model", "message", "usage", "cost_usd"}
    (row,) = await saved(atelier, remote)
    assert (row["id"], row["text"], row["status"]) == (last["id"], COUNTED, "complete")


async def test_the_model_is_sent_all_messages(ann: httpx.AsyncClient, model: str) -> None:
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


async def test_an_image_is_sent_to_a_model_that_accepts_images(ann: httpx.AsyncClient) -> None:
    vision = await text_model(ann, input_modalities="image")
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": image_url()}},
        {"type": "image_url", "image_url": {"url": image_url("jpeg"), "detail": "low"}},
    ]
    body = {"model": vision, "messages": [{"role": "user", "content": content}]}
    answer = await ann.post("/api/v1/ai/chat", json=body)
    assert answer.status_code == 200, answer.text
    assert "You attached 2 images." in answer.json()["message"]["content"]


async def test_the_parameters_of_a_model_are_accepted(ann: httpx.AsyncClient, model: str) -> None:
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": ASK, "max_tokens": 3})
    assert answer.status_code == 200, answer.text
    assert COUNTED.startswith(answer.json()["message"]["content"].strip())
    assert answer.json()["message"]["content"].strip() != COUNTED


SYSTEM = {"role": "system", "content": "x"}
PART = {"type": "image_url", "image_url": {"url": image_url()}}
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
    ({"model": "acme/unknown"}, "model"),
    ({"model": IMAGE_MODEL}, "model"),
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


async def test_an_invalid_field_is_named(atelier: Studio, ann: httpx.AsyncClient, model: str) -> None:
    with Cases() as cases:
        for change, field in INVALID:
            with cases.case(change, field):
                answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": ASK, **change})
                assert answer.status_code == 400, answer.text
                error = answer.json()["error"]
                assert error["code"] == "VALIDATION_ERROR"
                assert set(error["details"]["fields"]) == {field}
    assert await saved(atelier, ann) == [], "no request was sent to the model"


INVALID_IMAGE_URLS = [
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


async def test_an_image_is_accepted_as_a_data_url_only(ann: httpx.AsyncClient) -> None:
    vision = await text_model(ann, input_modalities="image")
    with Cases() as cases:
        for url in INVALID_IMAGE_URLS:
            with cases.case(url):
                content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]
                body = {"model": vision, "messages": [{"role": "user", "content": content}]}
                answer = await ann.post("/api/v1/ai/chat", json=body)
                assert answer.status_code == 400
                assert set(answer.json()["error"]["details"]["fields"]) == {"messages.0.content.1.image_url"}


async def test_an_image_for_a_model_that_accepts_none_is_refused(atelier: Studio, ann: httpx.AsyncClient) -> None:
    models = (await ann.get("/api/v1/ai/models", params={"output": "text", "limit": 100})).json()["items"]
    blind = next(it["id"] for it in models if it["input_modalities"] == ["text"])
    answer = await ann.post("/api/v1/ai/chat", json={"model": blind, "messages": [{"role": "user", "content": [PART]}]})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]["fields"]) == {"messages"}
    assert await saved(atelier, ann) == []


async def test_a_body_that_is_too_large_is_refused(ann: httpx.AsyncClient, model: str) -> None:
    messages = [{"role": "user", "content": "x" * (25 * 1024 * 1024)}]
    answer = await ann.post("/api/v1/ai/chat", json={"model": model, "messages": messages})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "FILE_TOO_LARGE"


async def test_a_bearer_token_is_required(atelier: Studio) -> None:
    answer = await atelier.direct().post("/api/v1/ai/chat", json={"model": "x", "messages": ASK})
    assert answer.status_code == 401
    browser = await atelier.user_in_browser(new_email(), direct=True)
    answer = await browser.post("/api/v1/ai/chat", json={"model": "x", "messages": ASK})
    assert answer.status_code == 401, "a session cookie is not accepted"


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


async def test_a_failure_is_reported_in_both_ways(atelier: Studio, model: str) -> None:
    """All at once, because some failures are retried after a pause."""

    async def fail(name: str, status: int, code: str | None) -> None:
        with cases.case(name):
            client = await atelier.user(new_email(name))
            body = asking(f"[{name}] Count to 12", model)
            answer = await client.post("/api/v1/ai/chat", json=body)
            assert answer.status_code == status, answer.text
            plain = answer.json()["error"]
            events = await streamed(client, body)
            assert events[-1] == "[DONE]"
            error = events[-2]["error"]
            assert (error["code"], error["message"]) == (plain["code"], plain["message"])
            assert error["details"].keys() == plain["details"].keys() == {"id", "code"}
            assert code is None or error["details"]["code"] == plain["details"]["code"] == code
            rows = await saved(atelier, client)
            assert [it["id"] for it in rows] == [plain["details"]["id"], error["details"]["id"]]
            assert {it["status"] for it in rows} == {"failed"}
            if name in ("error-in-stream", "cut"):
                text = "".join(it["delta"] for it in events[:-2])
                assert text
                assert COUNTED.startswith(text)
                assert rows[1]["text"] == text, "the text that arrived is saved"

    with Cases() as cases:
        await asyncio.gather(*(fail(*case) for case in FAILURES))


async def test_a_temporary_failure_is_retried(ann: httpx.AsyncClient, model: str) -> None:
    names = ("ratelimit", "overloaded", "busy", "in-flight")
    # The simulator refuses the first request with the same prompt, so each prompt is a new one.
    prompts = [f"[{name}] {new_email()}: Count to 12" for name in names]
    answers = await asyncio.gather(*(ann.post("/api/v1/ai/chat", json=asking(it, model)) for it in prompts))
    with Cases() as cases:
        for name, answer in zip(names, answers, strict=True):
            with cases.case(name):
                assert answer.status_code == 200, answer.text
                assert answer.json()["message"]["content"] == COUNTED


async def test_an_unknown_price_is_null(ann: httpx.AsyncClient, model: str) -> None:
    body = asking("[no-cost] Count to 12", model)
    assert (await ann.post("/api/v1/ai/chat", json=body)).json()["cost_usd"] is None


async def test_a_stream_begins_before_the_first_word(remote: httpx.AsyncClient, model: str, pace: Pace) -> None:
    body = asking("[slow] Count to 12", model, stream=True)
    async with asyncio.timeout(300), remote.stream("POST", "/api/v1/ai/chat", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        pace.allow(3)  # two pauses come before the first word
        while '"delta"' not in (line := await anext(lines)):
            assert not line or line.startswith(":")
        assert "1" in line


def has_text(being_written: Callable[[], list[StreamingAnswer]]) -> bool:
    return any(live.text for live in being_written())


def is_empty(being_written: Callable[[], list[StreamingAnswer]]) -> bool:
    return not being_written()


async def test_a_client_that_disconnects_stops_the_model_and_pays_for_what_was_used(
    atelier: Studio, model: str, pace: Pace
) -> None:
    """The provider knows the cost only after the answer was settled without it."""
    with Cases() as cases:
        for streaming in (True, False):
            with cases.case("streaming" if streaming else "in one piece"):
                client = await atelier.user(new_email())
                owner = await user_id(client)
                request = asyncio.create_task(
                    client.post("/api/v1/ai/chat", json=asking("[slow] Count to 400", model, stream=streaming))
                )
                pace.allow(10)
                being_written = partial(atelier.program.chat.streaming_answers, owner)
                await until(partial(has_text, being_written))
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
                await until(partial(is_empty, being_written))
                (row,) = await saved(atelier, client)
                assert row["status"] == "stopped"
                assert row["text"]
                assert not row["text"].endswith("400")

                async def entries(id: str = row["id"]) -> list[dict[str, Any]]:
                    sql = "select entry, spent_nano from ledger where subject_id = $1"
                    return await atelier.program.database.read(lambda tx: tx.rows("ledger", sql, id))

                found = await eventually(entries, lambda entries: len(entries) == 3)
                assert sorted(it["entry"] for it in found) == ["correction", "hold", "settlement"]
                (row,) = await saved(atelier, client)
                assert row["cost_nano"] == sum(it["spent_nano"] or 0 for it in found) > 0


async def test_simultaneous_users_get_their_own_answers(atelier: Studio, ann: httpx.AsyncClient, model: str) -> None:
    bob = await atelier.user(new_email("bob"), direct=True)
    answers = await asyncio.gather(
        *(
            client.post("/api/v1/ai/chat", json=asking(f"Say exactly: {n}", model))
            for n, client in enumerate([ann, bob] * 10)
        )
    )
    assert [it.json()["message"]["content"] for it in answers] == [str(n) for n in range(20)]


async def test_the_api_document_describes_both_ways(atelier: Studio) -> None:
    document = (await atelier.direct().get("/api/v1/openapi.json")).json()
    operation = document["paths"]["/api/v1/ai/chat"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "stream"} <= set(schema["properties"])
    assert {"200", "400", "401", "413", "502"} <= set(operation["responses"])


async def test_requests_count_towards_the_rate_limit_of_paid_work(tmp_path: Path) -> None:
    async with running(tmp_path, timer=lambda: 0.0, ATELIER_RATE_LIMITS="on") as studio:
        ann = await studio.user(direct=True)
        for _ in range(60):
            assert (await ann.post("/api/v1/ai/chat", json={})).status_code == 400
        answer = await ann.post("/api/v1/ai/chat", json={})
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["error"]["code"] == "RATE_LIMITED"


async def test_a_hundred_requests_with_one_idempotency_key_are_sent_once(ann: httpx.AsyncClient, model: str) -> None:
    body, key = {"model": model, "messages": ASK}, {"Idempotency-Key": "one-click"}
    answers = await asyncio.gather(*(ann.post("/api/v1/ai/chat", json=body, headers=key) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert {answer.json()["message"]["content"] for answer in answers} == {COUNTED}
    (month,) = (await ann.get("/api/v1/users/me/spending")).json()["items"]
    assert month["subjects"] == 1

    other = {**body, "messages": [{"role": "user", "content": "Count to 3"}]}
    assert (await ann.post("/api/v1/ai/chat", json=other, headers=key)).status_code == 409
    image = {"model": IMAGE_MODEL, "prompt": "a boat"}
    assert (await ann.post("/api/v1/generate/image", json=image, headers=key)).status_code == 409


async def test_a_double_click_begins_one_conversation(atelier: Studio) -> None:
    browser = await atelier.user_in_browser(new_email(), direct=True)
    page = (await browser.get("/chat/new")).text
    key = re.findall(r'name="idempotency_key" value="(\w+)"', page)[0]
    form = {"text": "Count to 3", "model": TEXT_MODEL, "idempotency_key": key}
    first, second = await asyncio.gather(*(browser.send_form("/chat", form) for _ in range(2)))
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]
