"""The editor's form: what reaches a model, what is refused, and that each result is a version of its own."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from tests.editor.studio import FAL_MODEL, OPENAI_MODEL, MaskStudio, mask_studio
from tests.html import Element, parse_html
from tests.kit import Cases, Json, ended_job, png, uploaded_asset
from tests.pages import FRAGMENT, PageUser, new_page_user
from tests.storage import samples
from tests.storage.hostile import png_header

SIZE = (160, 120)
AREA = {"area-left": "40", "area-top": "30", "area-width": "60", "area-height": "50"}
HARD = {"mask-feather": "0"}


@pytest_asyncio.fixture(scope="module")
async def masks(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MaskStudio]:
    async with mask_studio(tmp_path_factory.mktemp("editor")) as started:
        yield started


@pytest_asyncio.fixture
async def user(masks: MaskStudio) -> PageUser:
    return await new_page_user(masks.studio)


@pytest_asyncio.fixture
async def image(user: PageUser) -> str:
    return str((await uploaded_asset(user.client, samples.png(SIZE)))["id"])


def mask_file(size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """The left half in white."""
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return {"mask": ("mask.png", samples.encoded(mask, "PNG"), "image/png")}


async def submitted(user: PageUser, image: str, files: Any = None, **form: str) -> httpx.Response:
    fields = {"model": FAL_MODEL, "prompt": "[stamp] a boat", **form}
    return await user.browser.send_form(f"/edit/{image}", fields, files=files or {"mask": ("", b"")})


async def edited(user: PageUser, image: str, files: Any = None, **form: str) -> Json:
    """The job of an edit, when it has ended."""
    answer = await submitted(user, image, files, **form)
    assert answer.status_code == 303, answer.text
    job = await ended_job(user.client, answer.headers["location"].removeprefix("/jobs/"))
    assert (job["status"], job["generation_type"], job["parent_asset_id"]) == ("completed", "inpainting", image), job
    return job


async def refused(user: PageUser, image: str, files: Any = None, **form: str) -> Element:
    """The page that comes back."""
    answer = await submitted(user, image, files, **form)
    assert answer.status_code in (400, 413, 415), answer.status_code
    return parse_html(answer.text)


async def test_each_provider_gets_the_mask_as_it_expects_it(masks: MaskStudio, user: PageUser, image: str) -> None:
    with Cases() as cases:
        for model, inside, outside in [(FAL_MODEL, 255, 0), (OPENAI_MODEL, (0, 0, 0, 0), (0, 0, 0, 255))]:
            for name, form, files in [("rectangle", AREA, None), ("uploaded mask", {}, mask_file())]:
                with cases.case(model, name):
                    prompt = f"[stamp] {name} for {model}"
                    await edited(user, image, files, model=model, prompt=prompt, **HARD, **form)
                    sent, mask = masks.sent(prompt)
                    assert (sent.size, mask.size, mask.format) == (SIZE, SIZE, "PNG")
                    assert (mask.getpixel((45, 35)), mask.getpixel((130, 110))) == (inside, outside)


async def test_a_mask_is_inverted_and_its_edge_made_soft(masks: MaskStudio, user: PageUser, image: str) -> None:
    form = {"mask-invert": "true", "mask-feather": "20"}
    await edited(user, image, mask_file(), prompt="[stamp] the other half", **form)
    _, mask = masks.sent("[stamp] the other half")
    row = [int(str(mask.getpixel((x, 60)))) for x in range(0, SIZE[0], 10)]
    assert row[0] == 0
    assert row[-1] == 255
    assert row == sorted(row)
    assert len(set(row)) > 3


async def test_an_image_is_enlarged_and_only_the_new_part_generated(
    masks: MaskStudio, user: PageUser, image: str
) -> None:
    job = await edited(user, image, prompt="[stamp] more sky", **{"margin-top": "40", "margin-left": "16"}, **HARD)
    sent, mask = masks.sent("[stamp] more sky")
    assert sent.size == mask.size == (SIZE[0] + 16, SIZE[1] + 40)
    assert (mask.getpixel((100, 10)), mask.getpixel((100, 100)), mask.getpixel((5, 100))) == (255, 0, 255)
    assert sent.convert("RGB").crop((16, 40, *sent.size)).tobytes() == samples.drawing(SIZE).tobytes()
    again = await user.browser.get(f"/generate/image?from={job['id']}")
    assert again.status_code == 200


async def test_every_result_is_a_version_and_none_overwrites_another(user: PageUser, image: str) -> None:
    first = (await edited(user, image, **AREA))["assets"][0]
    second = (await edited(user, first["id"], **AREA))["assets"][0]
    assert (first["parent_asset_id"], second["parent_asset_id"]) == (image, first["id"])
    listed = await user.assets()
    assert [asset["id"] for asset in listed] == [second["id"], first["id"], image], "no mask and nothing prepared"
    for shown in (image, first["id"], second["id"]):
        page = await user.page(f"/library/{shown}")
        versions = page.one("ol", class_="row versions").all("a")
        assert [link["href"] for link in versions] == [f"/library/{id}" for id in (image, first["id"], second["id"])]
        assert page.all("a", href=f"/edit/{shown}")
    await user.client.delete(f"/api/v1/assets/{first['id']}")
    page = await user.page(f"/library/{second['id']}")
    assert len(page.one("ol", class_="row versions").all("a")) == 2


async def test_the_results_say_what_became_of_each_edit(user: PageUser, image: str) -> None:
    done = (await edited(user, image, prompt="[stamp] a lighthouse", **AREA))["assets"][0]["id"]
    answer = await submitted(user, image, prompt="[refuse] a celebrity", **AREA)
    await ended_job(user.client, answer.headers["location"].removeprefix("/jobs/"))
    results = (await user.page(f"/edit/{image}")).one(id="results")
    assert results.all("a", href=f"/edit/{done}")
    assert "Content refused" in results.text
    assert "hx-get" not in results.attributes, "nothing is in progress"
    seen = {"seen": results.one("input", name="seen")["value"], "result": ""}
    poll = await user.browser.get(f"/edit/{image}/results", params=seen, headers=FRAGMENT)
    assert poll.status_code == 204
    changed = await user.browser.get(f"/edit/{image}/results", params={**seen, "seen": "other"}, headers=FRAGMENT)
    assert parse_html(changed.text).one(id="results").text == results.text


async def test_the_settings_of_an_edit_come_back_with_its_mask(user: PageUser, image: str) -> None:
    job = await edited(user, image, mask_file(), prompt="[stamp] a gull", safety_tolerance="5", **HARD)
    mask = next(used["asset_id"] for used in job["inputs"] if used["role"] == "mask")
    page = await user.page(f"/edit/{image}?from={job['id']}")
    values = page.one("form", id="create").values()
    assert (values["prompt"], values["model"], values["safety_tolerance"]) == ("[stamp] a gull", FAL_MODEL, "5")
    assert values["mask_asset_id"] == mask
    assert page.one(id="stage")["data-mask"] == f"/media/{mask}"


async def test_bad_masks_are_refused_and_say_why(user: PageUser, image: str) -> None:
    black = samples.encoded(Image.new("L", SIZE), "PNG")
    giant = png_header(50_000, 50_000) + samples.chunk(b"IDAT", b"x") + samples.chunk(b"IEND", b"")
    with Cases() as cases:
        for name, content, words in [
            ("another size", mask_file((80, 120))["mask"][1], "80 × 120 pixels, but the image is 160 × 120"),
            ("empty", black, "Paint what should change."),
            ("a giant", giant, "50000 × 50000"),
            ("a video", samples.video("h264-silent.mp4"), "This is a video"),
            ("no image", b"hello", "Unsupported file type"),
            ("none", b"", "Paint what should change."),
        ]:
            with cases.case(name):
                page = await refused(user, image, {"mask": ("mask.png", content, "image/png")} if content else None)
                assert words in page.one(id="mask-error").text
                assert page.one("form", id="create").values()["prompt"] == "[stamp] a boat"
    assert await user.jobs() == []


async def test_wrong_numbers_are_refused_beside_their_fields(user: PageUser, image: str) -> None:
    with Cases() as cases:
        for form, error in [
            ({"area-left": "40"}, "area"),
            ({**AREA, "area-left": "160"}, "area"),
            ({**AREA, "area-width": "0"}, "area"),
            ({**AREA, "area-top": "-1"}, "area"),
            ({**AREA, "area-top": "1e2"}, "area"),
            ({**AREA, "margin-top": "5000"}, "margins"),
            ({**AREA, "margin-top": "٣"}, "margins"),
            (
                {**AREA, **dict.fromkeys(("margin-top", "margin-left", "margin-right", "margin-bottom"), "4096")},
                "margins",
            ),
            ({**AREA, "mask-feather": "300"}, "mask-feather"),
            ({**AREA, "safety_tolerance": "9"}, "field-safety_tolerance"),
            ({**AREA, "prompt": " "}, "prompt"),
            ({**AREA, "model": "openai:gpt-5.5"}, "model"),
        ]:
            with cases.case(form):
                page = await refused(user, image, **form)
                assert page.one(id=f"{error}-error").text
    assert await user.jobs() == []


async def test_a_mask_that_was_uploaded_is_kept_when_something_else_is_wrong(
    masks: MaskStudio, user: PageUser, image: str
) -> None:
    page = await refused(user, image, mask_file(), prompt="")
    kept = page.one("form", id="create").values()["mask_asset_id"]
    again = await refused(user, image, mask_file((80, 120)), mask_asset_id=kept)
    assert again.one("form", id="create").values()["mask_asset_id"] == kept, "another file does not replace it"
    await edited(user, image, prompt="[stamp] kept", mask_asset_id=kept, **HARD)
    _, mask = masks.sent("[stamp] kept")
    assert (mask.getpixel((5, 5)), mask.getpixel((155, 5))) == (255, 0)


async def test_only_the_own_images_can_be_edited(masks: MaskStudio, user: PageUser, image: str) -> None:
    stranger = await new_page_user(masks.studio, "stranger")
    video = (await uploaded_asset(user.client, samples.video("h264-silent.mp4"), "a.mp4"))["id"]
    own = (await uploaded_asset(stranger.client, png()))["id"]
    for caller, id in [(stranger, image), (user, video), (user, "0" * 32)]:
        for path in (f"/edit/{id}", f"/edit/{id}/fields", f"/edit/{id}/results"):
            assert (await caller.browser.get(path)).status_code == 404
        assert (await submitted(caller, id, **AREA)).status_code == 404
    page = await refused(stranger, own, mask_asset_id=image)
    assert "no longer exists" in page.one(id="mask-error").text


async def test_htmx_gets_the_results_or_the_prompt_with_its_errors(user: PageUser, image: str) -> None:
    form = {"model": FAL_MODEL, "prompt": "[stamp] a boat", **AREA}
    for fields, status, id in [(form, 200, "results"), ({**form, "prompt": ""}, 400, "edit-prompt")]:
        answer = await user.browser.send_form(f"/edit/{image}", fields, headers=FRAGMENT)
        assert answer.status_code == status
        assert parse_html(answer.text).children[0]["id"] == id
    settings = await user.browser.get(f"/edit/{image}/fields", params={"model": OPENAI_MODEL}, headers=FRAGMENT)
    assert parse_html(settings.text).one("select", name="quality")


async def test_the_same_form_twice_is_one_edit(user: PageUser, image: str) -> None:
    form = {"idempotency_key": "1" * 32, **AREA}
    places = {(await submitted(user, image, **form)).headers["location"] for _ in range(2)}
    assert len(places) == 1
    assert len(await user.jobs()) == 1


async def test_without_a_model_for_masks_the_page_says_what_to_do(viewer: PageUser) -> None:
    image = (await uploaded_asset(viewer.client))["id"]
    page = await viewer.page(f"/edit/{image}")
    assert "No model that takes a mask is available" in page.text
    assert not page.all("form", id="create")
