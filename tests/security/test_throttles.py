"""Rate limits: the numbers of the contract, counted separately for each user, API key, account and address."""

from typing import Any, cast

import httpx
import msgspec

from app.base import config
from app.web.server import configured
from tests.kit import TEXT_MODEL, error_of, new_email
from tests.security.conftest import Throttled
from tests.security.headers import header_problems
from tests.security.routes import routes
from tests.studio import PASSWORD, Studio, cookie

WRONG = "wrong password"


async def register(client: httpx.AsyncClient, email: str, headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"email": email, "password": PASSWORD}
    return await client.post("/api/v1/auth/register", json=body, headers=headers)


async def login(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/v1/auth/login", json={"email": email, "password": password})


def check_throttled(response: httpx.Response) -> None:
    error = error_of(response, 429, "RATE_LIMITED")
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert response.headers["retry-after"] in error["message"]
    assert list(header_problems(response)) == []


def check_throttled_page(response: httpx.Response) -> None:
    assert response.status_code == 429
    assert response.headers["content-type"].startswith("text/html")
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert "Too many" in response.text
    assert list(header_problems(response)) == []


# Signing in


async def test_a_password_is_tried_ten_times_a_minute_whatever_the_address(throttled: Throttled) -> None:
    email = await throttled.registered()
    for number in range(10):
        client = throttled.client(address=f"198.51.100.{number % 5}")
        assert (await login(client, f"{email.upper()} ", WRONG)).status_code == 401
    for number in range(7):
        check_throttled(await login(throttled.client(address=f"198.51.100.{number}"), email))
    throttled.timer.advance(59)
    check_throttled(await login(throttled.client(), email))
    throttled.timer.advance(1)
    assert (await login(throttled.client(), email)).status_code == 200


async def test_an_unknown_account_is_throttled_like_a_known_one(throttled: Throttled) -> None:
    """Otherwise the throttle would reveal who has an account."""
    bodies = []
    for email in (await throttled.registered(), new_email("unknown")):
        client = throttled.client()
        answers = [await login(client, email, WRONG) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        bodies.append([answer.text for answer in answers])
    assert bodies[0] == bodies[1]


async def test_a_user_under_attack_still_signs_in_from_a_known_address(throttled: Throttled) -> None:
    """An attacker cannot lock a user out by trying passwords."""
    email = await throttled.registered()
    home, attacker = throttled.client(address="198.51.100.1"), throttled.client(address="198.51.100.2")
    assert (await login(home, email)).status_code == 200
    assert [(await login(attacker, email, WRONG)).status_code for _ in range(10)] == [401] * 9 + [429]
    check_throttled(await login(attacker, email))
    assert (await login(home, email)).status_code == 200
    for _ in range(9):
        assert (await login(home, email, WRONG)).status_code == 401
    check_throttled(await login(home, email))  # and there as often as from any other address


async def test_a_signed_in_user_is_not_affected_by_attempts_on_their_account(throttled: Throttled) -> None:
    email = await throttled.registered()
    token = (await throttled.studio.program.accounts.sign_in.start_token_session(email, PASSWORD)).access_token
    attacker = throttled.client(address="198.51.100.2")
    assert 429 in [(await login(attacker, email, WRONG)).status_code for _ in range(12)]
    assert (await throttled.client(token).get("/api/v1/users/me")).status_code == 200


async def test_an_address_signs_in_thirty_times_a_minute_by_api_and_page_together(throttled: Throttled) -> None:
    client, browser = throttled.client(), throttled.studio.direct_browser()
    form = {"password": WRONG, "_csrf_token": await browser.form_token("/login")}
    statuses = []
    for number in range(15):
        statuses.append((await login(client, f"a{number}@studio.example", WRONG)).status_code)
        page = await browser.post("/login", data={**form, "email": f"b{number}@studio.example"})
        statuses.append(page.status_code)
    assert statuses == [401] * 30
    check_throttled(await login(client, "c@studio.example", WRONG))
    check_throttled_page(await browser.post("/login", data={**form, "email": "d@studio.example"}))
    elsewhere = throttled.client(address="198.51.100.1")
    assert (await login(elsewhere, "e@studio.example", WRONG)).status_code == 401
    throttled.timer.advance(60)
    assert (await login(client, "c@studio.example", WRONG)).status_code == 401


async def test_an_address_registers_five_times_a_minute_by_api_and_page_together(throttled: Throttled) -> None:
    """Over real connections, so that the address is that of the socket."""
    studio = throttled.studio
    client, browser = studio.client(), studio.browser()
    for _ in range(3):
        assert (await register(client, new_email())).status_code == 201
    form = {"password": PASSWORD, "_csrf_token": await browser.form_token("/register")}
    for _ in range(2):
        page = await browser.post("/register", data={**form, "email": new_email()})
        assert page.status_code == 303
    check_throttled(await register(client, new_email()))
    form["_csrf_token"] = await browser.form_token("/register" if cookie(browser, "session") is None else "/jobs")
    check_throttled_page(await browser.post("/register", data={**form, "email": new_email()}))
    elsewhere = studio.client(transport=httpx.AsyncHTTPTransport(local_address="127.0.0.2"))
    assert (await register(elsewhere, new_email())).status_code == 201
    throttled.timer.advance(60)
    assert (await register(client, new_email())).status_code == 201


# Requests that cause costs

PAID = {
    "POST /api/v1/generate/text",
    "POST /api/v1/generate/image",
    "POST /api/v1/generate/video",
    "POST /api/v1/generate/video/from-image",
    "POST /api/v1/generate/batch",
    "POST /api/v1/generate/batches/{id}/retry",
    "POST /batches",
    "POST /batches/{id}/retry",
    "POST /compare",
    "POST /edit/{id}",
    "POST /generate/{kind}/draft",
    "POST /api/v1/jobs/{id}/retry",
    "POST /api/v1/admin/jobs/{id}/retry",
    "POST /api/v1/admin/videos/{id}/retry",
    "POST /api/v1/ai/chat",
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /v1/moderations",
    "POST /v1/audio/speech",
    "POST /v1/audio/transcriptions",
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


async def test_every_route_that_causes_costs_is_marked_as_paid(atelier: Studio) -> None:
    assert {str(route) for route in routes() if route.handler.opt.get("limit") == "paid"} == PAID


async def test_a_user_makes_sixty_paid_requests_a_minute_by_all_keys_and_routes_together(throttled: Throttled) -> None:
    email = await throttled.registered()
    accounts = throttled.studio.program.accounts
    client = throttled.client((await accounts.sign_in.start_token_session(email, PASSWORD)).access_token)
    other = throttled.client(await throttled.token())
    key = throttled.client((await client.post("/api/v1/users/me/keys", json={"name": "k"})).json()["key"])
    body = {"model": TEXT_MODEL, "prompt": ""}  # refused, but counted
    for sender in (client, key):
        for path in ("text", "image", "video"):
            for _ in range(10):
                assert (await sender.post(f"/api/v1/generate/{path}", json=body)).status_code == 400
    for sender in (client, key):
        check_throttled(await sender.post("/api/v1/generate/text", json=body))
    browser = throttled.studio.direct_browser()
    session = await accounts.sign_in.start_page_session(email, PASSWORD)
    browser.cookies.set(f"{throttled.studio.cookie_prefix}session", session, domain="127.0.0.1")
    check_throttled_page(await browser.send_form("/generate/text", {"model": TEXT_MODEL, "prompt": "x"}))
    assert (await client.get("/api/v1/jobs")).status_code == 200  # reading is counted separately
    assert (await other.post("/api/v1/generate/text", json=body)).status_code == 400
    throttled.timer.advance(60)
    assert (await client.post("/api/v1/generate/text", json=body)).status_code == 400


# Everything else


async def test_a_user_makes_six_hundred_requests_a_minute_and_each_api_key_as_many(throttled: Throttled) -> None:
    token = await throttled.token()
    client, elsewhere = throttled.client(token), throttled.client(token, address="198.51.100.1")
    key = throttled.client((await client.post("/api/v1/users/me/keys", json={"name": "k"})).json()["key"])
    for _ in range(599):
        assert (await client.get("/api/v1/users/me")).status_code == 200
    check_throttled(await client.get("/api/v1/users/me"))
    check_throttled(await elsewhere.get("/api/v1/jobs"))
    assert (await key.get("/api/v1/users/me")).status_code == 200
    assert (await throttled.client(await throttled.token()).get("/api/v1/users/me")).status_code == 200
    throttled.timer.advance(60)
    assert (await client.get("/api/v1/users/me")).status_code == 200


async def test_an_address_makes_a_hundred_and_twenty_requests_a_minute_without_a_valid_session(
    throttled: Throttled,
) -> None:
    """Requests with an invalid token are among them, so that tokens and keys cannot be tried faster than that."""
    token = await throttled.token()
    client, invalid = throttled.client(), throttled.client("atl_" + "x" * 43)
    for _ in range(40):
        assert (await client.get("/login")).status_code == 200
        assert (await client.get("/api/v1/jobs")).status_code == 401
        assert (await invalid.get("/api/v1/jobs")).status_code == 401
    check_throttled(await client.get("/api/v1/jobs"))
    check_throttled(await invalid.get("/api/v1/jobs"))
    check_throttled_page(await client.get("/login"))
    assert (await client.get("/static/css/base.css")).status_code == 200  # which the error page needs
    assert (await throttled.client(token).get("/api/v1/jobs")).status_code == 200
    assert (await throttled.client(address="198.51.100.1").get("/api/v1/jobs")).status_code == 401
    throttled.timer.advance(60)
    assert (await client.get("/login")).status_code == 200


async def test_without_rate_limits_nothing_is_counted(atelier: Studio) -> None:
    client, email = atelier.direct(), new_email("uncounted")
    assert {(await login(client, email, WRONG)).status_code for _ in range(35)} == {401}
    assert {(await client.get("/api/v1/jobs")).status_code for _ in range(130)} == {401}


# The address of a client, behind a proxy and without one


def served(throttled: Throttled, proxies: str = "") -> httpx.AsyncClient:
    """A client of the program as the command serves it with these trusted proxies; it connects from 127.0.0.1."""
    environment = {"ATELIER_TRUSTED_PROXIES": proxies} if proxies else {}
    settings = msgspec.structs.replace(
        throttled.studio.program.settings, trusted_proxies=config.load(environment).trusted_proxies
    )
    server = configured(throttled.studio.app, settings)
    server.load()
    transport = httpx.ASGITransport(cast(Any, server.loaded_app), client=("127.0.0.1", 50_000))
    return httpx.AsyncClient(transport=transport, base_url=throttled.studio.url)


async def statuses(client: httpx.AsyncClient, forwarded: list[dict[str, str]]) -> list[int]:
    """The status of one registration for each of these headers: 201, or 429 from the sixth of one address on."""
    return [(await register(client, new_email(), headers)).status_code for headers in forwarded]


SPOOFED = [
    "X-Forwarded-For",
    "X-Real-IP",
    "Forwarded",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Forwarded",
]


async def test_without_a_trusted_proxy_no_client_can_take_another_address(throttled: Throttled) -> None:
    spoofed = [
        {name: f"for=198.51.100.{number}" if name == "Forwarded" else f"198.51.100.{number}"}
        for number, name in enumerate(SPOOFED)
    ]
    async with served(throttled) as client:
        assert await statuses(client, spoofed) == [201] * 5 + [429] * 2


async def test_a_trusted_proxy_names_the_client_which_cannot_take_another_address(throttled: Throttled) -> None:
    async with served(throttled, "127.0.0.1, 10.0.0.0/8") as client:
        # The proxy appends the address that it sees: the last one that is no proxy counts, whatever stands before it.
        same = [{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7, 10.1.2.3"} for number in range(6)]
        assert await statuses(client, same) == [201] * 5 + [429]
        others = [{"X-Forwarded-For": f"198.51.100.{100 + number}"} for number in range(6)]
        assert await statuses(client, others) == [201] * 6
        # The IPv6 network of one customer is one address.
        network = [{"X-Forwarded-For": f"2001:db8:1:2::{number:x}"} for number in range(1, 7)]
        assert await statuses(client, network) == [201] * 5 + [429]
        odd = [{"X-Forwarded-For": "not an address"}, {"X-Forwarded-For": ""}, {"X-Forwarded-For": "," * 5000}]
        assert set(await statuses(client, odd)) <= {201, 429}


async def test_a_proxy_that_is_not_trusted_is_not_believed(throttled: Throttled) -> None:
    async with served(throttled, "10.0.0.0/8") as client:
        forwarded = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(6)]
        assert await statuses(client, forwarded) == [201] * 5 + [429]
