"""The price before the button: in the API, on the form, and compared with what the simulator bills."""

from decimal import Decimal

import httpx

from tests.kit import TEXT_MODEL, VIDEO_MODEL, Json, error_of, generated_image, new_user
from tests.studio import Browser, Studio

PATH = "/api/v1/generate/estimate"


async def ask(client: httpx.AsyncClient, **body: object) -> Json:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def test_a_video_costs_its_seconds(atelier: Studio) -> None:
    user = await new_user(atelier)
    found = await ask(user, model=VIDEO_MODEL, prompt="a boat", duration=4)
    assert found["cost_usd"]["min"] == found["cost_usd"]["max"]
    assert Decimal(found["cost_usd"]["min"]) > 0
    louder = await ask(user, model=VIDEO_MODEL, prompt="a boat", duration=8)
    assert Decimal(louder["cost_usd"]["min"]) > Decimal(found["cost_usd"]["max"])
    assert set(found) == {"cost_usd", "seconds", "basis"}


async def test_what_is_unknown_is_null(atelier: Studio) -> None:
    user = await new_user(atelier)
    found = await ask(user, model=TEXT_MODEL, prompt="a boat", temperature=0.12345)
    assert (found["cost_usd"], found["basis"]) == (None, None)


async def test_jobs_with_the_same_settings_are_what_the_next_one_is_estimated_from(atelier: Studio) -> None:
    user = await new_user(atelier)
    settings = {"model": "openai/gpt-image-2", "quality": "high"}
    job = await generated_image(user, "[stamp] a lighthouse", **settings)
    found = await ask(user, prompt="another prompt", **settings)
    assert found["basis"] == "history"
    assert Decimal(found["cost_usd"]["min"]) <= Decimal(job["cost_usd"]) <= Decimal(found["cost_usd"]["max"])


async def test_nothing_is_generated_and_wrong_parameters_are_refused(atelier: Studio) -> None:
    user = await new_user(atelier)
    wrong = await user.post(PATH, json={"model": VIDEO_MODEL, "duration": 4, "resolution": "huge", "unknown": 1})
    assert set(error_of(wrong, 400)["details"]["fields"]) == {"resolution", "unknown"}
    assert (await user.get("/api/v1/jobs")).json()["total"] == 0
    error_of(await user.post(PATH, json={"model": "no/model"}), 400, "VALIDATION_ERROR")
    error_of(await user.post(PATH, json={}), 400, "VALIDATION_ERROR")


async def test_the_form_shows_the_price_of_its_settings(atelier: Studio) -> None:
    browser: Browser = await atelier.user_in_browser(direct=True)
    page = await browser.get(f"/generate/video?model={VIDEO_MODEL}&duration=4&generate_audio=false")
    assert 'id="price"' in page.text
    cheap = await browser.send_form(
        "/generate/video/estimate", {"model": VIDEO_MODEL, "duration": "4", "generate_audio": "false"}
    )
    dear = await browser.send_form("/generate/video/estimate", {"model": VIDEO_MODEL, "duration": "8"})
    assert cheap.status_code == dear.status_code == 200
    assert cheap.text != dear.text
    assert "$" in cheap.text
    half_typed = {"model": VIDEO_MODEL, "duration": "4", "generate_audio": "false", "seed": "x"}
    assert (await browser.send_form("/generate/video/estimate", half_typed)).text == cheap.text
    unknown = await browser.send_form("/generate/text/estimate", {"model": TEXT_MODEL})
    assert 'id="price"' in unknown.text
    assert (await browser.send_form("/generate/none/estimate", {})).status_code == 404
