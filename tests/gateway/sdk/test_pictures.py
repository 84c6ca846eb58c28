"""Pictures, asked for with OpenAI's own Python package."""

import base64
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from tests.api.kit import COUNTED, PICTURE, SIZED, png, seen, submits
from tests.gateway.sdk.conftest import Person
from tests.studio import Studio

Json = dict[str, Any]


def pictures(found: Json) -> list[Image.Image]:
    """The pictures in an answer, decoded whole."""
    assert found["created"] > 1_700_000_000
    drawn = [seen(base64.b64decode(each["b64_json"], validate=True)) for each in found["data"]]
    assert {picture.format for picture in drawn} <= {"PNG", "WEBP", "JPEG"}
    return drawn


async def items(person: Person, path: str) -> list[Json]:
    found: list[Json] = (await person.http.get(f"/api/v1/{path}")).json()["items"]
    return found


async def test_a_picture_comes_in_the_answer_and_is_then_in_the_library_the_jobs_and_the_spending(ann: Person) -> None:
    headers, found = await ann.run(
        """
        raw = client.images.with_raw_response.generate(model=given["model"], prompt="A lighthouse at dawn")
        said = [dict(raw.headers), plain(raw.parse())]
        """,
        model=PICTURE,
    )
    (picture,) = pictures(found)
    (asset,) = await items(ann, "assets")
    assert (asset["kind"], asset["width"], asset["height"]) == ("image", *picture.size)
    (job,) = await items(ann, "jobs")
    assert (job["kind"], job["status"], job["model"]) == ("image", "completed", PICTURE)
    assert job["prompt"] == "A lighthouse at dawn"
    assert [kept["id"] for kept in job["assets"]] == [asset["id"]]
    (month,) = await items(ann, "users/me/spending")
    assert Decimal(month["spent_usd"]) == Decimal(job["cost_usd"]) == Decimal(headers["x-atelier-cost-usd"]) > 0
    assert headers["x-atelier-model"] == PICTURE
    assert headers["x-request-id"]
    assert float(headers["x-atelier-overhead-ms"]) >= 0


async def test_several_pictures_of_one_size(ann: Person) -> None:
    found = await ann.run(
        """
        said = plain(client.images.generate(
            model=given["model"], prompt="A harbour", n=2, size="1536x1024", quality="low", output_format="png"))
        """,
        model=SIZED,
    )
    assert [picture.size for picture in pictures(found)] == [(1536, 1024), (1536, 1024)]
    assert len(await items(ann, "assets")) == 2


async def test_a_size_is_understood_by_models_that_know_only_shapes(ann: Person) -> None:
    found = await ann.run(
        "said = plain(client.images.generate(model=given['model'], prompt='A harbour', size='1536x1024'))",
        model=PICTURE,
    )
    (picture,) = pictures(found)
    assert picture.width / picture.height == pytest.approx(1.5, rel=0.02)


async def test_what_older_clients_send_along_is_taken(ann: Person) -> None:
    found = await ann.run(
        """
        said = plain(client.images.generate(
            model=given["model"], prompt="A harbour", n=1, response_format="b64_json", user="me"))
        """,
        model=PICTURE,
    )
    assert len(pictures(found)) == 1


@pytest.mark.parametrize("size", ["enormous", "99999x99999"])
async def test_a_size_that_cannot_be_is_a_bad_request_that_names_it(ann: Person, size: str) -> None:
    found = await ann.run(
        "said = refused(client.images.generate, model=given['model'], prompt='A boat', size=given['size'])",
        model=SIZED,
        size=size,
    )
    assert "BadRequestError" in found["kinds"]
    assert found["param"] == "size"


EDIT = """
file = ("boat.png", base64.b64decode(given["png"]), "image/png")
said = plain(client.images.edit(model=given["model"], prompt="Make it warmer", image=[file] if given["list"] else file))
"""


@pytest.mark.parametrize("listed", [False, True], ids=["one file", "a list of one"])
async def test_a_picture_is_edited(atelier: Studio, ann: Person, listed: bool) -> None:
    data = png(320, 180, "teal")
    found = await ann.run(EDIT, model=COUNTED, png=base64.b64encode(data).decode(), list=listed)
    assert len(pictures(found)) == 1
    (job,) = await items(ann, "jobs")
    assert (job["kind"], job["status"], job["generation_type"]) == ("image", "completed", "image_to_image")
    sent = submits(atelier)[-1]["request"]
    assert "sha256:" in str(sent), "the picture went to the provider"
    assert {asset["kind"] for asset in await items(ann, "assets")} == {"image"}


async def test_several_pictures_are_all_used_or_refused_but_never_dropped(atelier: Studio, ann: Person) -> None:
    found = await ann.run(
        """
        files = [(f"{n}.png", base64.b64decode(one), "image/png") for n, one in enumerate(given["pngs"])]
        said = refused(client.images.edit, model=given["model"], prompt="Put both together", image=files)
        """,
        model=COUNTED,
        pngs=[base64.b64encode(png(64, 48, colour)).decode() for colour in ("red", "blue")],
    )
    if found["status"] == 200:
        assert str(submits(atelier)[-1]["request"]).count("sha256:") == 2
    else:
        assert "BadRequestError" in found["kinds"], found
        assert found["param"].partition("[")[0] == "image"


@pytest.mark.parametrize("data", [b"this is not a picture", b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
async def test_a_file_that_is_no_picture_is_refused(ann: Person, data: bytes) -> None:
    found = await ann.run(
        """
        file = ("boat.png", base64.b64decode(given["data"]), "image/png")
        said = refused(client.images.edit, model=given["model"], prompt="Make it warmer", image=file)
        """,
        model=COUNTED,
        data=base64.b64encode(data).decode(),
    )
    assert "BadRequestError" in found["kinds"], found
    assert found["param"] == "image"
    assert await items(ann, "jobs") == []


async def test_asking_again_with_the_same_key_pays_once(atelier: Studio, ann: Person) -> None:
    found = await ann.run(
        """
        wish = dict(model=given["model"], prompt="A boat that is drawn once", extra_headers={"Idempotency-Key": "k-1"})
        first, second = (plain(client.images.generate(**wish)) for _ in range(2))
        wish["prompt"] = "Another boat"
        said = [first["data"][0]["b64_json"] == second["data"][0]["b64_json"], refused(client.images.generate, **wish)]
        """,
        model=PICTURE,
    )
    assert found[0], "the same picture"
    assert "ConflictError" in found[1]["kinds"]
    assert len([submit for submit in submits(atelier) if submit["prompt"] == "A boat that is drawn once"]) == 1
