"""The sign-in, registration and sign-out pages."""

import re

import httpx

from .studio import PASSWORD, Start, Studio


async def send(browser: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    return await browser.post(path, data=form)


def cookie(answer: httpx.Response, name: str) -> str:
    """The Set-Cookie header for that name, without the prefix of the instance."""
    (line,) = [line for line in answer.headers.get_list("set-cookie") if line.split("=")[0].endswith(f"-{name}")]
    return str(line)


async def test_signing_in_redirects_to_the_page_that_was_requested(studio: Studio) -> None:
    await studio.register()
    browser = studio.browser()
    answer = await browser.get("/private")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2Fprivate")
    assert 'name="next" value="/private"' in (await browser.get(answer.headers["Location"])).text
    answer = await send(browser, "/login", email="Ada@example.org", password=PASSWORD, next="/private")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/private")
    assert (await browser.get("/private")).text == "ada@example.org"


async def test_the_session_cookie_is_not_available_to_scripts_and_other_sites(studio: Studio) -> None:
    await studio.register()
    line = cookie(await send(studio.browser(), "/login", email="ada@example.org", password=PASSWORD), "session")
    assert set(re.split("; ", line.lower())[1:]) == {"httponly", "samesite=lax", "path=/", "max-age=2592000"}


async def test_under_https_the_cookie_is_secure_and_bound_to_the_host(start: Start) -> None:
    studio = await start(ATELIER_PUBLIC_URL="https://studio.test")
    await studio.register()
    browser = studio.browser()
    answer = await send(browser, "/login", email="ada@example.org", password=PASSWORD)
    line = cookie(answer, "session").lower()
    assert line.startswith("__host-")
    assert "secure" in line
    assert "domain" not in line
    assert (await browser.get("/private")).status_code == 200
    deleted = cookie(await browser.post("/logout"), "session").lower()
    assert deleted.startswith("__host-")
    assert "secure" in deleted
    assert "max-age=0" in deleted


async def test_a_wrong_sign_in_keeps_the_form_values_but_never_the_password(studio: Studio) -> None:
    await studio.register()
    for email, password in (("ada@example.org", "wrong password"), ("eve@example.org", PASSWORD)):
        answer = await send(studio.browser(), "/login", email=email, password=password, next="/library?kind=video")
        assert answer.status_code == 401
        assert "The email or password is incorrect." in answer.text
        assert f'value="{email}"' in answer.text
        assert 'value="/library?kind=video"' in answer.text
        assert password not in answer.text
        assert "set-cookie" not in answer.headers


async def test_a_wrong_sign_in_does_not_open_the_browsers_password_dialog(studio: Studio) -> None:
    assert "www-authenticate" not in (await send(studio.browser(), "/login", email="x", password="y")).headers


async def test_a_sign_in_never_redirects_to_another_site(studio: Studio) -> None:
    await studio.register()
    targets = (
        *("https://evil.test/", "//evil.test", "/\\evil.test", "%2F%2Fevil.test"),
        *("javascript:alert(1)", "/login"),
    )
    for target in targets:
        answer = await send(studio.browser(), "/login", email="ada@example.org", password=PASSWORD, next=target)
        assert answer.headers["Location"] == "/", target


async def test_every_sign_in_creates_a_new_session_and_a_planted_cookie_is_ignored(studio: Studio) -> None:
    await studio.register()
    browser = studio.browser()
    browser.cookies.set(f"{studio.cookie_prefix}session", "planted", domain="studio.test")
    await send(browser, "/login", email="ada@example.org", password=PASSWORD)
    planted = studio.browser()
    planted.cookies.set(f"{studio.cookie_prefix}session", "planted")
    assert (await planted.get("/private")).status_code == 303


async def test_signing_in_as_another_user_ends_the_previous_session(studio: Studio) -> None:
    await studio.register()
    await studio.register("bob@example.org")
    browser = await studio.sign_in_browser()
    before = browser.cookies[f"{studio.cookie_prefix}session"]
    answer = await send(browser, "/login", email="bob@example.org", password=PASSWORD)
    assert answer.status_code == 303
    assert await studio.accounts.authentication.by_session(before) is None


async def test_a_signed_in_user_is_redirected_from_the_forms(studio: Studio) -> None:
    await studio.register()
    browser = await studio.sign_in_browser()
    for path in ("/login", "/register"):
        answer = await browser.get(f"{path}?next=/chat")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/chat")


async def test_registering_signs_in_at_once_and_shows_a_notice(studio: Studio) -> None:
    browser = studio.browser()
    assert (await browser.get("/register")).status_code == 200
    answer = await send(browser, "/register", email="ada@example.org", password=PASSWORD, name="Ada", next="/chat")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/chat")
    assert "You%20are%20the%20admin" in cookie(answer, "notice")
    assert (await browser.get("/private")).text == "ada@example.org"


async def test_an_invalid_registration_keeps_the_form_values_but_never_the_password(studio: Studio) -> None:
    answer = await send(studio.browser(), "/register", email="ada@example", password="short", name="Ada L")
    assert answer.status_code == 400
    assert "must be an email address" in answer.text
    assert 'value="ada@example"' in answer.text
    assert 'value="Ada L"' in answer.text
    assert "short" not in re.sub(r"<(link|script)[^>]*>", "", answer.text)


async def test_a_taken_email_is_reported_at_the_field(studio: Studio) -> None:
    await studio.register()
    answer = await send(studio.browser(), "/register", email="ADA@example.org", password=PASSWORD)
    assert answer.status_code == 409
    assert "is already in use" in answer.text


async def test_the_forms_show_that_registration_is_closed_once_there_is_an_account(start: Start) -> None:
    studio = await start(ATELIER_REGISTRATION="closed")
    browser = studio.browser()
    assert 'action="/register"' in (await browser.get("/register")).text
    await studio.register()
    assert 'action="/register"' not in (await browser.get("/register")).text
    assert "/register" not in (await browser.get("/login")).text
    answer = await send(browser, "/register", email="bob@example.org", password=PASSWORD)
    assert answer.status_code == 403
    assert "Registration is closed" in answer.text


async def test_too_many_attempts_are_reported_on_the_form(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    browser = studio.browser()
    for _ in range(10):
        await send(browser, "/login", email="ada@example.org", password="wrong password")
    answer = await send(browser, "/login", email="ada@example.org", password="wrong password")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many attempts" in answer.text


async def test_signing_out_ends_the_session_at_once_for_every_copy_of_the_cookie(studio: Studio) -> None:
    await studio.register()
    browser, copy = await studio.sign_in_browser(), studio.browser()
    copy.cookies.set(f"{studio.cookie_prefix}session", browser.cookies[f"{studio.cookie_prefix}session"])
    assert (await copy.get("/private")).status_code == 200
    answer = await browser.post("/logout")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert "max-age=0" in cookie(answer, "session").lower()
    assert (await copy.get("/private")).status_code == 303


async def test_signing_out_twice_is_no_error(studio: Studio) -> None:
    assert (await studio.browser().post("/logout")).status_code == 303


async def test_a_link_cannot_sign_out(studio: Studio) -> None:
    assert (await studio.browser().get("/logout")).status_code == 405


async def test_a_theme_is_stored_for_a_year_and_applied(studio: Studio) -> None:
    for theme in ("dark", "light"):
        browser = studio.browser()
        answer = await send(browser, "/theme", theme=theme, next="/library")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/library")
        assert "max-age=31536000" in cookie(answer, "theme").lower()
        assert f'data-theme="{theme}"' in (await browser.get("/login")).text


async def test_the_system_theme_deletes_the_cookie(studio: Studio) -> None:
    browser = studio.browser()
    await send(browser, "/theme", theme="dark")
    await send(browser, "/theme", theme="system")
    assert not browser.cookies
    assert "data-theme" not in (await browser.get("/login")).text


async def test_an_unknown_theme_is_refused_and_another_site_is_no_target(studio: Studio) -> None:
    assert (await send(studio.browser(), "/theme", theme="neon")).status_code == 400
    answer = await send(studio.browser(), "/theme", theme="dark", next="//evil.test")
    assert answer.headers["Location"] == "/"


async def test_a_form_that_is_too_large_is_refused(studio: Studio) -> None:
    answer = await send(studio.browser(), "/login", email="x" * 70_000, password=PASSWORD)
    assert answer.status_code == 413


async def test_an_empty_form_is_refused_like_any_invalid_form(studio: Studio) -> None:
    assert (await studio.browser().post("/login")).status_code == 401
    assert (await studio.browser().post("/register")).status_code == 400
