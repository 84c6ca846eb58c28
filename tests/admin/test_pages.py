"""The admin pages over HTTP: access, content, and confirmation of bulk actions."""

import html
import re

import httpx
import pytest

from tests.admin.conftest import ADMIN, AdminBrowser, OrdinaryUser, main_text, new_user_of
from tests.kit import IMAGE_MODEL, TEXT_MODEL, Cases, ended_job, new_email
from tests.studio import PASSWORD, Studio

PAGES = ["", "/users", "/jobs", "/models", "/audit", "/jobs/x", "/users/x/delete"]
FORMS = [
    "/users/x/role",
    "/users/x/active",
    "/users/x/delete",
    "/jobs/x/cancel",
    "/jobs/x/retry",
    "/jobs/x/delete",
    "/jobs/purge",
    "/jobs/timed-out",
    "/models/refresh",
    "/models/switch",
    "/tokens/purge",
]


@pytest.fixture
def tag() -> str:
    """A unique search term."""
    return new_email("tag").partition("@")[0]


async def image(user: OrdinaryUser, prompt: str) -> str:
    """Generate an image and return its job id."""
    body = {"model": IMAGE_MODEL, "prompt": prompt}
    answer = await user.client.post("/api/v1/generate/image", json=body, headers={"Prefer": "respond-async"})
    id: str = answer.json()["id"]
    await ended_job(user.client, id)
    return id


async def test_no_one_but_an_admin_may_enter(
    admin_studio: Studio, admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    user = AdminBrowser(await admin_studio.user_in_browser(bob.email, direct=True))
    signed_out = AdminBrowser(admin_studio.direct_browser())
    with Cases() as cases:
        for path in PAGES:
            with cases.case("page", path):
                assert (await user.get(path)).status_code == 403
                assert (await signed_out.get(path)).headers["Location"].startswith("/login?next=")
        for path in FORMS:
            with cases.case("form", path):
                assert (await user.send(path)).status_code == 403
                assert (await signed_out.send(path)).headers["Location"] == "/login"
    assert 'href="/admin"' not in (await user.browser.get("/jobs")).text
    assert 'href="/admin"' in (await admin_browser.browser.get("/jobs")).text


async def test_no_form_is_accepted_without_its_token(admin_browser: AdminBrowser) -> None:
    form = {"confirmed": "yes", "older_than_days": "0"}
    with Cases() as cases:
        for path in FORMS:
            with cases.case(path):
                assert (await admin_browser.browser.post(f"/admin{path}", data=form)).status_code == 403


async def test_the_overview_shows_the_state_of_the_application(
    admin: httpx.AsyncClient, admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    await image(bob, "[stamp] a boat")
    await image(bob, "[refuse] a boat")
    stats = (await admin.get("/api/v1/admin/stats")).json()
    text = await admin_browser.text("")
    users = stats["users"]["user"]
    assert f"1 admin · {users} user{'s' if users != 1 else ''}" in text
    assert f"${float(stats['cost_usd']):.2f}" in text
    assert float(stats["cost_usd"]) >= 0.04
    for task in ("Worker", "Model refresh", "Asset cleanup"):
        assert f"{task} Running" in text
    assert "responding" in text
    assert "free" in text
    assert re.search(r"atelier \d.* duckdb \d", text)


async def test_unusable_tokens_are_counted_before_they_are_deleted(
    admin: httpx.AsyncClient, admin_studio: Studio, admin_browser: AdminBrowser
) -> None:
    await admin.post("/api/v1/admin/tokens/purge")
    client = admin_studio.direct()
    assert "No expired or revoked tokens" in await admin_browser.text("")
    for _ in range(2):
        tokens = (await client.post("/api/v1/auth/login", json={"email": ADMIN, "password": PASSWORD})).json()
        await client.post("/api/v1/auth/logout", json={"refresh_token": tokens["refresh_token"]})
    assert "Delete 2 tokens" in await admin_browser.text("")
    await admin_browser.send("/tokens/purge")
    answer = await admin_browser.get("")
    assert "2 expired or revoked tokens were deleted." in answer.text
    assert "No expired or revoked tokens" in main_text(answer)


async def test_users_are_found_by_name_and_email_and_the_search_is_kept_while_paging(
    admin_studio: Studio, admin_browser: AdminBrowser, tag: str
) -> None:
    for number in range(26):
        account = {"email": f"{tag}.{number}@studio.example", "password": PASSWORD}
        assert (await admin_studio.direct().post("/api/v1/auth/register", json=account)).status_code == 201
    text = await admin_browser.text(f"/users?q={tag.upper()}")
    assert "26 users" in text
    assert ADMIN not in text
    page = await admin_browser.get(f"/users?q={tag}")
    older = html.unescape(re.findall(r'href="(/admin/users\?cursor=[^"]+)"', page.text)[0])
    rest = main_text(await admin_browser.browser.get(older))
    assert f"{tag}.0@studio.example" in rest
    assert f"{tag}.25@studio.example" not in rest
    assert "No users found" in await admin_browser.text("/users?q=zz")


async def test_a_new_role_and_a_deactivation_are_confirmed_and_take_effect(
    admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    answer = await admin_browser.send(f"/users/{bob.id}/role", role="admin")
    assert answer.headers["Location"] == "/admin/users"
    assert f"{bob.email} is now an admin." in (await admin_browser.get("/users")).text
    assert (await bob.client.get("/api/v1/admin/stats")).status_code == 200
    await admin_browser.send(f"/users/{bob.id}/role", role="user")
    await admin_browser.send(f"/users/{bob.id}/active", is_active="false")
    assert "Deactivated" in await admin_browser.text(f"/users?q={bob.email}")
    assert (await bob.client.get("/api/v1/users/me")).status_code == 401


async def test_what_the_last_admin_cannot_do_is_explained(studio: Studio) -> None:
    """Uses a separate application, in which no other test has created a second admin."""
    ann = await new_user_of(studio, ADMIN)
    browser = AdminBrowser(await studio.user_in_browser(ADMIN, direct=True))
    for path, form in (("role", {"role": "user"}), ("active", {"is_active": "false"})):
        answer = await browser.send(f"/users/{ann.id}/{path}", **form)
        assert answer.status_code == 409
        assert "This is the last admin." in answer.text
    answer = await browser.send(f"/users/{ann.id}/delete")
    assert answer.status_code == 409
    assert "You cannot delete your own account." in answer.text


async def test_a_user_is_deleted_only_after_the_page_has_shown_what_will_be_deleted(
    admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    await image(bob, "[stamp] a boat")
    await image(bob, "[refuse] a boat")
    text = await admin_browser.text(f"/users/{bob.id}/delete")
    assert "2 jobs" in text
    assert "1 asset in" in text
    assert "1 user" in await admin_browser.text(f"/users?q={bob.email}")
    await admin_browser.send(f"/users/{bob.id}/delete")
    assert f"{bob.email} was deleted." in (await admin_browser.get("/users")).text
    assert "No users found" in await admin_browser.text(f"/users?q={bob.email}")
    assert (await admin_browser.get(f"/users/{bob.id}/delete")).status_code == 404


async def test_the_jobs_of_all_users_are_filtered_by_kind_status_user_and_prompt(
    admin: httpx.AsyncClient, admin_browser: AdminBrowser, bob: OrdinaryUser, tag: str
) -> None:
    await image(bob, f"[stamp] a paper boat {tag}")
    await image(bob, f"[refuse] a paper kite {tag}")
    body = {"model": TEXT_MODEL, "prompt": f"a paper <b>&amp; {tag}"}
    await bob.client.post("/api/v1/generate/text", json=body)
    counts = {
        f"?q={tag}": "3 jobs",
        f"?q={tag}&kind=image": "2 jobs",
        f"?q={tag}&kind=image&status=failed": "1 job",
        f"?user={bob.email}": "3 jobs",
        "?user=zz": "No matching jobs",
        f"?q=kite+paper+{tag}": "1 job",
        f"?q={tag}&kind=nonsense&status=nonsense": "3 jobs",
    }
    with Cases() as cases:
        for query, expected in counts.items():
            with cases.case(query):
                assert expected in await admin_browser.text(f"/jobs{query}")
    text = await admin_browser.text("/jobs")
    assert bob.email in text
    assert "Failed: refused" in text
    assert f"a paper <b>&amp; {tag}" in text
    total = (await admin.get("/api/v1/admin/jobs", params={"limit": 1})).json()["total"]
    assert f"{total} jobs" in text, "without a filter all jobs are counted"


async def test_an_admin_sees_what_happened_to_a_job_but_not_its_result(
    admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    body = {"model": TEXT_MODEL, "prompt": "five names"}
    answer = await bob.client.post("/api/v1/generate/text", json=body)
    job = (await bob.client.get("/api/v1/jobs")).json()["items"][0]
    page = await admin_browser.get(f"/jobs/{job['id']}")
    assert "five names" in page.text
    assert re.findall(r'data-event="(\w+)"', page.text) == ["queued", "started", "completed"]
    assert answer.json()["text"][:40] not in html.unescape(page.text)
    page = await admin_browser.get(f"/jobs/{await image(bob, '[stamp] a boat')}")
    assert "/media/" not in page.text
    assert (await admin_browser.get("/jobs/nothing")).status_code == 404


async def test_a_job_of_another_user_is_cancelled_retried_and_deleted(
    admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    id = await bob.video("[stuck] a boat")
    await admin_browser.send(f"/jobs/{id}/cancel")
    await ended_job(bob.client, id)
    assert (await admin_browser.send(f"/jobs/{id}/cancel")).status_code == 409
    retry = (await admin_browser.send(f"/jobs/{id}/retry")).headers["Location"]
    assert f'href="/admin/jobs/{id}"' in (await admin_browser.browser.get(retry)).text
    await admin_browser.send(f"/jobs/{id}/delete")
    assert (await bob.client.get(f"/api/v1/jobs/{id}")).status_code == 404
    await admin_browser.send(f"{retry.removeprefix('/admin')}/delete")
    assert (await bob.client.get("/api/v1/jobs")).json()["total"] == 0


async def test_a_purge_counts_first_and_deletes_only_what_was_confirmed(
    admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    await admin_browser.send("/jobs/purge", older_than_days="0", confirmed="yes")
    await image(bob, "[stamp] a boat")
    await image(bob, "[refuse] a boat")
    assert (await admin_browser.send("/jobs/purge", older_than_days="soon")).status_code == 400
    question = await admin_browser.send("/jobs/purge", older_than_days="0", status_failed="on")
    assert "Permanently delete 1 job?" in main_text(question)
    assert "These jobs are failed and ended more than 0 days ago." in main_text(question)
    assert "2 jobs" in await admin_browser.text("/jobs")
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', question.text.partition("<main")[2])
    confirmed = {name: value for name, value in hidden if name != "_csrf_token"}
    assert confirmed == {"older_than_days": "0", "status_failed": "on"}
    await admin_browser.send("/jobs/purge", **confirmed, confirmed="yes")
    assert "One job was deleted permanently." in (await admin_browser.get("/jobs")).text
    assert "No jobs to delete" in main_text(await admin_browser.send("/jobs/purge", older_than_days="9"))
    assert (await bob.client.get("/api/v1/jobs")).json()["total"] == 1


async def test_the_models_page_shows_what_the_last_refresh_changed(admin_browser: AdminBrowser) -> None:
    assert re.search(r"\d+ added, 0 removed, 0 changed", await admin_browser.text("/models"))
    await admin_browser.send("/models/refresh")
    answer = await admin_browser.get("/models")
    assert "Models refreshed: 0 added, 0 removed, 0 changed." in answer.text


async def test_a_model_is_disabled_and_enabled(
    admin_studio: Studio, admin_browser: AdminBrowser, bob: OrdinaryUser
) -> None:
    browser = await admin_studio.user_in_browser(bob.email, direct=True)
    await admin_browser.send("/models/switch", id=IMAGE_MODEL, enabled="false")
    page = await admin_browser.get("/models?q=recraft")
    assert 'aria-checked="false"' in page.text
    assert "1 disabled" in main_text(page)
    assert IMAGE_MODEL not in (await browser.get("/generate/image")).text
    assert (await browser.get(f"/models/{IMAGE_MODEL}")).status_code == 404
    await admin_browser.send("/models/switch", id=IMAGE_MODEL, enabled="true")
    assert IMAGE_MODEL in (await browser.get("/generate/image")).text
    assert (await admin_browser.send("/models/switch", id="no/such", enabled="true")).status_code == 404


async def test_the_audit_log_shows_who_changed_what(studio: Studio) -> None:
    """Uses a separate application, whose log is empty at first."""
    browser = AdminBrowser(await studio.user_in_browser(ADMIN, direct=True))
    bob = await new_user_of(studio, "bob@studio.example")
    assert "No entries yet" in await browser.text("/audit")
    await browser.send(f"/users/{bob.id}/role", role="admin")
    await browser.send("/models/switch", id=IMAGE_MODEL, enabled="false")
    answer = await browser.get("/audit")
    assert re.findall(r'data-action="([\w.]+)"', answer.text) == ["model.disabled", "user.role_changed"]
    text = main_text(answer)
    assert "2 changes by admins" in text
    assert re.search(rf"Model disabled {IMAGE_MODEL} .* Role changed bob@studio.example to admin", text)
    assert ADMIN in text
