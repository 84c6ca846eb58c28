"""Where a configured provider is, and the key that only it may receive."""

import re
from collections.abc import Mapping

from app.providers import urls
from app.providers.errors import AddressNotAllowed

_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class ProviderEndpoint:
    """A configured provider: its base URL, and the headers, including its key, that are sent to that origin only."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        """Raises ValueError, without the value, when a header value is not printable ASCII."""
        self.base_url = base_url.rstrip("/")
        self.origin = urls.parse(self.base_url).origin
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            if not _PRINTABLE.fullmatch(value):
                raise ValueError(f"the header {name} must be plain ASCII on one line")

    def owns(self, url: str) -> bool:
        """Whether the URL has this origin (scheme, host and port)."""
        try:
            return urls.parse(url).origin == self.origin
        except AddressNotAllowed:
            return False

    def absolute(self, url: str) -> str:
        """The URL resolved against the base URL. Raises AddressNotAllowed when it is invalid."""
        return urls.join(self.base_url + "/", url)

    def __repr__(self) -> str:
        return f"ProviderEndpoint({self.base_url!r})"
