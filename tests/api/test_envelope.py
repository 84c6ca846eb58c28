"""What every answer has in common: the envelope of errors, the headers, the number of the request."""

import base64
import json
import re
import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.base import secret
from tests.api.kit import INVENTED, email, person, problem
from tests.studio import PASSWORD, Studio

GUARDED = [
    ("GET", "/api/v1/users/me"),
    ("PUT", "/api/v1/users/me"),
    ("GET", "/api/v1/ai/models"),
    ("POST", "/api/v1/generate/text"),
    ("POST", "/api/v1/generate/image"),
    ("POST", "/api/v1/generate/video"),
    ("POST", "/api/v1/generate/video/from-image"),
    ("GET", "/api/v1/generate/video/status?polling_url=x"),
    ("GET", f"/api/v1/generate/video/{INVENTED}/status"),
    ("POST", f"/api/v1/generate/video/{INVENTED}/cancel"),
    ("POST", f"/api/v1/generate/videos/{INVENTED}/cancel"),
    ("GET", "/api/v1/generate/images"),
    ("GET", f"/api/v1/generate/images/{INVENTED}"),
    ("GET", "/api/v1/generate/videos"),
    ("GET", f"/api/v1/generate/videos/{INVENTED}"),
    ("GET", "/api/v1/jobs"),
    ("GET", f"/api/v1/jobs/{INVENTED}"),
    ("POST", f"/api/v1/jobs/{INVENTED}/cancel"),
    ("POST", f"/api/v1/jobs/{INVENTED}/retry"),
    ("GET", "/api/v1/assets"),
    ("POST", "/api/v1/assets"),
    ("GET", f"/api/v1/assets/{INVENTED}"),
    ("DELETE", f"/api/v1/assets/{INVENTED}"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_token_nothing_is_told(atelier: Studio, method: str, path: str) -> None:
    answer = await atelier.client().request(method, path)
    problem(answer, 401, "AUTHENTICATION_ERROR")
    assert answer.headers["www-authenticate"].lower().startswith("bearer")


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_the_api_is_never_opened_by_a_cookie(atelier: Studio, method: str, path: str) -> None:
    browser = await atelier.person_in_browser("cookies-only@studio.example")
    problem(await browser.request(method, path), 401, "AUTHENTICATION_ERROR")


@pytest.mark.parametrize("path", ["/", "/jobs", "/library", "/generate/image", f"/jobs/{INVENTED}"])
async def test_pages_are_never_opened_by_a_bearer(reader: httpx.AsyncClient, path: str) -> None:
    answer = await reader.get(path)
    assert answer.status_code == 303 or (path == "/" and 'href="/login' in answer.text)
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer atl_0123456789abcdef",
        "Bearer " + "x" * 6000,
        "Bearer \u00e9",
        "Basic YW5uOnBhc3N3b3Jk",
        "Token abc",
        "Bearer null",
        "Bearer undefined",
    ],
)
async def test_a_garbled_token_is_401(atelier: Studio, header: str) -> None:
    answer = await atelier.client().get("/api/v1/jobs", headers={b"Authorization": header.encode()})
    problem(answer, 401, "AUTHENTICATION_ERROR")


def taken_apart(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    head, body, signature = token.split(".")

    def opened(part: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return found

    return opened(head), opened(body), signature


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def a_token(atelier: Studio) -> str:
    address = email()
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    tokens = await anonymous.post("/api/v1/auth/login", json={"email": address, "password": PASSWORD})
    token: str = tokens.json()["access_token"]
    return token


async def test_a_token_is_good_for_15_minutes_and_then_401(atelier: Studio) -> None:
    head, body, _ = taken_apart(await a_token(atelier))
    assert body["exp"] - time.time() == pytest.approx(900, abs=20)
    key = OctKey.import_key(secret.derived(atelier.program.key, "access tokens"))

    def signed(**changes: Any) -> str:
        return jwt.encode(head, {**body, **changes}, key)

    alive = await atelier.client(signed(exp=int(time.time()) + 60)).get("/api/v1/jobs")
    assert alive.status_code == 200  # else the next line would prove nothing
    expired = await atelier.client(signed(exp=int(time.time()) - 120)).get("/api/v1/jobs")
    problem(expired, 401, "AUTHENTICATION_ERROR")


async def test_a_token_cannot_be_changed_or_left_unsigned(atelier: Studio) -> None:
    head, body, signature = taken_apart(await a_token(atelier))
    other = taken_apart(await a_token(atelier))[1]
    forged = [
        f"{packed(head)}.{packed({**body, 'sub': other['sub']})}.{signature}",
        f"{packed(head)}.{packed({**body, 'exp': body['exp'] + 1})}.{signature}",
        f"{packed({**head, 'alg': 'none'})}.{packed(body)}.",
        f"{packed({**head, 'alg': 'none'})}.{packed(body)}.{signature}",
        f"{packed(head)}.{packed(body)}.",
        f"{packed(head)}.{packed(body)}.{signature[:-4]}",
        f"{packed(head)}.{packed(body)}.AAAA",
        jwt.encode(head, body, OctKey.import_key("x" * 64)),
    ]
    for token in forged:
        problem(await atelier.client(token).get("/api/v1/jobs"), 401, "AUTHENTICATION_ERROR")


async def test_a_refresh_token_is_no_access_token(atelier: Studio) -> None:
    address = email()
    anonymous = atelier.client()
    await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
    tokens = (await anonymous.post("/api/v1/auth/login", json={"email": address, "password": PASSWORD})).json()
    answer = await atelier.client(tokens["refresh_token"]).get("/api/v1/jobs")
    problem(answer, 401, "AUTHENTICATION_ERROR")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing",
        "/api/v2/jobs",
        "/api",
        "/api/v1/jobs/a/b/c",
        "/api/v1/%00",
        "/api/v1/%ff%fe",
        "/api/v1/é",
        "/api/v1/" + "x" * 5000,
        "/api/v1/generate",
        "/api/v1/openapi.yaml",
    ],
)
async def test_an_unknown_route_of_the_api_is_404_in_the_envelope(atelier: Studio, path: str) -> None:
    for client in (atelier.client(), await person(atelier)):
        problem(await client.get(path), 404, "RESOURCE_NOT_FOUND")
        problem(await client.post(path, json={}), 404, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/users/me", {"GET", "PUT"}),
        ("PATCH", "/api/v1/jobs", {"GET"}),
        ("POST", "/api/v1/ai/models", {"GET"}),
        ("GET", "/api/v1/generate/image", {"POST"}),
        ("GET", "/api/v1/auth/login", {"POST"}),
        ("PUT", f"/api/v1/assets/{INVENTED}", {"GET", "DELETE"}),
        ("GET", f"/api/v1/jobs/{INVENTED}/cancel", {"POST"}),
        ("PROPFIND", "/api/v1/jobs", {"GET"}),
        ("POST", "/health", {"GET"}),
    ],
)
async def test_a_wrong_method_is_405_and_says_which_are_right(
    reader: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = await reader.request(method, path)
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    named = {name.strip() for name in answer.headers["allow"].split(",")}
    assert allowed <= named
    assert method not in named


async def test_the_api_answers_json_whatever_a_client_would_rather_have(
    atelier: Studio, reader: httpx.AsyncClient
) -> None:
    for accept in ("text/html", "image/png", "application/xml", "*/*;q=0", "rubbish"):
        problem(await reader.get("/api/v1/nothing", headers={"Accept": accept}), 404, "RESOURCE_NOT_FOUND")
        problem(await reader.get(f"/api/v1/jobs/{INVENTED}", headers={"Accept": accept}), 404, "RESOURCE_NOT_FOUND")
        problem(await reader.patch("/api/v1/jobs", headers={"Accept": accept}), 405, "METHOD_NOT_ALLOWED")
        anonymous = await atelier.client().get("/api/v1/jobs", headers={"Accept": accept, "HX-Request": "true"})
        problem(anonymous, 401, "AUTHENTICATION_ERROR")
        assert (await reader.get("/api/v1/jobs", headers={"Accept": accept})).status_code in (200, 406)


EVERYWHERE = [
    ("GET", "/", "page"),
    ("GET", "/login", "page"),
    ("GET", "/register", "page"),
    ("GET", "/jobs", "redirect"),
    ("GET", "/no/such/page", "404 page"),
    ("GET", "/jobs/x/y/z", "404 page"),
    ("DELETE", "/login", "405 page"),
    ("POST", "/login", "403"),
    ("GET", "/api/docs", "docs"),
    ("GET", "/api/v1/openapi.json", "document"),
    ("GET", "/health", "health"),
    ("GET", "/api/v1/jobs", "401"),
    ("GET", "/api/v1/nothing", "404"),
    ("PATCH", "/api/v1/jobs", "405"),
    ("POST", "/api/v1/auth/login", "400"),
    ("GET", "/static/htmx.min.js", "static"),
    ("GET", "/static/css/base.css", "static"),
    ("HEAD", "/static/css/base.css", "static"),
    ("GET", "/static/no-such-file.css", "static 404"),
    ("POST", "/static/css/base.css", "static 405"),
    ("GET", f"/media/{INVENTED}", "media"),
    ("GET", "/favicon.ico", "favicon"),
    ("OPTIONS", "/api/v1/jobs", "options"),
    ("OPTIONS", "/login", "options"),
]


@pytest.mark.parametrize(("method", "path", "what"), EVERYWHERE)
async def test_every_answer_carries_the_headers_and_a_number(
    atelier: Studio, method: str, path: str, what: str
) -> None:
    answer = await atelier.client().request(method, path)
    assert answer.status_code < 500
    headers = answer.headers
    assert re.fullmatch(r"[0-9A-Za-z-]{16,64}", headers["x-request-id"])
    policy = headers["content-security-policy"]
    assert "default-src" in policy or "sandbox" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "http:" not in policy
    assert "https:" not in policy
    assert " * " not in f"{policy} ".replace(";", " ")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"].upper() in ("DENY", "SAMEORIGIN") or "frame-ancestors" in policy
    assert "referrer-policy" in headers
    assert "strict-transport-security" not in headers  # only with an https address
    assert headers.get("access-control-allow-origin") is None


async def test_each_request_has_a_number_of_its_own(atelier: Studio) -> None:
    client = atelier.client()
    numbers = {(await client.get("/health")).headers["x-request-id"] for _ in range(20)}
    assert len(numbers) == 20
    sent = await client.get("/health", headers={"X-Request-ID": "<script>alert(1)</script>"})
    assert "<" not in sent.headers["x-request-id"]


async def test_a_secret_answer_is_not_kept_by_caches(atelier: Studio, ann: httpx.AsyncClient) -> None:
    for answer in (
        await ann.get("/api/v1/users/me"),
        await ann.get("/api/v1/jobs"),
        await atelier.client().get("/login"),
        await atelier.client().get("/api/v1/jobs"),
    ):
        assert "no-store" in answer.headers["cache-control"]


async def test_a_bug_is_500_in_the_envelope_without_a_traceback(
    atelier: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=swordfish at /srv/secret/path.py")

    monkeypatch.setattr(type(atelier.program.jobs), "list", broken, raising=False)
    for name in ("find", "list", "page", "all", "listed"):
        if hasattr(type(atelier.program.jobs), name):
            monkeypatch.setattr(type(atelier.program.jobs), name, broken)
    monkeypatch.setattr(type(atelier.program.database), "read", broken)
    answer = await ann.get("/api/v1/jobs")
    error = problem(answer, 500, "INTERNAL_ERROR")
    assert answer.headers["x-request-id"] in json.dumps(error)
    for trace in ("swordfish", "RuntimeError", "/srv/", "Traceback", ".py"):
        assert trace not in answer.text
    page = await atelier.browser().get("/login")
    assert page.status_code in (200, 500)
    monkeypatch.undo()
    assert (await ann.get("/api/v1/jobs")).status_code == 200


async def test_long_json_is_compressed_for_who_can_read_it(reader: httpx.AsyncClient) -> None:
    small = await reader.get("/api/v1/ai/models", headers={"Accept-Encoding": "gzip"})
    plain = await reader.get("/api/v1/ai/models", headers={"Accept-Encoding": "identity"})
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(small.headers["content-length"]) < len(plain.content) / 2
    assert "accept-encoding" in plain.headers.get("vary", "accept-encoding").lower()
    assert small.json() == plain.json()
