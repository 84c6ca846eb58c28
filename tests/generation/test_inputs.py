"""The input files of a request: every role that a model declares, from the library or a URL, checked before anything is sent."""

import httpx

from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    TEXT_MODEL,
    Json,
    error_of,
    image_bytes,
    new_email,
    new_user,
    uploaded_asset,
)
from tests.studio import Studio

EDITOR = "bytedance-seed/seedream-5"  # takes up to ten images
STAMP = "[stamp] a lighthouse"


async def generate(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post("/api/v1/generate/image", json={"model": EDITOR, "prompt": STAMP, **body})


async def image(client: httpx.AsyncClient, width: int = 64, height: int = 48) -> str:
    return str((await uploaded_asset(client, image_bytes("PNG", width, height)))["id"])


async def test_several_images_are_the_inputs_of_one_job_in_their_order(atelier: Studio) -> None:
    user = await new_user(atelier)
    ids = [await image(user, 64 + 8 * number) for number in range(3)]
    answer = await generate(user, inputs=[{"role": "image", "asset_id": id} for id in ids])
    assert answer.status_code == 200, answer.text
    job: Json = answer.json()
    assert job["generation_type"] == "image_to_image"
    assert job["inputs"] == [{"role": "image", "asset_id": id, "weight": None} for id in ids]


async def test_the_single_image_stays_the_first_input(atelier: Studio) -> None:
    user = await new_user(atelier)
    first, second = await image(user), await image(user, 80)
    answer = await generate(user, image_asset_id=first, inputs=[{"role": "image", "asset_id": second, "weight": 0.5}])
    assert [each["asset_id"] for each in answer.json()["inputs"]] == [first, second]
    assert answer.json()["inputs"][1]["weight"] == 0.5


async def test_a_video_has_a_first_and_a_last_frame(atelier: Studio) -> None:
    user = await new_user(atelier)
    frames = {role: await image(user, 96) for role in ("first_frame", "last_frame")}
    body = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "[stamp] waves",
        "inputs": [{"role": role, "asset_id": id} for role, id in frames.items()],
    }
    answer = await user.post("/api/v1/generate/video/from-image", json=body)
    if answer.status_code == 400:  # this model has only a first frame
        assert "at most" in answer.text or "does not take" in answer.text
        body["inputs"] = body["inputs"][:1]
        answer = await user.post("/api/v1/generate/video/from-image", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["inputs"][0]["role"] == "first_frame"


async def test_what_a_model_does_not_take_is_refused_before_anything_is_downloaded(atelier: Studio) -> None:
    user = await new_user(atelier)
    id = await image(user)
    dead = {"role": "image", "url": "http://203.0.113.1/a.png"}
    wrong: list[tuple[Json, str]] = [
        ({"inputs": [dead] * 11}, "inputs.0"),
        ({"inputs": [dead, {"role": "mask", "asset_id": id}]}, "inputs.1"),
        ({"inputs": [dead], "mask_asset_id": id}, "mask_asset_id"),
        ({"inputs": [{"role": "last_frame", "asset_id": id}]}, "inputs.0"),
        ({"inputs": [{"role": "image", "asset_id": "0" * 32}]}, "inputs.0"),
        ({"inputs": [dead, {"role": "image", "asset_id": "0" * 32}]}, "inputs.1"),
        ({"inputs": [{"role": "image"}]}, "inputs.0"),
        ({"inputs": [{"role": "image", "asset_id": id, "url": "https://a.example/b.png"}]}, "inputs.0"),
        ({"inputs": [{"role": "smell", "asset_id": id}]}, "inputs.0"),
        ({"inputs": [{"role": "image", "asset_id": id, "weight": 3}]}, "inputs.0"),
        ({"inputs": [{"role": "image", "asset_id": id, "more": 1}]}, "inputs.0"),
        ({"inputs": ["x"]}, "inputs.0"),
        ({"inputs": {"role": "image"}}, "inputs"),
        ({"inputs": [{"role": "image", "asset_id": id}] * 17}, "inputs"),
        ({"model": IMAGE_MODEL, "inputs": [{"role": "image", "asset_id": id}]}, "model"),
    ]
    for body, field in wrong:
        fields = error_of(await generate(user, **body), 400, "VALIDATION_ERROR")["details"]["fields"]
        assert field in fields, (body, fields)
    text = {"model": TEXT_MODEL, "prompt": "a", "inputs": [{"role": "image", "asset_id": id}]}
    error_of(await user.post("/api/v1/generate/text", json=text), 400, "VALIDATION_ERROR")
    assert (await user.get("/api/v1/jobs")).json()["total"] == 0


async def test_an_image_of_another_user_is_like_one_that_does_not_exist(atelier: Studio) -> None:
    owner, stranger = await new_user(atelier), await new_user(atelier, "stranger")
    id = await image(owner)
    taken = await generate(stranger, inputs=[{"role": "image", "asset_id": id}])
    invented = await generate(stranger, inputs=[{"role": "image", "asset_id": "0" * 32}])
    assert error_of(taken, 400)["details"] == error_of(invented, 400)["details"]


async def test_a_retry_keeps_all_inputs(atelier: Studio) -> None:
    user = await new_user(atelier)
    inputs = [{"role": "image", "asset_id": await image(user, 64 + 8 * number)} for number in range(2)]
    failed = await generate(user, prompt="[refuse] a lighthouse", inputs=inputs)
    assert failed.status_code == 400
    job = (await user.get("/api/v1/jobs")).json()["items"][0]
    retried = await user.post(f"/api/v1/jobs/{job['id']}/retry")
    assert [(each["role"], each["asset_id"]) for each in retried.json()["inputs"]] == [
        (each["role"], each["asset_id"]) for each in inputs
    ]


async def test_a_form_offers_every_role_of_its_model_and_sends_what_was_chosen(atelier: Studio) -> None:
    email = new_email("owner")
    client = await atelier.user(email, direct=True)
    browser = await atelier.user_in_browser(email, direct=True)
    first, second = await image(client), await image(client, 80)
    fields = await browser.get(f"/generate/image/fields?mode=image&model={EDITOR}")
    assert 'name="asset-image"' in fields.text
    assert 'name="file-image"' in fields.text
    assert 'name="file-mask"' not in fields.text  # the model takes no mask
    form = {
        "mode": "image",
        "model": EDITOR,
        "prompt": STAMP,
        "source": "library",
        "image_asset_id": first,
        "asset-image": [second],
        "idempotency_key": "0" * 32,
    }
    files = [("file-image", (f"{width}.png", image_bytes("PNG", width, 48), "image/png")) for width in (90, 98)]
    sent = [await browser.send_form("/generate/image", form, files=files) for _ in range(2)]
    assert [answer.status_code for answer in sent] == [303, 303], sent[0].text
    assert sent[0].headers["location"] == sent[1].headers["location"]  # the same form again is the same job
    jobs = (await client.get("/api/v1/jobs")).json()["items"]
    assert len(jobs) == 1
    assert [each["role"] for each in jobs[0]["inputs"]] == ["image"] * 4
    assert [each["asset_id"] for each in jobs[0]["inputs"][:2]] == [first, second]
    again = await browser.get(f"/generate/image?from={jobs[0]['id']}")
    for each in jobs[0]["inputs"][1:]:
        assert f'name="asset-image" value="{each["asset_id"]}" checked' in again.text


async def test_a_rejected_form_keeps_the_inputs_that_were_chosen_and_uploaded(atelier: Studio) -> None:
    email = new_email("owner")
    client = await atelier.user(email, direct=True)
    browser = await atelier.user_in_browser(email, direct=True)
    first, second = await image(client), await image(client, 80)
    form = {"mode": "image", "model": EDITOR, "prompt": "", "source": "library", "image_asset_id": first}
    files = [("file-image", ("c.png", image_bytes("PNG", 96, 48), "image/png"))]
    refused = await browser.send_form("/generate/image", {**form, "asset-image": [second]}, files=files)
    assert refused.status_code == 400
    assets = [asset["id"] for asset in (await client.get("/api/v1/assets")).json()["items"]]
    assert len(assets) == 3
    for id in set(assets) - {first}:
        assert f'name="asset-image" value="{id}" checked' in refused.text
    broken = [("file-image", ("c.png", b"not an image", "image/png"))]
    wrong = await browser.send_form("/generate/image", {**form, "prompt": STAMP}, files=broken)
    assert wrong.status_code == 400
    assert 'id="inputs-image-error"' in wrong.text
