"""Provider webhooks. Each job has its own URL that cannot be guessed.

A webhook only triggers a poll; its content is never trusted. A forged, stale, repeated or unknown one has no effect.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from cachetools import FIFOCache

from app.base.errors import Missing
from app.base.hashing import derive_key

REMEMBERED: Final = 10_000  # recent webhooks, to detect duplicates

# Returns a webhook's deduplication key, the same for repeated deliveries, from its headers (lower-case names) and body.
# Raises Denied when the webhook is not genuine and recent.
Key = Callable[[Mapping[str, str], bytes], Awaitable[str]]


class WebhookVerifier:
    """Creates webhook URLs and verifies the webhooks sent to them. `origin` is this server's public origin, such as
    `https://studio.example.org`; `keys` has a function for each provider that sends webhooks; `secret` signs the URLs."""

    def __init__(self, origin: str, secret: str, keys: Mapping[str, Key]) -> None:
        self._origin = origin
        self._secret = secret
        self._keys = keys
        self._seen: FIFOCache[tuple[str, str], None] = FIFOCache(REMEMBERED)

    def address(self, provider: str, job_id: str) -> str:
        """The URL at which this provider reports that the job has ended."""
        return f"{self._origin}/webhooks/{provider}/{job_id}-{self._signature(provider, job_id)}"

    async def verify(self, provider: str, token: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """The job that a webhook is about; None when the URL is invalid or the webhook is a duplicate. Raises Denied for a
        forged webhook and Missing for an unknown provider."""
        if provider not in self._keys:
            raise Missing("This provider does not send webhooks.")
        key = await self._keys[provider](headers, body)
        job_id, _, signature = token.partition("-")
        if not hmac.compare_digest(self._signature(provider, job_id).encode(), signature.encode("utf-8", "replace")):
            return None
        if (job_id, key) in self._seen:
            return None
        self._seen[job_id, key] = None
        return job_id

    def _signature(self, provider: str, job_id: str) -> str:
        return derive_key(self._secret, f"{provider} {job_id}")
