"""LangChain's package `langchain-openai`, which reads the base URL and the key from the environment."""

from typing import Any

from tests.gateway.sdk.conftest import User

CLIENT = "langchain"
MODEL = "anthropic/claude-sonnet-5"
IMPORT = """
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from typing import Literal
import pydantic

@tool
def get_weather(city: str) -> str:
    "The weather in a city."
    return given.get("weather", "18 degrees, drizzle")

class Place(pydantic.BaseModel):
    "A place in or at a water."
    name: str
    depth: float | None
class Water(pydantic.BaseModel):
    "A body of water."
    kind: Literal["river", "lake"]
    places: list[Place]

chat_model = ChatOpenAI(model=given["model"], max_retries=0, **given.get("options", {}))

def tool_loop(text):
    "Call the model and its tool until it answers."
    model = chat_model.bind_tools([get_weather])
    messages = [HumanMessage(text)]
    while True:
        messages.append(model.invoke(messages))
        if not messages[-1].tool_calls:
            return messages
        messages += [get_weather.invoke(call) for call in messages[-1].tool_calls]
"""
RESPONSES = {"use_responses_api": True}


async def run(user: User, program: str, **given: Any) -> Any:
    return await user.run(IMPORT + program, **{"model": MODEL, **given})


async def test_a_chat_is_answered_with_its_usage(ann: User) -> None:
    text, usage = await run(
        ann,
        """
answer = chat_model.invoke([SystemMessage("Be brief."), HumanMessage("Say exactly: paper boats float")])
result = [answer.content, answer.usage_metadata]
""",
    )
    assert text == "paper boats float"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


async def test_a_stream_adds_up_to_the_answer_and_its_usage(ann: User) -> None:
    count, text, usage = await run(
        ann,
        """
chunks = list(chat_model.stream("Say exactly: the tide is out", stream_usage=True))
whole = sum(chunks[1:], chunks[0])
result = [len(chunks), whole.content, whole.usage_metadata]
""",
    )
    assert count > 1
    assert text == "the tide is out"
    assert usage["output_tokens"] > 0


async def test_a_tools_result_is_answered(ann: User) -> None:
    kinds, text = await run(
        ann,
        """
messages = tool_loop("Use get_weather for Paris")
result = [[message.type for message in messages], messages[-1].content]
""",
    )
    assert kinds == ["human", "ai", "tool", "ai"]
    assert "18 degrees, drizzle" in text


async def test_a_tools_result_may_be_empty(ann: User) -> None:
    kinds = await run(ann, "result = [message.type for message in tool_loop('Use get_weather for Paris')]", weather="")
    assert kinds == ["human", "ai", "tool", "ai"]


async def test_an_answer_fits_the_requested_type_by_every_method(ann: User) -> None:
    found = await run(
        ann,
        """
waters = [
    chat_model.with_structured_output(Water, **options).invoke("Describe the waters of Bavaria")
    for options in ({}, {"strict": True}, {"method": "function_calling"})
]
result = [type(water).__name__ for water in waters]
""",
    )
    assert found == ["Water"] * 3


async def test_texts_are_embedded_and_the_nearest_is_found(ann: User) -> None:
    # The package would download a table of tokens to measure the texts.
    size, similarities = await run(
        ann,
        """
embeddings = OpenAIEmbeddings(model=given["embedding_model"], check_embedding_ctx_length=False)
query = embeddings.embed_query("a glacier in the north")
vectors = embeddings.embed_documents(["glaciers of the north", "a recipe for bread"])
result = [len(query), [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]]
""",
        embedding_model="openai/text-embedding-3-small",
    )
    assert size == 1536
    assert similarities[0] > similarities[1]


async def test_a_response_is_created_and_streamed(ann: User) -> None:
    whole, streamed = await run(
        ann,
        """
chunks = list(chat_model.stream("Say exactly: north"))
result = [chat_model.invoke("Say exactly: north").text, sum(chunks[1:], chunks[0]).text]
""",
        options=RESPONSES,
    )
    assert (whole, streamed) == ("north", "north")


async def test_a_tools_result_is_answered_in_a_response(ann: User) -> None:
    kinds, text = await run(
        ann,
        """
messages = tool_loop("Use get_weather for Paris")
result = [[message.type for message in messages], messages[-1].text]
""",
        options=RESPONSES,
    )
    assert kinds == ["human", "ai", "tool", "ai"]
    assert "18 degrees, drizzle" in text


async def test_responses_go_on_from_the_one_before(ann: User) -> None:
    found = await run(
        ann,
        """
first = chat_model.invoke("Say exactly: north")
second = chat_model.invoke([HumanMessage("Say exactly: north"), first, HumanMessage("Say exactly: south")])
result = [first.response_metadata["id"] != second.response_metadata["id"], second.text]
""",
        options={**RESPONSES, "use_previous_response_id": True},
    )
    assert found == [True, "south"]
