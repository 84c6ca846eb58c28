"""An admin connects a provider in a real browser and uses it at once."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.journeys.conftest import open_window
from tests.provider_accounts.test_accounts import KEY, MODEL, script
from tests.providers.fake_upstream import Upstream, error
from tests.studio import running

pytestmark = pytest.mark.xdist_group("browser-2")


async def test_the_banner_leads_an_admin_to_a_key_that_is_used_at_once(chromium: Browser, tmp_path: Path) -> None:
    server = Upstream()
    await server.start()
    try:
        async with running(tmp_path) as studio:
            admin = await studio.user_in_browser("admin@studio.example", direct=True)
            async with open_window(chromium, studio, admin) as window:
                page = window.page
                await window.go("/")
                await page.get_by_role("link", name="Connect one").click()
                await page.get_by_role("link", name="Add provider").click()
                await page.get_by_label("Name", exact=True).fill("router")
                await page.get_by_label("Base URL").fill(server.base_url)
                await page.get_by_label("API key").fill(KEY)

                server.on("GET", "/api/v1/models", error(401, "No such key"))
                await page.get_by_role("button", name="Test and add").click()
                await expect(page.get_by_role("region", name="router")).to_contain_text("No such key")
                await expect(page.get_by_text("results are simulated")).to_be_visible()

                script(server)
                await page.get_by_role("button", name="Test connection").click()
                await expect(page.get_by_role("region", name="router")).to_contain_text("Connected")
                await window.go("/generate/text")
                await expect(page.get_by_text("results are simulated")).to_have_count(0)
                await expect(page.get_by_label("Model", exact=True)).to_contain_text(MODEL["name"])
                await page.get_by_label("Prompt").fill("Say hi")
                await page.get_by_role("button", name="Generate text").click()
                await expect(page.locator(".card").first).to_contain_text("Hi")
                assert server.only("POST", "/api/v1/chat/completions").key == f"Bearer {KEY}"
                assert window.problems == []
    finally:
        await server.stop()
