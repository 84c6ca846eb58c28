"""Verifies the webhooks that OpenRouter sends when a video job has ended.

Their content is not trusted; a webhook only triggers a poll. It is signed if the workspace has a signing secret:
`X-OpenRouter-Signature: t=<unix seconds>,v1=<hex>`, an HMAC-SHA256 of `t`, a comma and the raw body.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Final

from app.base.errors import Denied

MAX_AGE: Final = 300  # seconds for which a signature is valid
CLOCK_SKEW: Final = 5  # seconds by which the sender's clock may be ahead
MAX_KEY: Final = 200

_SIGNED = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)


class Webhooks:
    """`secret` is the workspace's signing secret. Without one, every webhook passes, and only its secret URL protects it."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret.encode() if secret else None

    async def key(self, headers: Mapping[str, str], body: bytes) -> str:
        """The deduplication key of a webhook, the same for repeated deliveries. Raises Denied when the signature is invalid
        or expired. `headers` have lower-case names."""
        if self._secret is not None:
            _check(self._secret, headers.get("x-openrouter-signature", ""), body)
        given_key = headers.get("x-openrouter-idempotency-key", "")[:MAX_KEY]
        return given_key or hashlib.sha256(body).hexdigest()


def _check(secret: bytes, given: str, body: bytes) -> None:
    match = _SIGNED.fullmatch(given)
    timestamp, mac = (match[1], match[2]) if match else ("0", "")
    valid = hmac.compare_digest(_mac(secret, timestamp, body).encode(), mac.encode())
    if not valid or not -CLOCK_SKEW <= time.time() - int(timestamp) <= MAX_AGE:
        raise Denied("The signature is invalid or has expired.", signed_in=False)


def _mac(secret: bytes, timestamp: str, body: bytes) -> str:
    return hmac.new(secret, timestamp.encode() + b"," + body, hashlib.sha256).hexdigest()
