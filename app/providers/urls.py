"""The URLs that outbound requests may name, parsed once and strictly, with the parser of the library that connects to
them: two parsers could see two different hosts in one URL."""

import functools
import re
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from yarl import URL

from app.providers.errors import AddressNotAllowed

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f.]*:[0-9a-f:.]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # parsers drop some of these
_TARGET_CHARACTERS = "".join(map(chr, range(0x21, 0x7F)))  # left as they are: a signed URL must not change


class UrlOrigin(NamedTuple):
    """`host` is in lower case and IDNA-encoded; `port` is explicit, also where it is the scheme's default."""

    scheme: str
    host: str
    port: int


class Url:
    """An absolute http or https URL. `host` is readable, for messages; `exact` is what a request names."""

    def __init__(self, text: str, parsed: URL) -> None:
        self._text = text
        self.host = parsed.host or ""
        self.origin = UrlOrigin(parsed.scheme, (parsed.raw_host or "").lower(), parsed.port or 0)
        path, query = urlsplit(text)[2:4]
        target = quote(path or "/", _TARGET_CHARACTERS) + ("?" + quote(query, _TARGET_CHARACTERS) if query else "")
        self.exact = URL(f"{parsed.scheme}://{parsed.raw_authority}{target}", encoded=True)

    def redirected(self, location: str) -> "Url":
        """The URL to which a response to this one redirects. Raises AddressNotAllowed when it is invalid or leaves https."""
        try:
            redirected = parse(urljoin(self._text, location))
        except ValueError:
            raise AddressNotAllowed(f"{self.host} redirects to an invalid URL") from None
        if self.origin.scheme == "https" and redirected.origin.scheme != "https":
            raise AddressNotAllowed(f"{self.host} redirects from https to http")
        return redirected


@functools.lru_cache(64)
def parse(url: str) -> Url:
    """Raises AddressNotAllowed unless the URL is http or https with a valid host and port."""
    try:
        parsed = URL(url)
        # Characters that only look like ASCII would become another host, such as `①.1.1.1`.
        is_lookalike = not urlsplit(url).netloc.isascii() and "xn--" not in parsed.raw_authority
        if _CONTROL.search(url) or is_lookalike:
            raise ValueError
        found = Url(url, parsed)
    except (ValueError, TypeError):
        raise AddressNotAllowed("this is not a valid URL") from None
    if parsed.scheme not in ("http", "https") or "@" in parsed.raw_authority or not _HOST.fullmatch(found.origin.host):
        raise AddressNotAllowed("only http and https URLs without credentials are supported")
    if not 0 < found.origin.port < 65536:
        raise AddressNotAllowed("the port is out of range")
    return found


def join(base: str, reference: str) -> str:
    """`reference` resolved against `base`. Raises AddressNotAllowed when it is invalid."""
    try:
        return urljoin(base, reference)
    except ValueError:
        raise AddressNotAllowed("this is not a valid URL") from None
