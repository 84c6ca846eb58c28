"""How a provider calls back: at an address of its own for each job, which nobody can guess.

A call is a wake-up and nothing else. It says when to ask, and what the provider then answers is what counts; a forged,
stale, repeated or unknown one changes nothing.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from app.base.errors import Missing
from app.base.secret import derive_key

REMEMBERED: Final = 10_000  # calls

# Of a provider: what a call is known by (repeated ones have the same), from its headers, with lower-case names, and its
# body; Denied when it did not come from there just now.
Key = Callable[[Mapping[str, str], bytes], str]


class WebhookVerifier:
    """The addresses and what comes to them. `origin` is where this program is reached, as in `https://studio.example.org`;
    `keys` are the providers that call back, by name; `secret` makes the addresses."""

    def __init__(self, origin: str, secret: str, keys: Mapping[str, Key]) -> None:
        self._origin = origin
        self._secret = secret
        self._keys = keys
        self._heard: OrderedDict[tuple[str, str], None] = OrderedDict()

    def address(self, provider: str, job_id: str) -> str:
        """Where this provider calls when the job has ended."""
        return f"{self._origin}/webhooks/{provider}/{job_id}-{self._mark(provider, job_id)}"

    def verify(self, provider: str, token: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """The job that a call is about; None for one that means nothing or has come before. Denied when it is forged,
        Missing when nobody calls there."""
        if provider not in self._keys:
            raise Missing("Nobody calls here.")
        key = self._keys[provider](headers, body)
        job_id, _, mark = token.partition("-")
        if not hmac.compare_digest(self._mark(provider, job_id).encode(), mark.encode("utf-8", "replace")):
            return None
        if (job_id, key) in self._heard:
            return None
        self._heard[job_id, key] = None
        if len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)
        return job_id

    def _mark(self, provider: str, job_id: str) -> str:
        return derive_key(self._secret, f"{provider} {job_id}")
