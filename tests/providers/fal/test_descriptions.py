"""Every described model has what its form, its validation and its request need."""

import re
from typing import Any

import jsonschema_rs

from app.providers.contract import InputRole, ModelOffer, ModelType
from app.providers.fal.descriptions import FOLDER, described, description
from tests.kit import Cases

WIDGETS = {"slider", "select", "seed", "switch", "text", "textarea"}
ROLES = {
    ModelType.TEXT_TO_IMAGE: set[InputRole](),
    ModelType.IMAGE_TO_IMAGE: {InputRole.IMAGE},
    ModelType.INPAINTING: {InputRole.IMAGE, InputRole.MASK},
    ModelType.TEXT_TO_VIDEO: set[InputRole](),
    ModelType.IMAGE_TO_VIDEO: {InputRole.FIRST_FRAME},
    ModelType.HYBRID: set[InputRole](),
}


def test_each_file_describes_one_model() -> None:
    assert len(described()) == len(list(FOLDER.glob("*.json"))) >= 17


def test_every_description_is_complete() -> None:
    with Cases() as cases:
        for offer in described().values():
            with cases.case(offer.id):
                assert offer.type is not None
                assert all((offer.name, offer.description, offer.button, offer.help.what_is))
                assert offer.help.use_cases
                assert offer.help.tips
                assert offer.output_modalities == (("video",) if "video" in offer.type else ("image",))
                assert ("image" in offer.input_modalities) == bool(offer.inputs)
                required = {slot.role for slot in offer.inputs if slot.required}
                assert required == ROLES[offer.type]
                fields = [slot.field for slot in offer.inputs]
                assert all(fields)
                assert len(set(fields)) == len(fields)


def test_every_parameter_has_a_title_a_widget_and_bounds_and_a_valid_default() -> None:
    with Cases() as cases:
        for offer in described().values():
            schema = offer.parameters
            assert schema["additionalProperties"] is False
            for name, parameter in schema["properties"].items():
                with cases.case(offer.id, name):
                    check_parameter(parameter)
            with cases.case(offer.id, "defaults"):
                properties = schema["properties"]
                defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
                jsonschema_rs.validator_for(schema).validate(defaults)
                orders = [one["x-order"] for one in properties.values()]
                assert orders == sorted(set(orders))


def check_parameter(parameter: dict[str, Any]) -> None:
    assert parameter["title"]
    assert parameter["x-widget"] in WIDGETS
    if parameter["type"] in ("integer", "number") and "enum" not in parameter:
        assert parameter["minimum"] < parameter["maximum"]
    if parameter["type"] == "string":
        assert "enum" in parameter or "maxLength" in parameter


def test_the_number_of_results_has_the_bounds_of_the_outputs() -> None:
    with Cases() as cases:
        for offer in described().values():
            count = offer.parameters["properties"].get("n")
            with cases.case(offer.id):
                assert (offer.outputs.max > 1) == (count is not None)
                if count is not None:
                    assert (count["default"], count["maximum"]) == (offer.outputs.default, offer.outputs.max)
                    assert offer.outputs.field


def test_a_price_is_a_formula_over_the_parameters() -> None:
    prices = {offer.id: offer for offer in described().values() if offer.price}
    assert prices
    with Cases() as cases:
        for offer in prices.values():
            with cases.case(offer.id):
                names = set(re.findall(r"[a-z_]+", offer.price))
                assert names <= set(offer.parameters["properties"])


def test_an_undescribed_model_has_the_usual_names_of_inputs() -> None:
    offer: ModelOffer = description("ann/her-model")
    assert offer.id == "ann/her-model"
    assert {slot.role: slot.field for slot in offer.inputs} == {
        InputRole.IMAGE: "image_url",
        InputRole.MASK: "mask_url",
        InputRole.LAST_FRAME: "end_image_url",
    }
