"""The URLs that outbound requests may name, parsed once and strictly. The only module that knows the library that parses
them."""

import functools
import re
from typing import NamedTuple

import httpx

from app.providers.errors import AddressNotAllowed

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f.]*:[0-9a-f:.]*")


class UrlOrigin(NamedTuple):
    """`host` is in lower case and IDNA-encoded; `port` is explicit, also where it is the scheme's default."""

    scheme: str
    host: str
    port: int


class Url:
    """An absolute http or https URL. `host` is readable, for messages; `authority` and `target` are what a request sends."""

    def __init__(self, parsed: httpx.URL) -> None:
        self._parsed = parsed
        self.host = parsed.host
        self.authority = parsed.netloc
        self.target = parsed.raw_path
        default_port = 443 if parsed.scheme == "https" else 80
        self.origin = UrlOrigin(
            parsed.scheme,
            parsed.raw_host.decode("ascii").lower(),
            default_port if parsed.port is None else parsed.port,
        )

    def redirected(self, location: str) -> "Url":
        """The URL to which a response to this one redirects. Raises AddressNotAllowed when it is invalid or leaves https."""
        try:
            absolute = str(self._parsed.join(location))
        except (httpx.InvalidURL, ValueError):
            raise AddressNotAllowed(f"{self.host} redirects to an invalid URL") from None
        redirected = parse(absolute)
        if self.origin.scheme == "https" and redirected.origin.scheme != "https":
            raise AddressNotAllowed(f"{self.host} redirects from https to http")
        return redirected


@functools.lru_cache(64)
def parse(url: str) -> Url:
    """Raises AddressNotAllowed unless the URL is http or https with a valid host and port."""
    try:
        parsed = httpx.URL(url)
        _ = parsed.host  # raises for invalid Punycode
    except (httpx.InvalidURL, ValueError, TypeError):
        raise AddressNotAllowed("this is not a valid URL") from None
    found = Url(parsed)
    if parsed.scheme not in ("http", "https") or parsed.userinfo or not _HOST.fullmatch(found.origin.host):
        raise AddressNotAllowed("only http and https URLs without credentials are supported")
    if not 0 < found.origin.port < 65536:
        raise AddressNotAllowed("the port is out of range")
    return found


def join(base: str, reference: str) -> str:
    """`reference` resolved against `base`. Raises AddressNotAllowed when it is invalid."""
    try:
        return str(httpx.URL(base).join(reference))
    except (httpx.InvalidURL, ValueError):
        raise AddressNotAllowed("this is not a valid URL") from None
