"""The first steps of a new user, in a real browser."""

import asyncio
import base64
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, Locator, expect

from tests.journeys.conftest import BOUND, PHONE, WIDE, Window, new_browser_user, open_window
from tests.kit import IMAGE_MODEL, IMAGE_TO_VIDEO_MODEL, MULTI_IMAGE_MODEL, generated_image, png
from tests.studio import PASSWORD, Studio

pytestmark = pytest.mark.xdist_group("browser-1")

PLAY = """async () => {
  const video = document.querySelector('#feed article video');
  video.muted = true;
  await video.play();
  await new Promise(resolve => video.addEventListener('timeupdate', () => video.currentTime > 0.3 && resolve()));
  return [video.currentTime > 0.3, video.videoWidth, video.duration];
}"""
# Every state that a card of the feed has been in, in order.
RECORD_STATES = """() => {
  window.states = {};
  new MutationObserver(() => {
    for (const { id, dataset } of document.querySelectorAll("#feed article")) {
      const states = (window.states[id] ??= []);
      if (states.at(-1) !== dataset.status) states.push(dataset.status);
    }
  }).observe(document.getElementById("feed"), { attributes: true, childList: true, subtree: true });
}"""


async def test_a_new_user_generates_text_an_image_and_a_video_and_signs_out(
    chromium: Browser, atelier: Studio, videos: asyncio.Event
) -> None:
    async with open_window(chromium, atelier) as window:
        page = window.page
        await window.go("/")
        await expect(page).to_have_url(f"{window.url}/login")
        await window.register()

        await window.go("/generate/text")
        await page.fill("#prompt", "Five names for a paper boat")
        await page.click("#create button.primary")
        await expect(page.locator("#feed article").first).to_contain_text("Five names for a paper boat")
        await expect(page.locator("#feed article[data-status=completed]").first).to_be_visible()

        await window.go("/generate/image")
        await page.fill("#prompt", "A lighthouse keeper at a window")
        await page.keyboard.press("Control+Enter")
        image = page.locator("#feed article[data-status=completed] img").first
        await expect(image).to_be_visible()
        await expect(image).to_have_js_property("complete", True)
        assert await image.evaluate("img => img.naturalWidth > 0")

        await window.go("/generate/video")
        await page.evaluate("window.neverReloaded = true")
        await page.evaluate(RECORD_STATES)
        await page.locator("summary", has_text="Settings").click()
        await page.get_by_label("Duration in seconds").fill("2")
        await page.fill("#prompt", "A paper boat drifts down a rain gutter")
        await page.keyboard.press("Control+Enter")
        card = page.locator("#feed article").first
        await expect(card).to_contain_text("A paper boat drifts down a rain gutter")
        await expect(page.locator("#prompt")).to_have_value("A paper boat drifts down a rain gutter")
        await expect(card).to_have_attribute("data-status", "processing")
        videos.set()
        await expect(card.locator("video")).to_be_visible()
        states = await page.evaluate("id => window.states[id]", await card.get_attribute("id"))
        assert states == ["queued", "processing", "completed"]
        assert await card.get_attribute("hx-get") is None, "a finished card has stopped polling"
        played, width, duration = await page.evaluate(PLAY)
        assert played
        assert (width, duration) == (1280, pytest.approx(2, abs=0.2))
        assert await page.evaluate("window.neverReloaded"), "the page was not reloaded"

        await window.go("/library")
        await expect(page.locator("video, img").first).to_be_visible()
        await page.get_by_role("button", name="You").click()
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(page).to_have_url(f"{window.url}/login")
        await window.go("/library")
        await expect(page).to_have_url(f"{window.url}/login?next=%2Flibrary")
        assert window.problems == []


async def test_a_user_who_must_sign_in_first_returns_to_the_requested_page(chromium: Browser, atelier: Studio) -> None:
    email, _ = await new_browser_user(atelier)
    async with open_window(chromium, atelier) as window:
        await window.go("/library?kind=image")
        await window.page.fill("input[name=email]", email)
        await window.page.fill("input[name=password]", PASSWORD)
        await window.page.keyboard.press("Enter")
        await expect(window.page).to_have_url(f"{window.url}/library?kind=image")
        assert window.problems == []


async def test_a_video_starts_from_the_first_frame_of_an_uploaded_animation(
    chromium: Browser, atelier: Studio, tmp_path: Path
) -> None:
    first, second = (Image.new("RGB", (640, 360), color) for color in ((200, 30, 30), (30, 30, 200)))
    first.save(tmp_path / "red.png", save_all=True, append_images=[second])
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go(f"/generate/video?mode=image&model={IMAGE_TO_VIDEO_MODEL}")
        await page.locator("summary", has_text="Settings").click()
        await page.get_by_label("Resolution").select_option("480p")
        await page.get_by_label("Duration in seconds").select_option("2")
        await page.set_input_files("input[type=file]", tmp_path / "red.png")
        await page.fill("#prompt", "slow dolly in")
        await page.keyboard.press("Control+Enter")
        await window.notified("Only the first frame of this animation was kept.")
        await expect(page.locator("#feed article video").first).to_be_visible()
        poster = await page.locator("#feed article video").first.get_attribute("poster")
        assert poster
        answer = await page.request.get(window.url + poster)
        red, green, blue = Image.open(BytesIO(await answer.body())).convert("RGB").getpixel((20, 20))  # type: ignore[misc]
        assert red > 120 > green
        assert red > 120 > blue
        assert window.problems == []


async def test_an_invalid_form_is_corrected_a_failed_job_retried_and_a_deleted_card_restored(
    chromium: Browser, atelier: Studio
) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/generate/image")
        await page.fill("#prompt", "   ")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#prompt")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#create").get_by_text("Enter a prompt.")).to_be_visible()
        await page.fill("#prompt", 'a boat <b>&amp; "quotes"')
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#feed article").first).to_contain_text('a boat <b>&amp; "quotes"')

        completed = page.locator("#feed article[data-status=completed]")
        await completed.get_by_role("button", name="More").click()
        await completed.get_by_role("button", name="Delete").click()
        await expect(completed).to_have_count(0)
        await page.get_by_role("button", name="Undo").click()
        await expect(completed).to_have_count(1)

        await page.fill("#prompt", "[refuse] a famous actor")
        await page.keyboard.press("Control+Enter")
        failed = page.locator("#feed article[data-status=failed]").first
        await expect(failed).to_contain_text("refused")
        await failed.get_by_role("button", name="Retry").click()
        await expect(page.locator("#feed article")).to_have_count(3)
        assert window.problems == []


async def test_the_price_beside_the_button_follows_every_setting(chromium: Browser, atelier: Studio) -> None:
    async with open_window(chromium, atelier) as window:
        page = window.page
        await window.register()
        await window.go("/generate/video?model=kwaivgi/kling-v3.0-pro")
        await page.click("#settings summary")
        await page.select_option("#field-duration", "10")
        await page.select_option("#field-resolution", "480p")
        await expect(page.locator("#price")).to_contain_text("$0.50")
        await page.select_option("#field-duration", "2")
        await expect(page.locator("#price")).to_contain_text("$0.10")
        await expect(page.locator("#settings")).to_have_attribute("open", "")
        assert window.problems == []


DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


async def test_a_downloaded_file_that_is_dropped_on_the_page_restores_the_form(
    chromium: Browser, atelier: Studio
) -> None:
    email, session = await new_browser_user(atelier)
    client = await atelier.user(email, direct=True)
    job = await generated_image(client, "[stamp] a lighthouse", model=MULTI_IMAGE_MODEL, seed=4711)
    path = f"/api/v1/assets/{job['assets'][0]['id']}/download"
    data = base64.b64encode((await client.get(path)).content).decode()
    async with open_window(chromium, atelier, session) as window:
        page = window.page
        await window.go("/generate/text")
        await page.evaluate(DROP, [data, "lighthouse.png"])
        await expect(page.locator("#prompt")).to_have_value("[stamp] a lighthouse")
        await expect(page.locator("#model")).to_have_value(MULTI_IMAGE_MODEL)
        await expect(page.locator("[name=seed]")).to_have_value("4711")
        await page.evaluate(DROP, [base64.b64encode(png()).decode(), "other.png"])
        await expect(page.locator("#restore-error")).to_contain_text("This file holds no settings.")


async def test_without_javascript_an_image_is_generated(chromium: Browser, atelier: Studio) -> None:
    async with open_window(chromium, atelier, java_script_enabled=False) as window:
        page = window.page
        await window.register()
        await window.go("/generate/image")
        await page.fill("#prompt", "A foggy harbour")
        await page.click("#create button.primary")
        await page.wait_for_url("**/jobs/*")
        await expect(page.locator("main img").first).to_be_visible()
        assert window.problems == []


async def test_a_page_reports_that_the_server_does_not_answer_and_recovers(chromium: Browser, atelier: Studio) -> None:
    """The clock of the page is moved until the report is there, and until it is gone."""
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/generate/video")
        await page.clock.install()
        await page.fill("#prompt", "[stuck] a boat")
        await page.keyboard.press("Control+Enter")
        card = page.locator("#feed article").first
        await expect(card).to_be_visible()
        report = card.get_by_text("does not answer")
        await page.route("**/jobs/*/card*", lambda route: route.abort())
        await _move_clock_until(window, report, visible=True)
        await page.unroute("**/jobs/*/card*")
        await _move_clock_until(window, report, visible=False)
        await card.get_by_role("button", name="Cancel").click()
        await expect(card).to_have_attribute("data-status", "cancelled")


async def _move_clock_until(window: Window, report: Locator, *, visible: bool) -> None:
    async with asyncio.timeout(BOUND / 1000):
        while await report.is_visible() is not visible:
            await window.page.clock.run_for(5_000)


async def test_a_prompt_is_enhanced_undone_and_replaced_by_a_template_while_the_form_stays(
    chromium: Browser, atelier: Studio
) -> None:
    email, user = await new_browser_user(atelier)
    client = await atelier.user(email, direct=True)
    boat = {"kind": "template", "name": "Boat", "text": "[stamp] a {red|blue} boat"}
    await client.post("/api/v1/prompts", json=boat)
    async with open_window(chromium, atelier, user) as window:
        page, prompt = window.page, window.page.locator("#prompt")
        await window.go(f"/generate/image?model={MULTI_IMAGE_MODEL}")
        await prompt.fill("[stamp] a lighthouse")
        await page.click("#settings > summary")
        await page.fill("#field-seed", "7")
        await page.click("#enhance")
        await expect(prompt).to_have_value(re.compile(r"^\[stamp\] a lighthouse, .+"))
        await expect(prompt).to_be_focused()
        await page.get_by_role("button", name="Undo enhancement").click()
        await expect(prompt).to_have_value("[stamp] a lighthouse")
        await page.click("#templates > summary")
        await page.get_by_role("button", name="Boat").click()
        await expect(prompt).to_have_value(boat["text"])
        await page.focus("#field-seed")
        await page.keyboard.press("Enter")  # generates, and does not press one of the buttons above
        await expect(page.locator("#feed article[data-status=completed]")).to_have_count(1)
        await expect(prompt).to_have_value(boat["text"])
        [job] = (await client.get("/api/v1/generate/images")).json()["items"]
        assert job["params"]["seed"] == 7
        assert job["prompt"] in ("[stamp] a red boat", "[stamp] a blue boat")
        await window.go("/prompts")
        await page.get_by_role("button", name="Actions for Boat").click()
        await page.get_by_role("button", name="Delete").click()
        await expect(page.locator("#prompts")).to_contain_text("was deleted")
        await page.get_by_role("button", name="Undo").click()
        await expect(page.locator("#prompts h3")).to_have_text("Boat")
        assert window.problems == []


PAGES = [
    "/",
    "/generate/text",
    f"/generate/text?prompt={'a' * 300}&system_prompt={'a' * 300}",
    "/generate/image",
    "/generate/video",
    "/generate/video?mode=image",
    "/prompts",
    "/prompts/new?kind=template",
    "/prompts/new?kind=wildcards",
    "/library",
    "/jobs",
    "/help/api",
    "/help/providers",
    "/api/docs",
    "/nothing-here",
]


async def test_every_page_is_accessible_fits_a_phone_and_violates_no_policy(chromium: Browser, atelier: Studio) -> None:
    email, user = await new_browser_user(atelier, admin=True)
    client = await atelier.user(email, direct=True)
    image = {"model": IMAGE_MODEL, "prompt": "A" + "a" * 400}
    generated = (await client.post("/api/v1/generate/image", json=image)).json()
    refused = await client.post("/api/v1/generate/image", json={**image, "prompt": "[refuse] x"})
    jobs = [generated["id"], refused.json()["error"]["details"]["job_id"]]
    found: list[str] = []
    async with open_window(chromium, atelier) as window:
        for path in ("/login", "/register"):
            await window.go(path)
            found += await window.axe(path)
        assert window.problems == []
    async with open_window(chromium, atelier, user) as window:
        for path in [*PAGES, *(f"/jobs/{id}" for id in jobs), f"/library/{generated['assets'][0]['id']}"]:
            await window.page.set_viewport_size(WIDE)
            await window.go(path)
            found += await window.overflow(path)
            found += await window.examine(path, PHONE)
        assert window.problems == []
    assert found == []
