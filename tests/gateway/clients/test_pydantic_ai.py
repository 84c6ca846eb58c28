"""The package `pydantic-ai`: the same agents with its chat model and with its Responses model."""

from typing import Any

import pytest

from tests.gateway.sdk.conftest import User

CLIENT = "pydantic_ai"
MODEL = "anthropic/claude-sonnet-5"
IMPORT = """
import asyncio
from typing import Literal
import pydantic
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

class Place(pydantic.BaseModel):
    name: str
    depth: float | None
class Water(pydantic.BaseModel):
    kind: Literal["river", "lake"]
    places: list[Place]

provider = OpenAICompatibleProvider("studio", openai_client=openai.AsyncOpenAI(max_retries=0))
kind = OpenAIResponsesModel if given["responses"] else OpenAIChatModel
chat_model = kind(given["model"], provider=provider)

def get_weather(city: str) -> str:
    "The weather in a city."
    return given.get("weather", "18 degrees, drizzle")
"""

pytestmark = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])


async def run(user: User, program: str, responses: bool, **given: Any) -> Any:
    return await user.run(IMPORT + program, **{"model": MODEL, "responses": responses, **given})


async def test_an_agent_answers_with_its_usage(ann: User, responses: bool) -> None:
    text, tokens = await run(
        ann,
        """
answer = Agent(chat_model, instructions="Be brief.").run_sync("Say exactly: paper boats float")
result = [answer.output, answer.usage.output_tokens]
""",
        responses,
    )
    assert text == "paper boats float"
    assert tokens > 0


async def test_an_agent_streams(ann: User, responses: bool) -> None:
    pieces = await run(
        ann,
        """
async def read():
    async with Agent(chat_model).run_stream("Say exactly: the tide is out") as stream:
        return [piece async for piece in stream.stream_text(delta=True)]
result = asyncio.run(read())
""",
        responses,
    )
    assert "".join(pieces) == "the tide is out"


async def test_a_conversation_goes_on(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
agent = Agent(chat_model)
first = agent.run_sync("Say exactly: north")
result = agent.run_sync("Say exactly: south", message_history=first.all_messages()).output
""",
        responses,
    )
    assert found == "south"


async def test_a_tools_result_is_answered(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        "result = Agent(chat_model, tools=[get_weather]).run_sync('Use get_weather for Paris').output",
        responses,
    )
    assert "18 degrees, drizzle" in found


async def test_a_tools_result_may_be_empty(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        "result = Agent(chat_model, tools=[get_weather]).run_sync('Use get_weather for Paris').output",
        responses,
        weather="",
    )
    assert isinstance(found, str)


async def test_a_tool_is_called_while_the_answer_is_streamed(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
async def read():
    async with Agent(chat_model, tools=[get_weather]).run_stream("Use get_weather for Paris") as stream:
        return await stream.get_output()
result = asyncio.run(read())
""",
        responses,
    )
    assert "18 degrees, drizzle" in found


async def test_an_answer_fits_the_requested_type_by_every_method(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
result = [
    type(Agent(chat_model, output_type=method(Water)).run_sync("Use final_result to describe the waters of Bavaria").output).__name__
    for method in (ToolOutput, NativeOutput)
]
""",
        responses,
    )
    assert found == ["Water", "Water"]


async def test_a_tool_and_a_type_work_together(ann: User, responses: bool) -> None:
    calls, kind = await run(
        ann,
        """
calls = []
def get_depth(city: str) -> str:
    "How deep the water in a city is."
    calls.append(city)
    return "3 m"
agent = Agent(chat_model, tools=[get_depth], output_type=NativeOutput(Water))
result = [calls, type(agent.run_sync("Use get_depth for Paris").output).__name__]
""",
        responses,
    )
    assert calls == ["Paris"]
    assert kind == "Water"
