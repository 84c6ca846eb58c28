"""The Responses API over HTTP, with the simulator and with a scripted provider."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.base import clock
from app.base.errors import Unready
from app.db.transaction import Transaction
from app.responses import repository, service
from app.responses.schemas import StoredResponse
from tests.gateway.conftest import MODEL as SCRIPTED
from tests.gateway.test_api import check_error
from tests.gateway.test_pass_through import END, PATH, USAGE, answer, event
from tests.kit import UNKNOWN_ID, Cases, Json, new_email, png
from tests.providers.fake_upstream import Upstream, error, joined, js, sse
from tests.responses.conftest import MODEL, create, events, text_of
from tests.studio import Studio

WEATHER: Json = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
SCHEMA: Json = {
    "type": "object",
    "properties": {"rivers": {"type": "array", "items": {"type": "string"}}},
    "required": ["rivers"],
    "additionalProperties": False,
}


# Whole


async def test_a_response_echoes_its_request_and_says_what_it_cost(client: httpx.AsyncClient) -> None:
    body = {"model": MODEL, "input": "Say exactly: paper boats float", "instructions": "Be brief.", "tools": [WEATHER]}
    found = await client.post("/v1/responses", json={**body, "metadata": {"a": "b"}, "temperature": 0.5})
    assert found.status_code == 200, found.text
    response = found.json()
    assert text_of(response) == "paper boats float"
    assert response["id"].startswith("resp_")
    expected = {
        "object": "response",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": "Be brief.",
        "model": MODEL,
        "tools": [{"description": None, **WEATHER}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "previous_response_id": None,
        "store": True,
    }
    assert {name: response[name] for name in expected} == expected
    usage = response["usage"]
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]
    assert usage["cost"] > 0
    assert usage["input_tokens_details"]["cached_tokens"] == usage["output_tokens_details"]["reasoning_tokens"] == 0
    assert found.headers["x-atelier-model"] == MODEL
    assert float(found.headers["x-atelier-cost-usd"]) > 0


async def test_a_structured_answer_fits_its_schema(client: httpx.AsyncClient) -> None:
    format = {"type": "json_schema", "name": "waters", "schema": SCHEMA, "strict": True}
    response = await create(client, "Describe the waters of Bavaria", text={"format": format})
    assert text_of(response).startswith('{"rivers": [')
    assert response["text"]["format"] == format


async def test_an_answer_that_is_cut_off_is_incomplete(client: httpx.AsyncClient) -> None:
    whole = await create(client, "Count to 100", max_output_tokens=16)
    streamed = (await events(client, "Count to 100", max_output_tokens=16))[-1]
    assert streamed["type"] == "response.incomplete"
    for response in (whole, streamed["response"]):
        assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert response["output"][0]["status"] == "incomplete"
        assert text_of(response).startswith("1, 2")


async def test_a_refusal_is_a_completed_response(client: httpx.AsyncClient) -> None:
    response = await create(client, "[upstream:refusal] Hello")
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "I cannot help with that."}]


async def test_an_image_of_ours_is_sent_and_one_of_the_model_comes_back(client: httpx.AsyncClient) -> None:
    uploaded = await client.post("/api/v1/assets", files={"file": ("a.png", png(), "image/png")})
    part = {"type": "input_image", "image_url": uploaded.json()["url"], "detail": "low"}
    text = {"type": "input_text", "text": "[upstream:images] What is this?"}
    response = await create(client, [{"role": "user", "content": [text, part]}])
    assert text_of(response).startswith("You attached an image")
    image = response["output"][-1]
    assert (image["type"], image["status"], image["output_format"]) == ("image_generation_call", "completed", "png")
    assert image["result"].startswith("iVBOR")
    missing = {"role": "user", "content": [{**part, "image_url": f"/media/{UNKNOWN_ID}"}]}
    wrong = await client.post("/v1/responses", json={"model": MODEL, "input": [missing]})
    check_error(wrong, 400, None, "input")


async def test_a_tools_result_is_answered_in_each_way_of_going_on(client: httpx.AsyncClient) -> None:
    question = {"role": "user", "content": "[upstream:reasoning] Use get_weather for Lyon"}
    first = await create(client, [question], tools=[WEATHER], include=["reasoning.encrypted_content"])
    thought, call = first["output"]
    assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "Lyon"}')
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "18 degrees"}
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    bare = {name: value for name, value in thought.items() if name != "encrypted_content"}
    ways: dict[str, Json] = {
        "by the response before": {"input": [output], "previous_response_id": first["id"]},
        "with all items": {"input": [question, thought, call, output]},
        "with references": {"input": [question, *references, output]},
        "with reasoning that is looked up": {"input": [question, bare, call, output]},
    }
    with Cases() as cases:
        for name, way in ways.items():
            with cases.case(name):
                second = await create(client, way.pop("input"), tools=[WEATHER], **way)
                assert text_of(second) == "I looked it up: 18 degrees"


async def test_what_a_model_wants_back_reaches_it_again(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm", "signature": "c2ln", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r1", "index": 1},
    ]
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"sig": "x"}}
    message = {"role": "assistant", "content": "Wait", "reasoning_details": details, "tool_calls": [call]}
    scripted.on("POST", PATH, js(answer(message, "tool_calls")), js(answer()))
    body: Json = {"model": SCRIPTED, "input": "Hello"}
    first = (await caller.post("/v1/responses", json=body)).json()
    assert "encrypted_content" not in first["output"][0], "only for who asks"
    assert first["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    output = {"type": "function_call_output", "call_id": "a", "output": ""}
    ways: dict[str, Json] = {
        "by the response before": {"input": [output], "previous_response_id": first["id"]},
        "with all items": {"input": [{"role": "user", "content": "Hello"}, *first["output"], output]},
    }
    with Cases() as cases:
        for name, way in ways.items():
            with cases.case(name):
                scripted.requests.clear()
                assert (await caller.post("/v1/responses", json={**body, **way})).status_code == 200
                assert scripted.only("POST", PATH).json["messages"] == [
                    {"role": "user", "content": "Hello"},
                    message,
                    {"role": "tool", "tool_call_id": "a", "content": ""},
                ]


# Streamed


async def test_a_stream_has_the_events_of_its_items(client: httpx.AsyncClient) -> None:
    found = await events(client, "[upstream:reasoning] Say exactly: the tide is out")
    kinds = list(dict.fromkeys(event["type"].removeprefix("response.") for event in found))
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "content_part.added",
        "output_text.delta",
        "output_item.done",
        "output_text.done",
        "content_part.done",
        "completed",
    ]
    deltas = [event["delta"] for event in found if event["type"] == "response.output_text.delta"]
    assert len(deltas) > 1
    final = found[-1]["response"]
    assert "".join(deltas) == text_of(final) == "the tide is out"
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == final["output"]
    assert [event["response"]["status"] for event in found[:2]] == ["in_progress", "in_progress"]
    assert (await client.get(f"/v1/responses/{final['id']}")).json() == final


async def test_the_arguments_of_calls_are_streamed(client: httpx.AsyncClient) -> None:
    found = await events(client, "Use get_weather for Lyon", tools=[WEATHER])
    [done] = [event for event in found if event["type"] == "response.function_call_arguments.done"]
    deltas = [event["delta"] for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == done["arguments"] == '{"city": "Lyon"}'
    assert done["name"] == "get_weather"


async def test_whole_and_streamed_give_the_same_response(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    body: Json = {"model": SCRIPTED, "input": "Hello", "include": ["reasoning.encrypted_content"]}
    details = [{"type": "reasoning.text", "text": "Hm", "index": 0}]
    extra = {"system_fingerprint": "fp", "service_tier": "flex"}
    scripted.on("POST", PATH, js({**answer({"reasoning_details": details, "refusal": None}), **extra}))
    whole = (await caller.post("/v1/responses", json=body)).json()
    stream = [event({"reasoning_details": details}), event({"content": "H"}, **extra), event({"content": "i"}), END]
    for reply in (sse(*stream), joined(sse(*stream))):
        scripted.on("POST", PATH, reply)
        streamed = (await events(caller, **{name: body[name] for name in ("model", "input", "include")}))[-1][
            "response"
        ]
        assert _without_ids(streamed) == _without_ids(whole)
    assert (whole["service_tier"], whole["system_fingerprint"]) == ("flex", "fp")
    assert whole["usage"] == {
        "input_tokens": USAGE["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": USAGE["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": USAGE["total_tokens"],
        "cost": USAGE["cost"],
    }


def _without_ids(response: Json) -> Json:
    output = [{**item, "id": item["type"]} for item in response["output"]]
    return {**response, "id": "", "created_at": 0, "completed_at": 0, "output": output}


async def test_usage_that_comes_without_a_choice_counts(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    usage = {**event({}), "choices": [], "usage": USAGE}
    scripted.on("POST", PATH, sse(event({"content": "Hi"}), event({}, "stop"), usage))
    last = (await events(caller, "Hello", model=SCRIPTED))[-1]
    assert last["response"]["usage"]["total_tokens"] == USAGE["total_tokens"]


async def test_a_large_answer_and_its_image_are_streamed(caller: httpx.AsyncClient, scripted: Upstream) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 300_000}"}}
    scripted.on("POST", PATH, sse(event({"content": "x" * 100_000}), event({"images": [image]}), END))
    last = (await events(caller, "Hello", model=SCRIPTED))[-1]
    assert last["type"] == "response.completed"
    assert [len(text_of(last["response"])), len(last["response"]["output"][1]["result"])] == [100_000, 300_000]


# Stored


async def test_a_response_goes_on_from_those_before_without_their_instructions(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    scripted.on("POST", PATH, js(answer({"content": "One"})), js(answer({"content": "Two"})), js(answer()))
    previous = None
    for text in ("first", "second", "third"):
        body = {"model": SCRIPTED, "input": text, "instructions": f"as {text}", "previous_response_id": previous}
        previous = (await caller.post("/v1/responses", json=body)).json()["id"]
    assert scripted.received("POST", PATH)[-1].json["messages"] == [
        {"role": "system", "content": "as third"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "third"},
    ]


async def test_a_stored_response_is_read_and_deleted(client: httpx.AsyncClient) -> None:
    created = await create(client, "Say exactly: kept")
    path = f"/v1/responses/{created['id']}"
    assert (await client.get(path)).json() == created
    check_error(await client.get(path, params={"stream": "true"}), 400, None, "stream")
    check_error(await client.post(f"{path}/cancel"), 400, None)
    deleted = await client.delete(path)
    assert deleted.json() == {"id": created["id"], "object": "response", "deleted": True}
    check_error(await client.get(path), 404, None, "response_id")
    check_error(await client.delete(path), 404, None, "response_id")


async def test_input_items_are_listed_in_pages(client: httpx.AsyncClient) -> None:
    turns = [{"role": "user", "content": f"Say exactly: {number}"} for number in range(5)]
    created = await create(client, turns)
    path = f"/v1/responses/{created['id']}/input_items"

    async def page(**params: Any) -> Json:
        found: Json = (await client.get(path, params=params)).json()
        return found

    def texts(found: Json) -> list[str]:
        return [item["content"][0]["text"][-1] for item in found["data"]]

    assert texts(await page()) == ["4", "3", "2", "1", "0"]
    first = await page(order="asc", limit=2)
    assert (texts(first), first["has_more"], first["object"]) == (["0", "1"], True, "list")
    assert [first["first_id"], first["last_id"]] == [item["id"] for item in first["data"]]
    second = await page(order="asc", limit=3, after=first["last_id"])
    assert (texts(second), second["has_more"]) == (["2", "3", "4"], False)
    for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "msg_1"}):
        check_error(await client.get(path, params=wrong), 400, None, next(iter(wrong)))


async def test_what_is_not_to_be_stored_is_not(client: httpx.AsyncClient) -> None:
    created = await create(client, "Say exactly: gone", store=False)
    streamed = (await events(client, "Say exactly: gone", store=False))[-1]["response"]
    for response in (created, streamed):
        assert response["store"] is False
        check_error(await client.get(f"/v1/responses/{response['id']}"), 404, None, "response_id")


async def test_a_response_of_another_user_is_like_one_that_never_was(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    created = await create(client, "Say exactly: mine")
    item = created["output"][0]["id"]
    pairs = [(created["id"], item), (f"resp_{UNKNOWN_ID}", f"msg_{UNKNOWN_ID}_0"), ("resp_1", "msg_1")]
    with Cases() as cases:
        for id, item_id in pairs:
            with cases.case(id):
                check_error(await stranger.get(f"/v1/responses/{id}"), 404, None, "response_id")
                check_error(await stranger.get(f"/v1/responses/{id}/input_items"), 404, None, "response_id")
                check_error(await stranger.post(f"/v1/responses/{id}/cancel"), 404, None, "response_id")
                check_error(await stranger.delete(f"/v1/responses/{id}"), 404, None, "response_id")
                body = {"model": MODEL, "input": "Hello", "previous_response_id": id}
                for streamed in (False, True):
                    found = await stranger.post("/v1/responses", json={**body, "stream": streamed})
                    check_error(found, 400, "previous_response_not_found", "previous_response_id")
                reference = {"model": MODEL, "input": [{"type": "item_reference", "id": item_id}]}
                check_error(await stranger.post("/v1/responses", json=reference), 404, None, "input")
    assert (await client.get(f"/v1/responses/{created['id']}")).status_code == 200


async def test_a_repeated_request_gets_the_first_response(client: httpx.AsyncClient) -> None:
    body = {"model": MODEL, "input": "Explain tides"}
    key = {"Idempotency-Key": "a response"}
    together = await asyncio.gather(*[client.post("/v1/responses", json=body, headers=key) for _ in range(3)])
    again = await client.post("/v1/responses", json=body, headers=key)
    assert all(found.json() == again.json() for found in together)
    assert (await client.get(f"/v1/responses/{again.json()['id']}")).json() == again.json()
    check_error(await client.post("/v1/responses", json={**body, "input": "x"}, headers=key), 409, "conflict")


async def test_responses_are_kept_for_thirty_days_and_as_long_as_their_user(atelier: Studio) -> None:
    admin, ann = await atelier.user("admin@studio.example"), await atelier.user(new_email("ann"))
    id = (await ann.get("/api/v1/users/me")).json()["id"]
    database, now = atelier.program.database, clock.now()
    ages = {"resp_old": 31, "resp_new": 29}
    for name, days in ages.items():
        row = StoredResponse(
            id=name, previous_id=None, input="[]", response="{}", reasoning=None, created_at=now - timedelta(days=days)
        )
        await database.write(repository.add, id, row)
    await atelier.program.responses.sweep()
    assert [(await ann.get(f"/v1/responses/{name}")).status_code for name in ages] == [404, 200]
    assert (await admin.delete(f"/api/v1/users/{id}")).status_code == 204
    assert await database.read(repository.find, id, "resp_new") is None


async def test_a_conversation_that_is_too_long_is_refused(atelier: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_CHAIN", 3)
    monkeypatch.setattr(service, "MAX_EARLIER", 10_000)
    ann = await atelier.user(new_email("ann"))
    owner = (await ann.get("/api/v1/users/me")).json()["id"]

    def add(tx: Transaction, name: str, count: int, size: int) -> None:
        for number in range(count):
            row = StoredResponse(
                id=f"resp_{owner}_{name}_{number}",
                previous_id=f"resp_{owner}_{name}_{number - 1}" if number else None,
                input="[]",
                response='{"output": []}' + " " * size,
                reasoning=None,
                created_at=clock.now(),
            )
            repository.add(tx, owner, row)

    with Cases() as cases:
        for name, count, size, status in (("links", 3, 0, 200), ("size", 2, 5_000, 400)):
            await atelier.program.database.write(add, name, count, size)
            body: Json = {"model": MODEL, "input": "Hello", "previous_response_id": f"resp_{owner}_{name}_{count - 1}"}
            with cases.case(name):
                found = await ann.post("/v1/responses", json=body)
                assert found.status_code == status, found.text
                body["previous_response_id"] = found.json()["id"] if status == 200 else body["previous_response_id"]
                check_error(await ann.post("/v1/responses", json=body), 400, None, "previous_response_id")


# Limits and failures


async def test_limits_of_a_key_hold(atelier: Studio) -> None:
    user = await atelier.user(new_email())

    async def with_key(**limits: Any) -> httpx.AsyncClient:
        answer = await user.post("/api/v1/users/me/keys", json={"name": "laptop", **limits})
        return atelier.client(answer.json()["key"])

    listed, capped = await with_key(allowed_models=["other/model"]), await with_key(monthly_cap_usd="0.00000001")
    await create(capped, "Hello")
    for streamed in (False, True):
        body = {"model": MODEL, "input": "Hello", "stream": streamed}
        check_error(await listed.post("/v1/responses", json=body), 403, "forbidden")
        check_error(await capped.post("/v1/responses", json=body), 429, "insufficient_quota")


async def test_wrong_requests_have_openais_errors(client: httpx.AsyncClient) -> None:
    wrong: dict[str, tuple[Json, int, str | None, str]] = {
        "no model": ({"model": None}, 400, None, "model"),
        "an unknown model": ({"model": "no/such"}, 404, "model_not_found", "model"),
        "no input": ({"input": None}, 400, None, "input"),
        "an item without a role": ({"input": [{"content": "Hello"}]}, 400, None, "input"),
        "sound for a model without ears": (
            {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            400,
            None,
            "input",
        ),
        "in the background": ({"background": True}, 400, None, "background"),
        "an odd flag": ({"stream": "yes"}, 400, None, "stream"),
    }
    with Cases() as cases:
        for name, (given, status, code, param) in wrong.items():
            for streamed in (False, True):
                with cases.case(name, streamed):
                    body = {"model": MODEL, "input": "Hello", "stream": streamed, **given}
                    check_error(await client.post("/v1/responses", json=body), status, code, param)


async def test_a_provider_that_fails_before_its_first_word_has_a_status_of_its_own(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    with Cases() as cases:
        for streamed in (False, True):
            body = {"model": SCRIPTED, "input": "Hello", "stream": streamed}
            with cases.case(streamed):
                scripted.on("POST", PATH, error(429, "Rate limit exceeded", Retry_After="1800"))
                busy = await caller.post("/v1/responses", json=body)
                assert (busy.status_code, busy.headers["retry-after"]) == (429, "1800")
                scripted.on("POST", PATH, error(400, "tools.0 is wrong"))
                rejected = await caller.post("/v1/responses", json=body)
                check_error(rejected, 400, "request_rejected")
                assert "tools.0 is wrong" in rejected.json()["error"]["message"]


async def test_a_provider_that_fails_in_the_middle_makes_the_response_fail(
    caller: httpx.AsyncClient, scripted: Upstream
) -> None:
    broken = {**event({}, "error"), "error": {"code": 502, "message": "overloaded"}}
    scripted.on("POST", PATH, sse(event({"content": "Hi"}), broken))
    found = await events(caller, "Hello", model=SCRIPTED)
    assert [it["type"] for it in found][-2:] == ["response.output_text.delta", "response.failed"]
    response = found[-1]["response"]
    assert response["error"]["code"] == "server_error"
    assert "failed while responding" in response["error"]["message"]
    assert (response["status"], text_of(response)) == ("failed", "Hi")
    assert (await caller.get(f"/v1/responses/{response['id']}")).json() == response


async def test_a_response_that_cannot_be_stored_is_not_given_as_one_that_is(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unready("The disk is full.")

    monkeypatch.setattr(repository, "add", full)
    whole = await client.post("/v1/responses", json={"model": MODEL, "input": "Say exactly: lost"})
    check_error(whole, 503, None)
    last = (await events(client, "Say exactly: lost"))[-1]
    assert (last["type"], last["response"]["error"]["message"]) == ("response.failed", "The disk is full.")
    assert text_of(await create(client, "Say exactly: given", store=False)) == "given"


async def test_a_client_that_leaves_stops_the_generation_and_nothing_is_stored(
    caller: httpx.AsyncClient, scripted: Upstream, scripted_studio: Studio
) -> None:
    key = caller.headers["authorization"].removeprefix("Bearer ")
    scripted.on("POST", PATH, sse(event({"content": "Hi"}), done=False, ending="hang"))
    over_http = scripted_studio.client(key)
    body = {"model": SCRIPTED, "input": "Hello", "stream": True}
    async with over_http.stream("POST", "/v1/responses", json=body) as stream:
        id = ""
        async for line in stream.aiter_lines():
            if line.startswith("data: ") and "response.created" in line:
                id = line.partition('"id":"')[2].partition('"')[0]
            if "output_text.delta" in line:
                break
    await scripted.client_disconnected()
    check_error(await caller.get(f"/v1/responses/{id}"), 404, None, "response_id")
