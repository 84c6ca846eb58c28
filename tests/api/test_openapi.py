"""The OpenAPI document and the docs page: what is written there is what is done."""

import re

import httpx
import jsonschema_rs
import pytest

from tests.api.kit import CLIP, INVENTED, PICTURE, TEXT, Json, asked_clip, pictured, uploaded
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


async def document(atelier: Studio) -> Json:
    answer = await atelier.client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert "json" in answer.headers["content-type"]
    body: Json = answer.json()
    return body


def operations(body: Json) -> dict[str, Json]:
    return {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path).removeprefix('/api/v1')}": operation
        for path, item in body["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "delete", "patch")
    }


@pytest.mark.parametrize("row", ROWS)
async def test_every_call_of_the_contract_is_in_the_document(atelier: Studio, row: str) -> None:
    operation = operations(await document(atelier))[row]
    assert operation.get("summary", "").strip()
    assert operation["responses"]


async def test_the_document_is_openapi_3_and_every_reference_leads_somewhere(atelier: Studio) -> None:
    body = await document(atelier)
    assert body["openapi"].startswith("3.")
    answer = await atelier.client().get("/api/v1/openapi.json")
    for reference in set(re.findall(r'"\$ref":\s*"([^"]+)"', answer.text)):
        place = body
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]


async def test_every_status_that_a_call_gives_is_in_the_document(atelier: Studio, ann: httpx.AsyncClient) -> None:
    body = operations(await document(atelier))
    clip = await asked_clip(ann, "[stuck] a lighthouse")
    calls: list[tuple[str, httpx.AsyncClient, Json]] = [
        ("POST /auth/register", atelier.client(), {"json": {"email": "x"}}),
        ("POST /auth/login", atelier.client(), {"json": {"email": "x@y.example", "password": "wrong wrong"}}),
        ("POST /auth/login", atelier.client(), {"json": {}}),
        ("POST /auth/refresh", atelier.client(), {"json": {"refresh_token": "x"}}),
        ("GET /users/me", atelier.client(), {}),
        ("GET /users/me", ann, {}),
        ("PUT /users/me", ann, {"json": {"email": "x"}}),
        ("GET /ai/models", ann, {}),
        ("GET /ai/models", ann, {"params": {"limit": 101}}),
        ("GET /ai/models", atelier.client(), {}),
        ("POST /generate/text", ann, {"json": {"model": TEXT, "prompt": "x"}}),
        ("POST /generate/text", ann, {"json": {"model": TEXT, "prompt": "[ambiguous] x"}}),
        ("POST /generate/text", ann, {"json": {"model": TEXT, "prompt": "[refuse] x"}}),
        ("POST /generate/image", ann, {"json": {"model": PICTURE, "prompt": "x"}}),
        ("POST /generate/image", ann, {"json": {"model": PICTURE, "prompt": "[ambiguous] x"}}),
        ("POST /generate/image", ann, {"json": {"model": "x", "prompt": "x"}}),
        (
            "POST /generate/image",
            ann,
            {"json": {"model": PICTURE, "prompt": "[slow] x"}, "headers": {"Prefer": "respond-async"}},
        ),
        ("POST /generate/video", ann, {"json": {"model": CLIP, "prompt": "x", "duration": 99}}),
        ("POST /generate/video/from-image", ann, {"json": {"model": CLIP, "prompt": "x"}}),
        ("POST /generate/video/from-image", atelier.client(), {"json": {}}),
        ("GET /generate/video/status", ann, {"params": {"polling_url": "x"}}),
        ("GET /generate/video/{}/status", ann, {}),
        ("GET /generate/images", ann, {"params": {"cursor": "x"}}),
        ("GET /generate/images/{}", ann, {}),
        ("GET /generate/videos/{}", ann, {}),
        ("POST /generate/videos/{}/cancel", ann, {}),
        ("GET /jobs", atelier.client(), {}),
        ("GET /jobs", ann, {"params": {"limit": 0}}),
        ("GET /jobs/{}", ann, {}),
        ("POST /jobs/{}/cancel", ann, {}),
        ("POST /jobs/{}/retry", ann, {}),
        ("POST /jobs/{}/retry", ann, {"id": clip["id"]}),
        ("POST /assets", ann, {"files": {"file": ("x", b"x")}}),
        ("POST /assets", ann, {}),
        ("POST /assets", atelier.client(), {}),
        ("GET /assets/{}", ann, {}),
        ("DELETE /assets/{}", ann, {}),
    ]
    missing = []
    for row, client, options in calls:
        method, path = row.split()
        named = options.pop("id", INVENTED)
        answer = await client.request(method, "/api/v1" + path.format(named), **options)
        if str(answer.status_code) not in body[row]["responses"]:
            missing.append(f"{row} answered {answer.status_code}")
    await ann.post(f"/api/v1/jobs/{clip['id']}/cancel")
    assert missing == []


async def test_answers_have_the_shape_that_the_document_gives(atelier: Studio, ann: httpx.AsyncClient) -> None:
    body = await document(atelier)
    rows = operations(body)
    job = await pictured(ann)
    asset = await uploaded(ann)
    clip = await asked_clip(ann)
    for row, path in [
        ("GET /jobs", "/jobs"),
        ("GET /jobs/{}", f"/jobs/{job['id']}"),
        ("GET /assets", "/assets"),
        ("GET /assets/{}", f"/assets/{asset['id']}"),
        ("GET /generate/images", "/generate/images"),
        ("GET /generate/videos/{}", f"/generate/videos/{clip['id']}"),
        ("GET /generate/video/{}/status", f"/generate/video/{clip['id']}/status"),
        ("GET /users/me", "/users/me"),
        ("GET /ai/models", "/ai/models"),
        ("GET /jobs/{}", f"/jobs/{INVENTED}"),
    ]:
        answer = await ann.get(f"/api/v1{path}")
        declared = rows[row]["responses"][str(answer.status_code)]
        schema = declared["content"]["application/json"]["schema"]
        checker = jsonschema_rs.Draft202012Validator({**schema, "components": body["components"]})
        problems = [error.message for error in checker.iter_errors(answer.json())]
        assert problems == [], f"{row}: {problems}"


async def test_the_document_says_how_to_sign_in(atelier: Studio) -> None:
    schemes = (await document(atelier))["components"]["securitySchemes"]
    assert any(scheme["type"] == "http" and scheme["scheme"].lower() == "bearer" for scheme in schemes.values())


async def test_the_docs_page_is_our_own_and_works_offline(atelier: Studio) -> None:
    answer = await atelier.client().get("/api/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for call in ROWS:
        path = "/api/v1" + call.split()[1].split("{}")[0]
        assert path in answer.text, call
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text)
    login = await atelier.client().get("/login")
    assert answer.headers["content-security-policy"] == login.headers["content-security-policy"]
