"""The profile page: name, email, password, sign-ins and keys, and that a key is seen only once."""

import html
import re
from datetime import datetime

import httpx
import pytest

from app.accounts.agents import called

from .studio import PASSWORD, Start, Studio

PROFILE = "/users/profile"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E Safari/604.1"
)


async def send(browser: httpx.AsyncClient, path: str = "", **form: str) -> httpx.Response:
    return await browser.post(f"{PROFILE}{path}", data=form)


def words(answer: httpx.Response) -> str:
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)))


@pytest.fixture
async def ada(studio: Studio) -> httpx.AsyncClient:
    """Her browser."""
    await studio.register(name="Ada")
    return await studio.sign_in_browser()


async def test_the_page_is_for_whoever_is_signed_in(studio: Studio) -> None:
    answer = await studio.browser().get(PROFILE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2Fusers%2Fprofile")
    for path in ("/name", "/email", "/password", "/keys", "/keys/x/delete", "/sessions/end", "/sessions/x/end"):
        assert (await send(studio.browser(), path)).headers["Location"] == "/login"


async def test_a_name_is_saved_and_said(ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/name", name="Ada  Lovelace")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PROFILE}#name")
    page = await ada.get(PROFILE)
    assert 'value="Ada Lovelace"' in page.text
    assert "Your name was saved." in page.text
    assert "Your name was saved." not in (await ada.get(PROFILE)).text


async def test_a_name_that_is_too_long_is_said_beside_it_and_kept(ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/name", name="x" * 101)
    assert answer.status_code == 400
    assert "What you are called here must have at most 100 characters." in words(answer)
    assert f'value="{"x" * 101}"' in answer.text


async def test_a_new_email_needs_the_password_and_keeps_what_was_typed(studio: Studio, ada: httpx.AsyncClient) -> None:
    wrong = await send(ada, "/email", email="ada@elsewhere.example", current_password="not it at all")
    assert wrong.status_code == 400
    assert "Current password is not your password." in words(wrong)
    assert 'value="ada@elsewhere.example"' in wrong.text
    assert "not it at all" not in wrong.text
    odd = await send(ada, "/email", email="ada at home", current_password=PASSWORD)
    assert "Email must be an email address" in words(odd)
    await studio.register("bob@example.org")
    taken = await send(ada, "/email", email="BOB@example.org", current_password=PASSWORD)
    assert taken.status_code == 409
    assert "Email is taken already." in words(taken)
    right = await send(ada, "/email", email="ada@elsewhere.example", current_password=PASSWORD)
    assert right.status_code == 303
    assert await studio.login("ada@elsewhere.example")


async def test_a_new_password_ends_every_other_sign_in(studio: Studio, ada: httpx.AsyncClient) -> None:
    other = await studio.sign_in_browser()
    short = await send(ada, "/password", password="short", current_password=PASSWORD)
    assert "New password must have 8 to 128 characters." in words(short)
    assert PASSWORD not in short.text
    answer = await send(ada, "/password", password="a battery of horses", current_password=PASSWORD)
    assert answer.headers["Location"] == f"{PROFILE}#password"
    assert (await ada.get(PROFILE)).status_code == 200
    assert (await other.get(PROFILE)).status_code == 303
    assert await studio.login(password="a battery of horses")


async def test_an_empty_password_changes_nothing(studio: Studio, ada: httpx.AsyncClient) -> None:
    assert (await send(ada, "/password", password="", current_password="")).status_code == 400
    assert await studio.login()


async def test_too_many_tries_are_said_where_they_were_made(start: Start) -> None:
    studio = await start(ATELIER_RATE_LIMITS="on")
    await studio.register()
    ada = await studio.sign_in_browser()
    for _ in range(10):
        await send(ada, "/email", email="x@example.org", current_password="wrong password")
    answer = await send(ada, "/email", email="x@example.org", current_password="wrong password")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many tries" in words(answer)


async def test_where_one_is_signed_in_is_listed_and_this_one_is_marked(studio: Studio, ada: httpx.AsyncClient) -> None:
    await studio.bearer()
    page = words(await ada.get(PROFILE))
    assert page.count("this one") == 1
    assert "Firefox this one" in page
    assert "by token" in page


async def test_one_sign_in_or_all_others_are_ended(studio: Studio, ada: httpx.AsyncClient) -> None:
    others = [await studio.sign_in_browser() for _ in range(3)]
    page = (await others[0].get(PROFILE)).text
    first = re.findall(rf'action="{PROFILE}/sessions/(\w+)/end"', page)[-1]
    assert (await send(others[0], f"/sessions/{first}/end")).headers["Location"] == f"{PROFILE}#sessions"
    assert (await ada.get(PROFILE)).status_code == 303
    assert (await send(others[0], "/sessions/end")).status_code == 303
    assert [(await one.get(PROFILE)).status_code for one in others] == [200, 303, 303]
    assert "Sign out everywhere else" not in (await others[0].get(PROFILE)).text


async def test_somebody_elses_sign_in_and_key_are_not_there(studio: Studio, ada: httpx.AsyncClient) -> None:
    await studio.register("bob@example.org")
    bob = await studio.sign_in_browser("bob@example.org")
    bearer = await studio.bearer("bob@example.org")
    key = (await studio.call("POST", "/users/me/keys", {"name": "his"}, bearer=bearer)).json()["id"]
    session = (await studio.call("GET", "/users/me/sessions", bearer=bearer)).json()["items"][0]["id"]
    for path, said in ((f"/sessions/{session}/end", "not signed in there"), (f"/keys/{key}/delete", "no such key")):
        answer = await send(ada, path)
        assert answer.status_code == 404
        assert said in words(answer)
    assert (await bob.get(PROFILE)).status_code == 200
    assert await studio.status(bearer) == 200


async def test_a_key_stands_on_one_answer_only(studio: Studio, ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/keys", name="laptop", expires_at="")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    (secret,) = set(re.findall(r"atl_[\w-]{20,}", answer.text))
    assert await studio.status(secret) == 200
    page = await ada.get(PROFILE)
    assert secret not in page.text
    assert secret[:12] in page.text
    assert "laptop" in words(page)
    (key,) = re.findall(rf'action="{PROFILE}/keys/(\w+)/delete"', page.text)
    assert (await send(ada, f"/keys/{key}/delete")).headers["Location"] == f"{PROFILE}#api-keys"
    assert await studio.status(secret) == 401


async def test_a_key_works_until_the_end_of_its_last_day(studio: Studio, ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/keys", name="today", expires_at="2026-11-20")
    (secret,) = set(re.findall(r"atl_[\w-]{20,}", answer.text))
    studio.clock.now = datetime(2026, 11, 20, 23, 59, 58)
    assert await studio.status(secret) == 200
    studio.clock.now = datetime(2026, 11, 21)
    assert await studio.status(secret) == 401


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": " ", "expires_at": "2030-01-01"}, "Name is needed."),
        ({"name": "old", "expires_at": "2020-01-01"}, "Last day must be in the future."),
        ({"name": "odd", "expires_at": "next week"}, "Last day must be a date."),
        ({"name": "x" * 101}, "Name must have at most 100 characters."),
        ({"name": "x", "monthly_cap_usd": "much"}, "Monthly limit (USD, optional) must be an amount such as 25"),
    ],
)
async def test_a_key_that_cannot_be_made_keeps_what_was_typed(
    ada: httpx.AsyncClient, form: dict[str, str], said: str
) -> None:
    answer = await send(ada, "/keys", **form)
    assert answer.status_code == 400
    assert said in words(answer)
    for text in form.values():
        assert f'value="{text}"' in answer.text
    assert "atl_" not in answer.text


async def test_a_key_is_made_with_limits_and_listed_with_them(studio: Studio, ada: httpx.AsyncClient) -> None:
    await send(ada, "/keys", name="free", monthly_cap_usd=" ", allowed_models=" \r\n ")
    one = {"monthly_cap_usd": "25", "allowed_models": "google/veo-3.1"}
    assert (await send(ada, "/keys", name="one", **one)).status_code == 200
    many = "google/veo-3.1, openai/gpt-image-2\r\nfal:flux"
    page = words(await send(ada, "/keys", name="many", allowed_models=many))
    assert "$0.00 of $25.00" in page
    assert "3 models google/veo-3.1 openai/gpt-image-2 fal:flux" in page
    keys = (await studio.call("GET", "/users/me/keys", bearer=await studio.bearer())).json()["items"]
    assert {key["name"]: (key["monthly_cap_usd"], key["allowed_models"]) for key in keys} == {
        "free": (None, None),
        "one": ("25", ["google/veo-3.1"]),
        "many": (None, ["google/veo-3.1", "openai/gpt-image-2", "fal:flux"]),
    }


async def test_models_that_cannot_be_kept_are_said_and_stay_as_they_were_typed(ada: httpx.AsyncClient) -> None:
    typed = f"google/veo-3.1 {'x' * 201}"
    answer = await send(ada, "/keys", name="x", allowed_models=typed)
    assert answer.status_code == 400
    assert "Models (optional) must be ids of models, such as google/veo-3.1." in words(answer)
    assert f">{typed}</textarea>" in answer.text


async def test_nothing_typed_is_taken_for_markup(ada: httpx.AsyncClient) -> None:
    answer = await send(ada, "/email", email='"><script>x</script>', current_password=PASSWORD)
    assert "<script>x" not in answer.text
    assert "&lt;script&gt;x" in answer.text


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (CHROME, "Chrome on Linux"),
        (CHROME + " Edg/148.0", "Edge on Linux"),
        (SAFARI, "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:150.0) Gecko/20100101 Firefox/150.0", "Firefox on Windows"),
        ("Mozilla/5.0 (compatible; Something/1.0)", "Browser"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("curl/8.14", "curl"),
        ("", "Unknown"),
        ("x" * 300, "x" * 40),
    ],
)
def test_a_browser_or_program_has_a_name(agent: str, name: str) -> None:
    assert called(agent) == name
