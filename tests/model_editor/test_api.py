"""Admins describe models as data over the API: add, copy, replace, reset, export and import, each with one clear error."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.kit import IMAGE_MODEL, TEXT_MODEL, Cases, Json, ended_job, error_of, new_email
from tests.studio import Studio

PATH = "/api/v1/admin/models"
STEPS = {"title": "Steps", "type": "integer", "minimum": 1, "maximum": 50, "default": 30}


def described(**more: Any) -> Json:
    return {"name": "My model", "type": "text_to_image", "parameters": {"properties": {"steps": STEPS}}, **more}


@pytest_asyncio.fixture
async def admin(studio: Studio) -> httpx.AsyncClient:
    return await studio.user("admin@studio.example", direct=True)


@pytest.fixture
async def user(admin: httpx.AsyncClient, studio: Studio) -> httpx.AsyncClient:
    return await studio.user(new_email(), direct=True)


async def model_of(client: httpx.AsyncClient, id: str) -> Json:
    answer = await client.get(f"{PATH}/{id}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def description_of(client: httpx.AsyncClient, id: str) -> Json:
    keys = ("name", "description", "type", "inputs", "outputs", "parameters", "price", "button", "help")
    found = await model_of(client, id)
    return {key: found[key] for key in keys}


async def test_an_edited_description_drives_form_validation_and_price_and_survives_a_refresh(
    studio: Studio, admin: httpx.AsyncClient, user: httpx.AsyncClient
) -> None:
    before = await model_of(admin, IMAGE_MODEL)
    assert (before["source"], before["version"]) == ("provider", 0)
    edited = {
        **await description_of(admin, IMAGE_MODEL),
        "name": "Our painter",
        "parameters": {
            "properties": {"n": {"title": "Images", "type": "integer", "minimum": 1, "maximum": 2, "default": 1}}
        },
        "price": "0.25 * n",
    }
    saved = await admin.put(f"{PATH}/{IMAGE_MODEL}", json={**edited, "version": 0})
    assert saved.status_code == 200, saved.text
    assert (saved.json()["source"], saved.json()["version"], saved.json()["changed_by"]) == (
        "edited",
        1,
        "admin@studio.example",
    )
    await admin.post(f"{PATH}/refresh")
    browser = await studio.user_in_browser(new_email(), direct=True)
    page = (await browser.get(f"/generate/image?model={IMAGE_MODEL}")).text
    assert "Our painter" in page
    assert "$0.25" in page
    body = {"model": IMAGE_MODEL, "prompt": "A boat", "n": 3}
    assert (
        "n"
        in error_of(await user.post("/api/v1/generate/image", json=body), 400, "VALIDATION_ERROR")["details"]["fields"]
    )
    estimate = (await user.post("/api/v1/generate/estimate", json={**body, "n": 2})).json()
    assert (estimate["cost_usd"], estimate["basis"]) == ({"min": "0.5", "max": "0.5"}, "formula")
    assert (await admin.delete(f"{PATH}/{IMAGE_MODEL}")).status_code == 204
    after = await model_of(admin, IMAGE_MODEL)
    assert (after["name"], after["source"], after["parameters"]) == (before["name"], "provider", before["parameters"])
    error_of(await admin.delete(f"{PATH}/{IMAGE_MODEL}"), 404, "RESOURCE_NOT_FOUND")


async def test_a_model_that_the_provider_does_not_list_is_added_used_disabled_and_removed(
    admin: httpx.AsyncClient, user: httpx.AsyncClient
) -> None:
    source = await description_of(admin, TEXT_MODEL)
    body = {"provider": "openrouter", "endpoint": "ours/fine-tuned", "copy_of": TEXT_MODEL, **source, "name": "Ours"}
    added = await admin.post(PATH, json=body)
    assert added.status_code == 201, added.text
    assert (added.json()["id"], added.json()["source"]) == ("ours/fine-tuned", "added")
    assert added.json()["pricing"] == (await model_of(admin, TEXT_MODEL))["pricing"]
    await admin.post(f"{PATH}/refresh")
    listed = [it["id"] for it in (await user.get("/api/v1/ai/models", params={"q": "ours"})).json()["items"]]
    assert listed == ["ours/fine-tuned"]
    error_of(await admin.post(PATH, json=body), 400, "VALIDATION_ERROR")
    off = await admin.patch(f"{PATH}/ours/fine-tuned", json={"enabled": False})
    assert off.json()["enabled"] is False
    error_of(
        await user.post("/api/v1/generate/text", json={"model": "ours/fine-tuned", "prompt": "Hi"}),
        400,
        "VALIDATION_ERROR",
    )
    await admin.put(f"{PATH}/ours/fine-tuned", json={"enabled": True})
    assert (await admin.delete(f"{PATH}/ours/fine-tuned")).status_code == 204
    error_of(await admin.get(f"{PATH}/ours/fine-tuned"), 404, "RESOURCE_NOT_FOUND")


async def test_two_admins_do_not_overwrite_each_other(admin: httpx.AsyncClient, studio: Studio) -> None:
    mine = await description_of(admin, IMAGE_MODEL)
    assert (await admin.put(f"{PATH}/{IMAGE_MODEL}", json={**mine, "name": "First", "version": 0})).status_code == 200
    second = await admin.put(f"{PATH}/{IMAGE_MODEL}", json={**mine, "name": "Second", "version": 0})
    error = error_of(second, 409, "CONFLICT")
    assert "admin@studio.example" in error["message"]
    assert error["details"]["version"] == 1
    assert (await model_of(admin, IMAGE_MODEL))["name"] == "First"


async def test_every_problem_is_named_by_its_path_and_nothing_is_stored(admin: httpx.AsyncClient) -> None:
    def parameter(**schema: Any) -> Json:
        return described(parameters={"properties": {"steps": {**STEPS, **schema}}})

    deep: Json = {"title": "Deep", "type": "string"}
    for _ in range(20):
        deep = {"title": "Deep", "type": "array", "items": deep}
    table: list[tuple[Json, set[str]]] = [
        ({"type": "text_to_image"}, {"name"}),
        (described(type="smell"), {"type"}),
        (described(name=3, more=1), {"name", "more"}),
        (described(name=" "), {"name"}),
        (described(inputs=[{"role": "image", "max": 0}, {"role": "image"}]), {"inputs.0.max", "inputs.1.role"}),
        (described(inputs=[{"role": "mask", "formats": ["png"]}]), {"inputs.0.formats"}),
        (described(inputs=[{"role": "mask", "min_width": 9, "max_width": 8}]), {"inputs.0.min_width"}),
        (described(outputs={"default": 5, "max": 4}), {"outputs.default"}),
        (described(outputs={"max": 10**9}), {"outputs.max"}),
        (parameter(default=60), {"parameters.properties.steps.default"}),
        (parameter(minimum=60), {"parameters.properties.steps.minimum", "parameters.properties.steps.default"}),
        (parameter(maximum="many"), {"parameters.properties.steps.maximum"}),
        (parameter(type="smell"), {"parameters.properties.steps.type"}),
        (parameter(**{"x-show-when": {"other": 1}}), {"parameters.properties.steps.x-show-when"}),
        (parameter(**{"x-widget": "dial"}), {"parameters.properties.steps.x-widget"}),
        (described(parameters={"properties": {"a": {"$ref": "#"}}}), {"parameters.properties.a.$ref"}),
        (described(parameters={"$defs": {}}), {"parameters.$defs"}),
        (described(parameters={"properties": {"a b": {"type": "string"}}}), {"parameters.properties.a b"}),
        (described(parameters={"properties": {"prompt": {"type": "string"}}}), {"parameters.properties.prompt"}),
        (described(parameters={"properties": {f"p{n}": STEPS for n in range(101)}}), {"parameters.properties"}),
        (described(parameters={"properties": {"a": deep}}), {"$"}),
        (described(description="x" * 300_000), {"$"}),
        (described(price="0.05 / (steps - 1)"), {"price"}),
        (described(price="0.05 * width"), {"price"}),
        (described(price="9 ** 9 ** 9"), {"price"}),
        (described(price="__import__('os')"), {"price"}),
        (described(price="-1"), {"price"}),
    ]
    for pattern in ("(?=a)b", r"(a)\1", "(a{1000}){1000}", "("):
        text = {"title": "A", "type": "string", "pattern": pattern}
        table.append((described(parameters={"properties": {"a": text}}), {"parameters.properties.a.pattern"}))
    before = await model_of(admin, IMAGE_MODEL)
    with Cases() as cases:
        for body, paths in table:
            with cases.case(str(body)[:200]):
                answer = await admin.put(f"{PATH}/{IMAGE_MODEL}", json=body)
                assert set(error_of(answer, 400, "VALIDATION_ERROR")["details"]["fields"]) == paths
                if "more" in paths:
                    continue
                preview = (await admin.post(f"{PATH}/preview", json=body)).json()
                assert {problem["path"] for problem in preview["problems"]} == paths
                assert 'id="preview"' in preview["html"]
    assert await model_of(admin, IMAGE_MODEL) == before


async def test_a_form_begins_with_the_model_used_last_then_with_the_default(
    studio: Studio, admin: httpx.AsyncClient
) -> None:
    ids = [it["id"] for it in (await admin.get("/api/v1/ai/models", params={"output": "image"})).json()["items"]]
    first, default = ids[0], ids[-1]
    email = new_email()
    browser = await studio.user_in_browser(email, direct=True)
    client = await studio.user(email, direct=True)

    async def begins_with() -> str:
        page = (await browser.get("/generate/image")).text
        return next(line for line in page.split("<option") if " selected>" in line).split('value="')[1].split('"')[0]

    assert await begins_with() != default
    changed = await admin.patch(f"{PATH}/{default}", json={"default_for": ["text_to_image"]})
    assert changed.json()["default_for"] == ["text_to_image"]
    assert await begins_with() == default
    job = await client.post("/api/v1/generate/image", json={"model": first, "prompt": "A boat"})
    await ended_job(client, job.json()["id"])
    assert await begins_with() == first
    error_of(await admin.patch(f"{PATH}/{default}", json={"default_for": ["smell"]}), 400, "VALIDATION_ERROR")


async def test_only_admins_edit_models(user: httpx.AsyncClient) -> None:
    for method, path in (("GET", IMAGE_MODEL), ("PUT", IMAGE_MODEL), ("PATCH", IMAGE_MODEL), ("DELETE", IMAGE_MODEL)):
        error_of(await user.request(method, f"{PATH}/{path}", json={}), 403, "FORBIDDEN")
    error_of(await user.post(PATH, json=described()), 403, "FORBIDDEN")


async def test_what_one_studio_exports_another_imports_all_or_nothing(studio: Studio, admin: httpx.AsyncClient) -> None:
    browser = await studio.user_in_browser("admin@studio.example", direct=True)
    assert (await admin.put(f"{PATH}/{IMAGE_MODEL}", json=described(name="Ours"))).status_code == 200
    assert (await admin.post(PATH, json={"provider": "openrouter", "endpoint": "ours/new", **described()})).is_success
    exported = (await browser.get("/admin/models/export")).content
    for id in (IMAGE_MODEL, "ours/new"):
        assert (await admin.delete(f"{PATH}/{id}")).status_code == 204

    async def bring_in(content: bytes) -> httpx.Response:
        token = await browser.form_token("/jobs")
        return await browser.post(
            "/admin/models/import", data={"_csrf_token": token}, files={"file": ("models.json", content)}
        )

    broken = exported.replace(b'"maximum": 50', b'"maximum": 5', 1)
    assert broken != exported
    assert (await bring_in(broken)).status_code == 400
    assert (await model_of(admin, IMAGE_MODEL))["source"] == "provider"
    for content in (
        b"",
        b"{}",
        b"[1]",
        b"[" * 5000,
        b"\xff",
        b'[{"provider": "no-one", "endpoint": "a", "description": {}}]',
    ):
        assert (await bring_in(content)).status_code == 400, content[:50]
    assert (await bring_in(exported)).status_code == 303
    assert ((await model_of(admin, IMAGE_MODEL))["name"], (await model_of(admin, "ours/new"))["source"]) == (
        "Ours",
        "added",
    )
    assert (await browser.get("/admin/models/export")).content == exported


async def test_favorites_come_first_in_the_form(studio: Studio, user: httpx.AsyncClient) -> None:
    email = new_email()
    client, browser = await studio.user(email, direct=True), await studio.user_in_browser(email, direct=True)
    assert 'label="Favorites"' not in (await browser.get("/generate/image")).text
    for _ in range(2):
        assert (await client.put(f"/api/v1/ai/favorites/{IMAGE_MODEL}")).status_code == 204
    assert (await client.get("/api/v1/ai/favorites")).json() == {"items": [IMAGE_MODEL]}
    assert (await user.get("/api/v1/ai/favorites")).json() == {"items": []}
    page = (await browser.get("/generate/image")).text
    group = page.partition('label="Favorites"')[2].partition("</optgroup>")[0]
    assert IMAGE_MODEL in group
    assert page.count(f'value="{IMAGE_MODEL}"') == 1
    await browser.send_form("/models/favorite", {"id": IMAGE_MODEL, "favorite": "false"})
    assert (await client.get("/api/v1/ai/favorites")).json() == {"items": []}
    error_of(await client.put("/api/v1/ai/favorites/no/such"), 404, "RESOURCE_NOT_FOUND")
