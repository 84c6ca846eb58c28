"""Use again fills the form so that sending it makes an equal job: every parameter of every type, every input in its order, the
prompt word for word, and a rewritten prompt with the one it came from."""

import functools
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.catalog.estimates import with_defaults
from app.catalog.parameters import Parameters
from app.catalog.schemas import Model
from app.providers.fal.descriptions import described
from tests.html import parse_html
from tests.kit import IMAGE_MODEL, IMAGE_TO_VIDEO_MODEL, MULTI_IMAGE_MODEL, Json, image_bytes, uploaded_asset
from tests.pages import PageUser
from tests.studio import Studio
from tests.templates.states import environment

EVERY_TYPE: Json = {
    "type": "object",
    "properties": {
        "flag": {"type": "boolean"},
        "on": {"type": "boolean", "default": True},
        "whole": {"type": "integer", "minimum": 0, "maximum": 2**32},
        "number": {"type": "number", "minimum": -1, "maximum": 20, "default": 7.5},
        "free": {"type": "number"},
        "text": {"type": "string"},
        "long": {"type": "string", "x-widget": "textarea"},
        "choice": {"enum": ["a b", "ä", "true"]},
        "size": {"enum": [1, 2.5, 8], "default": 8},
        "mixed": {"enum": ["1", 2, True]},
        "words": {"type": "array", "items": {"type": "string"}},
        "numbers": {"type": "array", "items": {"type": "number"}},
        "styles": {"type": "array", "items": {"type": "object"}},
        "options": {"type": "object"},
        "negative_prompt": {"type": "string"},
    },
}
# What a form can hold: no empty text, which means not given, and no lone CR, which browsers turn into a line feed.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=40)
JSON = st.recursive(st.booleans() | st.integers(-9, 9) | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def values(schema: Json) -> st.SearchStrategy[Any]:
    """Values of one parameter that its schema allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    low, high = schema.get("minimum"), schema.get("maximum")
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "boolean": st.booleans(),
        "integer": st.integers(low, high),
        "number": st.floats(low, high, allow_nan=False, allow_infinity=False),
        "array": st.lists(values(schema["items"]) if "items" in schema else JSON, min_size=1, max_size=4),
        "object": st.dictionaries(TEXTS, JSON, min_size=1, max_size=3),
    }
    return strategies.get(schema.get("type", ""), TEXTS)


def model(name: str, parameters: Json) -> Model:
    return Model(
        id=name,
        upstream_id=name,
        name=name,
        provider="fal",
        description="",
        input_modalities=("text",),
        output_modalities=("image",),
        context_length=None,
        pricing={},
        parameters=parameters,
        route="",
    )


@functools.cache
def models() -> Sequence[Model]:
    """One with parameters of every type, and those that this program describes itself."""
    return [model("every type", EVERY_TYPE), *(model(id, offer.parameters) for id, offer in described().items())]


@st.composite
def requests(draw: st.DrawFn) -> tuple[Model, Json]:
    """A model and parameters for it, all of which its form shows."""
    chosen = draw(st.sampled_from(models()))
    properties: dict[str, Json] = chosen.parameters.get("properties", {})
    always = {name: schema for name, schema in properties.items() if "x-show-when" not in schema}
    return chosen, draw(st.fixed_dictionaries({}, optional={name: values(schema) for name, schema in always.items()}))


@given(requests())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
def test_a_form_that_is_filled_with_parameters_sends_these_parameters(request: tuple[Model, Json]) -> None:
    chosen, params = request
    parameters = Parameters()
    sent = parameters.valid(chosen, params)  # some are multiples of a step
    field = environment().get_template("shared/macros.html").module.field  # type: ignore[attr-defined]
    controls = "".join(field(each) for each in parameters.fields(chosen, parameters.to_form(sent)))
    form = {
        name: _submitted(text) for name, text in parse_html(f"<form>{controls}</form>").one("form").values().items()
    }
    again = parameters.check(chosen, parameters.read_form(chosen, form))
    assert with_defaults(chosen, again) == with_defaults(chosen, sent)


def _submitted(text: str) -> str:
    """What the server reads of a field: browsers send each line feed as CR and LF, and the server undoes that."""
    return text.replace("\n", "\r\n").replace("\r\n", "\n")


async def _again(user: PageUser, job: Json) -> Json:
    """The job that results when the form of Use again is sent as it is."""
    page = await user.page(f"/generate/{job['kind']}?from={job['id']}")
    form: dict[str, Any] = dict(page.one("form", id="create").values())
    for box in page.one("form", id="create").all("input", type="checkbox"):
        if "checked" in box.attributes and box["name"].startswith("asset-"):
            form[box["name"]] = [*(form[box["name"]] if isinstance(form[box["name"]], list) else []), box["value"]]
    answer = await user.browser.send_form(f"/generate/{job['kind']}", form)
    assert answer.status_code == 303, answer.text[:3000]
    made: Json = (await user.client.get(f"/api/v1{answer.headers['location']}")).json()
    return made


async def test_an_equal_job_has_the_same_prompt_settings_and_inputs_in_their_order(
    page_user: PageUser, atelier: Studio
) -> None:
    images = [
        (await uploaded_asset(page_user.client, image_bytes("PNG", 64 + 8 * number, 48)))["id"] for number in range(3)
    ]
    mixed = [images[2], images[0], images[1]]
    bodies: list[tuple[str, Json]] = [
        ("image", {"model": MULTI_IMAGE_MODEL, "prompt": r"[stamp] \{a|b\} and \__none__, C:\new", "seed": 4_294_967}),
        ("image", {"model": IMAGE_MODEL, "prompt": "[stamp] two\nlines\n\n{|}{a|b}", "enhance": True}),
        ("image", {"model": MULTI_IMAGE_MODEL, "inputs": [{"role": "image", "asset_id": id} for id in mixed]}),
        (
            "video/from-image",
            {
                "model": IMAGE_TO_VIDEO_MODEL,
                "resolution": "480p",
                "duration": 2,
                "inputs": [
                    {"role": "last_frame", "asset_id": images[1]},
                    {"role": "first_frame", "asset_id": images[0]},
                ],
            },
        ),
    ]
    for path, body in bodies:
        answer = await page_user.client.post(
            f"/api/v1/generate/{path}", json={"prompt": "[stamp] a boat", **body}, headers={"Prefer": "respond-async"}
        )
        assert answer.status_code == 202, answer.text
        job = answer.json()
        made = await _again(page_user, job)
        assert made["id"] != job["id"]
        for field in ("model", "generation_type", "prompt", "enhanced_prompt"):
            assert made[field] == job[field], field
        by_role = functools.partial(sorted, key=lambda each: each["role"])
        assert by_role(made["inputs"]) == by_role(job["inputs"])
        found = atelier.program.catalog.find(job["model"])
        assert with_defaults(found, made["params"]) == with_defaults(found, job["params"])
        assert set(job["params"]) <= set(made["params"])
        for id in (job["id"], made["id"]):
            await page_user.ended(id)
