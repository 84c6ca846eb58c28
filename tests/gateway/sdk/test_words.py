"""Models and chat, asked with OpenAI's own Python package."""

import base64
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

from PIL import Image

from tests.api.kit import TEXT, eventually, submits
from tests.gateway.sdk.conftest import Person, arrived
from tests.studio import running

SEEING = "anthropic/claude-sonnet-5"  # takes pictures and tools
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_the_models_are_those_of_atelier(ann: Person) -> None:
    found = await ann.run("said = [plain(model) for model in client.models.list()]")
    own = (await ann.http.get("/api/v1/ai/models?limit=100")).json()["items"]
    assert {model["id"] for model in found} == {model["id"] for model in own}
    for model in found:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"]


async def test_one_model_is_found_by_its_id_with_the_slash_in_it(ann: Person) -> None:
    found = await ann.run("said = plain(client.models.retrieve(given['model']))", model=TEXT)
    assert (found["id"], found["object"]) == (TEXT, "model")


async def test_an_answer_in_one_piece(ann: Person) -> None:
    found = await ann.run("said = plain(ask('Say exactly: paper boats float'))", model=TEXT)
    assert found["object"] == "chat.completion"
    assert found["id"]
    assert found["created"] > 1_700_000_000
    assert found["model"] == TEXT
    (choice,) = found["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", "paper boats float")
    assert choice["message"]["tool_calls"] is None
    usage = found["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_conversation_with_all_its_roles_is_understood(ann: Person) -> None:
    found = await ann.run(
        """
        said = [plain(client.chat.completions.create(model=given["model"], messages=[
            {"role": role, "content": "You are a sailor. Be brief."},
            {"role": "user", "content": "Tell me about knots"},
            {"role": "assistant", "content": "A bowline holds."},
            {"role": "user", "content": [{"type": "text", "text": "Tell me about ropes"}]},
        ]))["choices"][0]["message"]["content"] for role in ("system", "developer")]
        """,
        model=TEXT,
    )
    for answer in found:
        assert "sailor" in answer
        assert "ropes" in answer


async def test_the_parameters_that_every_client_sends_are_taken(ann: Person) -> None:
    found = await ann.run(
        """
        said = plain(ask("Count to 100", temperature=0.7, top_p=0.9, max_tokens=5, n=1, seed=7, stop=["99"], user="me",
            presence_penalty=0, frequency_penalty=0, stream=False))
        """,
        model=TEXT,
    )
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] <= 5


async def test_the_newer_name_for_the_longest_answer_is_taken(ann: Person) -> None:
    found = await ann.run("said = plain(ask('Count to 100', max_completion_tokens=5))", model=TEXT)
    assert found["choices"][0]["finish_reason"] == "length"


async def test_json_comes_when_json_is_asked_for(ann: Person) -> None:
    found = await ann.run(
        "said = json.loads(ask('Rivers as JSON', response_format={'type': 'json_object'}).choices[0].message.content)",
        model=TEXT,
    )
    assert found


async def test_a_stream_says_the_same_words_one_after_the_other(ann: Person) -> None:
    whole, chunks = await ann.run(
        """
        whole = ask("Tell me about slate").choices[0].message.content
        said = [whole, [plain(chunk) for chunk in ask("Tell me about slate", stream=True)]]
        """,
        model=TEXT,
    )
    assert "".join(chunk["choices"][0]["delta"]["content"] or "" for chunk in chunks) == whole
    assert len(chunks) > 2, "what comes together is told together, but not what comes later"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["model"] for chunk in chunks} == {TEXT}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    finished = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert finished[-1] == "stop"
    assert set(finished[:-1]) == {None}
    assert all(chunk["usage"] is None for chunk in chunks), "usage comes only when it is asked for"


async def test_usage_ends_a_stream_when_it_is_asked_for(ann: Person) -> None:
    chunks = await ann.run(
        """
        said = [plain(chunk) for chunk in ask("Tell me about chalk", stream=True, stream_options={"include_usage": True})]
        """,
        model=TEXT,
    )
    assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert all(chunk["usage"] is None and len(chunk["choices"]) == 1 for chunk in chunks[:-1])


async def test_the_packages_own_way_of_streaming_puts_the_answer_together(ann: Person) -> None:
    found = await ann.run(
        """
        import asyncio
        async def listen():
            async with openai.AsyncOpenAI(max_retries=0) as other:
                messages = [{"role": "user", "content": "Say exactly: the tide is out"}]
                async with other.chat.completions.stream(model=given["model"], messages=messages) as stream:
                    kinds = [event.type async for event in stream]
                    return [kinds, plain(await stream.get_final_completion())]
        said = asyncio.run(listen())
        """,
        model=TEXT,
    )
    assert "content.done" in found[0]
    assert found[1]["choices"][0]["message"]["content"] == "the tide is out"


async def test_a_picture_in_a_message_is_seen(ann: Person) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, "PNG")
    found = await ann.run(
        """
        url = "data:image/png;base64," + given["png"]
        said = [plain(client.chat.completions.create(model=given["model"], messages=[{"role": "user", "content": [
            {"type": "text", "text": "What is in this picture?"},
            {"type": "image_url", "image_url": {"url": url, **more}},
        ]}]))["choices"][0]["message"]["content"] for more in ({}, {"detail": "low"})]
        """,
        model=SEEING,
        png=base64.b64encode(file.getvalue()).decode(),
    )
    assert all("You sent a picture along." in answer for answer in found)


async def test_a_function_is_called_and_its_result_is_answered(ann: Person) -> None:
    first, last = await ann.run(
        """
        messages = [{"role": "user", "content": "What is the weather like in Paris?"}]
        first = client.chat.completions.create(
            model=given["model"], messages=messages, tools=given["tools"], tool_choice="required")
        message = first.choices[0].message
        messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "18 degrees, drizzle"}]
        last = client.chat.completions.create(model=given["model"], messages=messages, tools=given["tools"])
        said = [plain(first), plain(last)]
        """,
        model=SEEING,
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


async def test_what_the_model_said_can_be_given_back_as_it_came(ann: Person) -> None:
    found = await ann.run(
        """
        messages = [{"role": "user", "content": "Say exactly: north"}]
        message = client.chat.completions.create(model=given["model"], messages=messages).choices[0].message
        ask_again = {"role": "user", "content": "Say exactly: south"}
        said = [
            client.chat.completions.create(model=given["model"], messages=[*messages, said, ask_again])
                .choices[0].message.content
            for said in (message, message.model_dump(), {**message.to_dict(), "annotations": [], "audio": None})
        ]
        """,
        model=TEXT,
    )
    assert found == ["south"] * 3


async def test_a_call_without_words_may_come_with_empty_ones(ann: Person) -> None:
    found = await ann.run(
        """
        call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        said = [client.chat.completions.create(model=given["model"], tools=given["tools"], messages=[
            {"role": "user", "content": "How is the weather?"},
            {"role": "assistant", "content": words, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ]).choices[0].message.content for words in (None, "") for result in ("fog", [{"type": "text", "text": "fog"}])]
        """,
        model=SEEING,
        tools=[WEATHER],
    )
    assert all("fog" in answer for answer in found)


async def test_a_function_is_called_in_a_stream(ann: Person) -> None:
    found, chunks = await ann.run(
        """
        messages = [{"role": "user", "content": "Use get_weather for Lyon"}]
        wish = dict(model=given["model"], messages=messages, tools=given["tools"])
        with client.chat.completions.stream(**wish) as stream:
            found = plain(stream.get_final_completion())
        said = [found, [plain(chunk) for chunk in client.chat.completions.create(stream=True, **wish)]]
        """,
        model=SEEING,
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


async def test_the_answers_headers_tell_the_model_its_cost_and_what_atelier_took(ann: Person) -> None:
    found = await ann.run(
        """
        raw = client.chat.completions.with_raw_response.create(
            model=given["model"], messages=[{"role": "user", "content": "Tell me about flint"}])
        said = [dict(raw.headers), raw.parse()._request_id]
        """,
        model=TEXT,
    )
    headers, request = found
    assert headers["x-request-id"] == request
    assert headers["x-atelier-model"] == TEXT
    assert Decimal(headers["x-atelier-cost-usd"]) > 0
    assert "e" not in headers["x-atelier-cost-usd"].lower()
    assert 0 <= float(headers["x-atelier-overhead-ms"]) < 60_000


async def test_an_access_token_opens_the_same_door(ann: Person) -> None:
    token = ann.http.headers["Authorization"].removeprefix("Bearer ")
    found = await ann.run("client.api_key = given['token']; said = len(list(client.models.list()))", token=token)
    assert found > 5


async def test_what_was_asked_is_in_the_persons_spending(ann: Person) -> None:
    cost = await ann.run(
        """
        message = [{"role": "user", "content": "Tell me about jade"}]
        raw = client.chat.completions.with_raw_response.create(model=given["model"], messages=message)
        list(ask("Tell me about jade", stream=True))
        said = raw.headers["x-atelier-cost-usd"]
        """,
        model=TEXT,
    )

    async def months() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await ann.http.get("/api/v1/users/me/spending")).json()["items"]
        return found

    (month,) = await eventually(months, lambda found: bool(found) and found[0]["subjects"] == 2)
    assert Decimal(month["spent_usd"]) == 2 * Decimal(cost)


async def test_hanging_up_in_mid_stream_stops_the_model_and_settles_what_was_used(tmp_path: Path, sdk: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="1") as slow:
        ann = await arrived(slow, sdk)
        heard = await ann.run(
            """
            heard = []
            with ask("Count to 400", stream=True) as stream:
                for chunk in stream:
                    heard.append(chunk.choices[0].delta.content or "")
                    if len(heard) == 5:
                        break
            said = "".join(heard)
            """,
            model=TEXT,
        )
        assert "400" not in heard
        (submit,) = submits(slow)

        async def settled() -> list[dict[str, Any]]:
            return await slow.program.database.read(lambda tx: tx.rows("select entry from ledger"))

        entries = await eventually(settled, lambda rows: len(rows) == 2, seconds=20)
        assert {row["entry"] for row in entries} == {"hold", "settlement"}
        jobs = list((slow.program.settings.data_dir / "simulator").rglob(f"{submit['id']}*"))
        assert any('"cancelled":true' in path.read_text() for path in jobs), "the provider was not told to stop"
