"""Models and chat, with the official `openai` package."""

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.sdk.conftest import User, user_with_key
from tests.gateway.sdk.interpreter import Interpreter
from tests.kit import TEXT_MODEL, eventually, png, submit_log
from tests.studio import running

pytestmark = pytest.mark.xdist_group("openai")  # one worker keeps one interpreter

VISION_MODEL = "anthropic/claude-sonnet-5"  # takes images and tools
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_the_models_are_those_of_ateliers_own_api(ann: User) -> None:
    found = await ann.run("result = [as_json(model) for model in client.models.list()]")
    own = (await ann.http.get("/api/v1/ai/models?limit=100")).json()["items"]
    assert {model["id"] for model in found} == {model["id"] for model in own}
    for model in found:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"]


async def test_one_model_is_found_by_its_id_with_the_slash_in_it(ann: User) -> None:
    found = await ann.run("result = as_json(client.models.retrieve(given['model']))", model=TEXT_MODEL)
    assert (found["id"], found["object"]) == (TEXT_MODEL, "model")


async def test_an_answer_that_is_not_streamed(ann: User) -> None:
    found = await ann.run("result = as_json(chat('Say exactly: paper boats float'))", model=TEXT_MODEL)
    assert found["object"] == "chat.completion"
    assert found["id"]
    assert found["created"] > 1_700_000_000
    assert found["model"] == TEXT_MODEL
    (choice,) = found["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", "paper boats float")
    assert choice["message"]["tool_calls"] is None
    usage = found["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_conversation_with_all_its_roles_is_understood(ann: User) -> None:
    found = await ann.run(
        """
        result = [as_json(client.chat.completions.create(model=given["model"], messages=[
            {"role": role, "content": "You are a sailor. Be brief."},
            {"role": "user", "content": "Tell me about knots"},
            {"role": "assistant", "content": "A bowline holds."},
            {"role": "user", "content": [{"type": "text", "text": "Tell me about ropes"}]},
        ]))["choices"][0]["message"]["content"] for role in ("system", "developer")]
        """,
        model=TEXT_MODEL,
    )
    for answer in found:
        assert "sailor" in answer
        assert "ropes" in answer


async def test_the_parameters_that_every_client_sends_are_accepted(ann: User) -> None:
    found = await ann.run(
        """
        result = as_json(chat("Count to 100", temperature=0.7, top_p=0.9, max_tokens=5, n=1, seed=7, stop=["99"], user="me",
            presence_penalty=0, frequency_penalty=0, stream=False))
        """,
        model=TEXT_MODEL,
    )
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] <= 5


async def test_max_completion_tokens_is_accepted(ann: User) -> None:
    found = await ann.run("result = as_json(chat('Count to 100', max_completion_tokens=5))", model=TEXT_MODEL)
    assert found["choices"][0]["finish_reason"] == "length"


async def test_an_answer_is_json_when_json_is_requested(ann: User) -> None:
    found = await ann.run(
        "result = json.loads(chat('Rivers as JSON', response_format={'type': 'json_object'}).choices[0].message.content)",
        model=TEXT_MODEL,
    )
    assert found


async def test_a_stream_has_the_same_text_in_several_chunks(ann: User) -> None:
    whole, chunks = await ann.run(
        """
        whole = chat("Tell me about slate").choices[0].message.content
        result = [whole, [as_json(chunk) for chunk in chat("Tell me about slate", stream=True)]]
        """,
        model=TEXT_MODEL,
    )
    assert "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks) == whole
    assert len(chunks) > 2, "what arrives together is sent together, but not what arrives later"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["model"] for chunk in chunks} == {TEXT_MODEL}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    finished = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert finished[-1] == "stop"
    assert set(finished) == {None, "stop"}


async def test_usage_ends_a_stream_when_it_is_requested(ann: User) -> None:
    chunks = await ann.run(
        """
        result = [as_json(chunk) for chunk in chat("Tell me about chalk", stream=True, stream_options={"include_usage": True})]
        """,
        model=TEXT_MODEL,
    )
    usage = chunks[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_the_packages_stream_helper_puts_the_answer_together(ann: User) -> None:
    found = await ann.run(
        """
        import asyncio
        async def read():
            async with openai.AsyncOpenAI(max_retries=0) as other:
                messages = [{"role": "user", "content": "Say exactly: the tide is out"}]
                async with other.chat.completions.stream(model=given["model"], messages=messages) as stream:
                    kinds = [event.type async for event in stream]
                    return [kinds, as_json(await stream.get_final_completion())]
        result = asyncio.run(read())
        """,
        model=TEXT_MODEL,
    )
    assert "content.done" in found[0]
    assert found[1]["choices"][0]["message"]["content"] == "the tide is out"


async def test_an_image_in_a_message_reaches_the_model(ann: User) -> None:
    found = await ann.run(
        """
        url = "data:image/png;base64," + given["png"]
        result = [as_json(client.chat.completions.create(model=given["model"], messages=[{"role": "user", "content": [
            {"type": "text", "text": "What is in this image?"},
            {"type": "image_url", "image_url": {"url": url, **more}},
        ]}]))["choices"][0]["message"]["content"] for more in ({}, {"detail": "low"})]
        """,
        model=VISION_MODEL,
        png=base64.b64encode(png()).decode(),
    )
    assert all("You attached an image." in answer for answer in found)


async def test_a_function_is_called_and_its_result_is_answered(ann: User) -> None:
    first, last = await ann.run(
        """
        messages = [{"role": "user", "content": "What is the weather like in Paris?"}]
        first = client.chat.completions.create(
            model=given["model"], messages=messages, tools=given["tools"], tool_choice="required")
        message = first.choices[0].message
        messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "18 degrees, drizzle"}]
        last = client.chat.completions.create(model=given["model"], messages=messages, tools=given["tools"])
        result = [as_json(first), as_json(last)]
        """,
        model=VISION_MODEL,
        tools=[WEATHER],
    )
    assert first["choices"][0]["finish_reason"] == "tool_calls"
    message = first["choices"][0]["message"]
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert call["function"]["arguments"] == '{"city": "Paris"}'
    assert last["choices"][0]["finish_reason"] == "stop"
    assert "18 degrees, drizzle" in last["choices"][0]["message"]["content"]


async def test_an_answer_can_be_sent_back_as_it_came(ann: User) -> None:
    found = await ann.run(
        """
        messages = [{"role": "user", "content": "Say exactly: north"}]
        message = client.chat.completions.create(model=given["model"], messages=messages).choices[0].message
        next_question = {"role": "user", "content": "Say exactly: south"}
        result = [
            client.chat.completions.create(model=given["model"], messages=[*messages, answer, next_question])
                .choices[0].message.content
            for answer in (message, message.model_dump(), {**message.to_dict(), "annotations": [], "audio": None})
        ]
        """,
        model=TEXT_MODEL,
    )
    assert found == ["south"] * 3


async def test_a_message_with_a_tool_call_may_have_no_text_or_an_empty_one(ann: User) -> None:
    found = await ann.run(
        """
        call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        result = [client.chat.completions.create(model=given["model"], tools=given["tools"], messages=[
            {"role": "user", "content": "How is the weather?"},
            {"role": "assistant", "content": text, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": output},
        ]).choices[0].message.content for text in (None, "") for output in ("fog", [{"type": "text", "text": "fog"}])]
        """,
        model=VISION_MODEL,
        tools=[WEATHER],
    )
    assert all("fog" in answer for answer in found)


async def test_a_function_is_called_in_a_stream(ann: User) -> None:
    found, chunks = await ann.run(
        """
        messages = [{"role": "user", "content": "Use get_weather for Lyon"}]
        request = dict(model=given["model"], messages=messages, tools=given["tools"])
        with client.chat.completions.stream(**request) as stream:
            found = as_json(stream.get_final_completion())
        result = [found, [as_json(chunk) for chunk in client.chat.completions.create(stream=True, **request)]]
        """,
        model=VISION_MODEL,
        tools=[WEATHER],
    )
    choice = found["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], call["function"]["arguments"]) == ("get_weather", '{"city": "Lyon"}')
    pieces = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"]["tool_calls"] or []]
    assert {piece["index"] for piece in pieces} == {0}
    assert len([piece for piece in pieces if piece["id"]]) == 1
    assert "".join(piece["function"]["arguments"] or "" for piece in pieces) == '{"city": "Lyon"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_headers_of_an_answer_name_the_model_its_cost_and_the_time_that_atelier_took(ann: User) -> None:
    found = await ann.run(
        """
        raw = client.chat.completions.with_raw_response.create(
            model=given["model"], messages=[{"role": "user", "content": "Tell me about flint"}])
        result = [dict(raw.headers), raw.parse()._request_id]
        """,
        model=TEXT_MODEL,
    )
    headers, request_id = found
    assert headers["x-request-id"] == request_id
    assert headers["x-atelier-model"] == TEXT_MODEL
    assert Decimal(headers["x-atelier-cost-usd"]) > 0
    assert "e" not in headers["x-atelier-cost-usd"].lower()
    assert 0 <= float(headers["x-atelier-overhead-ms"]) < 60_000


async def test_an_access_token_is_accepted_in_place_of_a_key(ann: User) -> None:
    token = ann.http.headers["Authorization"].removeprefix("Bearer ")
    found = await ann.run("client.api_key = given['token']; result = len(list(client.models.list()))", token=token)
    assert found > 5


async def test_answers_are_in_the_users_spending(ann: User) -> None:
    cost = await ann.run(
        """
        message = [{"role": "user", "content": "Tell me about jade"}]
        raw = client.chat.completions.with_raw_response.create(model=given["model"], messages=message)
        list(chat("Tell me about jade", stream=True))
        result = raw.headers["x-atelier-cost-usd"]
        """,
        model=TEXT_MODEL,
    )

    async def months() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await ann.http.get("/api/v1/users/me/spending")).json()["items"]
        return found

    (month,) = await eventually(months, lambda found: bool(found) and found[0]["subjects"] == 2)
    assert Decimal(month["spent_usd"]) == 2 * Decimal(cost)


async def test_a_client_that_disconnects_in_mid_stream_stops_the_model_and_what_was_used_is_settled(
    tmp_path: Path, interpreter: Interpreter
) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="1") as slow:
        ann = await user_with_key(slow, interpreter)
        received = await ann.run(
            """
            received = []
            with chat("Count to 400", stream=True) as stream:
                for chunk in stream:
                    received.append(chunk.choices[0].delta.content or "")
                    if len(received) == 5:
                        break
            result = "".join(received)
            """,
            model=TEXT_MODEL,
        )
        assert "400" not in received
        (submit,) = submit_log(slow)

        async def settled() -> list[dict[str, Any]]:
            return await slow.program.database.read(lambda tx: tx.rows("ledger", "select entry from ledger"))

        entries = await eventually(settled, lambda rows: len(rows) == 2)
        assert {row["entry"] for row in entries} == {"hold", "settlement"}

        async def cancelled() -> bool:
            jobs = (slow.program.settings.data_dir / "simulator").rglob(f"{submit['id']}*")
            return any('"cancelled":true' in path.read_text() for path in jobs)

        assert await eventually(cancelled, bool), "the provider was not asked to stop"
