"""The examples of the OpenAPI document work unchanged, and streamed responses match both schemas."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from tests.api.calls import ROWS, WITH_BODY, Actors, new_actors, valid_call
from tests.kit import TEXT_MODEL, Cases
from tests.security.document import Document, document
from tests.studio import Studio

ADA = "ada@example.org"  # the user of the examples


@pytest_asyncio.fixture(scope="module")
async def described(atelier: Studio) -> Document:
    return await document(atelier)


@pytest_asyncio.fixture(scope="module")
async def actors(atelier: Studio) -> AsyncIterator[Actors]:
    actors = await new_actors(atelier)
    yield actors
    await actors.close()


def example(described: Document, name: str) -> dict[str, Any]:
    schema = described.body_of(described.operations[name])
    assert schema is not None
    examples: list[dict[str, Any]] = schema.get("examples", [])
    assert examples, f"{name} shows no example of its body"
    return dict(examples[0])


async def prepared(actors: Actors, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """An instance in which the objects of the examples exist: Ada, her token and her image."""
    if name.endswith("/auth/register"):
        found = (await actors.admin.get("/api/v1/users", params={"q": ADA})).json()["items"]
        for user in found:
            await actors.admin.delete(f"/api/v1/users/{user['id']}")
    if name.endswith("/auth/login"):
        await actors.anonymous.post("/api/v1/auth/register", json=body)
    if "refresh_token" in body:
        body["refresh_token"] = await actors.refresh_token()
    if "image_asset_id" in body:
        body["image_asset_id"] = await actors.asset()
    return body


async def test_every_example_works_as_it_is_written(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in WITH_BODY:
            with cases.case(name):
                body = await prepared(actors, name, example(described, name))
                call = await valid_call(name, actors)
                answer = await call.by(actors.caller(ROWS[name].access), json=body)
                assert answer.status_code == ROWS[name].status, answer.text
                assert list(described.problems(described.operations[name], answer)) == []


async def test_every_model_of_an_example_is_offered_by_the_simulator(actors: Actors, described: Document) -> None:
    models = (await actors.owner.get("/api/v1/ai/models", params={"limit": 100})).json()["items"]
    named = {body["model"] for body in (example(described, name) for name in WITH_BODY) if "model" in body}
    assert len(named) >= 3
    assert named <= {model["id"] for model in models}


async def test_every_path_and_every_field_is_on_the_docs_page(actors: Actors, described: Document) -> None:
    page = (await actors.anonymous.get("/api/docs")).text
    for operation in described.operations.values():
        assert operation.path in page
        schema = described.body_of(operation)
        for field in (schema or {}).get("properties", {}):
            assert field in page, f"{operation}: {field}"


STREAMED: dict[str, dict[str, Any]] = {
    "POST /api/v1/generate/text": {"model": TEXT_MODEL, "prompt": "three words"},
    "POST /api/v1/ai/chat": {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "three words"}]},
}


async def test_only_answers_that_may_be_streamed_are_described_as_streams(described: Document) -> None:
    streamed = {
        name
        for name, operation in described.operations.items()
        for answer in operation.spec["responses"].values()
        if "text/event-stream" in (answer.get("content") or {})
    }
    assert streamed == set(STREAMED)


async def test_a_streamed_answer_ends_with_the_same_object_as_a_complete_one(
    actors: Actors, described: Document
) -> None:
    for name, body in STREAMED.items():
        method, path = name.split()
        operation = described.operations[name]
        complete = await actors.owner.request(method, path, json=body)
        assert list(described.problems(operation, complete)) == []
        answer = await actors.owner.request(method, path, json={**body, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert list(described.problems(operation, answer)) == []
        *deltas, last, end = re.findall(r"^data: (.*)\n\n", answer.text, flags=re.M)
        assert end == "[DONE]"
        assert deltas
        assert all(set(json.loads(delta)) == {"delta"} for delta in deltas)
        as_answer = httpx.Response(200, content=last.encode(), headers={"content-type": "application/json"})
        assert list(described.problems(operation, as_answer)) == []


async def test_stream_must_be_a_boolean(actors: Actors) -> None:
    values: list[Any] = ["true", 1, "no", [], {}]
    with Cases() as cases:
        for name, body in STREAMED.items():
            method, path = name.split()
            for value in values:
                with cases.case(name, repr(value)):
                    answer = await actors.owner.request(method, path, json={**body, "stream": value})
                    assert answer.status_code == 400
                    assert "stream" in answer.json()["error"]["details"]["fields"]
