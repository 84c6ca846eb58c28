"""The official `openai` package: what `tests/gateway/sdk` does not show yet."""

import base64

from tests.gateway.sdk.conftest import User
from tests.gateway.sdk.test_chat import WEATHER
from tests.kit import IMAGE_MODEL, decoded_image

CLIENT = "openai"
MODEL = "anthropic/claude-sonnet-5"  # takes images, tools and a schema
EMBEDDING_MODEL = "openai/text-embedding-3-small"
TYPES = """
import enum, pydantic
class Kind(enum.Enum):
    RIVER = "river"
    LAKE = "lake"
class Place(pydantic.BaseModel):
    name: str
    depth: float | None
class Water(pydantic.BaseModel):
    kind: Kind
    places: list[Place]
class GetWeather(pydantic.BaseModel):
    city: str
"""


async def test_an_answer_is_parsed_into_nested_types(ann: User) -> None:
    kind, places = await ann.run(
        TYPES
        + """
messages = [{"role": "user", "content": "Describe the waters of Bavaria"}]
found = client.chat.completions.parse(model=given["model"], messages=messages, response_format=Water)
water = found.choices[0].message.parsed
result = [water.kind.value, [place.model_dump() for place in water.places]]
""",
        model=MODEL,
    )
    assert kind in ("river", "lake")
    assert all(set(place) == {"name", "depth"} for place in places)


async def test_a_streamed_answer_is_parsed_too(ann: User) -> None:
    found = await ann.run(
        TYPES
        + """
messages = [{"role": "user", "content": "Describe the waters of Bavaria"}]
with client.chat.completions.stream(model=given["model"], messages=messages, response_format=Water) as stream:
    result = type(stream.get_final_completion().choices[0].message.parsed).__name__
""",
        model=MODEL,
    )
    assert found == "Water"


async def test_arguments_of_a_tool_are_parsed(ann: User) -> None:
    found = await ann.run(
        TYPES
        + """
messages = [{"role": "user", "content": "Use GetWeather for Paris"}]
tools = [openai.pydantic_function_tool(GetWeather)]
found = client.chat.completions.parse(model=given["model"], messages=messages, tools=tools)
result = found.choices[0].message.tool_calls[0].function.parsed_arguments.city
""",
        model=MODEL,
    )
    assert found == "Paris"


async def test_an_image_is_streamed(ann: User) -> None:
    events = await ann.run(
        """
        events = client.images.generate(model=given["model"], prompt="[stamp] a lighthouse", stream=True)
        result = [as_json(event) for event in events]
        """,
        model=IMAGE_MODEL,
    )
    assert [event["type"] for event in events][-1] == "image_generation.completed"
    assert decoded_image(base64.b64decode(events[-1]["b64_json"])).size > (0, 0)


async def test_embeddings_are_vectors_of_the_requested_size_in_the_order_of_the_inputs(ann: User) -> None:
    found = await ann.run(
        """
        texts = ["a glacier in the north", "glaciers of the north", "a recipe for bread"]
        result = as_json(client.embeddings.create(model=given["model"], input=texts, dimensions=256))
        """,
        model=EMBEDDING_MODEL,
    )
    assert [item["index"] for item in found["data"]] == [0, 1, 2]
    first, second, third = (item["embedding"] for item in found["data"])
    assert len(first) == 256
    assert _similarity(first, second) > _similarity(first, third)
    assert found["usage"]["total_tokens"] > 0


async def test_embeddings_are_numbers_when_numbers_are_requested(ann: User) -> None:
    found = await ann.run(
        "result = as_json(client.embeddings.create(model=given['model'], input='slate', encoding_format='float'))",
        model=EMBEDDING_MODEL,
    )
    assert all(isinstance(number, float) for number in found["data"][0]["embedding"])


async def test_a_response_is_created_found_and_deleted(ann: User) -> None:
    created, found, inputs, after = await ann.run(
        """
        created = client.responses.create(model=given["model"], input="Say exactly: paper boats float")
        found = client.responses.retrieve(created.id)
        inputs = [as_json(item) for item in client.responses.input_items.list(created.id)]
        client.responses.delete(created.id)
        after = error_of(client.responses.retrieve, created.id)
        result = [[as_json(created), created.output_text], [as_json(found), found.output_text], inputs, after]
        """,
        model=MODEL,
    )
    assert created[1] == found[1] == "paper boats float"
    assert created[0]["object"] == "response"
    assert created[0]["status"] == "completed"
    assert created[0]["usage"]["output_tokens"] > 0
    assert created[0]["id"] == found[0]["id"]
    assert inputs[0]["content"][0]["text"] == "Say exactly: paper boats float"
    assert after["status"] == 404


async def test_a_response_that_is_not_stored_is_not_found(ann: User) -> None:
    error = await ann.run(
        """
        created = client.responses.create(model=given["model"], input="Say exactly: gone", store=False)
        result = error_of(client.responses.retrieve, created.id)
        """,
        model=MODEL,
    )
    assert error["status"] == 404


async def test_a_response_goes_on_from_the_one_before(ann: User) -> None:
    first, second, inputs = await ann.run(
        """
        tools = [{"type": "function", "strict": False, **given["function"]}]
        first = client.responses.create(
            model=given["model"], input="Use get_weather for Lyon", tools=tools)
        (call,) = [item for item in first.output if item.type == "function_call"]
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees, drizzle"}
        second = client.responses.create(
            model=given["model"], previous_response_id=first.id, input=[output], tools=tools)
        inputs = [item.type for item in client.responses.input_items.list(second.id, order="asc")]
        result = [[call.name, call.arguments], [second.output_text, second.previous_response_id == first.id], inputs]
        """,
        model=MODEL,
        function=WEATHER["function"],
    )
    assert first == ["get_weather", '{"city": "Lyon"}']
    assert "18 degrees, drizzle" in second[0]
    assert second[1]
    assert inputs[-1] == "function_call_output"


async def test_a_streamed_response_has_the_events_of_its_life(ann: User) -> None:
    kinds, numbers, deltas, text = await ann.run(
        """
        with client.responses.stream(model=given["model"], input="Say exactly: the tide is out") as stream:
            events = list(stream)
            final = stream.get_final_response()
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        result = [[event.type for event in events], [event.sequence_number for event in events], deltas, final.output_text]
        """,
        model=MODEL,
    )
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert numbers == list(range(len(numbers)))
    assert "".join(deltas) == text == "the tide is out"


async def test_a_response_is_parsed_into_nested_types(ann: User) -> None:
    found = await ann.run(
        TYPES
        + """
found = client.responses.parse(model=given["model"], input="Describe the waters of Bavaria", text_format=Water)
result = type(found.output_parsed).__name__
""",
        model=MODEL,
    )
    assert found == "Water"


async def test_a_response_that_is_cut_off_says_so(ann: User) -> None:
    found = await ann.run(
        "result = as_json(client.responses.create(model=given['model'], input='Count to 100', max_output_tokens=16))",
        model=MODEL,
    )
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}


def _similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
