"""The model catalog: available models, their parameters and form fields."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.base.errors import Invalid, Missing, Unready, Upstream
from app.catalog.service import Catalog
from app.db.duckdb.database import EmbeddedDatabase
from app.providers.contract import InputRole, InputSlot, Kind, ModelOffer, Provider
from tests.kit import Cases
from tests.studio import migrated_database

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "aspect_ratio": {"type": "string", "enum": ["16:9", "9:16"], "title": "Aspect ratio", "default": "16:9"},
        "duration": {"type": "integer", "enum": [4, 8], "title": "Duration"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 99, "title": "Seed"},
        "strength": {"type": "number", "minimum": 0, "maximum": 1, "title": "Strength"},
        "generate_audio": {"type": "boolean", "title": "Sound"},
    },
}
VEO = ModelOffer(
    id="google/veo-3.1",
    name="Veo 3.1",
    description="Videos with sound",
    input_modalities=("text", "image"),
    output_modalities=("video",),
    parameters=SCHEMA,
    pricing={"per_second": "0.40"},
    route="videos",
)
WRITER = ModelOffer(id="acme/writer", name="Writer", context_length=128_000)


class ListingProvider:
    """A provider that offers the given models, or fails to when `models` is None."""

    name = "openrouter"

    def __init__(self, *offers: ModelOffer) -> None:
        self.models: Sequence[ModelOffer] | None = offers

    async def offers(self) -> Sequence[ModelOffer]:
        if self.models is None:
            raise Upstream("The list could not be had.")
        return self.models


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(migrated_database(tmp_path / "test.duckdb"))
    yield database
    await database.close()


@pytest.fixture
def provider() -> ListingProvider:
    return ListingProvider(VEO, WRITER)


def new_catalog(database: EmbeddedDatabase, provider: ListingProvider) -> Catalog:
    providers: dict[str, Provider] = {"openrouter": provider}  # type: ignore[dict-item]
    return Catalog(database, providers)


@pytest.fixture
async def catalog(database: EmbeddedDatabase, provider: ListingProvider) -> Catalog:
    catalog = new_catalog(database, provider)
    await catalog.refresh()
    return catalog


async def test_after_a_restart_without_a_network_the_models_are_still_offered(
    database: EmbeddedDatabase, catalog: Catalog, provider: ListingProvider
) -> None:
    provider.models = None
    again = new_catalog(database, provider)
    await again.load()
    assert again.find("google/veo-3.1") == catalog.find("google/veo-3.1")
    with pytest.raises(Upstream, match="last known list is still"):
        await again.refresh()
    assert again.find("acme/writer").context_length == 128_000


async def test_a_refresh_reports_added_removed_and_changed_models(catalog: Catalog, provider: ListingProvider) -> None:
    cheaper = msgspec.structs.replace(VEO, pricing={"per_second": "0.20"})
    provider.models = [cheaper, ModelOffer(id="acme/new", name="New")]
    changes = await catalog.refresh()
    assert (changes.added, changes.removed, changes.changed) == (("New",), ("Writer",), ("Veo 3.1",))
    assert catalog.find("google/veo-3.1").pricing == {"per_second": "0.20"}
    with pytest.raises(Missing):
        catalog.find("acme/writer")
    again = await catalog.refresh()
    assert (again.added, again.removed, again.changed) == ((), (), ())


async def test_a_model_that_is_offered_again_is_found_again(catalog: Catalog, provider: ListingProvider) -> None:
    provider.models = [VEO]
    await catalog.refresh()
    provider.models = [VEO, WRITER]
    await catalog.refresh()
    assert catalog.find("acme/writer").name == "Writer"


SEARCHES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["google/veo-3.1", "acme/writer"]),
    ({"output": "video"}, ["google/veo-3.1"]),
    ({"output": "text"}, ["acme/writer"]),
    ({"input": "image"}, ["google/veo-3.1"]),
    ({"provider": "openrouter"}, ["google/veo-3.1", "acme/writer"]),
    ({"provider": "fal"}, []),
    ({"q": "SOUND veo"}, ["google/veo-3.1"]),
    ({"q": "sound writer"}, []),
]


async def test_models_are_found_by_modality_provider_and_text(catalog: Catalog) -> None:
    with Cases() as cases:
        for filters, found in SEARCHES:
            with cases.case(filters):
                assert [model.id for model in catalog.search(**filters)] == found


async def test_parameters_that_a_model_accepts_stay_unchanged(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    accepted: list[dict[str, Any]] = [{}, {"aspect_ratio": "9:16", "duration": 8}]
    accepted.append({"seed": 0, "strength": 0.5, "generate_audio": False})
    for params in accepted:
        assert catalog.parameters.check(model, params) == params


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"aspect_ratio": "1:1"}, "aspect_ratio", "Aspect ratio must be one of 16:9, 9:16"),
    ({"duration": "8"}, "duration", "Duration must be one of 4, 8"),
    ({"seed": 100}, "seed", "Seed must be an integer between 0 and 99"),
    ({"seed": 1.5}, "seed", "Seed must be an integer between 0 and 99"),
    ({"strength": "much"}, "strength", "Strength must be a number between 0 and 1"),
    ({"generate_audio": "yes"}, "generate_audio", "Sound must be true or false"),
    ({"colour": "red"}, "colour", "unknown parameter 'colour'"),
    ({"seed": {"$ne": 1}}, "seed", "Seed must be an integer between 0 and 99"),
    ({"x" * 500: 1}, "x" * 60, f"unknown parameter '{'x' * 60}'"),
]


async def test_a_parameter_outside_the_schema_is_refused_by_name(catalog: Catalog) -> None:
    with Cases() as cases:
        for params, field, message in REFUSED:
            with cases.case(params), pytest.raises(Invalid) as refused:
                catalog.parameters.check(catalog.find("google/veo-3.1"), params)
            with cases.case(params, "message"):
                assert refused.value.fields == {field: message}


async def test_whole_numbers_become_integers_in_any_notation(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    given = {"duration": 8.0, "seed": 7.0, "strength": 1.0}
    checked = catalog.parameters.check(model, given)
    assert checked == given
    assert [type(checked[name]) for name in given] == [int, int, float]


async def test_an_error_message_names_the_model_once(catalog: Catalog) -> None:
    with pytest.raises(Invalid) as refused:
        catalog.parameters.check(catalog.find("google/veo-3.1"), {"seed": -1, "colour": "red"})
    assert refused.value.message.count("Veo 3.1") == 1
    assert refused.value.message.endswith("unknown parameter 'colour'")


async def test_all_invalid_parameters_are_named_at_once(catalog: Catalog) -> None:
    with pytest.raises(Invalid) as refused:
        catalog.parameters.check(catalog.find("google/veo-3.1"), {"seed": -1, "duration": 5, "nope": 1})
    assert set(refused.value.fields) == {"seed", "duration", "nope"}


async def test_a_form_offers_exactly_what_the_model_accepts_in_its_order(catalog: Catalog) -> None:
    fields = catalog.parameters.fields(catalog.find("google/veo-3.1"), {"seed": "7"}, {"duration": "Choose one."})
    assert [field.name for field in fields] == ["aspect_ratio", "duration", "seed", "strength", "generate_audio"]
    by_name = {field.name: field for field in fields}
    assert (by_name["aspect_ratio"].control, by_name["aspect_ratio"].options) == ("select", ("16:9", "9:16"))
    assert by_name["aspect_ratio"].value == "16:9", "the default is filled in"
    assert by_name["duration"].error == "Choose one."
    assert (by_name["seed"].control, by_name["seed"].minimum, by_name["seed"].maximum) == ("number", 0, 99)
    assert (by_name["seed"].value, by_name["seed"].step, by_name["strength"].step) == ("7", "1", "any")


async def test_the_text_of_a_form_is_converted_to_the_types_of_the_schema(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    form = {
        "duration": "8",
        "seed": " 7 ",
        "strength": "0.5",
        "generate_audio": "true",
        "aspect_ratio": "",
        "prompt": "x",
    }
    params = catalog.parameters.read_form(model, form)
    assert params == {"duration": 8, "seed": 7, "strength": 0.5, "generate_audio": True}
    assert catalog.parameters.check(model, params) == params


async def test_text_that_cannot_be_converted_is_refused_by_the_check(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    params = catalog.parameters.read_form(model, {"seed": "many", "strength": "nan"})
    with pytest.raises(Invalid) as refused:
        catalog.parameters.check(model, params)
    assert set(refused.value.fields) == {"seed", "strength"}


async def test_a_model_without_the_requested_output_is_refused(catalog: Catalog) -> None:
    with pytest.raises(Invalid, match=r"Veo 3\.1 does not generate images"):
        catalog.choose("google/veo-3.1", Kind.IMAGE)
    with pytest.raises(Invalid, match="Model 'nope' is not available"):
        catalog.choose("nope", Kind.VIDEO)


async def test_before_the_first_refresh_the_catalog_is_unready(database: EmbeddedDatabase) -> None:
    with pytest.raises(Unready, match="still loading"):
        new_catalog(database, ListingProvider()).choose("google/veo-3.1", Kind.VIDEO)


async def test_a_disabled_model_is_not_offered_and_stays_disabled_after_a_refresh_and_a_restart(
    database: EmbeddedDatabase, catalog: Catalog, provider: ListingProvider
) -> None:
    await database.write(catalog.set_enabled, "acme/writer", False)
    again = new_catalog(database, provider)
    await again.load()
    for one in (catalog, again):
        await one.refresh()
        with pytest.raises(Missing):
            one.find("acme/writer")
        assert [model.id for model in one.search()] == ["google/veo-3.1"]
        assert len(one.search(disabled=True)) == 2
    await database.write(catalog.set_enabled, "acme/writer", True)
    assert catalog.find("acme/writer").enabled
    with pytest.raises(Missing):
        await database.write(catalog.set_enabled, "acme/nothing", False)


async def test_models_of_every_provider_but_openrouter_have_its_name_before_their_id(
    database: EmbeddedDatabase, provider: ListingProvider
) -> None:
    local = ListingProvider(WRITER)
    providers: dict[str, Provider] = {"openrouter": provider, "local": local}  # type: ignore[dict-item]
    catalog = Catalog(database, providers)
    await catalog.refresh()
    found = {id: catalog.find(id) for id in ("acme/writer", "local:acme/writer")}
    assert [(model.provider, model.upstream_id) for model in found.values()] == [
        ("openrouter", "acme/writer"),
        ("local", "acme/writer"),
    ]


async def test_a_model_that_is_not_listed_belongs_to_the_provider_that_its_prefix_names(
    database: EmbeddedDatabase, provider: ListingProvider
) -> None:
    providers: dict[str, Provider] = {"openrouter": provider, "local": provider}  # type: ignore[dict-item]
    catalog = Catalog(database, providers)
    table = {
        "acme/vectors": ("openrouter", "acme/vectors"),
        "acme/vectors:free": ("openrouter", "acme/vectors:free"),
        "local:vectors:8b": ("local", "vectors:8b"),
        "openrouter:x": ("openrouter", "openrouter:x"),
        "other:x": ("openrouter", "other:x"),
        "local:": ("local", ""),
    }
    with Cases() as cases:
        for id, expected in table.items():
            with cases.case(id):
                model = catalog.find_or_pass(id)
                assert (model.provider, model.upstream_id, model.id) == (*expected, id)


async def test_a_model_requires_an_image_when_its_offer_says_so(database: EmbeddedDatabase) -> None:
    table = {
        "required": (InputSlot(role=InputRole.FIRST_FRAME, required=True), InputSlot(role=InputRole.LAST_FRAME)),
        "optional": (InputSlot(role=InputRole.IMAGE),),
        "none": (),
    }
    offers = [
        ModelOffer(id=id, name=id, input_modalities=("text", "image"), inputs=inputs) for id, inputs in table.items()
    ]
    catalog = new_catalog(database, ListingProvider(*offers))
    await catalog.refresh()
    assert {id: catalog.find(id).requires_image for id in table} == {"required": True, "optional": False, "none": False}
    assert all(catalog.find(id).accepts_image for id in table)


async def test_a_form_shows_the_fields_that_the_other_values_call_for(database: EmbeddedDatabase) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "note": {"type": "string", "title": "Note", "x-widget": "textarea", "x-order": 3},
            "sound": {"type": "boolean", "title": "Sound", "default": False, "x-order": 1},
            "volume": {
                "type": "integer",
                "title": "Volume",
                "minimum": 0,
                "maximum": 9,
                "x-unit": "dB",
                "x-show-when": {"sound": True},
                "x-order": 2,
            },
        },
    }
    provider: Provider = ListingProvider(ModelOffer(id="m", name="M", parameters=schema))  # type: ignore[assignment]
    catalog = Catalog(database, {"openrouter": provider})
    await catalog.refresh()
    model, parameters = catalog.find("m"), catalog.parameters
    assert [field.name for field in parameters.fields(model, {})] == ["sound", "note"]
    fields = {field.name: field for field in parameters.fields(model, {"sound": "true"})}
    assert list(fields) == ["sound", "volume", "note"]
    assert (fields["sound"].decides, fields["volume"].unit, fields["note"].control) == (True, "dB", "textarea")
    assert parameters.read_form(model, {"volume": "3"}) == {}
    assert parameters.read_form(model, {"sound": "true", "volume": "3"}) == {"sound": True, "volume": 3}
    assert parameters.check(model, {"volume": 3}) == {"volume": 3}  # the API is not a form
