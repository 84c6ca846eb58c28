"""What a newcomer does first, in a real browser."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, expect

from tests.journeys.conftest import AXE, PHONE, WIDE, visit
from tests.studio import PASSWORD, Studio

PLAYED = """async () => {
  const clip = document.querySelector('#feed article video');
  clip.muted = true;
  await clip.play();
  await new Promise(resolve => clip.addEventListener('timeupdate', () => clip.currentTime > 0.3 && resolve()));
  return [clip.currentTime > 0.3, clip.videoWidth, clip.duration];
}"""


async def test_a_newcomer_registers_makes_a_text_a_picture_and_a_clip_and_signs_out(
    chromium: Browser, slow_studio: Studio
) -> None:
    async with visit(chromium, slow_studio) as window:
        page = window.page
        await window.go("/")
        await expect(page).to_have_url(f"{window.url}/login")
        await window.register()

        await window.go("/generate/text")
        await page.fill("#prompt", "Five names for a paper boat")
        await page.click("#create button.go")
        await expect(page.locator("#feed article").first).to_contain_text("Five names for a paper boat")
        await expect(page.locator("#feed article[data-status=completed]").first).to_be_visible()

        await window.go("/generate/image")
        await page.fill("#prompt", "A lighthouse keeper at a window")
        await page.keyboard.press("Control+Enter")
        picture = page.locator("#feed article[data-status=completed] img").first
        await expect(picture).to_be_visible()
        assert await picture.evaluate("img => img.complete && img.naturalWidth > 0")

        await window.go("/generate/video")
        await page.evaluate("window.neverReloaded = true")
        await page.fill("#prompt", "A paper boat drifts down a rain gutter")
        await page.keyboard.press("Control+Enter")
        card = page.locator("#feed article").first
        await expect(card).to_have_attribute("data-status", "queued")
        await expect(page.locator("#prompt")).to_have_value("A paper boat drifts down a rain gutter")
        await expect(card).to_have_attribute("data-status", "processing", timeout=20_000)
        await expect(card.locator("video")).to_be_visible(timeout=40_000)
        assert await card.get_attribute("hx-get") is None, "a finished card has stopped polling"
        played, width, duration = await page.evaluate(PLAYED)
        assert played
        assert (width, duration > 1) == (1280, True)
        assert await page.evaluate("window.neverReloaded"), "the page was not reloaded"

        await window.go("/library")
        await expect(page.locator("video, img").first).to_be_visible()
        await page.get_by_role("button", name="You").click()
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(page).to_have_url(f"{window.url}/login")
        await window.go("/library")
        await expect(page).to_have_url(f"{window.url}/login?next=%2Flibrary")
        assert window.troubles == []


async def test_somebody_sent_to_sign_in_comes_back_to_where_they_were_going(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    async with visit(chromium, studio) as window:
        await window.go("/library?kind=image")
        await window.page.fill("input[name=email]", "ann@studio.example")
        await window.page.fill("input[name=password]", PASSWORD)
        await window.page.keyboard.press("Enter")
        await expect(window.page).to_have_url(f"{window.url}/library?kind=image")
        assert window.troubles == []


async def test_a_clip_starts_from_a_picture_that_was_uploaded(
    chromium: Browser, studio: Studio, tmp_path: Path
) -> None:
    Image.new("RGB", (640, 360), (200, 30, 30)).save(tmp_path / "red.png")
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
        await window.go("/generate/video?mode=picture")
        await page.set_input_files("input[type=file]", tmp_path / "red.png")
        await page.fill("#prompt", "slow dolly in")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#feed article video").first).to_be_visible()
        poster = await page.locator("#feed article video").first.get_attribute("poster")
        assert poster
        answer = await page.request.get(window.url + poster)
        red, green, blue = Image.open(BytesIO(await answer.body())).convert("RGB").getpixel((20, 20))  # type: ignore[misc]
        assert red > 120 > green
        assert red > 120 > blue
        assert window.troubles == []


async def test_a_refused_form_keeps_what_was_typed_and_says_what_is_wrong_beside_it(
    chromium: Browser, studio: Studio
) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
        await window.go("/generate/image")
        await page.fill("#prompt", "   ")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#prompt")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#create").get_by_text("Write a prompt first.")).to_be_visible()
        await page.fill("#prompt", 'a boat <b>&amp; "quotes"')
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#feed article").first).to_contain_text('a boat <b>&amp; "quotes"')
        assert window.troubles == []


async def test_a_failed_job_says_what_happened_and_can_be_tried_again(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
        await window.go("/generate/image")
        await page.fill("#prompt", "[refuse] a famous actor")
        await page.keyboard.press("Control+Enter")
        card = page.locator("#feed article[data-status=failed]").first
        await expect(card).to_contain_text("refused")
        await card.get_by_role("button", name="Retry").click()
        await expect(page.locator("#feed article")).to_have_count(2)
        assert window.troubles == []


async def test_a_deleted_card_can_be_brought_back(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
        await window.go("/generate/image")
        await page.fill("#prompt", "a boat")
        await page.keyboard.press("Control+Enter")
        card = page.locator("#feed article[data-status=completed]")
        await card.get_by_role("button", name="More").click()
        await card.get_by_role("button", name="Delete").click()
        await expect(card).to_have_count(0)
        await page.get_by_role("button", name="Undo").click()
        await expect(card).to_have_count(1)
        assert window.troubles == []


async def test_without_javascript_the_main_job_still_works(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio, java_script_enabled=False) as window:
        page = window.page
        await window.register()
        await window.go("/generate/image")
        await page.fill("#prompt", "A foggy harbour")
        await page.click("#create button.go")
        await page.wait_for_url("**/jobs/*")
        await expect(page.locator("main img").first).to_be_visible(timeout=20_000)
        assert window.troubles == []


async def test_a_page_that_lost_its_server_says_so_and_finds_it_again(chromium: Browser, slow_studio: Studio) -> None:
    async with visit(chromium, slow_studio) as window:
        page = window.page
        await window.register()
        await window.go("/generate/video")
        await page.clock.install()
        await page.fill("#prompt", "[stuck] a boat")
        await page.keyboard.press("Control+Enter")
        card = page.locator("#feed article").first
        await expect(card).to_be_visible()
        await page.route("**/jobs/*/card*", lambda route: route.abort())
        for _ in range(16):
            await page.clock.run_for(5_000)
            await page.wait_for_timeout(20)
        await expect(card).to_contain_text("does not answer")
        await page.unroute("**/jobs/*/card*")
        for _ in range(3):
            await page.clock.run_for(5_000)
            await page.wait_for_timeout(100)
        await expect(card).not_to_contain_text("does not answer")


PAGES = [
    "/",
    "/generate/text",
    f"/generate/text?prompt={'a' * 300}&system_prompt={'a' * 300}",
    "/generate/image",
    "/generate/video",
    "/generate/video?mode=picture",
    "/library",
    "/jobs",
    "/help/api",
    "/help/providers",
    "/api/docs",
    "/nothing-here",
]


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_every_page_is_accessible_fits_a_phone_and_breaks_no_policy(
    chromium: Browser, studio: Studio, scheme: str
) -> None:
    person = await studio.person()
    models = (await person.get("/api/v1/ai/models?limit=100")).json()["items"]
    image = next(model["id"] for model in models if model["output_modalities"] == ["image"])
    made = await person.post("/api/v1/generate/image", json={"model": image, "prompt": "A" + "a" * 400})
    refused = await person.post("/api/v1/generate/image", json={"model": image, "prompt": "[refuse] x"})
    asset = made.json()["assets"][0]["id"]
    jobs = [made.json()["id"], refused.json()["error"]["details"]["job_id"]]
    async with visit(chromium, studio, color_scheme=scheme, bypass_csp=True) as window:
        page = window.page
        found: list[str] = []
        for path in ("/login", "/register"):
            await window.go(path)
            found += await _findings(page, path)
        await window.go("/login")
        await page.fill("input[name=email]", "ann@studio.example")
        await page.fill("input[name=password]", PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(window.url + "/")
        for path in [*PAGES, *(f"/jobs/{id}" for id in jobs), f"/library/{asset}"]:
            for viewport in (WIDE, PHONE):
                await page.set_viewport_size(viewport)  # type: ignore[arg-type]
                await window.go(path)
                wide = await page.evaluate("document.documentElement.scrollWidth")
                if wide > viewport["width"]:
                    found.append(f"{path} is {wide} wide at {viewport['width']}")
            found += await _findings(page, path)
        assert found == []
        assert window.troubles == []


async def _findings(page: object, path: str) -> list[str]:
    """What axe finds on the page as it stands."""
    await page.add_script_tag(path=AXE)  # type: ignore[attr-defined]
    violations = await page.evaluate("async () => (await axe.run()).violations")  # type: ignore[attr-defined]
    return [f"{path}: {one['id']} {[node['target'] for node in one['nodes']][:3]}" for one in violations]
