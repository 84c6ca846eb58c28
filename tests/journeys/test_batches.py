"""A series of three by three and a comparison with one failing model, in a real browser."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from app.providers.contract import ErrorCode, Failed, Outcome, Request
from app.providers.openrouter.provider import OpenRouter
from tests.journeys.conftest import PHONE, WIDE, new_browser_user, open_window
from tests.kit import IMAGE_MODEL, MULTI_IMAGE_MODEL
from tests.studio import Studio

pytestmark = pytest.mark.xdist_group("browser-3")


async def test_a_matrix_of_three_by_three_fills_as_its_jobs_end(chromium: Browser, atelier: Studio) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/generate/image")
        await page.get_by_role("link", name="Series").click()
        await page.locator("#models summary").click()
        for box in await page.locator("#models input:checked").all():
            await box.uncheck()
        await page.locator(f"#models input[value='{MULTI_IMAGE_MODEL}']").check()
        await page.get_by_role("textbox", name="Prompts, one per line").fill("A boat\nA lighthouse\nA harbour")
        await page.locator("#settings summary").click()
        await page.get_by_label("Seed", exact=True).fill("1-3")
        await expect(page.locator("#price")).to_contain_text("9 jobs")
        await page.get_by_role("button", name="Start series").click()
        await expect(page.locator("#batch td img")).to_have_count(9)
        await expect(page.locator("#batch")).to_contain_text("9 of 9 ready")
        found = await window.examine("batch", WIDE, PHONE)
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download grid").click()
        assert (await download.value).suggested_filename.endswith(".jpg")
        await window.go("/batches/new")
        found += await window.examine("series", WIDE, PHONE)
        await window.go("/batches")
        found += await window.examine("batches", PHONE)
        assert found == []
        assert window.problems == []


async def test_one_failing_model_does_not_hide_the_others(
    chromium: Browser, atelier: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = OpenRouter.submit

    async def one_fails(self: OpenRouter, request: Request, folder: Path) -> Outcome:
        if request.model == MULTI_IMAGE_MODEL:
            return Failed(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this.", carried_out=False)
        return await submit(self, request, folder)

    monkeypatch.setattr(OpenRouter, "submit", one_fails)
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go(f"/compare/new?kind=image&models={IMAGE_MODEL}&models={MULTI_IMAGE_MODEL}")
        await page.get_by_role("textbox", name="Prompt").fill("A boat")
        await page.get_by_role("button", name="Generate").click()
        columns = page.locator(".comparison-column")
        await expect(columns.filter(has=page.locator("article[data-status=completed] img"))).to_have_count(1)
        await expect(columns.filter(has_text="The provider refused this.")).to_have_count(1)
        found = await window.examine("compare", WIDE, PHONE)
        monkeypatch.setattr(OpenRouter, "submit", submit)
        await page.get_by_role("button", name="Retry failed (1)").click()
        await expect(page.locator("#comparison article[data-status=completed] img")).to_have_count(2)
        assert found == []
        assert window.problems == []
