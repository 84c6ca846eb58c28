"""How often anybody may ask: the contract's figures, for each person, key, account and address by itself."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import TEXT, problem
from tests.api.processes import atelier as process
from tests.security.doors import doors
from tests.studio import PASSWORD, Studio, running
from tests.trust import trust

WRONG = "wrong password"


class Clock:
    """The time by which is counted; a test moves it on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    for place in ("limits.aio.storage.memory.time", "limits.aio.strategies.time", "app.base.limits.time"):
        monkeypatch.setattr(place, fake)
    return fake


@pytest_asyncio.fixture
async def throttled(tmp_path: Path, clock: Clock) -> AsyncIterator[Studio]:
    """The program with its throttles on, as it is started by itself."""
    async with running(tmp_path, ATELIER_RATE_LIMITS="on") as studio:
        yield studio


def at(studio: Studio, address: str, token: str | None = None) -> httpx.AsyncClient:
    """A client that comes from another address of this machine."""
    return studio.client(token, transport=httpx.AsyncHTTPTransport(local_address=address))


async def register(client: httpx.AsyncClient, email: str) -> httpx.Response:
    return await client.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})


async def login(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/v1/auth/login", json={"email": email, "password": password})


async def somebody(studio: Studio, email: str) -> None:
    """Somebody new, without a request that would be counted."""
    await studio.program.accounts.register(email, PASSWORD)


async def token(studio: Studio, email: str) -> str:
    """Of somebody new, signed in once."""
    await somebody(studio, email)
    return (await studio.program.accounts.login(email, PASSWORD)).access_token


def throttle(answer: httpx.Response) -> None:
    error = problem(answer, 429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["retry-after"] in error["message"]


# Signing in


async def test_an_account_is_tried_ten_times_a_minute_from_wherever(throttled: Studio, clock: Clock) -> None:
    await somebody(throttled, "ann@studio.example")
    for number in range(10):
        client = at(throttled, f"127.0.0.{2 + number % 5}")
        assert (await login(client, "ANN@studio.example ", WRONG)).status_code == 401
    for number in range(7):
        throttle(await login(at(throttled, f"127.0.0.{2 + number}"), "ann@studio.example"))
    clock.ahead = 61
    assert (await login(throttled.client(), "ann@studio.example")).status_code == 200


async def test_an_account_that_is_not_there_is_throttled_like_one_that_is(throttled: Studio) -> None:
    """Else the throttle would tell who is here."""
    await somebody(throttled, "ann@studio.example")
    told = []
    for email in ("ann@studio.example", "nobody@studio.example"):
        client = at(throttled, "127.0.0.2")
        answers = [await login(client, email, WRONG) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        told.append({answer.text for answer in answers[:10]})
    assert told[0] == told[1]


async def test_whoever_is_tried_from_elsewhere_still_signs_in_where_they_have_before(throttled: Studio) -> None:
    """Nobody can lock a person out by trying their account again and again."""
    await somebody(throttled, "ann@studio.example")
    home, attacker = at(throttled, "127.0.0.2"), at(throttled, "127.0.0.3")
    assert (await login(home, "ann@studio.example")).status_code == 200
    while (await login(attacker, "ann@studio.example", WRONG)).status_code == 401:
        pass
    throttle(await login(attacker, "ann@studio.example"))
    assert (await login(home, "ann@studio.example")).status_code == 200
    for _ in range(9):
        assert (await login(home, "ann@studio.example", WRONG)).status_code == 401
    throttle(await login(home, "ann@studio.example"))  # but no more often than anybody


async def test_a_person_who_is_signed_in_is_not_touched_by_tries_of_their_account(throttled: Studio) -> None:
    client = throttled.client(await token(throttled, "ann@studio.example"))
    attacker = at(throttled, "127.0.0.3")
    for _ in range(12):
        await login(attacker, "ann@studio.example", WRONG)
    assert (await client.get("/api/v1/users/me")).status_code == 200


async def test_an_address_signs_in_thirty_times_a_minute_through_both_doors(throttled: Studio, clock: Clock) -> None:
    browser = throttled.browser()
    form = {"email": "x@studio.example", "password": WRONG, "_csrf_token": await browser.form_token("/login")}
    statuses = []
    for number in range(15):
        statuses.append((await login(throttled.client(), f"a{number}@studio.example", WRONG)).status_code)
        statuses.append((await browser.post("/login", data={**form, "email": f"b{number}@studio.example"})).status_code)
    assert set(statuses) == {401}
    throttle(await login(throttled.client(), "c@studio.example", WRONG))
    page = await browser.post("/login", data={**form, "email": "d@studio.example"})
    assert page.status_code == 429
    assert page.headers["content-type"].startswith("text/html")
    assert int(page.headers["retry-after"]) > 0
    assert "Too many" in page.text
    assert (await login(at(throttled, "127.0.0.2"), "e@studio.example", WRONG)).status_code == 401
    clock.ahead = 61
    assert (await login(throttled.client(), "c@studio.example", WRONG)).status_code == 401


async def test_an_address_registers_five_times_a_minute_through_both_doors(throttled: Studio, clock: Clock) -> None:
    client, browser = throttled.client(), throttled.browser()
    for number in range(3):
        assert (await register(client, f"a{number}@studio.example")).status_code == 201
    form = {"password": PASSWORD, "_csrf_token": await browser.form_token("/register")}
    for number in range(2):
        page = await browser.post("/register", data={**form, "email": f"b{number}@studio.example"})
        assert page.status_code == 303
    throttle(await register(client, "c@studio.example"))
    assert (await browser.post("/register", data={**form, "email": "d@studio.example"})).status_code == 429
    assert (await register(at(throttled, "127.0.0.2"), "e@studio.example")).status_code == 201
    clock.ahead = 61
    assert (await register(client, "c@studio.example")).status_code == 201


# Work that costs

COSTLY = {
    "POST /api/v1/generate/text",
    "POST /api/v1/generate/image",
    "POST /api/v1/generate/video",
    "POST /api/v1/generate/video/from-image",
    "POST /api/v1/jobs/{id}/retry",
    "POST /api/v1/admin/jobs/{id}/retry",
    "POST /api/v1/admin/videos/{id}/retry",
    "POST /api/v1/ai/chat",
    "POST /v1/chat/completions",
    "POST /v1/images/generations",
    "POST /v1/images/edits",
    "POST /v1/videos",
    "POST /generate/{kind}",
    "POST /jobs/{id}/retry",
    "POST /admin/jobs/{id}/retry",
    "POST /chat",
    "POST /chat/{id}",
    "POST /chat/{id}/messages/{message_id}/edit",
    "POST /chat/{id}/messages/{message_id}/retry",
}


async def test_everything_that_costs_says_so(throttled: Studio) -> None:
    assert {str(door) for door in doors(throttled) if door.handler.opt.get("limit") == "paid"} == COSTLY


async def test_a_person_asks_for_sixty_paid_things_a_minute_by_whatever_key_and_door(
    throttled: Studio, clock: Clock
) -> None:
    ann, bob = await token(throttled, "ann@studio.example"), await token(throttled, "bob@studio.example")
    client = throttled.client(ann)
    key = (await client.post("/api/v1/users/me/keys", json={"name": "k"})).json()["key"]
    body = {"model": TEXT, "prompt": ""}  # refused, but it was asked for
    for asker in (client, throttled.client(key)):
        for path in ("text", "image", "video"):
            for _ in range(10):
                assert (await asker.post(f"/api/v1/generate/{path}", json=body)).status_code == 400
    for asker in (client, throttled.client(key)):
        throttle(await asker.post("/api/v1/generate/text", json=body))
    browser = throttled.browser()
    session = await throttled.program.accounts.sign_in_page("ann@studio.example", PASSWORD)
    browser.cookies.set("session", session, domain="127.0.0.1")
    page = await browser.send_form("/generate/text", {"model": TEXT, "prompt": "x"})
    assert (page.status_code, page.headers["content-type"][:9]) == (429, "text/html")
    assert (await client.get("/api/v1/jobs")).status_code == 200  # looking is another allowance
    assert (await throttled.client(bob).post("/api/v1/generate/text", json=body)).status_code == 400
    clock.ahead = 61
    assert (await client.post("/api/v1/generate/text", json=body)).status_code == 400


# Everything else


async def test_a_person_asks_six_hundred_times_a_minute_and_each_key_as_often_again(
    throttled: Studio, clock: Clock
) -> None:
    ann, bob = await token(throttled, "ann@studio.example"), await token(throttled, "bob@studio.example")
    client = throttled.client(ann)
    key = throttled.client((await client.post("/api/v1/users/me/keys", json={"name": "k"})).json()["key"])
    for _ in range(599):
        assert (await client.get("/api/v1/users/me")).status_code == 200
    throttle(await client.get("/api/v1/users/me"))
    elsewhere = at(throttled, "127.0.0.2", ann)
    throttle(await elsewhere.get("/api/v1/jobs"))
    assert (await key.get("/api/v1/users/me")).status_code == 200
    assert (await throttled.client(bob).get("/api/v1/users/me")).status_code == 200
    clock.ahead = 61
    assert (await client.get("/api/v1/users/me")).status_code == 200


async def test_an_address_asks_a_hundred_and_twenty_times_a_minute_when_signed_out(
    throttled: Studio, clock: Clock
) -> None:
    """With a garbled token too, so that nobody tries tokens and keys faster than that."""
    ann = await token(throttled, "ann@studio.example")
    client, garbled = throttled.client(), throttled.client("atl_" + "x" * 43)
    for _ in range(40):
        assert (await client.get("/login")).status_code == 200
        assert (await client.get("/api/v1/jobs")).status_code == 401
        assert (await garbled.get("/api/v1/jobs")).status_code == 401
    throttle(await client.get("/api/v1/jobs"))
    throttle(await garbled.get("/api/v1/jobs"))
    page = await client.get("/login")
    assert page.status_code == 429
    assert page.headers["content-type"].startswith("text/html")
    assert "Too many" in page.text
    assert (await client.get("/static/css/base.css")).status_code == 200  # so that the page of the refusal has its face
    assert (await throttled.client(ann).get("/api/v1/jobs")).status_code == 200
    assert (await at(throttled, "127.0.0.2").get("/api/v1/jobs")).status_code == 401
    clock.ahead = 61
    assert (await client.get("/login")).status_code == 200


async def test_without_throttles_nothing_is_counted(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        client = studio.client()
        assert {(await login(client, "ann@studio.example", WRONG)).status_code for _ in range(35)} == {401}
        assert {(await client.get("/api/v1/jobs")).status_code for _ in range(130)} == {401}


# Who an address belongs to, behind a proxy and without one


@asynccontextmanager
async def real(folder: Path, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """The real command, which is where forwarded headers are believed or not."""
    async with process(folder, settings={"ATELIER_RATE_LIMITS": "on", **settings}) as started:
        await started.ready()
        async with httpx.AsyncClient(base_url=started.url, trust_env=False, verify=trust(), timeout=30) as client:
            yield client


def emails() -> Iterator[str]:
    return (f"person{number}@studio.example" for number in range(1000))


async def statuses(client: httpx.AsyncClient, names: Iterator[str], forwarded: list[dict[str, str]]) -> list[int]:
    found = []
    for headers in forwarded:
        body: dict[str, Any] = {"email": next(names), "password": PASSWORD}
        found.append((await client.post("/api/v1/auth/register", json=body, headers=headers)).status_code)
    return found


SPOOFED = [
    "X-Forwarded-For",
    "X-Real-IP",
    "Forwarded",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Forwarded",
]


async def test_without_a_trusted_proxy_nobody_can_take_another_address(tmp_path: Path) -> None:
    async with real(tmp_path) as client:
        names = emails()
        spoofed = [
            {name: f"for=198.51.100.{number}" if name == "Forwarded" else f"198.51.100.{number}"}
            for number, name in enumerate(SPOOFED)
        ]
        assert await statuses(client, names, spoofed) == [201] * 5 + [429] * 2


async def test_a_trusted_proxy_says_who_asks_and_its_clients_cannot_say_otherwise(tmp_path: Path) -> None:
    async with real(tmp_path, ATELIER_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as client:
        names = emails()
        # The proxy appends whom it saw: the last address that is no proxy counts, whatever stands before it.
        said = [{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7, 10.1.2.3"} for number in range(6)]
        assert await statuses(client, names, said) == [201] * 5 + [429]
        others = [{"X-Forwarded-For": f"198.51.100.{100 + number}"} for number in range(6)]
        assert await statuses(client, names, others) == [201] * 6
        # One customer's IPv6 network is one address.
        six = [{"X-Forwarded-For": f"2001:db8:1:2::{number:x}"} for number in range(1, 7)]
        assert await statuses(client, names, six) == [201] * 5 + [429]
        odd = [{"X-Forwarded-For": "not an address"}, {"X-Forwarded-For": ""}, {"X-Forwarded-For": "," * 5000}]
        assert set(await statuses(client, names, odd)) <= {201, 429}


async def test_a_proxy_that_is_not_on_the_list_is_not_believed(tmp_path: Path) -> None:
    async with real(tmp_path, ATELIER_TRUSTED_PROXIES="10.0.0.0/8") as client:
        said = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(6)]
        assert await statuses(client, emails(), said) == [201] * 5 + [429]
