"""The editor as a page: a form that keeps what it does not show, its preview, and its JSON view, also without JavaScript."""

import html
from typing import Any

import httpx
import msgspec
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from app.catalog import descriptions
from app.model_editor import draft as drafts
from tests.html import parse_html
from tests.kit import IMAGE_MODEL, Json
from tests.model_editor.test_api import STEPS, described, description_of, model_of
from tests.studio import Browser, Studio

EDIT = "/admin/models/edit"


@pytest_asyncio.fixture
async def admin(studio: Studio) -> httpx.AsyncClient:
    return await studio.user("admin@studio.example", direct=True)


@pytest_asyncio.fixture
async def browser(admin: httpx.AsyncClient, studio: Studio) -> Browser:
    return await studio.user_in_browser("admin@studio.example", direct=True)


def form_of(draft: Json) -> dict[str, str]:
    """The fields that the page shows for a draft."""
    texts = drafts.values(draft)
    form = {name: texts[name] for name in ("name", "description", "type", "price", "button")}
    form |= {"outputs.default": texts["default"], "outputs.max": texts["max"]}
    form |= {f"help.{name}": texts[name] for name in ("what_is", "use_cases", "tips")}
    form["outputs"] = msgspec.json.encode(draft.get("outputs", {})).decode()
    rest = {key: part for key, part in draft.get("parameters", {}).items() if key != "properties"}
    form["parameters"] = msgspec.json.encode(rest).decode()
    for index, row in enumerate(drafts.parameter_rows(draft, [])):
        form |= {f"p{index}.{key}": value for key, value in msgspec.structs.asdict(row).items() if key != "errors"}
    for slot in drafts.input_rows(draft, []):
        values = msgspec.structs.asdict(slot).items()
        form |= {f"i.{slot.role.value}.{key}": value for key, value in values if key not in ("errors", "role", "label")}
    return form


SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {
            "title": st.text(min_size=1),
            "type": st.just("integer"),
            "minimum": st.integers(-9, 0),
            "maximum": st.integers(1, 9),
            "default": st.just(0),
        }
    ),
    st.fixed_dictionaries(
        {
            "title": st.just("Scale"),
            "type": st.just("number"),
            "minimum": st.just(0.5),
            "multipleOf": st.just(0.25),
            "x-widget": st.just("slider"),
            "default": st.just(1.5),
        }
    ),
    st.fixed_dictionaries(
        {
            "title": st.just("Size"),
            "type": st.just("string"),
            "enum": st.just(["a", "b,c", "d e"]),
            "default": st.just("b,c"),
            "x-unit": st.just("px"),
        }
    ),
    st.fixed_dictionaries(
        {
            "title": st.just("Seconds"),
            "type": st.just("integer"),
            "enum": st.just([4, 8]),
            "default": st.just(8),
            "x-show-when": st.just({"p0": [1, 2]}),
        }
    ),
    st.fixed_dictionaries({"title": st.just("Audio"), "type": st.just("boolean"), "default": st.booleans()}),
    st.fixed_dictionaries(
        {
            "title": st.just("Note"),
            "type": st.just("string"),
            "pattern": st.just("^a"),
            "maxLength": st.just(9),
            "x-widget": st.just("textarea"),
        }
    ),
    st.fixed_dictionaries({"title": st.just("LoRAs"), "type": st.just("array"), "items": st.just({"type": "string"})}),
)


@given(st.lists(SCHEMAS, max_size=6))
def test_a_form_that_is_saved_unchanged_changes_nothing(schemas: list[dict[str, Any]]) -> None:
    properties = {f"p{index}": schema for index, schema in enumerate(schemas)}
    draft = described(
        parameters={"type": "object", "properties": properties, "x-more": [1]},
        inputs=[
            {
                "role": "image",
                "required": True,
                "max": 3,
                "max_bytes": 123_456,
                "min_width": 8,
                "min_height": 16,
                "formats": ["image/png"],
                "field": "image_url",
            }
        ],
        outputs={"default": 1, "max": 4, "field": "num_images"},
        help={"what_is": "A\nmodel", "use_cases": ["a", "b"], "tips": []},
    )
    again = drafts.read(form_of(draft))
    found = again["parameters"]["properties"]
    hints = ("x-order", "x-widget")
    assert [{k: v for k, v in found[name].items() if k not in hints} for name in properties] == [
        {
            k: (v.strip() if k == "title" else v)
            for k, v in schema.items()
            if k not in hints and (k != "title" or v.strip())
        }
        for schema in schemas
    ]
    assert again["parameters"]["x-more"] == [1]
    assert {**again["inputs"][0], "max_bytes": 123_456} == draft["inputs"][0]
    assert abs(again["inputs"][0]["max_bytes"] - 123_456) < 600  # it is shown in megabytes with three digits
    assert (again["outputs"], again["help"]) == (draft["outputs"], draft["help"])


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=20))
def test_no_form_is_an_error_of_the_program(form: dict[str, str]) -> None:
    draft = drafts.read({**form, "p0.name": "a", "p0.schema": next(iter(form.values()), "[")})
    assert isinstance(descriptions.problems(draft), list)
    assert isinstance(drafts.moved(draft, next(iter(form), "up:1"))["parameters"]["properties"], dict)


async def test_every_model_is_saved_as_it_was_by_its_form(admin: httpx.AsyncClient, browser: Browser) -> None:
    models = (await admin.get("/api/v1/admin/models", params={"limit": 100})).json()["items"]
    for id in (model["id"] for model in models):
        before = await description_of(admin, id)
        form = parse_html((await browser.get(f"{EDIT}/{id}")).text).one("form", id="model-editor").values()
        assert (await browser.send_form(EDIT, form)).status_code == 303, id
        after = await description_of(admin, id)
        for description in (before, after):  # the form writes down the order and the controls
            for schema in description["parameters"].get("properties", {}).values():
                for hint in ("x-order", "x-widget"):
                    schema.pop(hint, None)
            for part in ("type", "additionalProperties"):
                description["parameters"].pop(part, None)
        assert after == before


async def test_a_wrong_draft_is_shown_again_with_its_problems_and_a_right_one_is_saved(
    admin: httpx.AsyncClient, browser: Browser
) -> None:
    draft = {
        **await description_of(admin, IMAGE_MODEL),
        "name": "Edited",
        "parameters": {"properties": {"steps": STEPS}},
    }
    form = {**form_of(draft), "id": IMAGE_MODEL, "version": "0"}
    wrong = await browser.send_form(EDIT, {**form, "p0.default": "60", "help.tips": "Keep this"})
    assert wrong.status_code == 400
    assert "60 is above the maximum 50" in html.unescape(wrong.text)
    assert "Keep this" in wrong.text
    assert (await model_of(admin, IMAGE_MODEL))["source"] == "provider"
    as_json = await browser.send_form(EDIT, {**form, "action": "json"})
    text = parse_html(as_json.text).one("form", id="model-editor").values()["json"]
    saved = await browser.send_form(
        EDIT, {"id": IMAGE_MODEL, "version": "0", "json": text.replace("Edited", "As JSON")}
    )
    assert saved.status_code == 303, saved.text
    assert (await model_of(admin, IMAGE_MODEL))["name"] == "As JSON"
    late = await browser.send_form(EDIT, {**form, "name": "Too late"})
    assert late.status_code == 409
    assert "Too late" in late.text, "nothing is lost"
    broken = await browser.send_form(EDIT, {"id": IMAGE_MODEL, "version": "1", "json": "{"})
    assert broken.status_code == 400
    assert "not valid JSON" in broken.text


async def test_parameters_are_added_ordered_and_removed_without_javascript(browser: Browser) -> None:
    form = {"name": "New", "type": "text_to_image", "provider": "openrouter", "endpoint": "ours/b"}
    for action in ("add", "add", "down:0", "remove:1"):
        page = await browser.send_form(EDIT, {**form, "action": action})
        assert page.status_code == 200, page.text
        form = parse_html(page.text).one("form", id="model-editor").values()
    assert [value for name, value in form.items() if name.endswith(".name")] == ["parameter_2"]
    saved = await browser.send_form(EDIT, {**form, "p0.title": "Strength"})
    assert saved.headers["location"] == f"{EDIT}/ours/b"


async def test_the_preview_follows_the_draft(browser: Browser) -> None:
    form = form_of(described(price="0.5"))
    preview = await browser.send_form("/admin/models/preview", {**form, "p0.title": "Iterations"})
    assert "Iterations" in preview.text
    assert "$0.50" in preview.text
    broken = await browser.send_form("/admin/models/preview", {**form, "price": "0.5 /"})
    assert "1 problem" in broken.text
