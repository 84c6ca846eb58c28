"""Images, with the official `openai` package."""

import base64
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from tests.gateway.sdk.conftest import User
from tests.kit import IMAGE_MODEL, MULTI_IMAGE_MODEL, SIZED_IMAGE_MODEL, decoded_image, png, submit_log
from tests.studio import Studio

pytestmark = pytest.mark.xdist_group("openai")  # one worker keeps one interpreter

Json = dict[str, Any]


def images_of(answer: Json) -> list[Image.Image]:
    """The images in a response, fully decoded."""
    assert answer["created"] > 1_700_000_000
    images = [decoded_image(base64.b64decode(each["b64_json"], validate=True)) for each in answer["data"]]
    assert {image.format for image in images} <= {"PNG", "WEBP", "JPEG"}
    return images


def submitted(studio: Studio, prompt: str) -> list[Json]:
    """The requests with this prompt that reached the provider."""
    return [submit for submit in submit_log(studio) if submit["prompt"] == prompt]


async def test_an_image_comes_in_the_answer_and_is_in_the_library_the_jobs_and_the_spending(ann: User) -> None:
    headers, answer = await ann.run(
        """
        raw = client.images.with_raw_response.generate(model=given["model"], prompt="A lighthouse at dawn")
        result = [dict(raw.headers), as_json(raw.parse())]
        """,
        model=IMAGE_MODEL,
    )
    (image,) = images_of(answer)
    (asset,) = await ann.items("assets")
    assert (asset["kind"], asset["width"], asset["height"]) == ("image", *image.size)
    (job,) = await ann.items("jobs")
    assert (job["kind"], job["status"], job["model"]) == ("image", "completed", IMAGE_MODEL)
    assert job["prompt"] == "A lighthouse at dawn"
    assert [stored["id"] for stored in job["assets"]] == [asset["id"]]
    (month,) = await ann.items("users/me/spending")
    assert Decimal(month["spent_usd"]) == Decimal(job["cost_usd"]) == Decimal(headers["x-atelier-cost-usd"]) > 0
    assert headers["x-atelier-model"] == IMAGE_MODEL
    assert headers["x-request-id"]
    assert float(headers["x-atelier-overhead-ms"]) >= 0


async def test_several_images_of_one_size(ann: User) -> None:
    answer = await ann.run(
        """
        result = as_json(client.images.generate(
            model=given["model"], prompt="A harbour", n=2, size="1536x1024", quality="low", output_format="png"))
        """,
        model=SIZED_IMAGE_MODEL,
    )
    assert [image.size for image in images_of(answer)] == [(1536, 1024), (1536, 1024)]
    assert len(await ann.items("assets")) == 2


async def test_a_size_is_understood_by_models_that_know_only_aspect_ratios(ann: User) -> None:
    answer = await ann.run(
        "result = as_json(client.images.generate(model=given['model'], prompt='A harbour', size='1536x1024'))",
        model=IMAGE_MODEL,
    )
    (image,) = images_of(answer)
    assert image.width / image.height == pytest.approx(1.5, rel=0.02)


async def test_parameters_of_older_clients_are_accepted(ann: User) -> None:
    answer = await ann.run(
        """
        result = as_json(client.images.generate(
            model=given["model"], prompt="A harbour", n=1, response_format="b64_json", user="me"))
        """,
        model=IMAGE_MODEL,
    )
    assert len(images_of(answer)) == 1


async def test_an_impossible_size_is_a_bad_request_that_names_it(ann: User) -> None:
    sizes = ["enormous", "99999x99999"]
    errors = await ann.run(
        """
        result = [
            error_of(client.images.generate, model=given["model"], prompt="A boat", size=size)
            for size in given["sizes"]
        ]
        """,
        model=SIZED_IMAGE_MODEL,
        sizes=sizes,
    )
    failures = [error for error in errors if "BadRequestError" not in error["kinds"] or error["param"] != "size"]
    assert len(errors) == len(sizes)
    assert not failures


async def test_an_image_is_edited_whether_it_comes_alone_or_in_a_list(atelier: Studio, ann: User) -> None:
    prompt = "Make it warmer, by an edit of one image"
    answers = await ann.run(
        """
        file = ("boat.png", base64.b64decode(given["png"]), "image/png")
        result = [
            as_json(client.images.edit(model=given["model"], prompt=given["prompt"], image=image))
            for image in (file, [file])
        ]
        """,
        model=MULTI_IMAGE_MODEL,
        prompt=prompt,
        png=base64.b64encode(png(320, 180, "teal")).decode(),
    )
    assert [len(images_of(answer)) for answer in answers] == [1, 1]
    jobs = await ann.items("jobs")
    kinds = [(job["kind"], job["status"], job["generation_type"]) for job in jobs]
    assert kinds == [("image", "completed", "image_to_image")] * 2
    sent = submitted(atelier, prompt)
    assert ["sha256:" in str(submit["request"]) for submit in sent] == [True, True], "the image went to the provider"
    assert {asset["kind"] for asset in await ann.items("assets")} == {"image"}


async def test_several_images_are_all_used_or_rejected_but_never_dropped(atelier: Studio, ann: User) -> None:
    prompt = "Put both images together"
    error = await ann.run(
        """
        files = [(f"{n}.png", base64.b64decode(one), "image/png") for n, one in enumerate(given["pngs"])]
        result = error_of(client.images.edit, model=given["model"], prompt=given["prompt"], image=files)
        """,
        model=MULTI_IMAGE_MODEL,
        prompt=prompt,
        pngs=[base64.b64encode(png(64, 48, colour)).decode() for colour in ("red", "blue")],
    )
    if error["status"] == 200:
        assert str(submitted(atelier, prompt)[-1]["request"]).count("sha256:") == 2
    else:
        assert "BadRequestError" in error["kinds"], error
        assert error["param"].partition("[")[0] == "image"


async def test_a_file_that_is_not_an_image_is_rejected(ann: User) -> None:
    contents = [b"this is not an image", b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
    errors = await ann.run(
        """
        result = []
        for content in given["contents"]:
            file = ("boat.png", base64.b64decode(content), "image/png")
            result.append(error_of(client.images.edit, model=given["model"], prompt="Make it warmer", image=file))
        """,
        model=MULTI_IMAGE_MODEL,
        contents=[base64.b64encode(content).decode() for content in contents],
    )
    failures = [error for error in errors if "BadRequestError" not in error["kinds"] or error["param"] != "image"]
    assert len(errors) == len(contents)
    assert not failures
    assert await ann.items("jobs") == []


async def test_a_repeated_request_with_the_same_idempotency_key_pays_once(atelier: Studio, ann: User) -> None:
    same_image, error = await ann.run(
        """
        request = dict(model=given["model"], prompt="A boat that is drawn once", extra_headers={"Idempotency-Key": "k-1"})
        first, second = (as_json(client.images.generate(**request)) for _ in range(2))
        request["prompt"] = "Another boat"
        result = [
            first["data"][0]["b64_json"] == second["data"][0]["b64_json"], error_of(client.images.generate, **request)
        ]
        """,
        model=IMAGE_MODEL,
    )
    assert same_image
    assert "ConflictError" in error["kinds"]
    assert len(submitted(atelier, "A boat that is drawn once")) == 1


async def test_a_streamed_image_has_previews_before_it(ann: User) -> None:
    events = await ann.run(
        """
        stream = client.images.generate(
            model=given["model"], prompt="[stamp] A lighthouse", quality="low", stream=True, partial_images=2)
        result = [[type(event).__name__, as_json(event)] for event in stream]
        """,
        model=SIZED_IMAGE_MODEL,
    )
    assert [name for name, _ in events] == ["ImageGenPartialImageEvent", "ImageGenCompletedEvent"]
    (_, preview), (_, last) = events
    for event in (preview, last):
        decoded_image(base64.b64decode(event["b64_json"], validate=True))
        assert (event["output_format"], event["quality"], event["background"]) == ("png", "low", "auto")
        assert event["created_at"] > 1_700_000_000
    assert preview["partial_image_index"] == 0
    assert last["size"] == "64x64"
    assert last["usage"]["total_tokens"] == last["usage"]["input_tokens"] + last["usage"]["output_tokens"] > 0
    (job,) = await ann.items("jobs")
    assert (job["status"], len(job["assets"])) == ("completed", 1)


async def test_a_streamed_edit_has_previews_where_the_model_can_send_them(ann: User) -> None:
    found = await ann.run(
        """
        file = ("boat.png", base64.b64decode(given["png"]), "image/png")
        result = [
            [type(event).__name__ for event in client.images.edit(
                model=model, prompt="[stamp] Make it warmer", image=file, stream=True, partial_images=1)]
            for model in given["models"]
        ]
        """,
        models=[SIZED_IMAGE_MODEL, MULTI_IMAGE_MODEL],
        png=base64.b64encode(png(64, 48, "teal")).decode(),
    )
    assert found == [["ImageEditPartialImageEvent", "ImageEditCompletedEvent"], ["ImageEditCompletedEvent"]]
    assert len(await ann.items("assets")) == 4


async def test_a_stream_that_fails_raises_an_error(ann: User) -> None:
    errors = await ann.run(
        """
        result = {
            fault: error_of(client.images.generate, model=given["model"], prompt=f"[{fault}] A boat", stream=True, partial_images=1)
            for fault in ("error-in-stream", "cut", "refuse")
        }
        """,
        model=SIZED_IMAGE_MODEL,
    )
    assert all("APIError" in error["kinds"] for error in errors.values()), errors
    assert {fault: error["code"] for fault, error in errors.items()} == {
        "error-in-stream": "provider_failed",
        "cut": "outcome_unknown",
        "refuse": "content_policy_violation",
    }
