"""Users manage their account and admins the studio, in a real browser; all these pages are accessible."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.journeys.conftest import PHONE, ULTRAWIDE, WIDE, new_browser_user, open_window
from tests.kit import IMAGE_MODEL, VIDEO_MODEL, new_email
from tests.studio import PASSWORD, Studio

pytestmark = pytest.mark.xdist_group("browser-2")

ANN, BOB = "ann@studio.example", "bob@studio.example"
NEW_PASSWORD = "a battery of horses"


async def test_a_user_changes_name_and_password(chromium: Browser, atelier: Studio) -> None:
    email, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/")
        await page.get_by_role("button", name="You").click()
        await page.get_by_role("link", name="Profile and API keys").click()
        await page.get_by_role("textbox", name="Display name").fill("Ann Keller")
        await page.get_by_role("button", name="Save", exact=True).click()
        await window.notified("Display name saved.")
        await expect(page.get_by_role("textbox", name="Display name")).to_have_value("Ann Keller")

        password = page.get_by_role("region", name="Password")
        await password.get_by_label("Current password").fill("not it")
        await password.get_by_label("New password").fill(NEW_PASSWORD)
        await page.keyboard.press("Control+Enter")
        await expect(password.get_by_label("Current password")).to_have_attribute("aria-invalid", "true")
        await expect(password.get_by_label("Current password")).to_be_focused()
        await expect(password).to_contain_text("Current password is incorrect.")
        await expect(password.get_by_label("New password")).to_have_value("")

        await password.get_by_label("Current password").fill(PASSWORD)
        await password.get_by_label("New password").fill(NEW_PASSWORD)
        await password.get_by_role("button", name="Change password").click()
        await window.notified("Password changed.")
        assert window.problems == []
    async with open_window(chromium, atelier) as window:
        await window.sign_in(email, NEW_PASSWORD)


async def test_a_refused_email_stays_in_its_field(chromium: Browser, atelier: Studio) -> None:
    taken, _ = await new_browser_user(atelier, "bob")
    _, user = await new_browser_user(atelier)
    free = new_email("elsewhere")
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/users/profile")
        email = page.get_by_role("region", name="Email")
        await email.get_by_label("Email", exact=True).fill(taken)
        await email.get_by_label("Current password").fill(PASSWORD)
        await email.get_by_role("button", name="Change email").click()
        await expect(email).to_contain_text("Email is already in use.")
        await expect(email.get_by_label("Email", exact=True)).to_have_value(taken)
        await email.get_by_label("Email", exact=True).fill(free)
        await email.get_by_label("Current password").fill(PASSWORD)
        await email.get_by_role("button", name="Change email").click()
        await window.notified("Email changed.")
        await expect(email.get_by_label("Email", exact=True)).to_have_value(free)
        assert window.problems == []


async def test_a_key_is_shown_once_works_and_stops_working_when_it_is_deleted(
    chromium: Browser, atelier: Studio
) -> None:
    email, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/users/profile")
        keys = page.get_by_role("region", name="API keys")
        await keys.get_by_role("button", name="Create API key").click()
        await expect(keys).to_contain_text("Name is required.")
        await keys.get_by_label("Name").fill("laptop")
        await keys.get_by_label("Expires").fill("2100-12-31")
        await page.keyboard.press("Control+Enter")
        secret = await page.locator("#new-key").inner_text()
        assert re.fullmatch(r"atl_\S{40,}", secret)
        await expect(page.locator("#new-key-curl")).to_contain_text(f"Bearer {secret}")
        assert (await atelier.direct(secret).get("/api/v1/users/me")).json()["email"] == email
        await expect(keys.get_by_role("row", name="laptop")).to_contain_text("31 December 2100")

        await window.go("/users/profile")
        assert secret not in await page.content()
        await keys.get_by_role("button", name="Delete API key laptop").click()
        await keys.get_by_role("button", name="Delete API key", exact=True).click()
        await window.notified("API key deleted.")
        await expect(keys.get_by_role("row", name="laptop")).to_have_count(0)
        assert (await atelier.direct(secret).get("/api/v1/users/me")).status_code == 401
        assert window.problems == []


async def test_a_user_signs_another_browser_out(chromium: Browser, atelier: Studio) -> None:
    email, _ = await new_browser_user(atelier)
    async with open_window(chromium, atelier) as here, open_window(chromium, atelier) as there:
        await there.sign_in(email)
        await here.sign_in(email)
        await here.go("/users/profile")
        sessions = here.page.get_by_role("region", name="Active sessions")
        current = sessions.get_by_role("row", name="Chrome on Linux current session")
        await expect(current).to_be_visible()
        await expect(current.get_by_role("button")).to_have_count(0)
        await sessions.get_by_role("button", name="Sign out Chrome on Linux").click()
        await here.notified("Session signed out.")
        await there.go("/library")
        await expect(there.page).to_have_url(f"{there.url}/login?next=%2Flibrary")
        await sessions.get_by_role("button", name="Sign out all other sessions").click()
        await expect(sessions.get_by_role("row")).to_have_count(2)
        assert here.problems == []


async def test_an_admin_finds_deactivates_and_deletes_a_user(chromium: Browser, studio: Studio) -> None:
    admin = await studio.user_in_browser(ANN, direct=True)
    bob = await studio.user(BOB, direct=True)
    await studio.user("eve@studio.example", direct=True)
    async with open_window(chromium, studio, admin) as window:
        page = window.page
        await window.go("/")
        await page.get_by_role("link", name="Admin").click()
        await page.get_by_role("navigation", name="Admin").get_by_role("link", name="Users").click()
        await expect(page.get_by_role("heading", name="3 users")).to_be_visible()
        await page.evaluate("window.neverReloaded = true")
        await page.get_by_label("Name or email").press_sequentially("bob")
        await expect(page.get_by_role("heading", name="1 user")).to_be_visible()
        await expect(page).to_have_url(f"{window.url}/admin/users?q=bob")

        row = page.get_by_role("row", name=BOB)
        await row.get_by_role("button", name=f"Actions for {BOB}").click()
        await row.get_by_role("button", name="Deactivate").click()
        await window.notified(f"{BOB} was deactivated and signed out.")
        await expect(row).to_contain_text("Deactivated")
        await expect(row.get_by_role("button", name=f"Actions for {BOB}")).to_be_focused()
        await expect(page).to_have_url(f"{window.url}/admin/users?q=bob")
        assert await page.evaluate("window.neverReloaded"), "the page was not reloaded"
        assert (await bob.get("/api/v1/users/me")).status_code == 401

        await row.get_by_role("button", name=f"Actions for {BOB}").click()
        await row.get_by_role("link", name="Delete").click()
        await expect(page.get_by_role("heading", name=f"Delete {BOB}?")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("0 jobs")
        await page.get_by_role("button", name="Delete permanently").click()
        await window.notified(f"{BOB} was deleted.")
        await expect(page).to_have_url(f"{window.url}/admin/users")
        await expect(page.get_by_role("heading", name="2 users")).to_be_visible()
        assert window.problems == []


async def test_the_last_admin_cannot_be_demoted_deactivated_or_deleted(chromium: Browser, studio: Studio) -> None:
    admin = await studio.user_in_browser(ANN, direct=True)
    async with open_window(chromium, studio, admin) as window:
        page = window.page
        await window.go("/admin/users")
        row = page.get_by_role("row", name=ANN)
        for action in ("Make user", "Deactivate"):
            await row.get_by_role("button", name=f"Actions for {ANN}").click()
            await row.get_by_role("button", name=action).click()
            await window.notified("This is the last admin. Make another user an admin first.")
            await page.get_by_role("button", name="Close").click()
        await row.get_by_role("button", name=f"Actions for {ANN}").click()
        await row.get_by_role("link", name="Delete").click()
        await page.get_by_role("button", name="Delete permanently").click()
        await window.notified("You cannot delete your own account.")
        await expect(page.get_by_role("heading", name="Delete Ann Kern?")).to_be_visible()
        assert window.problems == []


async def test_a_disabled_model_is_neither_in_the_form_nor_in_the_list(chromium: Browser, studio: Studio) -> None:
    admin = await studio.user_in_browser(ANN, direct=True)
    client = await studio.user(ANN, direct=True)
    body = {"model": "google/veo-3.1", "prompt": "[refuse] a boat"}
    job = (await client.post("/api/v1/generate/video", json=body)).json()["id"]
    async with open_window(chromium, studio, admin) as window:
        page = window.page
        await window.go("/admin/models?q=veo")
        switch = page.get_by_role("switch", name="Enable Google: Veo 3.1")
        await expect(switch).to_be_checked()
        await switch.focus()
        await page.keyboard.press("Space")
        await window.notified("Google: Veo 3.1 is disabled.")
        await expect(switch).not_to_be_checked()
        await expect(switch).to_be_focused()
        await expect(page).to_have_url(f"{window.url}/admin/models?q=veo")
        for path, place in (("/generate/video", "#model"), ("/models", "main")):
            await window.go(path)
            assert "Veo 3.1" not in await page.locator(place).inner_text()
        await window.go(f"/generate/video?from={job}")
        await expect(page.locator("#prompt")).to_have_value("[refuse] a boat")
        instead = page.get_by_text("google/veo-3.1 is not available here.")
        await expect(instead).to_contain_text(await page.locator("#model :checked").inner_text())
        async with page.expect_response("**/fields?*"):
            await page.get_by_label("Model", exact=True).select_option(index=1)
        await expect(instead).to_have_count(0)
        await window.go("/admin/models?q=veo")
        await switch.click()
        await window.notified("is enabled")
        await window.go("/models?q=veo")
        await page.get_by_role("link", name="Use Google: Veo 3.1").click()
        await expect(page).to_have_url(re.compile(r"/generate/video\?model=google%2Fveo-3\.1$"))
        await expect(page.get_by_label("Model", exact=True)).to_have_value("google/veo-3.1")
        assert window.problems == []


async def test_old_jobs_are_counted_before_they_are_deleted_and_the_audit_log_records_it(
    chromium: Browser, studio: Studio
) -> None:
    admin = await studio.user_in_browser(ANN, direct=True)
    client, bob = await studio.user(ANN, direct=True), await studio.user(BOB, direct=True)
    for prompt in ("a boat", "[refuse] a boat", "[refuse] another boat"):
        await bob.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": prompt})
    async with open_window(chromium, studio, admin) as window:
        page = window.page
        await window.go("/admin/jobs")
        await expect(page.get_by_role("heading", name="3 jobs")).to_be_visible()
        await page.get_by_label("Status").select_option("failed")
        await expect(page.get_by_role("heading", name="2 jobs")).to_be_visible()
        await expect(page).to_have_url(f"{window.url}/admin/jobs?status=failed")
        row = page.get_by_role("row", name="another boat")
        await expect(row).to_contain_text(BOB)
        await expect(row).to_contain_text("Failed: refused")
        await row.get_by_role("button", name="Actions for").click()
        await row.get_by_role("button", name="Delete…").click()
        await row.get_by_role("button", name="Delete permanently").click()
        await window.notified("Job deleted permanently.")
        await expect(page.get_by_role("heading", name="1 job")).to_be_visible()

        await page.get_by_label("Finished more than (days ago)").fill("0")
        await page.get_by_label("Completed").check()
        await page.get_by_role("button", name="Preview deletion").click()
        await expect(page.get_by_role("heading", name="Permanently delete 2 jobs?")).to_be_visible()
        assert (await client.get("/api/v1/admin/jobs")).json()["total"] == 2, "counting deletes nothing"
        await page.get_by_role("button", name="Delete 2 jobs").click()
        await window.notified("2 jobs were deleted permanently.")
        await expect(page.get_by_text("No jobs yet")).to_be_visible()

        await page.get_by_role("link", name="Audit log").click()
        await expect(page.locator('tr[data-action="jobs.purged"]')).to_contain_text("2: completed or failed")
        await expect(page.locator('tr[data-action="job.deleted"]')).to_contain_text(ANN)
        assert window.problems == []


async def test_an_admin_cancels_and_retries_a_stuck_job(chromium: Browser, atelier: Studio) -> None:
    _, admin = await new_browser_user(atelier, admin=True)
    email = new_email("bob")
    bob = await atelier.user(email, direct=True)
    job = (await bob.post("/api/v1/generate/video", json={"model": VIDEO_MODEL, "prompt": "[stuck] a boat"})).json()
    async with open_window(chromium, atelier, admin) as window:
        page = window.page
        await window.go(f"/admin/jobs/{job['id']}")
        await expect(page.locator("article")).to_contain_text(email)
        await page.get_by_role("button", name="Cancel").click()
        await window.notified("Job cancelled.")
        await expect(page.locator("article .description-list")).to_contain_text("Cancelled")
        await page.get_by_role("button", name="Retry").click()
        await window.notified("Retried as this new job.")
        await expect(page).not_to_have_url(f"{window.url}/admin/jobs/{job['id']}")
        assert window.problems == []


async def test_models_are_found_while_typing_compared_and_used(chromium: Browser, atelier: Studio) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/generate/image")
        await page.get_by_role("link", name="Compare models").click()
        await expect(page.get_by_label("Output")).to_have_value("image")
        await page.get_by_label("Sort by").select_option("price")
        await expect(page).to_have_url(re.compile(r"output=image&sort=price$"))
        await page.get_by_label("Search models").press_sequentially("recraft")
        await expect(page.get_by_role("heading", name="1 model")).to_be_visible()
        await expect(page.get_by_label("Search models")).to_be_focused()
        await page.reload()
        await expect(page.get_by_role("heading", name="1 model")).to_be_visible()
        await page.get_by_role("link", name="Recraft: Recraft V4", exact=True).click()
        await expect(page.get_by_role("region", name="Parameters")).to_contain_text("Aspect ratio")
        await page.get_by_role("link", name="Use model").click()
        await expect(page.get_by_label("Model", exact=True)).to_have_value(IMAGE_MODEL)
        assert window.problems == []


async def test_profile_and_admin_work_without_javascript(chromium: Browser, studio: Studio) -> None:
    admin = await studio.user_in_browser(ANN, direct=True)
    await studio.user(BOB, direct=True)
    async with open_window(chromium, studio, admin, java_script_enabled=False) as window:
        page = window.page
        await window.go("/users/profile")
        await page.get_by_role("region", name="API keys").get_by_label("Name").fill("laptop")
        await page.get_by_role("button", name="Create API key").click()
        await expect(page.locator("#new-key")).to_contain_text("atl_")

        await window.go("/admin/users")
        await page.get_by_label("Name or email").fill("bob")
        await page.get_by_role("button", name="Search").click()
        row = page.get_by_role("row", name=BOB)
        await row.get_by_role("button", name=f"Actions for {BOB}").click()
        await row.get_by_role("button", name="Make admin").click()
        await expect(page.locator("#notice")).to_contain_text(f"{BOB} is now an admin.")

        await window.go("/admin/models?q=recraft")
        await page.get_by_role("switch").click()
        await expect(page.locator("#notice")).to_contain_text("is disabled")
        await window.go("/models")
        await page.get_by_label("Output").select_option("video")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_role("heading", name="4 models")).to_be_visible()
        assert window.problems == []


async def test_account_and_admin_pages_are_accessible_and_fit_every_screen(chromium: Browser, studio: Studio) -> None:
    admin = await studio.user_in_browser(ANN, direct=True)
    client = await studio.user(ANN, direct=True)
    long_name = await studio.user("a.user.with.a.very.long.name@" + "department." * 8 + "studio.example", direct=True)
    body = {"model": IMAGE_MODEL, "prompt": "[refuse] " + "endless" * 60}
    refused = await long_name.post("/api/v1/generate/image", json=body)
    job = refused.json()["error"]["details"]["job_id"]
    await client.post("/api/v1/users/me/keys", json={"name": "k" * 100})
    user = (await long_name.get("/api/v1/users/me")).json()["id"]
    async with open_window(chromium, studio, admin, has_touch=True) as window:
        found: list[str] = []
        for path in (
            "/users/profile",
            "/models",
            "/models?q=nothing+has+this",
            "/models/google/veo-3.1",
            "/admin",
            "/admin/users",
            f"/admin/users/{user}/delete",
            "/admin/jobs",
            f"/admin/jobs/{job}",
            "/admin/models",
            "/admin/audit",
        ):
            await window.go(path)
            await window.page.set_viewport_size(ULTRAWIDE)
            found += await window.overflow(path)
            found += await window.examine(path, WIDE, PHONE)
        assert found == []
        assert window.problems == []
