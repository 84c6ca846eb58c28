"""The headers that every response must have, and those that none may have."""

import re
from collections.abc import Iterator

import httpx

FIXED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
PAGE_POLICY = {
    "default-src": {"'none'"},
    "script-src": {"'self'"},
    "style-src": {"'self'"},
    "connect-src": {"'self'"},
    "form-action": {"'self'"},
    "base-uri": {"'none'"},
    "frame-ancestors": {"'none'"},
}
# What no policy may allow: inline code and styles, and anything from another origin.
TOO_PERMISSIVE = re.compile(r"unsafe|\*|https?:|data:|strict-dynamic")
FORBIDDEN = ("server", "x-powered-by", "via", "access-control-allow-origin", "access-control-allow-credentials")


def policy(response: httpx.Response) -> dict[str, set[str]]:
    """The Content-Security-Policy by directive."""
    parts = [part.split() for part in response.headers["content-security-policy"].split(";") if part.strip()]
    return {name: set(values) for name, *values in parts}


def header_problems(response: httpx.Response, *, https: bool = False) -> Iterator[str]:
    """Every header of the response that is missing, wrong or too much."""
    headers = response.headers
    for name, value in FIXED.items():
        if headers.get(name) != value:
            yield f"{name}: {headers.get(name)}"
    for name in FORBIDDEN:
        if name in headers:
            yield f"{name}: {headers[name]}"
    if not re.fullmatch(r"[0-9A-Za-z-]{16,64}", headers.get("x-request-id", "")):
        yield "no request id"
    if not {"camera=()", "microphone=()", "geolocation=()"} <= set(headers.get("permissions-policy", "").split(", ")):
        yield "permissions policy"
    if ("strict-transport-security" in headers) is not https:
        yield "strict transport security"
    yield from _policy_problems(response)
    yield from _cache_problems(response)
    for cookie in headers.get_list("set-cookie"):
        yield from _cookie_problems(cookie, https)


def _is_file(response: httpx.Response) -> bool:
    """Whether it is one of a user's files."""
    path = response.url.path
    return response.status_code in (200, 206, 304) and (path.startswith("/media/") or path.endswith("/download"))


def _policy_problems(response: httpx.Response) -> Iterator[str]:
    given = response.headers.get("content-security-policy", "")
    if not given or TOO_PERMISSIVE.search(given):
        yield f"policy {given!r}"
    elif _is_file(response):
        if policy(response).get("sandbox") != set() or policy(response)["default-src"] != {"'none'"}:
            yield f"media without a sandbox: {given!r}"
    elif not PAGE_POLICY.items() <= policy(response).items():
        yield f"policy {given!r}"


def _cache_problems(response: httpx.Response) -> Iterator[str]:
    caching, path = response.headers.get("cache-control", ""), response.url.path
    if response.status_code in (200, 206, 304) and path.startswith("/static/"):
        if "set-cookie" in response.headers:
            yield "a cookie in a response that a shared cache may store"
    elif _is_file(response):
        if "private" not in caching:
            yield f"media that a shared cache may store: {caching!r}"
    elif caching != "no-store":
        yield f"cache-control {caching!r}"


def _cookie_problems(cookie: str, https: bool) -> Iterator[str]:
    name, _, rest = cookie.partition("=")
    flags = {flag.strip().lower() for flag in rest.split(";")[1:]}
    if not {"httponly", "samesite=lax", "path=/"} <= flags or any(flag.startswith("domain") for flag in flags):
        yield f"cookie {name}: {sorted(flags)}"
    if https != ("secure" in flags) or https != name.startswith("__Host-"):
        yield f"cookie {name}: {sorted(flags)}"
