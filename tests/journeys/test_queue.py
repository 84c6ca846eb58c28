"""A user orders their waiting jobs, and the browser shows a notification when they have ended."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from app.jobs.schemas import Job
from tests.journeys.conftest import BOUND, PHONE, WIDE, new_browser_user, open_window
from tests.kit import IMAGE_MODEL, Json
from tests.studio import running

pytestmark = pytest.mark.xdist_group("browser-2")

# Replaces the browser's notifications, which a page without a screen cannot show.
RECORD_NOTIFICATIONS = """
window.notifications = [];
window.Notification = class extends EventTarget {
  static permission = "default";
  static async requestPermission() { return (sessionStorage.granted = Notification.permission = "granted"); }
  constructor(title, { body }) { super(); window.notifications.push(`${title}: ${body}`); }
};
if (sessionStorage.granted) Notification.permission = "granted";
"""


async def _nothing(limit: int) -> Sequence[Job]:
    return []


async def test_waiting_jobs_are_moved_and_their_end_is_notified_on_any_page(chromium: Browser, tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        email, user = await new_browser_user(studio)
        client = await studio.user(email, direct=True)
        execution = studio.program.jobs.execution
        async with open_window(chromium, studio, user) as window:
            page = window.page
            await page.add_init_script(RECORD_NOTIFICATIONS)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(execution, "claim", _nothing)
                jobs: list[Json] = []
                for name in ("first", "second", "third"):
                    body = {"model": IMAGE_MODEL, "prompt": f"[stamp] {name}"}
                    answer = await client.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})
                    jobs.append(answer.json())
                await window.go("/jobs?status=queued")
                prompts = page.locator("#feed article .prompt")
                third = page.locator(f"#job-{jobs[2]['id']}")
                await third.get_by_role("button", name="Move to the front").click()
                await expect(prompts).to_have_text(["[stamp] third", "[stamp] first", "[stamp] second"])
                await third.get_by_role("button", name="Move down").click()
                await expect(prompts).to_have_text(["[stamp] first", "[stamp] third", "[stamp] second"])
                await expect(third).to_contain_text("2 of 3 of yours")
                await page.get_by_role("button", name="Notify me").click()
                await expect(page.get_by_role("button", name="Notifications on")).to_be_visible()
                found = await window.examine("queue", WIDE, PHONE)
                await page.wait_for_function("localStorage.getItem('notifications-since')")
                await page.clock.install()
                await window.go("/chat")
            studio.program.jobs.live.wake.set()
            for job in jobs:
                assert (await studio.finished(client, job["id"]))["status"] == "completed"
            async with asyncio.timeout(BOUND / 1000):
                while len(await page.evaluate("window.notifications")) < len(jobs):
                    await page.clock.run_for(5_000)
            shown = await page.evaluate("window.notifications")
            assert sorted(shown) == [f"Image is ready: [stamp] {name}" for name in ("first", "second", "third")]
            assert found == []
            assert window.problems == []
