"""Verifies the webhooks that fal sends when a job has ended.

Their content is not trusted; a webhook only triggers a poll. Each is signed with an Ed25519 key that fal publishes as a JWKS.
The signed message is the request id, the user id, the timestamp and the SHA-256 of the raw body, one per line.
"""

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.base import clock, logging
from app.base.errors import Denied, Unready
from app.providers.client import Client
from app.providers.coerce import mapping, rows, text
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError

JWKS: Final = "/.well-known/jwks.json"
MAX_AGE: Final = 300  # seconds by which the timestamp may differ from our clock
KEYS_LIFETIME: Final = 24 * 3600  # seconds
FETCH_INTERVAL: Final = 60  # seconds between two fetches, so that forged webhooks do not cause a request each
_MAX_BYTES: Final = 256 * 1024
_SECONDS: Final = re.compile(r"\d{1,12}", re.ASCII)
_SIGNED_HEADERS: Final = ("x-fal-webhook-request-id", "x-fal-webhook-user-id", "x-fal-webhook-timestamp")

_log = logging.get("providers.fal")


class FalWebhooks:
    """`rest_url` is where the keys are published; it must be among the base URLs that `client` was built with."""

    def __init__(self, client: Client, rest_url: str) -> None:
        self._client = client
        self._endpoint = ProviderEndpoint(rest_url)
        self._keys: list[Ed25519PublicKey] = []
        self._fetched_at = self._tried_at = float("-inf")  # monotonic seconds
        self._fetching = asyncio.Lock()

    async def key(self, headers: Mapping[str, str], body: bytes) -> str:
        """The deduplication key of a webhook, the same for repeated deliveries. Raises Denied when it is forged or stale, and
        Unready when the keys cannot be fetched now. `headers` have lower-case names."""
        request_id, user_id, timestamp = (headers.get(name, "") for name in _SIGNED_HEADERS)
        if not request_id or not _is_recent(timestamp):
            raise _denied()
        message = "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest())).encode()
        signature = _signature(headers.get("x-fal-webhook-signature", ""))
        if clock.steady() - self._fetched_at > KEYS_LIFETIME:
            await self._fetch()
        if not _is_signed(self._keys, signature, message):
            await self._fetch()  # the keys may have been replaced
            if not _is_signed(self._keys, signature, message):
                raise _denied()
        return request_id

    async def _fetch(self) -> None:
        async with self._fetching:
            if clock.steady() - self._tried_at < FETCH_INTERVAL:
                return
            self._tried_at = clock.steady()
            try:
                response = await self._client.request_json(
                    "GET", self._endpoint.base_url + JWKS, endpoint=self._endpoint, max_bytes=_MAX_BYTES, total=10
                )
            except ClientError as exc:
                raise _no_keys(str(exc)) from None
            if response.status != 200:
                raise _no_keys(f"status {response.status}")
            self._keys = list(_public_keys(response.body))
            self._fetched_at = clock.steady()


def _no_keys(reason: str) -> Unready:
    _log.warning("webhook keys not fetched", reason=reason)
    return Unready("The keys of this provider's webhooks cannot be fetched now.")


def _is_recent(timestamp: str) -> bool:
    return bool(_SECONDS.fullmatch(timestamp)) and abs(time.time() - int(timestamp)) <= MAX_AGE


def _signature(given: str) -> bytes:
    try:
        return bytes.fromhex(given)
    except ValueError:
        raise _denied() from None


def _is_signed(keys: Iterable[Ed25519PublicKey], signature: bytes, message: bytes) -> bool:
    for key in keys:
        with suppress(InvalidSignature):
            key.verify(signature, message)
            return True
    return False


def _public_keys(body: Any) -> Iterable[Ed25519PublicKey]:
    for row in map(mapping, rows(mapping(body).get("keys"))):
        encoded = text(row.get("x"))
        with suppress(ValueError):  # a key of another type
            yield Ed25519PublicKey.from_public_bytes(
                base64.urlsafe_b64decode(encoded.encode() + b"=" * (-len(encoded) % 4))
            )


def _denied() -> Denied:
    return Denied("The signature is invalid or has expired.", signed_in=False)
