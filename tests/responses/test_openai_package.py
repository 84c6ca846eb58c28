"""The Responses API as OpenAI's own package sees it."""

from tests.gateway.sdk.conftest import User
from tests.responses.conftest import MODEL

TOOL = """
tools = [{"type": "function", "name": "get_weather", "strict": False, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]
"""


async def test_a_response_is_created_found_listed_and_deleted(ann: User) -> None:
    created, found, items, after, cancelled = await ann.run(
        """
        created = client.responses.create(model=given["model"], input="Say exactly: paper boats float")
        found = client.responses.retrieve(created.id)
        items = [as_json(item) for item in client.responses.input_items.list(created.id)]
        cancelled = error_of(client.responses.cancel, created.id)["status"]
        client.responses.delete(created.id)
        after = error_of(client.responses.retrieve, created.id)["status"]
        result = [created.output_text, found.output_text, items, after, cancelled]
        """,
        model=MODEL,
    )
    assert created == found == "paper boats float"
    assert [item["content"][0]["text"] for item in items] == ["Say exactly: paper boats float"]
    assert (after, cancelled) == (404, 400)


async def test_every_field_has_the_type_that_the_package_expects(ann: User) -> None:
    problems = await ann.run(
        TOOL
        + """
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

event_type = TypeAdapter(ResponseStreamEvent)
problems = []
def check(adapter, value):
    try:
        adapter(value)
    except ValidationError as exc:
        problems.append(str(exc))

for text in ("Hello", "[upstream:reasoning] Use get_weather for Lyon", "[upstream:refusal] No", "[upstream:images] x",
             "[upstream:logprobs] Hello", "[upstream:empty] Hello"):
    request = dict(model=given["model"], input=text, tools=tools, instructions="Be brief.")
    raw = client.responses.with_raw_response.create(**request)
    check(Response.model_validate_json, raw.text)
    with client.responses.with_streaming_response.create(stream=True, **request) as streamed:
        for line in streamed.iter_lines():
            if line.startswith("data: "):
                check(event_type.validate_json, line[6:])
result = problems
""",
        model=MODEL,
    )
    assert problems == []


async def test_a_stream_is_put_together_by_the_package(ann: User) -> None:
    kinds, deltas, final, call = await ann.run(
        TOOL
        + """
with client.responses.stream(model=given["model"], input="[upstream:reasoning] Say exactly: the tide is out") as stream:
    events = list(stream)
    final = stream.get_final_response().output_text
deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
with client.responses.stream(model=given["model"], input="Use get_weather for Lyon", tools=tools) as stream:
    snapshots = [event.snapshot for event in stream if event.type == "response.function_call_arguments.delta"]
    call = [snapshots[-1], stream.get_final_response().output[0].arguments]
result = [[event.type for event in events], deltas, final, call]
""",
        model=MODEL,
    )
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert deltas == final == "the tide is out"
    assert call == ['{"city": "Lyon"}'] * 2


async def test_a_response_is_parsed_and_continued(ann: User) -> None:
    parsed, continued = await ann.run(
        """
        import pydantic
        class Water(pydantic.BaseModel):
            rivers: list[str]
        first = client.responses.parse(model=given["model"], input="Describe the waters of Bavaria", text_format=Water)
        history = [{"role": "user", "content": "Describe the waters of Bavaria"}, *first.output]
        second = client.responses.create(
            model=given["model"], input=[*history, {"role": "user", "content": "Say exactly: south"}])
        result = [type(first.output_parsed).__name__, second.output_text]
        """,
        model=MODEL,
    )
    assert (parsed, continued) == ("Water", "south")


async def test_errors_are_the_packages_own(ann: User) -> None:
    missing, model, failed = await ann.run(
        """
        create = client.responses.create
        missing = error_of(create, model=given["model"], input="Hello", previous_response_id="resp_1")
        model = error_of(create, model="no/such", input="Hello")
        events = list(create(model=given["model"], input="[error-in-stream] Explain tides at length", stream=True))
        result = [[missing["status"], missing["code"]], [model["status"], model["code"]], events[-1].type]
        """,
        model=MODEL,
    )
    assert missing == [400, "previous_response_not_found"]
    assert model == [404, "model_not_found"]
    assert failed == "response.failed"
