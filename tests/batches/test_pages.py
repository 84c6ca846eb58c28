"""The pages of series and comparisons, as a browser without JavaScript uses them."""

import io

import httpx
import pytest
from PIL import Image

from tests.batches.test_api import ended
from tests.html import parse_html
from tests.kit import IMAGE_MODEL, MULTI_IMAGE_MODEL, VIDEO_MODEL, Cases, new_email
from tests.studio import Browser, Studio


@pytest.fixture
async def visitor(atelier: Studio) -> tuple[httpx.AsyncClient, Browser]:
    email = new_email()
    return await atelier.user(email, direct=True), await atelier.user_in_browser(email, direct=True)


async def test_a_series_is_started_by_its_form_and_becomes_a_grid_and_one_image(
    visitor: tuple[httpx.AsyncClient, Browser],
) -> None:
    client, browser = visitor
    page = await browser.get("/batches/new", params={"kind": "image", "models": MULTI_IMAGE_MODEL})
    form = parse_html(page.text).one("form", id="create").values()
    form |= {"models": MULTI_IMAGE_MODEL, "prompts": "A {red|green} boat\n\n  A lighthouse", "seed": "1-2, 7"}
    assert "9 jobs" in (await browser.send_form("/batches/estimate", form)).text
    started = await browser.send_form("/batches", form)
    assert started.status_code == 303, started.text
    where = started.headers["location"]
    assert (await browser.send_form("/batches", form)).headers["location"] == where, "sent twice, it starts once"
    await ended(client, where.rpartition("/")[2])
    grid = parse_html((await browser.get(where)).text)
    assert [cell.text for cell in grid.all("th", scope="col")] == ["Seed 1", "Seed 2", "Seed 7"]
    assert [cell.text for cell in grid.all("th", scope="row")] == ["A red boat", "A green boat", "A lighthouse"]
    assert len(grid.all("td")) == 10  # one above the rows' names
    sheet = await browser.get(f"{where}/grid")
    with Image.open(io.BytesIO(sheet.content)) as image:
        assert image.format == "JPEG"
        assert image.width > 3 * 300
    again = (await browser.get("/batches/new", params={"from": where.rpartition("/")[2]})).text
    values = parse_html(again).one("form", id="create").values()
    assert (values["prompts"], values["seed"]) == (
        "A {red|green} boat\n\n  A lighthouse".replace("\n\n  ", "\n"),
        "1, 2, 7",
    )


async def test_a_wrong_series_is_shown_again_and_starts_nothing(visitor: tuple[httpx.AsyncClient, Browser]) -> None:
    client, browser = visitor
    form = {"kind": "image", "models": MULTI_IMAGE_MODEL, "prompts": "A boat"}
    with Cases() as cases:
        for changes, words in (
            ({"prompts": ""}, "Enter a prompt"),
            ({"prompts": "A {a|b|c|d|e|f|g|h}{a|b|c|d|e|f|g|h}{a|b|c|d|e|f|g|h} boat"}, "at most 500"),
            ({"seed": "1-501"}, "at most 500"),
            ({"seed": "many"}, "integer"),
            ({"models": "no/such"}, "not available"),
            ({"prompts": "A __nothing__ boat"}, "nothing"),
        ):
            with cases.case(changes):
                answer = await browser.send_form("/batches", {**form, **changes})
                assert answer.status_code == 400, answer.text
                assert words in answer.text
    assert (await client.get("/api/v1/generate/batches")).json()["total"] == 0


async def test_models_are_compared_side_by_side(visitor: tuple[httpx.AsyncClient, Browser]) -> None:
    client, browser = visitor
    form = {"kind": "image", "models": [IMAGE_MODEL], "prompts": "A boat"}
    alone = await browser.send_form("/compare", form)
    assert alone.status_code == 400
    assert "Choose 2 to 6 models." in alone.text
    started = await browser.send_form("/compare", {**form, "models": [IMAGE_MODEL, MULTI_IMAGE_MODEL]})
    where = started.headers["location"]
    assert where.startswith("/compare/")
    id = where.rpartition("/")[2]
    await ended(client, id)
    shown = parse_html((await browser.get(where)).text)
    columns = [it for it in shown.all("section") if it.get("id").startswith("column-")]
    assert len(columns) == 2
    assert all(len(column.all("progress")) >= 2 for column in columns)
    other = await client.post("/api/v1/generate/batch", json={"kind": "video", "model": VIDEO_MODEL, "prompt": "x"})
    redirected = await browser.get(f"/compare/{other.json()['id']}")
    assert redirected.headers["location"].startswith("/batches/")


async def test_a_batch_of_a_stranger_does_not_exist(
    visitor: tuple[httpx.AsyncClient, Browser], atelier: Studio
) -> None:
    client, _ = visitor
    body = {"kind": "image", "model": IMAGE_MODEL, "prompts": ["a", "b"]}
    id = (await client.post("/api/v1/generate/batch", json=body)).json()["id"]
    stranger = await atelier.user_in_browser(new_email(), direct=True)
    for path in (f"/batches/{id}", f"/compare/{id}", f"/batches/{id}/grid", f"/batches/new?from={id}"):
        assert (await stranger.get(path)).status_code == 404, path
    assert (await stranger.send_form(f"/batches/{id}/cancel")).status_code == 404
