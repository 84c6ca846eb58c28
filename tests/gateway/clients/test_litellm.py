"""The package `litellm` as a client: `openai/` in front of a model means any server that speaks OpenAI's format."""

import base64
from typing import Any

from tests.gateway.sdk.conftest import User
from tests.gateway.sdk.test_chat import WEATHER
from tests.kit import IMAGE_MODEL, decoded_image

CLIENT = "litellm"
MODEL = "openai/anthropic/claude-sonnet-5"
# The package fetches its list of prices when it is imported, unless it is to use its own.
IMPORT = """
import os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
def complete(text, **more):
    return litellm.completion(model=given["model"], messages=[{"role": "user", "content": text}], num_retries=0, **more)
"""


async def run(user: User, program: str, **given: Any) -> Any:
    return await user.run(IMPORT + program, **{"model": MODEL, **given})


async def test_a_chat_is_answered(ann: User) -> None:
    found = await run(ann, "result = as_json(complete('Say exactly: paper boats float'))")
    assert found["choices"][0]["message"]["content"] == "paper boats float"
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"]["total_tokens"] > 0


async def test_a_stream_is_put_together_with_its_usage(ann: User) -> None:
    found = await run(
        ann,
        """
chunks = list(complete("Say exactly: the tide is out", stream=True, stream_options={"include_usage": True}))
result = as_json(litellm.stream_chunk_builder(chunks))
""",
    )
    assert found["choices"][0]["message"]["content"] == "the tide is out"
    assert found["usage"]["completion_tokens"] > 0


async def test_a_stream_is_read_in_an_event_loop(ann: User) -> None:
    found = await run(
        ann,
        """
import asyncio
async def read():
    messages = [{"role": "user", "content": "Say exactly: low water"}]
    stream = await litellm.acompletion(model=given["model"], messages=messages, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
result = asyncio.run(read())
""",
    )
    assert found == "low water"


async def test_a_tool_may_have_an_empty_result(ann: User) -> None:
    name, arguments, answers = await run(
        ann,
        """
question = {"role": "user", "content": "Use get_weather for Paris"}
message = complete(question["content"], tools=given["tools"]).choices[0].message
(call,) = message.tool_calls
answers = [
    litellm.completion(model=given["model"], tools=given["tools"], messages=[
        question, message, {"role": "tool", "tool_call_id": call.id, "content": content}]).choices[0].message.content
    for content in ("18 degrees, drizzle", "")
]
result = [call.function.name, json.loads(call.function.arguments), answers]
""",
        tools=[WEATHER],
    )
    assert (name, arguments) == ("get_weather", {"city": "Paris"})
    assert "18 degrees, drizzle" in answers[0]
    assert isinstance(answers[1], str)


async def test_a_tool_is_called_in_a_stream(ann: User) -> None:
    found = await run(
        ann,
        """
chunks = list(complete("Use get_weather for Lyon", tools=given["tools"], stream=True))
result = as_json(litellm.stream_chunk_builder(chunks))
""",
        tools=[WEATHER],
    )
    (call,) = found["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"city": "Lyon"}'
    assert found["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_answer_fits_the_requested_type(ann: User) -> None:
    found = await run(
        ann,
        """
import pydantic
class Place(pydantic.BaseModel):
    name: str
    depth: float | None
class Water(pydantic.BaseModel):
    places: list[Place]
answer = complete("Describe the waters of Bavaria", response_format=Water)
result = Water.model_validate_json(answer.choices[0].message.content).model_dump()
""",
    )
    assert set(found) == {"places"}


async def test_an_image_is_generated(ann: User) -> None:
    found = await run(
        ann,
        """
result = as_json(litellm.image_generation(model=given["model"], prompt="[stamp] a lighthouse"))
""",
        model=f"openai/{IMAGE_MODEL}",
    )
    assert decoded_image(base64.b64decode(found["data"][0]["b64_json"])).size > (0, 0)


async def test_texts_are_embedded(ann: User) -> None:
    found = await run(
        ann,
        "result = as_json(litellm.embedding(model=given['model'], input=['slate', 'chalk']))",
        model="openai/openai/text-embedding-3-small",
    )
    assert [len(item["embedding"]) for item in found["data"]] == [1536, 1536]


async def test_a_response_is_created_and_streamed(ann: User) -> None:
    whole, kinds = await run(
        ann,
        """
request = dict(model=given["model"], input="Say exactly: north")
whole = litellm.responses(**request)
kinds = [str(getattr(event.type, "value", event.type)) for event in litellm.responses(stream=True, **request)]
result = [whole.output[-1].content[0].text, kinds]
""",
    )
    assert whole == "north"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


async def test_errors_are_of_the_packages_kinds(ann: User) -> None:
    kinds = await run(
        ann,
        """
def kind(call):
    try:
        call()
    except Exception as exc:
        return type(exc).__name__
result = [
    kind(lambda: complete("Hello", api_key="wrong")),
    kind(lambda: litellm.completion(
        model="openai/no/such-model", messages=[{"role": "user", "content": "Hello"}], num_retries=0)),
    kind(lambda: litellm.completion(model=given["model"], messages=[], num_retries=0)),
]
""",
    )
    assert kinds == ["AuthenticationError", "NotFoundError", "BadRequestError"]
