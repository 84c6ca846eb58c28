"""What all answers have in common: the envelope of errors, the headers, the request id."""

import base64
import json
import re
import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.base.hashing import derive_key
from tests.api.calls import GUARDED
from tests.kit import UNKNOWN_ID, Cases, error_of, new_email, new_user
from tests.studio import PASSWORD, Studio


async def test_the_api_does_not_accept_a_session_cookie(atelier: Studio) -> None:
    """Every call that needs credentials; `test_endpoints` shows that each answers 401 without any."""
    browser = await atelier.user_in_browser("cookies-only@studio.example", direct=True)
    assert (await browser.get("/jobs")).status_code == 200
    with Cases() as cases:
        for name in GUARDED:
            with cases.case(name):
                method, path = name.split()
                answer = await browser.request(method, re.sub(r"\{\w+\}", UNKNOWN_ID, path))
                error_of(answer, 401, "AUTHENTICATION_ERROR")
                assert answer.headers["www-authenticate"].lower().startswith("bearer")


async def test_pages_do_not_accept_a_bearer_token(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for path in ("/", "/jobs", "/library", "/generate/image", f"/jobs/{UNKNOWN_ID}"):
            with cases.case(path):
                answer = await reader.get(path)
                assert answer.status_code == 303 or (path == "/" and 'href="/login' in answer.text)
                if answer.status_code == 303:
                    assert answer.headers["location"].startswith("/login")


async def test_a_garbled_authorization_header_is_401(atelier: Studio) -> None:
    """Over a real connection, as the HTTP parser passes it on."""
    client = atelier.client()
    values = [
        "",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer atl_0123456789abcdef",
        "Bearer " + "x" * 6000,
        "Bearer " + "x" * 16_000,
        "Bearer \u00e9",
        "Basic YW5uOnBhc3N3b3Jk",
        "Token abc",
        "Bearer null",
        "Bearer undefined",
    ]
    with Cases() as cases:
        for value in values:
            for encoding in ("utf-8", "latin-1"):
                with cases.case(value, encoding):
                    answer = await client.get("/api/v1/jobs", headers={b"Authorization": value.encode(encoding)})
                    error_of(answer, 401, "AUTHENTICATION_ERROR")


def decoded_token(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Header, claims and signature."""
    header, claims, signature = token.split(".")

    def decoded(part: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return value

    return decoded(header), decoded(claims), signature


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def new_tokens(atelier: Studio) -> dict[str, Any]:
    """The access token and the refresh token of a new user."""
    account = {"email": new_email(), "password": PASSWORD}
    anonymous = atelier.direct()
    await anonymous.post("/api/v1/auth/register", json=account)
    tokens: dict[str, Any] = (await anonymous.post("/api/v1/auth/login", json=account)).json()
    return tokens


async def test_an_access_token_is_valid_for_15_minutes_and_then_401(atelier: Studio) -> None:
    earliest = time.time()
    header, claims, _ = decoded_token((await new_tokens(atelier))["access_token"])
    assert int(earliest) + 900 <= claims["exp"] <= time.time() + 900
    key = OctKey.import_key(derive_key(atelier.program.key, "access tokens"))

    def signed(**changes: Any) -> str:
        return jwt.encode(header, {**claims, **changes}, key)

    valid = await atelier.direct(signed(exp=int(time.time()) + 600)).get("/api/v1/jobs")
    assert valid.status_code == 200  # otherwise the next answer would prove nothing
    expired = await atelier.direct(signed(exp=int(time.time()) - 120)).get("/api/v1/jobs")
    error_of(expired, 401, "AUTHENTICATION_ERROR")


async def test_a_token_that_was_changed_or_is_not_signed_is_401(atelier: Studio) -> None:
    header, claims, signature = decoded_token((await new_tokens(atelier))["access_token"])
    other = decoded_token((await new_tokens(atelier))["access_token"])[1]
    forged = {
        "another user": f"{encoded(header)}.{encoded({**claims, 'sub': other['sub']})}.{signature}",
        "a later expiry": f"{encoded(header)}.{encoded({**claims, 'exp': claims['exp'] + 1})}.{signature}",
        "no algorithm": f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}.",
        "no algorithm but signed": f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}.{signature}",
        "no signature": f"{encoded(header)}.{encoded(claims)}.",
        "a shorter signature": f"{encoded(header)}.{encoded(claims)}.{signature[:-4]}",
        "another signature": f"{encoded(header)}.{encoded(claims)}.AAAA",
        "another key": jwt.encode(header, claims, OctKey.import_key("x" * 64)),
    }
    with Cases() as cases:
        for what, token in forged.items():
            with cases.case(what):
                error_of(await atelier.direct(token).get("/api/v1/jobs"), 401, "AUTHENTICATION_ERROR")


async def test_a_refresh_token_is_no_access_token(atelier: Studio) -> None:
    tokens = await new_tokens(atelier)
    answer = await atelier.direct(tokens["refresh_token"]).get("/api/v1/jobs")
    error_of(answer, 401, "AUTHENTICATION_ERROR")


async def test_an_unknown_path_of_the_api_is_404_in_the_envelope(atelier: Studio) -> None:
    """Over a real connection, as the HTTP parser passes the path on."""
    paths = [
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
    ]
    with Cases() as cases:
        for client in (atelier.client(), await new_user(atelier)):
            for path in paths:
                with cases.case(path):
                    error_of(await client.get(path), 404, "RESOURCE_NOT_FOUND")
                    error_of(await client.post(path, json={}), 404, "RESOURCE_NOT_FOUND")


async def test_the_api_answers_with_json_whatever_the_client_accepts(
    atelier: Studio, reader: httpx.AsyncClient
) -> None:
    with Cases() as cases:
        for accept in ("text/html", "image/png", "application/xml", "*/*;q=0", "rubbish"):
            with cases.case(accept):
                headers = {"Accept": accept}
                error_of(await reader.get("/api/v1/nothing", headers=headers), 404, "RESOURCE_NOT_FOUND")
                error_of(await reader.get(f"/api/v1/jobs/{UNKNOWN_ID}", headers=headers), 404, "RESOURCE_NOT_FOUND")
                error_of(await reader.patch("/api/v1/jobs", headers=headers), 405, "METHOD_NOT_ALLOWED")
                anonymous = await atelier.direct().get("/api/v1/jobs", headers={**headers, "HX-Request": "true"})
                error_of(anonymous, 401, "AUTHENTICATION_ERROR")
                assert (await reader.get("/api/v1/jobs", headers=headers)).status_code in (200, 406)


EVERY_KIND_OF_ANSWER = [
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
    ("GET", f"/media/{UNKNOWN_ID}", "media"),
    ("GET", "/favicon.ico", "favicon"),
    ("OPTIONS", "/api/v1/jobs", "options"),
    ("OPTIONS", "/login", "options"),
]


async def test_every_answer_carries_the_security_headers_and_a_request_id(atelier: Studio) -> None:
    with Cases() as cases:
        for method, path, what in EVERY_KIND_OF_ANSWER:
            with cases.case(method, path, what):
                answer = await atelier.direct().request(method, path)
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


async def test_each_request_has_an_id_of_its_own(atelier: Studio) -> None:
    client = atelier.direct()
    ids = {(await client.get("/health")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20
    sent = await client.get("/health", headers={"X-Request-ID": "<script>alert(1)</script>"})
    assert "<" not in sent.headers["x-request-id"]


async def test_caches_do_not_store_private_answers(atelier: Studio, reader: httpx.AsyncClient) -> None:
    for answer in (
        await reader.get("/api/v1/users/me"),
        await reader.get("/api/v1/jobs"),
        await atelier.direct().get("/login"),
        await atelier.direct().get("/api/v1/jobs"),
    ):
        assert "no-store" in answer.headers["cache-control"]


async def test_an_unexpected_exception_is_500_in_the_envelope_without_details(
    atelier: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=swordfish at /srv/secret/path.py")

    with monkeypatch.context() as patch:
        patch.setattr(type(atelier.program.jobs), "newest", broken)
        answer = await ann.get("/api/v1/jobs")
    error = error_of(answer, 500, "INTERNAL_ERROR")
    assert answer.headers["x-request-id"] in json.dumps(error)
    for detail in ("swordfish", "RuntimeError", "/srv/", "Traceback", ".py"):
        assert detail not in answer.text
    assert (await ann.get("/api/v1/jobs")).status_code == 200


async def test_long_json_is_compressed_for_clients_that_accept_it(reader: httpx.AsyncClient) -> None:
    small = await reader.get("/api/v1/ai/models", headers={"Accept-Encoding": "gzip"})
    plain = await reader.get("/api/v1/ai/models", headers={"Accept-Encoding": "identity"})
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(small.headers["content-length"]) < len(plain.content) / 2
    assert "accept-encoding" in plain.headers.get("vary", "accept-encoding").lower()
    assert small.json() == plain.json()
