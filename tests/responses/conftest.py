"""Clients of the Responses API: of the shared program with its simulator, of a program with a scripted provider, and OpenAI's own
package."""

import json

import httpx
import pytest
import pytest_asyncio

from tests.gateway.conftest import caller, scripted, scripted_studio  # noqa: F401 (fixtures)
from tests.gateway.sdk.conftest import ann, interpreter, python  # noqa: F401 (fixtures)
from tests.kit import Json, key_client
from tests.studio import Studio

MODEL = "anthropic/claude-sonnet-5"  # of the simulator: takes images, tools and a schema


@pytest_asyncio.fixture(scope="session")
async def client(atelier: Studio) -> httpx.AsyncClient:
    """A client with an API key, shared by tests that look at nothing but their own responses."""
    return await key_client(atelier, "responses")


@pytest.fixture
async def stranger(atelier: Studio) -> httpx.AsyncClient:
    return await key_client(atelier, "stranger")


async def create(client: httpx.AsyncClient, input: object, **more: object) -> Json:
    """A whole response of the simulator's model."""
    answer = await client.post("/v1/responses", json={"model": MODEL, "input": input, **more})
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response


async def events(client: httpx.AsyncClient, input: object, **more: object) -> list[Json]:
    """The events of a streamed response, each of which names its type twice."""
    body = {"model": MODEL, "input": input, "stream": True, **more}
    answer = await client.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for event in answer.text.strip().split("\n\n"):
        if not event.startswith(":"):
            kind, data = event.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert kind == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def text_of(response: Json) -> str:
    """The text of all messages of a response, as OpenAI's packages put it together."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"] if part["type"] == "output_text")
