"""The input object of a model follows from its description and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from app.providers.contract import ErrorCode, Failed, Failure, InputRole, InputSlot, ModelOffer, Outputs, Request
from app.providers.fal import request_body
from tests.kit import Cases
from tests.providers.fal.kit import image_request

HYBRID = ModelOffer(
    id="a/painter",
    name="Painter",
    route="a/painter/edit",
    inputs=(
        InputSlot(role=InputRole.IMAGE, field="image_url"),
        InputSlot(role=InputRole.MASK, field="mask_url"),
        InputSlot(role=InputRole.REFERENCE, field="style_urls", max=3),
    ),
    outputs=Outputs(default=4, max=4, field="num_images"),
)
FILM = ModelOffer(
    id="a/film",
    name="Film",
    inputs=(
        InputSlot(role=InputRole.FIRST_FRAME, field="start_image_url", required=True),
        InputSlot(role=InputRole.LAST_FRAME, field="image_urls"),
    ),
)


def built(offer: ModelOffer, request: Request, *files: tuple[str, str]) -> dict[str, Any]:
    slots = request_body.slots(offer, [role for role, _ in files])
    return request_body.body(request, offer, zip(slots, [url for _, url in files], strict=True))


def test_parameters_are_sent_as_they_are_and_the_number_of_results_under_its_own_name() -> None:
    params = {"strength": 0.5, "image_size": {"width": 8}, "n": 2, "duration": "5", "flag": False}
    body = built(HYBRID, image_request(params=params))
    assert body == {
        "prompt": "A lighthouse",
        "strength": 0.5,
        "image_size": {"width": 8},
        "duration": "5",
        "flag": False,
        "num_images": 2,
    }


def test_without_a_number_of_results_the_models_default_is_requested() -> None:
    assert built(HYBRID, image_request())["num_images"] == 4
    assert built(FILM, image_request(params={"n": 1}, prompt=""), ("first_frame", "u")) == {"start_image_url": "u"}


def test_each_file_has_the_field_of_its_role() -> None:
    files = [("image", "i"), ("mask", "m"), ("reference", "r1"), ("reference", "r2")]
    body = built(HYBRID, image_request(), *files)
    assert {name: body[name] for name in ("image_url", "mask_url", "style_urls")} == {
        "image_url": "i",
        "mask_url": "m",
        "style_urls": ["r1", "r2"],
    }
    assert built(HYBRID, image_request(), ("reference", "r"))["style_urls"] == ["r"]
    assert built(FILM, image_request(), ("first_frame", "f"), ("last_frame", "l"))["image_urls"] == ["l"]


def test_a_file_may_stand_for_another_role_where_a_model_has_only_that_one() -> None:
    only_image = ModelOffer(id="x", name="x", inputs=(InputSlot(role=InputRole.IMAGE, field="image_url"),))
    with Cases() as cases:
        for offer, role, field in (
            (only_image, "reference", "image_url"),
            (only_image, "first_frame", "image_url"),
            (FILM, "image", "start_image_url"),
        ):
            with cases.case(offer.id, role):
                assert built(offer, image_request(), (role, "u"))[field] == "u"


def test_files_that_a_model_does_not_take_are_rejected_before_anything_is_sent() -> None:
    table: list[tuple[ModelOffer, list[str], str]] = [
        (FILM, [], "requires a first frame"),
        (FILM, ["last_frame"], "requires a first frame"),
        (FILM, ["first_frame", "mask"], "does not accept a mask"),
        (FILM, ["first_frame", "audio"], "does not accept an audio file"),
        (FILM, ["first_frame", "reference"], "does not accept a reference image"),
        (HYBRID, ["image", "image"], "at most 1"),
        (HYBRID, ["reference"] * 4, "at most 3"),
    ]
    with Cases() as cases:
        for offer, roles, words in table:
            with cases.case(offer.id, roles), pytest.raises(Failure) as caught:
                request_body.slots(offer, roles)
            with cases.case(offer.id, roles, "outcome"):
                failed = caught.value.outcome
                assert isinstance(failed, Failed)
                assert words in failed.message
                assert (failed.code, failed.carried_out, failed.cost_nano) == (ErrorCode.REQUEST_REJECTED, False, 0)


def test_a_model_may_have_an_endpoint_of_its_own_for_requests_with_an_image() -> None:
    assert request_body.endpoint(HYBRID, has_inputs=False) == "a/painter"
    assert request_body.endpoint(HYBRID, has_inputs=True) == "a/painter/edit"
    assert request_body.endpoint(FILM, has_inputs=True) == "a/film"


def test_no_code_of_the_provider_names_a_model() -> None:
    folder = Path(request_body.__file__).parent
    named = [path.name for path in folder.glob("*.py") if "fal-ai/" in path.read_text("utf-8")]
    assert not named
