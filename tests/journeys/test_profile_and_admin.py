"""People look after themselves, admins after everybody, in a real browser; every page of theirs is accessible."""

import re
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.journeys.conftest import AXE, PHONE, WIDE, Visit, visit
from tests.studio import PASSWORD, Studio

ULTRAWIDE = {"width": 2560, "height": 1200}
ANN, BOB = "ann@studio.example", "bob@studio.example"
NEW_PASSWORD = "a battery of horses"


async def _sign_in(window: Visit, email: str = ANN, password: str = PASSWORD) -> None:
    await window.go("/login")
    await window.page.fill("input[name=email]", email)
    await window.page.fill("input[name=password]", password)
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url(window.url + "/")


async def _said(page: Page, text: str) -> None:
    """The page says once what was done, or why not."""
    await expect(page.locator("#notice")).to_contain_text(text)


async def test_somebody_changes_their_name_and_their_password(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await page.get_by_role("button", name="You").click()
        await page.get_by_role("link", name="Profile and keys").click()
        await page.get_by_label("What you are called here").fill("Ann Keller")
        await page.get_by_role("button", name="Save the name").click()
        await _said(page, "Your name was saved.")
        await expect(page.get_by_label("What you are called here")).to_have_value("Ann Keller")

        password = page.get_by_role("region", name="Password")
        await password.get_by_label("Current password").fill("not it")
        await password.get_by_label("New password").fill(NEW_PASSWORD)
        await page.keyboard.press("Control+Enter")
        await expect(password.get_by_label("Current password")).to_have_attribute("aria-invalid", "true")
        await expect(password.get_by_label("Current password")).to_be_focused()
        await expect(password).to_contain_text("Current password is not your password.")
        await expect(password.get_by_label("New password")).to_have_value("")

        await password.get_by_label("Current password").fill(PASSWORD)
        await password.get_by_label("New password").fill(NEW_PASSWORD)
        await password.get_by_role("button", name="Change the password").click()
        await _said(page, "Your password was changed")
        assert window.troubles == []
    async with visit(chromium, studio) as window:
        await _sign_in(window, password=NEW_PASSWORD)


async def test_a_refused_email_keeps_what_was_typed(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    await studio.person(BOB)
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/users/profile")
        email = page.get_by_role("region", name="Email")
        await email.get_by_label("Email", exact=True).fill(BOB)
        await email.get_by_label("Current password").fill(PASSWORD)
        await email.get_by_role("button", name="Change the email").click()
        await expect(email).to_contain_text("Email is taken already.")
        await expect(email.get_by_label("Email", exact=True)).to_have_value(BOB)
        await email.get_by_label("Email", exact=True).fill("ann@elsewhere.example")
        await email.get_by_label("Current password").fill(PASSWORD)
        await email.get_by_role("button", name="Change the email").click()
        await _said(page, "Your email was changed")
        await expect(email.get_by_label("Email", exact=True)).to_have_value("ann@elsewhere.example")
        assert window.troubles == []


async def test_a_key_is_shown_once_works_and_stops_working_when_it_is_deleted(
    chromium: Browser, studio: Studio
) -> None:
    await studio.person()
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/users/profile")
        keys = page.get_by_role("region", name="API keys")
        await keys.get_by_role("button", name="Make a key").click()
        await expect(keys).to_contain_text("Name is needed.")
        await keys.get_by_label("Name").fill("laptop")
        await keys.get_by_label("Last day").fill("2100-12-31")
        await page.keyboard.press("Control+Enter")
        secret = await page.locator("#new-key").inner_text()
        assert re.fullmatch(r"atl_\S{40,}", secret)
        await expect(page.locator("#new-key-curl")).to_contain_text(f"Bearer {secret}")
        assert (await studio.client(secret).get("/api/v1/users/me")).json()["email"] == ANN
        await expect(keys.get_by_role("row", name="laptop")).to_contain_text("31 December 2100")

        await window.go("/users/profile")
        assert secret not in await page.content()
        await keys.get_by_role("button", name="Delete the key laptop").click()
        await keys.get_by_role("button", name="Delete the key", exact=True).click()
        await _said(page, "The key was deleted.")
        await expect(keys.get_by_role("row", name="laptop")).to_have_count(0)
        assert (await studio.client(secret).get("/api/v1/users/me")).status_code == 401
        assert window.troubles == []


async def test_somebody_signs_another_browser_out(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    async with visit(chromium, studio) as here, visit(chromium, studio) as there:
        await _sign_in(there)
        await _sign_in(here)
        await here.go("/users/profile")
        places = here.page.get_by_role("region", name="Where you are signed in")
        this = places.get_by_role("row", name="Chrome on Linux this one")
        await expect(this).to_be_visible()
        await expect(this.get_by_role("button")).to_have_count(0)
        await places.get_by_role("button", name="Sign out Chrome on Linux").click()
        await _said(here.page, "You are signed out there.")
        await there.go("/library")
        await expect(there.page).to_have_url(f"{there.url}/login?next=%2Flibrary")
        await places.get_by_role("button", name="Sign out everywhere else").click()
        await expect(places.get_by_role("row")).to_have_count(2)
        assert here.troubles == []


async def test_an_admin_finds_somebody_deactivates_and_deletes_them(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    bob = await studio.person(BOB)
    await studio.person("eve@studio.example")
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await page.get_by_role("link", name="Admin").click()
        await page.get_by_role("navigation", name="Admin").get_by_role("link", name="People").click()
        await expect(page.get_by_role("heading", name="3 people")).to_be_visible()
        await page.evaluate("window.neverReloaded = true")
        await page.get_by_label("Name or email").press_sequentially("bob")
        await expect(page.get_by_role("heading", name="1 person")).to_be_visible()
        await expect(page).to_have_url(f"{window.url}/admin/people?q=bob")

        row = page.get_by_role("row", name=BOB)
        await row.get_by_role("button", name=f"Change {BOB}").click()
        await row.get_by_role("button", name="Deactivate").click()
        await _said(page, f"{BOB} was deactivated and signed out.")
        await expect(row).to_contain_text("Deactivated")
        await expect(row.get_by_role("button", name=f"Change {BOB}")).to_be_focused()
        await expect(page).to_have_url(f"{window.url}/admin/people?q=bob")
        assert await page.evaluate("window.neverReloaded"), "the page was not reloaded"
        assert (await bob.get("/api/v1/users/me")).status_code == 401

        await row.get_by_role("button", name=f"Change {BOB}").click()
        await row.get_by_role("link", name="Delete").click()
        await expect(page.get_by_role("heading", name=f"Delete {BOB}?")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("0 jobs")
        await page.get_by_role("button", name="Delete for good").click()
        await _said(page, f"{BOB} was deleted.")
        await expect(page).to_have_url(f"{window.url}/admin/people")
        await expect(page.get_by_role("heading", name="2 people")).to_be_visible()
        assert window.troubles == []


async def test_the_last_admin_is_told_on_the_page_why_they_must_stay_one(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/admin/people")
        row = page.get_by_role("row", name=ANN)
        for deed in ("Make a user", "Deactivate"):
            await row.get_by_role("button", name=f"Change {ANN}").click()
            await row.get_by_role("button", name=deed).click()
            await _said(page, "This is the last admin. Make somebody else an admin first.")
            await page.get_by_role("button", name="Close").click()
        await row.get_by_role("button", name=f"Change {ANN}").click()
        await row.get_by_role("link", name="Delete").click()
        await page.get_by_role("button", name="Delete for good").click()
        await _said(page, "You cannot delete your own account.")
        await expect(page.get_by_role("heading", name=f"Delete {ANN}?")).to_be_visible()
        assert window.troubles == []


async def test_a_model_that_is_switched_off_vanishes_from_the_form_and_the_list(
    chromium: Browser, studio: Studio
) -> None:
    person = await studio.person()
    body = {"model": "google/veo-3.1", "prompt": "[refuse] a boat"}
    job = (await person.post("/api/v1/generate/video", json=body)).json()["id"]
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/admin/models?q=veo")
        switch = page.get_by_role("switch", name="Offer Google: Veo 3.1")
        await expect(switch).to_be_checked()
        await switch.focus()
        await page.keyboard.press("Space")
        await _said(page, "Google: Veo 3.1 is switched off.")
        await expect(switch).not_to_be_checked()
        await expect(switch).to_be_focused()
        await expect(page).to_have_url(f"{window.url}/admin/models?q=veo")
        for path, place in (("/generate/video", "#model"), ("/models", "main")):
            await window.go(path)
            assert "Veo 3.1" not in await page.locator(place).inner_text()
        await window.go(f"/generate/video?from={job}")
        await expect(page.locator("#prompt")).to_have_value("[refuse] a boat")
        instead = page.get_by_text("google/veo-3.1 is not on offer here, so ")
        await expect(instead).to_contain_text(await page.locator("#model :checked").inner_text())
        async with page.expect_response("**/fields?*"):
            await page.get_by_label("Model", exact=True).select_option(index=1)
        await expect(instead).to_have_count(0)
        await window.go("/admin/models?q=veo")
        await switch.click()
        await _said(page, "is on offer again")
        await window.go("/models?q=veo")
        await page.get_by_role("link", name="Use Google: Veo 3.1").click()
        await expect(page).to_have_url(re.compile(r"/generate/video\?model=google%2Fveo-3\.1$"))
        await expect(page.get_by_label("Model", exact=True)).to_have_value("google/veo-3.1")
        assert window.troubles == []


async def test_old_jobs_are_counted_before_they_are_deleted_and_the_log_tells_of_it(
    chromium: Browser, studio: Studio
) -> None:
    admin, bob = await studio.person(), await studio.person(BOB)
    for prompt in ("a boat", "[refuse] a boat", "[refuse] another boat"):
        await bob.post("/api/v1/generate/image", json={"model": "recraft/recraft-v4", "prompt": prompt})
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/admin/jobs")
        await expect(page.get_by_role("heading", name="3 jobs")).to_be_visible()
        await page.get_by_label("State").select_option("failed")
        await expect(page.get_by_role("heading", name="2 jobs")).to_be_visible()
        await expect(page).to_have_url(f"{window.url}/admin/jobs?status=failed")
        row = page.get_by_role("row", name="another boat")
        await expect(row).to_contain_text(BOB)
        await expect(row).to_contain_text("Failed: refused")
        await row.get_by_role("button", name="What to do with").click()
        await row.get_by_role("button", name="Delete…").click()
        await row.get_by_role("button", name="Delete for good").click()
        await _said(page, "The job was deleted for good.")
        await expect(page.get_by_role("heading", name="1 job")).to_be_visible()

        await page.get_by_label("Ended more than this many days ago").fill("0")
        await page.get_by_label("Completed").check()
        await page.get_by_role("button", name="Count them").click()
        await expect(page.get_by_role("heading", name="Delete 2 jobs for good?")).to_be_visible()
        assert (await admin.get("/api/v1/admin/jobs")).json()["total"] == 2, "counting deletes nothing"
        await page.get_by_role("button", name="Delete 2 jobs").click()
        await _said(page, "2 jobs were deleted for good.")
        await expect(page.get_by_text("No jobs yet")).to_be_visible()

        await page.get_by_role("link", name="Audit log").click()
        await expect(page.get_by_role("row", name="Jobs purged")).to_contain_text("2 jobs")
        await expect(page.get_by_role("row", name="Job deleted")).to_contain_text(ANN)
        assert window.troubles == []


async def test_a_stuck_job_is_seen_by_an_admin_and_cancelled(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    bob = await studio.person(BOB)
    body = {"model": "alibaba/wan-2.6", "prompt": "[stuck] a boat"}
    made = await bob.post("/api/v1/generate/video", json=body)
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go(f"/admin/jobs/{made.json()['id']}")
        await expect(page.locator("article")).to_contain_text(BOB)
        await page.get_by_role("button", name="Cancel").click()
        await _said(page, "The job was cancelled.")
        await expect(page.locator("article .pairs")).to_contain_text("Cancelled")
        await page.get_by_role("button", name="Retry").click()
        await _said(page, "started again as this one")
        await expect(page).not_to_have_url(f"{window.url}/admin/jobs/{made.json()['id']}")
        assert window.troubles == []


async def test_models_are_found_compared_and_used_while_one_types(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    async with visit(chromium, studio) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/generate/image")
        await page.get_by_role("link", name="Compare the models").click()
        await expect(page.get_by_label("Makes")).to_have_value("image")
        await page.get_by_label("Order").select_option("price")
        await expect(page).to_have_url(re.compile(r"output=image&sort=price$"))
        await page.get_by_label("Name or words").press_sequentially("recraft")
        await expect(page.get_by_role("heading", name="1 model")).to_be_visible()
        await expect(page.get_by_label("Name or words")).to_be_focused()
        await page.reload()
        await expect(page.get_by_role("heading", name="1 model")).to_be_visible()
        await page.get_by_role("link", name="Recraft: Recraft V4", exact=True).click()
        await expect(page.get_by_role("region", name="What can be set")).to_contain_text("Aspect ratio")
        await page.get_by_role("link", name="Use it").click()
        await expect(page.get_by_label("Model", exact=True)).to_have_value("recraft/recraft-v4")
        assert window.troubles == []


async def test_profile_and_admin_work_without_javascript(chromium: Browser, studio: Studio) -> None:
    await studio.person()
    await studio.person(BOB)
    async with visit(chromium, studio, java_script_enabled=False) as window:
        page = window.page
        await _sign_in(window)
        await window.go("/users/profile")
        await page.get_by_role("region", name="API keys").get_by_label("Name").fill("laptop")
        await page.get_by_role("button", name="Make a key").click()
        await expect(page.locator("#new-key")).to_contain_text("atl_")

        await window.go("/admin/people")
        await page.get_by_label("Name or email").fill("bob")
        await page.get_by_role("button", name="Search").click()
        row = page.get_by_role("row", name=BOB)
        await row.get_by_role("button", name=f"Change {BOB}").click()
        await row.get_by_role("button", name="Make an admin").click()
        await _said(page, f"{BOB} is now an admin.")

        await window.go("/admin/models?q=recraft")
        await page.get_by_role("switch").click()
        await _said(page, "is switched off")
        await window.go("/models")
        await page.get_by_label("Makes").select_option("video")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_role("heading", name="4 models")).to_be_visible()
        assert window.troubles == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_their_pages_are_accessible_and_fit_every_screen(chromium: Browser, studio: Studio, scheme: Any) -> None:
    person = await studio.person()
    long = await studio.person("somebody.with.a.very.long.name@" + "department." * 8 + "studio.example")
    body = {"model": "recraft/recraft-v4", "prompt": "[refuse] " + "endless" * 60}
    refused = await long.post("/api/v1/generate/image", json=body)
    job = refused.json()["error"]["details"]["job_id"]
    await person.post("/api/v1/users/me/keys", json={"name": "k" * 100})
    someone = (await long.get("/api/v1/users/me")).json()["id"]
    async with visit(chromium, studio, color_scheme=scheme, bypass_csp=True, has_touch=True) as window:
        await _sign_in(window)
        found: list[str] = []
        for path in (
            "/users/profile",
            "/models",
            "/models?q=nothing+has+this",
            "/models/google/veo-3.1",
            "/admin",
            "/admin/people",
            f"/admin/people/{someone}/delete",
            "/admin/jobs",
            f"/admin/jobs/{job}",
            "/admin/models",
            "/admin/audit",
        ):
            for viewport in (ULTRAWIDE, WIDE, PHONE):
                await window.page.set_viewport_size(viewport)  # type: ignore[arg-type]
                await window.go(path)
                wide = await window.page.evaluate("document.documentElement.scrollWidth")
                if wide > viewport["width"]:
                    found.append(f"{path} is {wide} wide at {viewport['width']}")
                found += await _findings(window.page, path)
        assert found == []
        assert window.troubles == []


async def _findings(page: Page, path: str) -> list[str]:
    """What axe finds on the page as it stands."""
    await page.add_script_tag(path=AXE)
    violations = await page.evaluate("async () => (await axe.run()).violations")
    return [f"{path}: {one['id']} {[node['target'] for node in one['nodes']][:3]}" for one in violations]
