"""What is on offer, what a model accepts, and what a form for it looks like."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.base.database import Database
from app.base.errors import Invalid, Missing, Unready, Upstream
from app.base.migrate import migrate
from app.catalog.service import Catalog
from app.main import MIGRATIONS
from app.providers.contract import Kind, Offer, Provider

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
VEO = Offer(
    id="google/veo-3.1",
    name="Veo 3.1",
    description="Clips with sound",
    input_modalities=("text", "image"),
    output_modalities=("video",),
    parameters=SCHEMA,
    pricing={"per_second": "0.40"},
    route="videos",
)
WORDS = Offer(id="acme/words", name="Words", context_length=128_000)


class Shelf:
    """A provider that offers what it is told to."""

    name = "openrouter"

    def __init__(self, *offers: Offer) -> None:
        self.on_offer: Sequence[Offer] | None = offers

    async def offers(self) -> Sequence[Offer]:
        if self.on_offer is None:
            raise Upstream("The list could not be had.")
        return self.on_offer


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(VEO, WORDS)


def _catalog(database: Database, shelf: Shelf) -> Catalog:
    providers: dict[str, Provider] = {"openrouter": shelf}  # type: ignore[dict-item]
    return Catalog(database, providers)


@pytest.fixture
async def catalog(database: Database, shelf: Shelf) -> Catalog:
    catalog = _catalog(database, shelf)
    await catalog.refresh()
    return catalog


async def test_a_restart_without_a_network_still_has_the_models(
    database: Database, catalog: Catalog, shelf: Shelf
) -> None:
    shelf.on_offer = None
    again = _catalog(database, shelf)
    await again.load()
    assert again.find("google/veo-3.1") == catalog.find("google/veo-3.1")
    with pytest.raises(Upstream, match="last known one stays"):
        await again.refresh()
    assert again.find("acme/words").context_length == 128_000


async def test_a_refresh_says_what_came_went_and_changed(catalog: Catalog, shelf: Shelf) -> None:
    cheaper = msgspec.structs.replace(VEO, pricing={"per_second": "0.20"})
    shelf.on_offer = [cheaper, Offer(id="acme/new", name="New")]
    changes = await catalog.refresh()
    assert (changes.added, changes.removed, changes.changed) == (("New",), ("Words",), ("Veo 3.1",))
    assert catalog.find("google/veo-3.1").pricing == {"per_second": "0.20"}
    with pytest.raises(Missing):
        catalog.find("acme/words")
    again = await catalog.refresh()
    assert (again.added, again.removed, again.changed) == ((), (), ())


async def test_a_model_that_comes_back_is_there_again(catalog: Catalog, shelf: Shelf) -> None:
    shelf.on_offer = [VEO]
    await catalog.refresh()
    shelf.on_offer = [VEO, WORDS]
    await catalog.refresh()
    assert catalog.find("acme/words").name == "Words"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["google/veo-3.1", "acme/words"]),
        ({"output": "video"}, ["google/veo-3.1"]),
        ({"output": "text"}, ["acme/words"]),
        ({"input": "image"}, ["google/veo-3.1"]),
        ({"provider": "openrouter"}, ["google/veo-3.1", "acme/words"]),
        ({"provider": "fal"}, []),
        ({"q": "SOUND veo"}, ["google/veo-3.1"]),
        ({"q": "sound words"}, []),
    ],
)
async def test_models_are_found_by_what_they_take_and_make(
    catalog: Catalog, filters: dict[str, Any], found: list[str]
) -> None:
    assert [model.id for model in catalog.search(**filters)] == found


@pytest.mark.parametrize(
    "params",
    [{}, {"aspect_ratio": "9:16", "duration": 8}, {"seed": 0, "strength": 0.5, "generate_audio": False}],
)
async def test_what_the_model_accepts_passes_unchanged(catalog: Catalog, params: dict[str, Any]) -> None:
    assert catalog.check(catalog.find("google/veo-3.1"), params) == params


@pytest.mark.parametrize(
    ("params", "field", "says"),
    [
        ({"aspect_ratio": "1:1"}, "aspect_ratio", "Aspect ratio must be one of 16:9, 9:16"),
        ({"duration": "8"}, "duration", "Duration must be one of 4, 8"),
        ({"seed": 100}, "seed", "Seed must be a whole number from 0 to 99"),
        ({"seed": 1.5}, "seed", "Seed must be a whole number from 0 to 99"),
        ({"strength": "much"}, "strength", "Strength must be a number from 0 to 1"),
        ({"generate_audio": "yes"}, "generate_audio", "Sound must be true or false"),
        ({"colour": "red"}, "colour", "no parameter is called 'colour'"),
        ({"seed": {"$ne": 1}}, "seed", "Seed must be a whole number from 0 to 99"),
        ({"x" * 500: 1}, "x" * 60, f"no parameter is called '{'x' * 60}'"),
    ],
)
async def test_a_parameter_outside_the_schema_is_refused_by_name(
    catalog: Catalog, params: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(Invalid) as refused:
        catalog.check(catalog.find("google/veo-3.1"), params)
    assert refused.value.fields == {field: says}


async def test_whole_numbers_go_on_as_such_however_they_were_written(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    written = {"duration": 8.0, "seed": 7.0, "strength": 1.0}
    checked = catalog.check(model, written)
    assert checked == written
    assert [type(checked[name]) for name in written] == [int, int, float]


async def test_a_refusal_names_the_model_once(catalog: Catalog) -> None:
    with pytest.raises(Invalid) as refused:
        catalog.check(catalog.find("google/veo-3.1"), {"seed": -1, "colour": "red"})
    assert refused.value.message.count("Veo 3.1") == 1
    assert refused.value.message.endswith("no parameter is called 'colour'")


async def test_every_wrong_parameter_is_named_at_once(catalog: Catalog) -> None:
    with pytest.raises(Invalid) as refused:
        catalog.check(catalog.find("google/veo-3.1"), {"seed": -1, "duration": 5, "nope": 1})
    assert set(refused.value.fields) == {"seed", "duration", "nope"}


async def test_a_form_offers_exactly_what_the_model_accepts_in_its_order(catalog: Catalog) -> None:
    fields = catalog.fields(catalog.find("google/veo-3.1"), {"seed": "7"}, {"duration": "Choose one."})
    assert [field.name for field in fields] == ["aspect_ratio", "duration", "seed", "strength", "generate_audio"]
    by_name = {field.name: field for field in fields}
    assert (by_name["aspect_ratio"].control, by_name["aspect_ratio"].options) == ("select", ("16:9", "9:16"))
    assert by_name["aspect_ratio"].value == "16:9", "the default stands in the form"
    assert by_name["duration"].error == "Choose one."
    assert (by_name["seed"].control, by_name["seed"].minimum, by_name["seed"].maximum) == ("number", 0, 99)
    assert (by_name["seed"].value, by_name["seed"].step, by_name["strength"].step) == ("7", "1", "any")


async def test_a_forms_text_becomes_the_types_that_the_schema_wants(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    form = {
        "duration": "8",
        "seed": " 7 ",
        "strength": "0.5",
        "generate_audio": "true",
        "aspect_ratio": "",
        "prompt": "x",
    }
    params = catalog.read_form(model, form)
    assert params == {"duration": 8, "seed": 7, "strength": 0.5, "generate_audio": True}
    assert catalog.check(model, params) == params


async def test_a_forms_nonsense_is_left_for_the_check_to_refuse(catalog: Catalog) -> None:
    model = catalog.find("google/veo-3.1")
    params = catalog.read_form(model, {"seed": "many", "strength": "nan"})
    with pytest.raises(Invalid) as refused:
        catalog.check(model, params)
    assert set(refused.value.fields) == {"seed", "strength"}


async def test_a_model_that_does_not_make_it_is_told_so(catalog: Catalog) -> None:
    with pytest.raises(Invalid, match=r"Veo 3\.1 does not make pictures"):
        catalog.choose("google/veo-3.1", Kind.IMAGE)
    with pytest.raises(Invalid, match="no model 'nope'"):
        catalog.choose("nope", Kind.VIDEO)


async def test_before_the_first_list_has_come_it_says_so(database: Database) -> None:
    with pytest.raises(Unready, match="still being fetched"):
        _catalog(database, Shelf()).choose("google/veo-3.1", Kind.VIDEO)


async def test_a_model_that_is_switched_off_is_not_on_offer_and_stays_off_over_a_refresh_and_a_restart(
    database: Database, catalog: Catalog, shelf: Shelf
) -> None:
    await database.write(catalog.switch, "acme/words", False)
    again = _catalog(database, shelf)
    await again.load()
    for one in (catalog, again):
        await one.refresh()
        with pytest.raises(Missing):
            one.find("acme/words")
        assert [model.id for model in one.search()] == ["google/veo-3.1"]
        assert len(one.search(disabled=True)) == 2
    await database.write(catalog.switch, "acme/words", True)
    assert catalog.find("acme/words").enabled
    with pytest.raises(Missing):
        await database.write(catalog.switch, "acme/nothing", False)
