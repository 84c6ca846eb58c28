"""The examples of the API's document, carried out as they stand there, and the answers that have two shapes."""

import json
import re
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import TEXT, email
from tests.api.test_endpoints import BODIED, ROWS, Scene, right
from tests.security.document import Document, document
from tests.studio import Studio

ADA = "ada@example.org"  # who stands in the examples


@pytest_asyncio.fixture(scope="module")
async def described(atelier: Studio) -> Document:
    return await document(atelier)


@pytest_asyncio.fixture(scope="module")
async def scene(atelier: Studio) -> Scene:
    address = email("reader")
    return Scene(atelier, await atelier.person(address), await atelier.person("admin@studio.example"), address)


def example(described: Document, name: str) -> dict[str, Any]:
    schema = described.body_of(described.operations[name])
    assert schema is not None
    examples: list[dict[str, Any]] = schema.get("examples", [])
    assert examples, f"{name} shows no example of its body"
    return dict(examples[0])


async def lived(scene: Scene, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The example in a world where what it speaks of is there: Ada, her token, her picture."""
    if name.endswith("/auth/register"):
        found = (await scene.admin.get("/api/v1/users", params={"q": ADA})).json()["items"]
        for user in found:
            await scene.admin.delete(f"/api/v1/users/{user['id']}")
    if name.endswith("/auth/login"):
        await scene.nobody.post("/api/v1/auth/register", json=body)
    if "refresh_token" in body:
        body["refresh_token"] = await scene.refresh_token()
    if "image_asset_id" in body:
        body["image_asset_id"] = await scene.asset()
    return body


@pytest.mark.parametrize("name", BODIED)
async def test_an_example_works_as_it_stands_in_the_document(scene: Scene, described: Document, name: str) -> None:
    body = await lived(scene, name, example(described, name))
    call = await right(name, scene)
    asker = {"anybody": scene.nobody, "person": scene.ann, "admin": scene.admin}[ROWS[name].who]
    answer = await call.by(asker, json=body)
    assert answer.status_code == ROWS[name].status, answer.text
    assert list(described.problems(described.operations[name], answer)) == []


async def test_every_model_of_an_example_is_on_offer_in_the_simulator(scene: Scene, described: Document) -> None:
    offered = {it["id"] for it in (await scene.ann.get("/api/v1/ai/models", params={"limit": 100})).json()["items"]}
    named = {body["model"] for body in (example(described, name) for name in BODIED) if "model" in body}
    assert len(named) >= 3
    assert named <= offered


async def test_every_path_of_the_docs_page_and_every_field_has_its_place(scene: Scene, described: Document) -> None:
    """The page for people is made from the document: all of it is there."""
    page = (await scene.nobody.get("/api/docs")).text
    for operation in described.operations.values():
        assert operation.path in page
        schema = described.body_of(operation)
        for field in (schema or {}).get("properties", {}):
            assert field in page, f"{operation}: {field}"


STREAMED: dict[str, dict[str, Any]] = {
    "POST /api/v1/generate/text": {"model": TEXT, "prompt": "three words"},
    "POST /api/v1/ai/chat": {"model": TEXT, "messages": [{"role": "user", "content": "three words"}]},
}


async def test_what_streams_is_described_as_both_and_nothing_else_is(described: Document) -> None:
    both = {
        name
        for name, operation in described.operations.items()
        for answer in operation.spec["responses"].values()
        if "text/event-stream" in (answer.get("content") or {})
    }
    assert both == set(STREAMED)


@pytest.mark.parametrize("name", list(STREAMED))
async def test_a_streamed_answer_ends_with_the_shape_that_a_whole_one_has(
    scene: Scene, described: Document, name: str
) -> None:
    method, path = name.split()
    operation = described.operations[name]
    whole = await scene.ann.request(method, path, json=STREAMED[name])
    assert list(described.problems(operation, whole)) == []
    answer = await scene.ann.request(method, path, json={**STREAMED[name], "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert list(described.problems(operation, answer)) == []
    *deltas, last, end = re.findall(r"^data: (.*)\n\n", answer.text, flags=re.M)
    assert end == "[DONE]"
    assert deltas
    assert all(set(json.loads(delta)) == {"delta"} for delta in deltas)
    as_answer = httpx.Response(200, content=last.encode(), headers={"content-type": "application/json"})
    assert list(described.problems(operation, as_answer)) == []


@pytest.mark.parametrize("name", list(STREAMED))
async def test_a_stream_is_asked_for_with_true_and_nothing_else(scene: Scene, name: str) -> None:
    method, path = name.split()
    values: list[Any] = ["true", 1, "no", [], {}]
    for value in values:
        answer = await scene.ann.request(method, path, json={**STREAMED[name], "stream": value})
        assert answer.status_code == 400
        assert "stream" in answer.json()["error"]["details"]["fields"]
