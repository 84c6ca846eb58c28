"""The OpenAPI document describes what the API does, and the docs page shows all of it."""

import json
import re

import httpx
import jsonschema_rs
import pytest_asyncio

from tests.kit import (
    IMAGE_MODEL,
    TEXT_MODEL,
    UNKNOWN_ID,
    VIDEO_MODEL,
    Cases,
    Json,
    generated_image,
    requested_video,
    uploaded_asset,
)
from tests.studio import Studio

ROWS = """
POST /auth/register
POST /auth/login
POST /auth/refresh
POST /auth/logout
GET /users/me
PUT /users/me
GET /ai/models
POST /generate/text
POST /generate/image
POST /generate/video
POST /generate/video/from-image
GET /generate/video/{}/status
GET /generate/video/status
GET /generate/images
GET /generate/images/{}
GET /generate/videos
GET /generate/videos/{}
POST /generate/videos/{}/cancel
POST /generate/video/{}/cancel
GET /jobs
GET /jobs/{}
POST /jobs/{}/cancel
POST /jobs/{}/retry
POST /assets
GET /assets
GET /assets/{}
DELETE /assets/{}
""".strip().splitlines()


@pytest_asyncio.fixture(scope="module")
async def document(atelier: Studio) -> Json:
    answer = await atelier.direct().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert "json" in answer.headers["content-type"]
    body: Json = answer.json()
    return body


def operations(document: Json) -> dict[str, Json]:
    return {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path).removeprefix('/api/v1')}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "delete", "patch")
    }


async def test_every_call_of_the_contract_is_in_the_document(document: Json) -> None:
    with Cases() as cases:
        for row in ROWS:
            with cases.case(row):
                operation = operations(document)[row]
                assert operation.get("summary", "").strip()
                assert operation["responses"]


async def test_the_document_is_openapi_3_and_every_reference_resolves(document: Json) -> None:
    assert document["openapi"].startswith("3.")
    references = set(re.findall(r'"\$ref":\s*"([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]


async def test_every_status_of_an_answer_is_in_the_document(
    atelier: Studio, document: Json, ann: httpx.AsyncClient
) -> None:
    described = operations(document)
    video = await requested_video(ann, "[stuck] a lighthouse")
    anonymous = atelier.direct()
    calls: list[tuple[str, httpx.AsyncClient, Json]] = [
        ("POST /auth/register", anonymous, {"json": {"email": "x"}}),
        ("POST /auth/login", anonymous, {"json": {"email": "x@y.example", "password": "wrong wrong"}}),
        ("POST /auth/login", anonymous, {"json": {}}),
        ("POST /auth/refresh", anonymous, {"json": {"refresh_token": "x"}}),
        ("GET /users/me", anonymous, {}),
        ("GET /users/me", ann, {}),
        ("PUT /users/me", ann, {"json": {"email": "x"}}),
        ("GET /ai/models", ann, {}),
        ("GET /ai/models", ann, {"params": {"limit": 101}}),
        ("GET /ai/models", anonymous, {}),
        ("POST /generate/text", ann, {"json": {"model": TEXT_MODEL, "prompt": "x"}}),
        ("POST /generate/text", ann, {"json": {"model": TEXT_MODEL, "prompt": "[ambiguous] x"}}),
        ("POST /generate/text", ann, {"json": {"model": TEXT_MODEL, "prompt": "[refuse] x"}}),
        ("POST /generate/image", ann, {"json": {"model": IMAGE_MODEL, "prompt": "x"}}),
        ("POST /generate/image", ann, {"json": {"model": IMAGE_MODEL, "prompt": "[ambiguous] x"}}),
        ("POST /generate/image", ann, {"json": {"model": "x", "prompt": "x"}}),
        (
            "POST /generate/image",
            ann,
            {"json": {"model": IMAGE_MODEL, "prompt": "[slow] x"}, "headers": {"Prefer": "respond-async"}},
        ),
        ("POST /generate/video", ann, {"json": {"model": VIDEO_MODEL, "prompt": "x", "duration": 99}}),
        ("POST /generate/video/from-image", ann, {"json": {"model": VIDEO_MODEL, "prompt": "x"}}),
        ("POST /generate/video/from-image", anonymous, {"json": {}}),
        ("GET /generate/video/status", ann, {"params": {"polling_url": "x"}}),
        ("GET /generate/video/{}/status", ann, {}),
        ("GET /generate/images", ann, {"params": {"cursor": "x"}}),
        ("GET /generate/images/{}", ann, {}),
        ("GET /generate/videos/{}", ann, {}),
        ("POST /generate/videos/{}/cancel", ann, {}),
        ("GET /jobs", anonymous, {}),
        ("GET /jobs", ann, {"params": {"limit": 0}}),
        ("GET /jobs/{}", ann, {}),
        ("POST /jobs/{}/cancel", ann, {}),
        ("POST /jobs/{}/retry", ann, {}),
        ("POST /jobs/{}/retry", ann, {"id": video["id"]}),
        ("POST /assets", ann, {"files": {"file": ("x", b"x")}}),
        ("POST /assets", ann, {}),
        ("POST /assets", anonymous, {}),
        ("GET /assets/{}", ann, {}),
        ("DELETE /assets/{}", ann, {}),
    ]
    missing = []
    for row, client, options in calls:
        method, path = row.split()
        job_id = options.pop("id", UNKNOWN_ID)
        answer = await client.request(method, "/api/v1" + path.format(job_id), **options)
        if str(answer.status_code) not in described[row]["responses"]:
            missing.append(f"{row} answered {answer.status_code}")
    await ann.post(f"/api/v1/jobs/{video['id']}/cancel")
    assert missing == []


async def test_answers_fit_the_schemas_of_the_document(document: Json, ann: httpx.AsyncClient) -> None:
    described = operations(document)
    job = await generated_image(ann)
    asset = await uploaded_asset(ann)
    video = await requested_video(ann)
    for row, path in [
        ("GET /jobs", "/jobs"),
        ("GET /jobs/{}", f"/jobs/{job['id']}"),
        ("GET /assets", "/assets"),
        ("GET /assets/{}", f"/assets/{asset['id']}"),
        ("GET /generate/images", "/generate/images"),
        ("GET /generate/videos/{}", f"/generate/videos/{video['id']}"),
        ("GET /generate/video/{}/status", f"/generate/video/{video['id']}/status"),
        ("GET /users/me", "/users/me"),
        ("GET /ai/models", "/ai/models"),
        ("GET /jobs/{}", f"/jobs/{UNKNOWN_ID}"),
    ]:
        answer = await ann.get(f"/api/v1{path}")
        declared = described[row]["responses"][str(answer.status_code)]
        schema = declared["content"]["application/json"]["schema"]
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})
        errors = [error.message for error in validator.iter_errors(answer.json())]
        assert errors == [], f"{row}: {errors}"


async def test_the_document_describes_bearer_authentication(document: Json) -> None:
    schemes = document["components"]["securitySchemes"]
    assert any(scheme["type"] == "http" and scheme["scheme"].lower() == "bearer" for scheme in schemes.values())


async def test_the_docs_page_shows_every_call_and_loads_nothing_from_elsewhere(atelier: Studio) -> None:
    answer = await atelier.direct().get("/api/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for call in ROWS:
        path = "/api/v1" + call.split()[1].split("{}")[0]
        assert path in answer.text, call
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text)
    login = await atelier.direct().get("/login")
    assert answer.headers["content-security-policy"] == login.headers["content-security-policy"]
