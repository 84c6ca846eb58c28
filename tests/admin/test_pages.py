"""The admin section as HTTP sees it: who may come in, what it shows, and that nothing large happens unasked."""

import html
import re
from typing import Any

import httpx
import pytest

from tests.studio import Browser, Studio

PAGES = ["", "/people", "/jobs", "/models", "/audit", "/jobs/x", "/people/x/delete"]
FORMS = [
    "/people/x/role",
    "/people/x/active",
    "/people/x/delete",
    "/jobs/x/cancel",
    "/jobs/x/retry",
    "/jobs/x/delete",
    "/jobs/purge",
    "/jobs/timed-out",
    "/models/refresh",
    "/models/switch",
    "/tokens/purge",
]
PICTURES = "recraft/recraft-v4"


async def _picture(client: httpx.AsyncClient, prompt: str) -> str:
    answer = await client.post("/api/v1/generate/image", json={"model": PICTURES, "prompt": prompt})
    job = answer.json()
    id: str = job["id"] if answer.status_code == 200 else job["error"]["details"]["job_id"]
    return id


async def _id(client: httpx.AsyncClient) -> str:
    return str((await client.get("/api/v1/users/me")).json()["id"])


async def _text(browser: Browser, path: str) -> str:
    """What stands on a page of the section."""
    answer = await browser.get(f"/admin{path}")
    assert answer.status_code == 200, answer.text
    return _words(answer)


def _words(answer: httpx.Response) -> str:
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)))


async def _send(browser: Browser, path: str, **form: Any) -> httpx.Response:
    return await browser.send_form(f"/admin{path}", form)


async def test_nobody_but_an_admin_comes_in(studio: Studio) -> None:
    await studio.person()
    bob = await studio.person_in_browser("bob@studio.example")
    nobody = studio.browser()
    for path in PAGES:
        assert (await bob.get(f"/admin{path}")).status_code == 403, path
        assert (await nobody.get(f"/admin{path}")).headers["Location"].startswith("/login?next="), path
    for path in FORMS:
        assert (await _send(bob, path)).status_code == 403, path
        assert (await _send(nobody, path)).headers["Location"] == "/login", path
    assert 'href="/admin"' not in (await bob.get("/jobs")).text
    assert 'href="/admin"' in (await (await studio.person_in_browser()).get("/jobs")).text


@pytest.mark.parametrize("path", FORMS)
async def test_no_form_is_taken_without_its_token(studio: Studio, path: str) -> None:
    admin = await studio.person_in_browser()
    assert (await admin.post(f"/admin{path}", data={"confirmed": "yes", "older_than_days": "0"})).status_code == 403


async def test_the_overview_tells_how_the_program_is(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    await _picture(bob, "a boat")
    await _picture(bob, "[refuse] a boat")
    words = await _text(admin, "")
    assert "1 admin · 1 user" in words
    assert "$0.04" in words
    for loop in ("Worker", "Catalogue", "Sweeper"):
        assert f"{loop} Alive" in words
    assert "answers" in words
    assert "free" in words
    assert re.search(r"atelier \d.* duckdb \d", words)


async def test_dead_tokens_are_counted_before_they_are_deleted(studio: Studio) -> None:
    admin, program = await studio.person_in_browser(), studio.client()
    assert "There are no dead tokens" in await _text(admin, "")
    who = {"email": "ann@studio.example", "password": "correct horse battery"}
    for _ in range(2):
        tokens = (await program.post("/api/v1/auth/login", json=who)).json()
        await program.post("/api/v1/auth/logout", json={"refresh_token": tokens["refresh_token"]})
    assert "Delete 2 dead tokens" in await _text(admin, "")
    await _send(admin, "/tokens/purge")
    answer = await admin.get("/admin")
    assert "2 dead tokens were deleted." in answer.text
    assert "There are no dead tokens" in _words(answer)


async def test_people_are_found_by_name_and_email_and_the_search_stays_while_paging(studio: Studio) -> None:
    admin = await studio.person_in_browser()
    for number in range(26):
        await studio.person(f"someone{number}@studio.example")
    words = await _text(admin, "/people?q=SOMEONE")
    assert "26 people" in words
    assert "ann@studio.example" not in words
    page = await admin.get("/admin/people?q=someone")
    older = html.unescape(re.findall(r'href="(/admin/people\?cursor=[^"]+)"', page.text)[0])
    rest = _words(await admin.get(older))
    assert "someone0@studio.example" in rest
    assert "someone25@studio.example" not in rest
    assert "Nobody found" in await _text(admin, "/people?q=zz")


async def test_a_role_and_a_deactivation_are_said_and_hold(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    id = await _id(bob)
    assert (await _send(admin, f"/people/{id}/role", role="admin")).headers["Location"] == "/admin/people"
    assert "bob@studio.example is now an admin." in (await admin.get("/admin/people")).text
    assert (await bob.get("/api/v1/admin/stats")).status_code == 200
    await _send(admin, f"/people/{id}/role", role="user")
    await _send(admin, f"/people/{id}/active", is_active="false")
    assert "Deactivated" in await _text(admin, "/people?q=bob")
    assert (await bob.get("/api/v1/users/me")).status_code == 401


async def test_what_the_last_admin_may_not_is_said_in_a_sentence(studio: Studio) -> None:
    admin = await studio.person_in_browser()
    id = await _id(await studio.person())
    for path, form in (("role", {"role": "user"}), ("active", {"is_active": "false"})):
        answer = await _send(admin, f"/people/{id}/{path}", **form)
        assert answer.status_code == 409
        assert "This is the last admin." in answer.text
    answer = await _send(admin, f"/people/{id}/delete")
    assert answer.status_code == 409
    assert "You cannot delete your own account." in answer.text


async def test_a_person_is_deleted_only_after_what_goes_along_was_told(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    await _picture(bob, "a boat")
    await _picture(bob, "[refuse] a boat")
    id = await _id(bob)
    words = await _text(admin, f"/people/{id}/delete")
    assert "2 jobs" in words
    assert "1 picture and clip in" in words
    await _send(admin, f"/people/{id}/delete")
    assert "bob@studio.example was deleted." in (await admin.get("/admin/people")).text
    assert "1 person" in await _text(admin, "/people")
    assert (await admin.get(f"/admin/people/{id}/delete")).status_code == 404


async def test_the_jobs_of_everybody_are_filtered_by_kind_state_person_and_words(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    await _picture(bob, "a paper boat")
    await _picture(bob, "[refuse] a paper kite")
    await bob.post("/api/v1/generate/text", json={"model": "openai/gpt-5.5", "prompt": "a paper <b>&amp;"})
    counts = {
        "": "3 jobs",
        "?kind=image": "2 jobs",
        "?kind=image&status=failed": "1 job",
        "?user=bob": "3 jobs",
        "?user=zz": "Nothing matches",
        "?q=kite+paper": "1 job",
        "?kind=nonsense&status=nonsense": "3 jobs",
    }
    for query, expected in counts.items():
        assert expected in await _text(admin, f"/jobs{query}"), query
    words = await _text(admin, "/jobs")
    assert "bob@studio.example" in words
    assert "Failed: refused" in words
    assert "a paper <b>&amp;" in words


async def test_an_admin_sees_what_happened_but_not_what_was_made(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    text = await bob.post("/api/v1/generate/text", json={"model": "openai/gpt-5.5", "prompt": "five names"})
    words = (await bob.get("/api/v1/jobs")).json()["items"][0]
    made = await admin.get(f"/admin/jobs/{words['id']}")
    assert "five names" in made.text
    assert "What happened" in made.text
    assert text.json()["text"][:40] not in html.unescape(made.text)
    picture = await admin.get(f"/admin/jobs/{await _picture(bob, 'a boat')}")
    assert "/media/" not in picture.text
    assert (await admin.get("/admin/jobs/nothing")).status_code == 404


async def test_anybodys_job_is_cancelled_tried_again_and_deleted(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    body = {"model": "alibaba/wan-2.6", "prompt": "[stuck] a boat"}
    id = (await bob.post("/api/v1/generate/video", json=body)).json()["id"]
    await _send(admin, f"/jobs/{id}/cancel")
    await studio.finished(bob, id)
    assert (await _send(admin, f"/jobs/{id}/cancel")).status_code == 409
    again = (await _send(admin, f"/jobs/{id}/retry")).headers["Location"]
    assert f'href="/admin/jobs/{id}"' in (await admin.get(again)).text
    await _send(admin, f"/jobs/{id}/delete")
    assert (await bob.get(f"/api/v1/jobs/{id}")).status_code == 404
    await _send(admin, f"{again.removeprefix('/admin')}/delete")


async def test_a_purge_counts_first_and_deletes_only_what_was_agreed_to(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    await _picture(bob, "a boat")
    await _picture(bob, "[refuse] a boat")
    assert (await _send(admin, "/jobs/purge", older_than_days="soon")).status_code == 400
    asked = await _send(admin, "/jobs/purge", older_than_days="0", status_failed="on")
    assert "Delete 1 job for good?" in _words(asked)
    assert "They are failed, and ended more than 0 days ago." in _words(asked)
    assert "2 jobs" in await _text(admin, "/jobs")
    agreed = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', asked.text.partition("<main")[2]))
    del agreed["_csrf_token"]
    assert agreed == {"older_than_days": "0", "status_failed": "on"}
    await _send(admin, "/jobs/purge", **agreed, confirmed="yes")
    assert "One job was deleted for good." in (await admin.get("/admin/jobs")).text
    assert "nothing to delete" in _words(await _send(admin, "/jobs/purge", older_than_days="9"))
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 1


async def test_the_models_page_tells_what_the_last_refresh_changed(studio: Studio) -> None:
    admin = await studio.person_in_browser()
    assert re.search(r"\d+ added, 0 removed, 0 changed", await _text(admin, "/models"))
    await _send(admin, "/models/refresh")
    answer = await admin.get("/admin/models")
    assert "The list was refreshed: 0 added, 0 removed, 0 changed." in answer.text


async def test_a_model_is_switched_off_and_on_again(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person_in_browser("bob@studio.example")
    await _send(admin, "/models/switch", id=PICTURES, enabled="false")
    page = await admin.get("/admin/models?q=recraft")
    assert 'aria-checked="false"' in page.text
    assert "1 switched off" in _words(page)
    assert PICTURES not in (await bob.get("/generate/image")).text
    assert (await bob.get(f"/models/{PICTURES}")).status_code == 404
    await _send(admin, "/models/switch", id=PICTURES, enabled="true")
    assert PICTURES in (await bob.get("/generate/image")).text
    assert (await _send(admin, "/models/switch", id="no/such", enabled="true")).status_code == 404


async def test_the_audit_log_tells_who_did_what_to_whom(studio: Studio) -> None:
    admin, bob = await studio.person_in_browser(), await studio.person("bob@studio.example")
    assert "Nothing was changed yet" in await _text(admin, "/audit")
    await _send(admin, f"/people/{await _id(bob)}/role", role="admin")
    await _send(admin, "/models/switch", id=PICTURES, enabled="false")
    words = await _text(admin, "/audit")
    assert "2 changes by admins" in words
    assert re.search(r"Model switched off recraft/recraft-v4 .* Role changed bob@studio.example admin", words)
    assert "ann@studio.example" in words
