"""What OpenRouter sends when a clip has ended, and how it proves that it was OpenRouter.

Nothing in it is believed: it only says when to ask. A webhook is signed when the workspace has a signing secret:
`X-OpenRouter-Signature: t=<unix seconds>,v1=<hex>`, an HMAC-SHA256 over `t`, a comma and the body as it was sent.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Final

from app.base.errors import Denied

FRESH: Final = 300  # seconds for which a signature is good
AHEAD: Final = 5  # seconds by which another machine's clock may be ahead of ours
MAX_KEY: Final = 200

_SIGNED = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)


class Webhooks:
    """`secret` is the workspace's; without one every webhook passes, and the address it came to must be proof enough."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret.encode() if secret else None

    def key(self, headers: Mapping[str, str], body: bytes) -> str:
        """What a webhook is known by: repeated ones have the same. Denied when it is not signed by OpenRouter just now.
        `headers` have lower-case names."""
        if self._secret is not None:
            _check(self._secret, headers.get("x-openrouter-signature", ""), body)
        told = headers.get("x-openrouter-idempotency-key", "")[:MAX_KEY]
        return told or hashlib.sha256(body).hexdigest()


def _check(secret: bytes, given: str, body: bytes) -> None:
    found = _SIGNED.fullmatch(given)
    moment, mac = (found[1], found[2]) if found else ("0", "")
    right = hmac.compare_digest(_mac(secret, moment, body).encode(), mac.encode())
    if not right or not -AHEAD <= time.time() - int(moment) <= FRESH:
        raise Denied("The signature is not right, or not any more.", signed_in=False)


def _mac(secret: bytes, moment: str, body: bytes) -> str:
    return hmac.new(secret, moment.encode() + b"," + body, hashlib.sha256).hexdigest()
