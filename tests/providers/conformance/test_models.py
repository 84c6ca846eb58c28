"""Every model that a provider offers for images and videos: its persona accepts each value that the description allows, and
an image in each role that it names."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.catalog.estimates import estimate
from app.catalog.service import model_of
from app.providers.contract import Completed, Failed, InputImage, InputRole, Kind, ModelOffer, Provider, Request
from tests.kit import Cases
from tests.providers.conformance.jobs import outcome_of, unique
from tests.providers.conformance.under_test import ProviderUnderTest
from tests.providers.openrouter.kit import new_folder

SIZE = (64, 64)
IMAGE_ROLES = (InputRole.IMAGE, InputRole.REFERENCE, InputRole.FIRST_FRAME, InputRole.LAST_FRAME)


def values_of(schema: dict[str, Any]) -> Iterator[Any]:
    """Values at the limits of what a property allows."""
    if "enum" in schema:
        yield from schema["enum"]
    elif schema["type"] == "boolean":
        yield from (True, False)
    elif schema["type"] == "string":
        yield schema.get("default", "fog")
    else:
        yield from (schema[name] for name in ("minimum", "maximum") if name in schema)


def kind_of(offer: ModelOffer) -> Kind | None:
    return next((kind for kind in (Kind.IMAGE, Kind.VIDEO) if kind in offer.output_modalities), None)


@pytest.fixture
def images(tmp_path: Path) -> dict[InputRole, InputImage]:
    """An image for each role. The mask is transparent, and has the size of the others."""
    found = {}
    for role in (*IMAGE_ROLES, InputRole.MASK):
        file = io.BytesIO()
        Image.new("RGBA" if role is InputRole.MASK else "RGB", SIZE).save(file, "PNG")
        (tmp_path / role).write_bytes(file.getvalue())
        found[role] = InputImage(tmp_path / role, "image/png", role)
    return found


def request_for(offer: ModelOffer, kind: Kind, params: dict[str, Any], *inputs: InputImage) -> Request:
    return Request(
        job_id="j",
        kind=kind,
        model=offer.id,
        prompt=unique("[stamp] Fog"),
        params=params,
        images=inputs,
        route=offer.route,
        output_modalities=offer.output_modalities,
    )


async def offered(under_test: ProviderUnderTest, persona: Provider) -> list[tuple[ModelOffer, Kind]]:
    found = [(offer, kind) for offer in await persona.offers() if (kind := kind_of(offer)) in under_test.media]
    assert found
    found = [(offer, kind) for offer, kind in found if offer.id not in under_test.guessed]
    return [(offer, kind) for offer, kind in found if kind is not None]


async def test_each_value_of_each_parameter_is_accepted(
    under_test: ProviderUnderTest, persona: Provider, images: dict[InputRole, InputImage], tmp_path: Path
) -> None:
    with Cases() as cases:
        for offer, kind in await offered(under_test, persona):
            required = [images[slot.role] for slot in offer.inputs if slot.required]
            if not required and "text" not in offer.input_modalities:
                required = [images[InputRole.FIRST_FRAME]]
            for name, schema in offer.parameters["properties"].items():
                for value in values_of(schema):
                    with cases.case(offer.id, name, value):
                        request = request_for(offer, kind, {name: value}, *required)
                        outcome = await persona.submit(request, new_folder(tmp_path))
                        assert not isinstance(outcome, Failed), outcome.detail


async def test_an_image_in_each_role_is_accepted(
    under_test: ProviderUnderTest, persona: Provider, images: dict[InputRole, InputImage], tmp_path: Path
) -> None:
    with Cases() as cases:
        for offer, kind in await offered(under_test, persona):
            for slot in offer.inputs:
                needed = {other.role for other in offer.inputs if other.required} | {slot.role}
                if slot.role is InputRole.MASK:
                    needed.add(InputRole.IMAGE)
                with cases.case(offer.id, slot.role):
                    request = request_for(offer, kind, {}, *(images[role] for role in sorted(needed)))
                    outcome = await persona.submit(request, new_folder(tmp_path))
                    assert not isinstance(outcome, Failed), outcome.detail
        with cases.case("models without inputs"):
            assert under_test.media


async def test_an_estimate_is_what_the_persona_bills(
    under_test: ProviderUnderTest, persona: Provider, images: dict[InputRole, InputImage], tmp_path: Path
) -> None:
    """Where the price is known before. Each model is asked for its shortest, and for several outputs."""
    known = 0
    with Cases() as cases:
        for offer, kind in await offered(under_test, persona):
            required = [images[slot.role] for slot in offer.inputs if slot.required]
            properties = offer.parameters["properties"]
            params = {"duration": next(values_of(properties["duration"]))} if "duration" in properties else {}
            if "n" in properties:
                params["n"] = min(2, properties["n"]["maximum"])
            expected = estimate(model_of(under_test.name, offer), params)
            if expected is None:
                continue
            known += 1
            with cases.case(offer.id, params):
                done = await outcome_of(persona, request_for(offer, kind, params, *required), tmp_path)
                assert isinstance(done, Completed), done
                assert done.cost_nano is not None
                assert expected.least * 0.99 <= done.cost_nano <= expected.most * 1.01
        with cases.case("known prices"):
            assert known > 0 or under_test.name.startswith("openai"), (
                "OpenAI bills tokens, which cannot be counted before"
            )
