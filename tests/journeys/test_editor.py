"""The inpainting editor in a real browser: drawn with the mouse, with the keyboard, and used without JavaScript."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.editor.studio import OPENAI_MODEL, MaskStudio, mask_studio
from tests.journeys.conftest import PHONE, WIDE, new_browser_user, open_window
from tests.kit import eventually, uploaded_asset
from tests.storage import samples

pytestmark = pytest.mark.xdist_group("browser-3")

SIZE = (320, 200)


@pytest_asyncio.fixture(scope="module")
async def masks(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MaskStudio]:
    async with mask_studio(tmp_path_factory.mktemp("editor")) as started:
        yield started


async def new_image(masks: MaskStudio) -> tuple[httpx.AsyncClient, str]:
    """A user with a session, and the path of the editor for an image of theirs."""
    email, session = await new_browser_user(masks.studio)
    client = await masks.studio.user(email, direct=True)
    return session, f"/edit/{(await uploaded_asset(client, samples.png(SIZE)))['id']}"


async def drag(page: Page, *points: tuple[float, float]) -> None:
    """With the mouse, through points of the image as shares of its width and height."""
    box = await page.locator("#stage").bounding_box()
    assert box
    scale = min(box["width"] / SIZE[0], box["height"] / SIZE[1])
    left = box["x"] + (box["width"] - SIZE[0] * scale) / 2
    top = box["y"] + (box["height"] - SIZE[1] * scale) / 2
    for number, (x, y) in enumerate(points):
        await page.mouse.move(left + x * SIZE[0] * scale, top + y * SIZE[1] * scale, steps=4)
        if number == 0:
            await page.mouse.down()
    await page.mouse.up()


async def test_an_area_is_painted_with_the_mouse_and_the_mask_stays_for_the_next_try(
    chromium: Browser, masks: MaskStudio, tmp_path: Path
) -> None:
    session, path = await new_image(masks)
    async with open_window(chromium, masks.studio, session) as window:
        page = window.page
        await window.go(path)
        generate, coverage = page.locator("#generate"), page.locator("#mask-coverage")
        await expect(generate).to_be_disabled()
        await expect(page.get_by_text("Paint what should change.")).to_be_visible()
        problems = await window.examine("the editor", WIDE, PHONE)
        await page.set_viewport_size(WIDE)

        await page.locator("#brush-size").fill("40")
        await drag(page, (0.2, 0.5), (0.6, 0.5))
        await expect(coverage).to_have_text("Mask covers 10 %")
        await page.get_by_role("button", name="Eraser").click()
        await drag(page, (0.6, 0.5), (0.5, 0.5))
        await expect(coverage).not_to_have_text("Mask covers 10 %")
        await page.keyboard.press("Control+z")
        await expect(coverage).to_have_text("Mask covers 10 %")
        await page.keyboard.press("Control+z")
        await expect(generate).to_be_disabled()
        await page.keyboard.press("Shift+Control+Z")
        await expect(generate).to_be_enabled()

        (tmp_path / "other.png").write_bytes(samples.png((30, 20)))
        await page.set_input_files("#mask-file", tmp_path / "other.png")
        await expect(page.get_by_text("The mask is 30 × 20 pixels, but the image is 320 × 200.")).to_be_visible()
        await expect(coverage).to_have_text("Mask covers 10 %")

        await page.locator("summary", has_text="Enlarge").click()
        await page.get_by_label("Feather").fill("0")
        await page.get_by_label("Model").select_option(label="FLUX.1 [pro] Fill")
        await page.locator("#prompt").fill(" ")
        await generate.click()
        await expect(page.get_by_text("Enter a prompt.")).to_be_visible()
        for prompt in ("[stamp] a lighthouse", "[stamp] a second lighthouse"):
            await page.locator("#prompt").fill(prompt)
            await page.keyboard.press("Control+Enter")
            await expect(page.locator(".result-thumbnail[aria-current] img")).to_have_attribute(
                "alt", re.compile(prompt[8:])
            )
            await expect(coverage).to_have_text("Mask covers 10 %")
            sent, mask = masks.sent(prompt)
            assert (sent.size, mask.size, mask.mode) == (SIZE, SIZE, "L")
            marked = [mask.getpixel(at) for at in ((64, 100), (128, 100), (128, 60), (250, 100))]
            assert marked == [255, 255, 0, 0]

        problems += await window.examine("the editor with results", WIDE, PHONE)
        await page.set_viewport_size(WIDE)
        await page.locator("#compare-position").fill("20")
        await expect(page.locator("#compare rect")).to_have_attribute("x", "64")
        await page.get_by_role("button", name="After").click()
        await expect(page.locator("#stage-mask")).to_be_hidden()
        await page.get_by_role("link", name="Use this version (3)").click()
        await expect(page.get_by_text("Version 3 · 320 × 200")).to_be_visible()
        assert problems + window.problems == []


async def test_an_area_is_painted_with_keys_alone(chromium: Browser, masks: MaskStudio) -> None:
    session, path = await new_image(masks)
    async with open_window(chromium, masks.studio, session) as window:
        page = window.page
        await window.go(path)
        await page.locator("#stage").focus()
        size = page.locator("#brush-size")
        before = int(await size.input_value())
        await page.keyboard.press("]")
        assert int(await size.input_value()) > before
        await size.fill("20")
        await page.locator("#stage").focus()
        for key in (
            "Enter",
            *["Shift+ArrowRight"] * 4,
            "ArrowDown",
            "Enter",
            "e",
            "Enter",
            "b",
            "Shift+ArrowUp",
            "Enter",
        ):
            await page.keyboard.press(key)
        await page.keyboard.press("i")
        await page.keyboard.press("i")
        await page.keyboard.press("+")
        await expect(page.locator("#mask-coverage")).to_be_visible()
        await page.get_by_label("Model").select_option(OPENAI_MODEL)
        await page.locator("summary", has_text="Enlarge").click()
        await page.get_by_label("Feather").fill("0")
        await page.locator("#prompt").fill("[stamp] by keys")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(".result-thumbnail")).to_have_count(1)
        _, mask = masks.sent("[stamp] by keys")
        transparent = {at: mask.getpixel(at) == (0, 0, 0, 0) for at in ((160, 100), (200, 105), (200, 91), (160, 80))}
        assert transparent == {(160, 100): True, (200, 105): False, (200, 91): True, (160, 80): False}

        await page.evaluate("localStorage.setItem('single-keys', 'off')")
        await page.locator("#stage").focus()
        await page.keyboard.press("e")
        await expect(page.get_by_role("button", name="Brush")).to_have_attribute("aria-pressed", "true")
        assert window.problems == []


async def test_two_fingers_move_the_image_and_do_not_paint(chromium: Browser, masks: MaskStudio) -> None:
    session, path = await new_image(masks)
    async with open_window(chromium, masks.studio, session, viewport=PHONE, has_touch=True) as window:
        page = window.page
        await window.go(path)
        box = await page.locator("#stage").bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = await page.context.new_cdp_session(page)
        fingers: list[list[int]] = [[0], [30, -30], [80, -80]]  # their distances from the middle
        for kind, places in zip(("touchStart", "touchStart", "touchMove"), fingers, strict=True):
            points = [{"x": x + place, "y": y, "id": number} for number, place in enumerate(places)]
            await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await expect(page.locator("#generate")).to_be_disabled()
        await expect(page.locator("#zoom-text")).not_to_have_text("113 %")
        await page.touchscreen.tap(x, y)
        await expect(page.locator("#generate")).to_be_enabled()
        assert window.problems == []


def was_sent(masks: MaskStudio, prompt: str) -> bool:
    try:
        return bool(masks.sent(prompt))
    except ValueError:
        return False


async def test_without_javascript_an_area_is_given_by_four_numbers(chromium: Browser, masks: MaskStudio) -> None:
    session, path = await new_image(masks)
    async with open_window(chromium, masks.studio, session, java_script_enabled=False) as window:
        page = window.page
        await window.go(path)
        for label, value in {"Left": "10", "Top": "20", "Width": "30"}.items():
            await page.get_by_label(label, exact=True).fill(value)
        await page.locator("#prompt").fill("[stamp] by numbers")
        await page.get_by_role("button", name="Generate").click()
        await expect(page.locator("#area-error")).to_be_visible()  # Playwright reads no text inside <noscript>
        await expect(page.get_by_label("Left", exact=True)).to_have_value("10")
        await page.get_by_label("Height", exact=True).fill("40")
        await page.get_by_role("button", name="Generate").click()
        await page.wait_for_url("**/jobs/*")
        assert await eventually(lambda: asyncio.to_thread(was_sent, masks, "[stamp] by numbers"), bool)
        _, mask = masks.sent("[stamp] by numbers")
        assert int(str(mask.getpixel((25, 40)))) > 250
        assert mask.getpixel((100, 100)) == 0
        assert window.problems == []
