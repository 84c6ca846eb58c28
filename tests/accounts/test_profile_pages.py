"""The profile page: display name, email, password, sessions and API keys."""

import html
import re
from datetime import datetime

import httpx
import pytest

from tests.kit import Cases

from .studio import PASSWORD, Start, Studio

PROFILE = "/users/profile"


async def send(browser: httpx.AsyncClient, path: str = "", **form: str) -> httpx.Response:
    return await browser.post(f"{PROFILE}{path}", data=form)


def main_text(answer: httpx.Response) -> str:
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)))


@pytest.fixture
async def ada(studio: Studio) -> httpx.AsyncClient:
    """A signed-in browser of Ada."""
    await studio.register(name="Ada")
    return await studio.sign_in_browser()


async def test_the_profile_requires_a_session(studio: Studio) -> None:
    answer = await studio.browser().get(PROFILE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2Fusers%2Fprofile")
    for path in ("/name", "/email", "/password", "/keys", "/keys/x/delete", "/sessions/end", "/sessions/x/end"):
        assert (await send(studio.browser(), path)).headers["Location"] == "/login"


async def test_a_saved_name_is_confirmed(ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/name", name="Ada  Lovelace")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PROFILE}#name")
    page = await ada.get(PROFILE)
    assert 'value="Ada Lovelace"' in page.text
    assert "Display name saved." in page.text
    assert "Display name saved." not in (await ada.get(PROFILE)).text


async def test_a_name_that_is_too_long_is_reported_and_kept_in_the_form(ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/name", name="x" * 101)
    assert answer.status_code == 400
    assert "Display name must be at most 100 characters." in main_text(answer)
    assert f'value="{"x" * 101}"' in answer.text


async def test_a_new_email_needs_the_password_and_errors_keep_the_form_values(
    studio: Studio, ada: httpx.AsyncClient
) -> None:
    wrong = await send(ada, "/email", email="ada@elsewhere.example", current_password="not it at all")
    assert wrong.status_code == 400
    assert "Current password is incorrect." in main_text(wrong)
    assert 'value="ada@elsewhere.example"' in wrong.text
    assert "not it at all" not in wrong.text
    odd = await send(ada, "/email", email="ada at home", current_password=PASSWORD)
    assert "Email must be an email address" in main_text(odd)
    await studio.register("bob@example.org")
    taken = await send(ada, "/email", email="BOB@example.org", current_password=PASSWORD)
    assert taken.status_code == 409
    assert "Email is already in use." in main_text(taken)
    right = await send(ada, "/email", email="ada@elsewhere.example", current_password=PASSWORD)
    assert right.status_code == 303
    assert await studio.login("ada@elsewhere.example")


async def test_a_new_password_ends_every_other_session(studio: Studio, ada: httpx.AsyncClient) -> None:
    other = await studio.sign_in_browser()
    short = await send(ada, "/password", password="short", current_password=PASSWORD)
    assert "New password must be 8 to 128 characters." in main_text(short)
    assert PASSWORD not in short.text
    answer = await send(ada, "/password", password="a battery of horses", current_password=PASSWORD)
    assert answer.headers["Location"] == f"{PROFILE}#password"
    assert (await ada.get(PROFILE)).status_code == 200
    assert (await other.get(PROFILE)).status_code == 303
    assert await studio.login(password="a battery of horses")


async def test_an_empty_password_changes_nothing(studio: Studio, ada: httpx.AsyncClient) -> None:
    assert (await send(ada, "/password", password="", current_password="")).status_code == 400
    assert await studio.login()


async def test_too_many_attempts_are_reported_on_the_profile(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    await studio.register()
    ada = await studio.sign_in_browser()
    for _ in range(10):
        await send(ada, "/email", email="x@example.org", current_password="wrong password")
    answer = await send(ada, "/email", email="x@example.org", current_password="wrong password")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many attempts" in main_text(answer)


async def test_sessions_are_listed_and_the_current_one_is_marked(studio: Studio, ada: httpx.AsyncClient) -> None:
    await studio.bearer()
    page = main_text(await ada.get(PROFILE))
    assert page.count("current session") == 1
    assert "Firefox current session" in page
    assert "API client" in page


async def test_one_session_or_all_others_are_revoked(studio: Studio, ada: httpx.AsyncClient) -> None:
    others = [await studio.sign_in_browser() for _ in range(3)]
    page = (await others[0].get(PROFILE)).text
    first = re.findall(rf'action="{PROFILE}/sessions/(\w+)/end"', page)[-1]
    assert (await send(others[0], f"/sessions/{first}/end")).headers["Location"] == f"{PROFILE}#sessions"
    assert (await ada.get(PROFILE)).status_code == 303
    assert (await send(others[0], "/sessions/end")).status_code == 303
    assert [(await one.get(PROFILE)).status_code for one in others] == [200, 303, 303]
    assert "Sign out all other sessions" not in (await others[0].get(PROFILE)).text


async def test_the_sessions_and_keys_of_another_user_are_missing(studio: Studio, ada: httpx.AsyncClient) -> None:
    await studio.register("bob@example.org")
    bob = await studio.sign_in_browser("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    key = (await studio.call("POST", "/users/me/keys", {"name": "his"}, bearer=bearer)).json()["id"]
    session = (await studio.call("GET", "/users/me/sessions", bearer=bearer)).json()["items"][0]["id"]
    for path, error in (
        (f"/sessions/{session}/end", "Session not found"),
        (f"/keys/{key}/delete", "API key not found"),
    ):
        answer = await send(ada, path)
        assert answer.status_code == 404
        assert error in main_text(answer)
    assert (await bob.get(PROFILE)).status_code == 200
    assert await studio.status(bearer) == 200


async def test_a_new_key_is_shown_on_one_page_only(studio: Studio, ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/keys", name="laptop", expires_at="")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    (secret,) = set(re.findall(r"atl_[\w-]{20,}", answer.text))
    assert await studio.status(secret) == 200
    page = await ada.get(PROFILE)
    assert secret not in page.text
    assert secret[:12] in page.text
    assert "laptop" in main_text(page)
    (key,) = re.findall(rf'action="{PROFILE}/keys/(\w+)/delete"', page.text)
    assert (await send(ada, f"/keys/{key}/delete")).headers["Location"] == f"{PROFILE}#api-keys"
    assert await studio.status(secret) == 401


async def test_a_key_is_valid_until_the_end_of_its_expiry_date(studio: Studio, ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/keys", name="today", expires_at="2026-11-20")
    (secret,) = set(re.findall(r"atl_[\w-]{20,}", answer.text))
    studio.clock.now = datetime(2026, 11, 20, 23, 59, 58)
    assert await studio.status(secret) == 200
    studio.clock.now = datetime(2026, 11, 21)
    assert await studio.status(secret) == 401


async def test_an_invalid_key_form_keeps_its_values_and_names_the_error(ada: httpx.AsyncClient) -> None:
    forms: list[tuple[dict[str, str], str]] = [
        ({"name": " ", "expires_at": "2030-01-01"}, "Name is required."),
        ({"name": "old", "expires_at": "2020-01-01"}, "Expires must be in the future."),
        ({"name": "odd", "expires_at": "next week"}, "Expires must be a date such as 2030-12-31."),
        ({"name": "x" * 101}, "Name must be at most 100 characters."),
        (
            {"name": "x", "monthly_cap_usd": "much"},
            "Monthly limit must be a positive amount such as 25",
        ),
    ]
    with Cases() as cases:
        for form, error in forms:
            with cases.case(form):
                answer = await send(ada, "/keys", **form)
                assert answer.status_code == 400
                assert error in main_text(answer)
                for value in form.values():
                    assert f'value="{value}"' in answer.text
                assert "atl_" not in answer.text


async def test_a_key_is_created_with_limits_and_listed_with_them(studio: Studio, ada: httpx.AsyncClient) -> None:
    await send(ada, "/keys", name="free", monthly_cap_usd=" ", allowed_models=" \r\n ")
    one = {"monthly_cap_usd": "25", "allowed_models": "google/veo-3.1"}
    assert (await send(ada, "/keys", name="one", **one)).status_code == 200
    many = "google/veo-3.1, openai/gpt-image-2\r\nfal:flux"
    page = main_text(await send(ada, "/keys", name="many", allowed_models=many))
    assert "$0.00 of $25.00" in page
    assert "3 models google/veo-3.1 openai/gpt-image-2 fal:flux" in page
    keys = (await studio.call("GET", "/users/me/keys", bearer=await studio.bearer())).json()["items"]
    assert {key["name"]: (key["monthly_cap_usd"], key["allowed_models"]) for key in keys} == {
        "free": (None, None),
        "one": ("25", ["google/veo-3.1"]),
        "many": (None, ["google/veo-3.1", "openai/gpt-image-2", "fal:flux"]),
    }


async def test_invalid_models_are_reported_and_kept_in_the_form(ada: httpx.AsyncClient) -> None:
    typed = f"google/veo-3.1 {'x' * 201}"
    answer = await send(ada, "/keys", name="x", allowed_models=typed)
    assert answer.status_code == 400
    assert "Models must be model ids such as google/veo-3.1." in main_text(answer)
    assert f">{typed}</textarea>" in answer.text


async def test_form_values_are_escaped(ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/email", email='"><script>x</script>', current_password=PASSWORD)
    assert "<script>x" not in answer.text
    assert "&lt;script&gt;x" in answer.text
