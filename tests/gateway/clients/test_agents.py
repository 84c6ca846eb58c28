"""The package `openai-agents`, whose own choice is the Responses API; the same with chat completions."""

from typing import Any

import pytest

from tests.gateway.sdk.conftest import User

CLIENT = "agents"
MODEL = "anthropic/claude-sonnet-5"
IMPORT = """
import asyncio
from typing import Literal
import agents, pydantic
from agents import Agent, Runner, function_tool

agents.set_tracing_disabled(True)  # traces would go to OpenAI
kind = agents.OpenAIResponsesModel if given["responses"] else agents.OpenAIChatCompletionsModel
chat_model = kind(model=given["model"], openai_client=openai.AsyncOpenAI(max_retries=0))

class Water(pydantic.BaseModel):
    kind: Literal["river", "lake"]
    places: list[str]

@function_tool
def get_weather(city: str) -> str:
    "The weather in a city."
    return given.get("weather", "18 degrees, drizzle")
"""

pytestmark = pytest.mark.parametrize("responses", [True, False], ids=["responses", "chat"])


async def run(user: User, program: str, responses: bool, **given: Any) -> Any:
    return await user.run(IMPORT + program, **{"model": MODEL, "responses": responses, **given})


async def test_an_agent_answers_with_its_usage(ann: User, responses: bool) -> None:
    text, tokens = await run(
        ann,
        """
agent = Agent(name="Sailor", instructions="Be brief.", model=chat_model)
answer = Runner.run_sync(agent, "Say exactly: paper boats float")
result = [answer.final_output, answer.context_wrapper.usage.total_tokens]
""",
        responses,
    )
    assert text == "paper boats float"
    assert tokens > 0


async def test_a_tools_result_is_answered(ann: User, responses: bool) -> None:
    kinds, text = await run(
        ann,
        """
agent = Agent(name="Sailor", model=chat_model, tools=[get_weather])
answer = Runner.run_sync(agent, "Use get_weather for Paris")
result = [[item.type for item in answer.new_items], answer.final_output]
""",
        responses,
    )
    assert [kind for kind in kinds if kind != "reasoning_item"] == [
        "tool_call_item",
        "tool_call_output_item",
        "message_output_item",
    ]
    assert "18 degrees, drizzle" in text


async def test_a_tools_result_may_be_empty(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
agent = Agent(name="Sailor", model=chat_model, tools=[get_weather])
result = Runner.run_sync(agent, "Use get_weather for Paris").final_output
""",
        responses,
        weather="",
    )
    assert isinstance(found, str)


async def test_an_agent_streams_and_calls_its_tool(ann: User, responses: bool) -> None:
    streamed, text = await run(
        ann,
        """
async def read():
    agent = Agent(name="Sailor", model=chat_model, tools=[get_weather])
    run = Runner.run_streamed(agent, "Use get_weather for Paris")
    deltas = []
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            deltas.append(event.data.delta)
    return ["".join(deltas), run.final_output]
result = asyncio.run(read())
""",
        responses,
    )
    assert "18 degrees, drizzle" in text
    assert streamed.endswith(text)


async def test_an_answer_fits_the_requested_type(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
agent = Agent(name="Sailor", model=chat_model, output_type=Water)
result = type(Runner.run_sync(agent, "Describe the waters of Bavaria").final_output).__name__
""",
        responses,
    )
    assert found == "Water"


async def test_an_agent_hands_over_to_another(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
pilot = Agent(name="Pilot", model=chat_model)
captain = Agent(name="Captain", model=chat_model, handoffs=[pilot])
result = Runner.run_sync(captain, "Use transfer_to_pilot").last_agent.name
""",
        responses,
    )
    assert found == "Pilot"


async def test_a_session_remembers_the_conversation(ann: User, responses: bool) -> None:
    found = await run(
        ann,
        """
agent = Agent(name="Sailor", model=chat_model, tools=[get_weather])
async def talk():
    session = agents.SQLiteSession("conversation")
    await Runner.run(agent, "Use get_weather for Paris", session=session)
    return (await Runner.run(agent, "Say exactly: south", session=session)).final_output
result = asyncio.run(talk())
""",
        responses,
    )
    assert found == "south"


async def test_the_turns_of_a_run_go_on_from_stored_responses(ann: User, responses: bool) -> None:
    if not responses:
        pytest.skip("chat completions are not stored")
    found = await run(
        ann,
        """
agent = Agent(name="Sailor", model=chat_model, tools=[get_weather])
result = Runner.run_sync(agent, "Use get_weather for Paris", auto_previous_response_id=True).final_output
""",
        responses,
    )
    assert "18 degrees, drizzle" in found
