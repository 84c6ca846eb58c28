"""Downloads hold the settings of their job, or nothing; a file that comes back restores the form."""

import io

import httpx
from PIL import Image

from app.storage.metadata.xmp import GenerationSettings, packet
from tests.html import parse_html
from tests.kit import (
    IMAGE_MODEL,
    MULTI_IMAGE_MODEL,
    UNKNOWN_ID,
    Cases,
    Json,
    ended_job,
    error_of,
    generated_image,
    new_user,
    png,
    requested_video,
    uploaded_asset,
)
from tests.pages import PageUser, new_page_user
from tests.storage import samples
from tests.studio import Studio

PROMPT = "[stamp] a lighthouse <at> night & ü"
SETTINGS: Json = {"seed": 11, "aspect_ratio": "16:9", "n": 1}


async def download(client: httpx.AsyncClient, asset: Json, **query: str) -> httpx.Response:
    answer = await client.get(f"/api/v1/assets/{asset['id']}/download", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment")
    return answer


async def upload(client: httpx.AsyncClient, data: bytes) -> Json:
    answer = await client.post("/api/v1/assets", files={"file": ("a.png", data)})
    assert answer.status_code == 201, answer.text
    uploaded: Json = answer.json()
    return uploaded


async def test_an_uploaded_download_answers_with_the_settings_that_were_sent(studio: Studio) -> None:
    client = await new_user(studio)
    source = await uploaded_asset(client)
    inputs = [{"role": "image", "asset_id": source["id"]}]
    image = await generated_image(client, PROMPT, model=MULTI_IMAGE_MODEL, inputs=inputs, **SETTINGS)
    video = await ended_job(client, (await requested_video(client, PROMPT))["id"])
    for job in (image, video):
        answer = await download(client, job["assets"][0])
        restored = (await upload(client, answer.content))["restored_settings"]
        assert (restored["kind"], restored["model"], restored["prompt"]) == (job["kind"], job["model"], PROMPT)
        assert restored["params"] == job["params"]
    assert SETTINGS.items() <= image["params"].items()
    first = (await upload(client, (await download(client, image["assets"][0])).content))["restored_settings"]
    assert first["inputs"] == [{"role": "image", "asset_id": source["id"], "weight": None}]


async def test_a_download_without_metadata_names_neither_prompt_nor_model(studio: Studio) -> None:
    client = await new_user(studio)
    asset = (await generated_image(client, PROMPT))["assets"][0]
    plain = (await download(client, asset, metadata="none")).content
    assert b"lighthouse" not in plain
    assert IMAGE_MODEL.encode() not in plain
    assert "restored_settings" not in await upload(client, plain)
    full = (await download(client, asset)).content
    assert b"lighthouse" in full
    with Image.open(io.BytesIO(plain)) as one, Image.open(io.BytesIO(full)) as other:
        assert one.tobytes() == other.tobytes()
    wrong = await client.get(f"/api/v1/assets/{asset['id']}/download", params={"metadata": "some"})
    error_of(wrong, 400, "VALIDATION_ERROR")


async def test_an_upload_is_downloaded_as_it_is_stored_under_its_name(studio: Studio) -> None:
    client = await new_user(studio)
    answer = await client.post("/api/v1/assets", files={"file": ("../My  holiday!.png", png())})
    asset = answer.json()
    for query in ({}, {"metadata": "none"}):
        found = await download(client, asset, **query)
        assert found.content == (await client.get(asset["url"])).content
        assert f"my-holiday-{asset['id'][-6:]}.png" in found.headers["content-disposition"]


async def test_ranges_make_up_the_whole_download(studio: Studio) -> None:
    client = await new_user(studio)
    asset = (await generated_image(client, PROMPT))["assets"][0]
    whole = await download(client, asset)
    path, total = f"/api/v1/assets/{asset['id']}/download", len(whole.content)
    assert whole.headers["content-length"] == str(total)
    etag = whole.headers["etag"]
    assert etag != (await client.get(asset["url"])).headers["etag"]
    middle = total // 2
    parts = [
        await client.get(path, headers={"Range": header, "If-Range": etag})
        for header in (f"bytes=0-{middle}", f"bytes={middle + 1}-")
    ]
    assert [part.status_code for part in parts] == [206, 206]
    assert b"".join(part.content for part in parts) == whole.content
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 304


async def test_a_stranger_cannot_download(studio: Studio) -> None:
    owner, stranger = await new_user(studio), await new_user(studio)
    asset = await uploaded_asset(owner)
    for id in (asset["id"], UNKNOWN_ID):
        for metadata in ("all", "none"):
            answer = await stranger.get(f"/api/v1/assets/{id}/download", params={"metadata": metadata})
            error_of(answer, 404, "RESOURCE_NOT_FOUND")


async def restored_form(user: PageUser, data: bytes) -> dict[str, str]:
    """The fields of the create form that such a file fills."""
    answer = await user.browser.send_form("/generate/restore", {"kind": "text"}, files={"file": ("a.png", data)})
    assert answer.status_code == 200, answer.text
    return parse_html(answer.text).one("form", id="create").values()


async def test_a_file_of_ours_fills_the_form_and_sent_again_makes_an_equal_job(atelier: Studio) -> None:
    user = await new_page_user(atelier)
    source = await uploaded_asset(user.client)
    inputs = [{"role": "image", "asset_id": source["id"]}]
    job = await generated_image(user.client, PROMPT, model=MULTI_IMAGE_MODEL, inputs=inputs, **SETTINGS)
    data = (await download(user.client, job["assets"][0])).content
    form = await restored_form(user, data)
    answer = await user.browser.send_form("/generate/image", form)
    assert answer.status_code == 303
    again = await user.ended(answer.headers["location"].rpartition("/")[2])
    for name in ("prompt", "model", "params", "inputs"):
        assert again[name] == job[name], name


async def test_inputs_that_are_not_in_the_library_are_left_out_and_the_page_says_so(atelier: Studio) -> None:
    owner, other = await new_page_user(atelier), await new_page_user(atelier)
    source = await uploaded_asset(owner.client)
    inputs = [{"role": "image", "asset_id": source["id"]}]
    job = await generated_image(owner.client, PROMPT, model=MULTI_IMAGE_MODEL, inputs=inputs)
    data = (await download(owner.client, job["assets"][0])).content
    answer = await other.browser.send_form("/generate/restore", {"kind": "image"}, files={"file": ("a.png", data)})
    assert answer.status_code == 200
    assert "1 of the input files are not in your library." in answer.text
    assert source["id"] not in answer.text
    assert parse_html(answer.text).one("form", id="create").values()["prompt"] == PROMPT


async def test_a_file_without_settings_and_hostile_ones_leave_one_clear_error(atelier: Studio) -> None:
    user = await new_page_user(atelier)
    hostile = GenerationSettings(
        kind="image",
        model="no/model",
        prompt="<script>alert(1)</script>",
        params={"image_url": "http://127.0.0.1/", "asset-image": "x", "csrf_token": "x", "seed": {"a": [1]}},
    )
    unknown = GenerationSettings(kind="render", model="m", prompt="p")
    files = {
        "none": (png(), 400, "holds no settings"),
        "an empty file": (b"", 415, "empty"),
        "a text": (b"hello", 415, "Unsupported"),
        "an unknown kind": (with_settings(unknown), 400, "holds no settings"),
        "hostile settings": (with_settings(hostile), 200, "no/model is not available here"),
    }
    with Cases() as cases:
        for name, (data, status, text) in files.items():
            with cases.case(name):
                parts = {"file": ("a.png", data)}
                answer = await user.browser.send_form("/generate/restore", {"kind": "image"}, files=parts)
                assert answer.status_code == status
                assert text in answer.text
                assert "<script>alert" not in answer.text
                assert "127.0.0.1/" not in answer.text
    nothing = await user.browser.send_form("/generate/restore", {"kind": "image"})
    assert nothing.status_code == 400
    assert "Choose a file." in nothing.text
    assert await user.assets() == [], "the files are not kept"


def with_settings(settings: GenerationSettings) -> bytes:
    chunk = b"XML:com.adobe.xmp\0\0\0\0\0" + packet(settings)
    return samples.with_chunk(png(), b"iTXt", chunk)
