"""A webhook of fal is genuine if one of the published keys has signed it, within five minutes."""

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.base.errors import Denied, Unready
from app.providers.client import Client
from app.providers.fal import FalWebhooks
from app.providers.webhooks import WebhookVerifier
from tests.kit import Cases
from tests.providers.fake_upstream import Silence, Upstream, js, plain
from tests.providers.fal.kit import ID, JWKS, rest_url

KEY = Ed25519PrivateKey.generate()
OTHER_KEY = Ed25519PrivateKey.generate()
BODY = b'{"request_id": "x", "status": "OK", "payload": {}}'


def jwk(key: Ed25519PrivateKey, *, padded: bool = False) -> dict[str, str]:
    encoded = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode()
    return {"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": encoded if padded else encoded.rstrip("=")}


def signed(
    body: bytes = BODY, *, key: Ed25519PrivateKey = KEY, age: float = 0, request_id: str = ID, **changed: str
) -> dict[str, str]:
    """The headers of a webhook as fal's documentation describes them; `changed` after they were signed."""
    timestamp = str(int(time.time() - age))
    message = "\n".join((request_id, "user-1", timestamp, hashlib.sha256(body).hexdigest()))
    headers = {
        "x-fal-webhook-request-id": request_id,
        "x-fal-webhook-user-id": "user-1",
        "x-fal-webhook-timestamp": timestamp,
        "x-fal-webhook-signature": key.sign(message.encode()).hex(),
    }
    return {**headers, **{f"x-fal-webhook-{name}": value for name, value in changed.items()}}


@asynccontextmanager
async def webhooks(upstream: Upstream, *keys: dict[str, Any]) -> AsyncIterator[FalWebhooks]:
    upstream.on("GET", JWKS, js({"keys": list(keys or [jwk(KEY)])}))
    client = Client([rest_url(upstream)])
    try:
        yield FalWebhooks(client, rest_url(upstream))
    finally:
        await client.aclose()


async def test_a_genuine_webhook_has_the_requests_id_as_its_key(upstream: Upstream) -> None:
    odd_keys: list[dict[str, Any]] = [{}, {"x": 7}, {"x": "short"}, {"kty": "RSA", "n": "x"}, {"x": "!" * 43}]
    with Cases() as cases:
        for keys in ([jwk(KEY)], [jwk(KEY, padded=True)], [*odd_keys, jwk(OTHER_KEY), jwk(KEY)]):
            with cases.case(keys):
                async with webhooks(upstream, *keys) as fal:
                    assert await fal.key(signed(), BODY) == ID


async def test_the_published_keys_are_fetched_once_and_without_the_api_key(upstream: Upstream) -> None:
    async with webhooks(upstream) as fal:
        for _ in range(3):
            await fal.key(signed(), BODY)
    assert upstream.only("GET", JWKS).key is None


async def test_a_forged_or_stale_webhook_is_denied(upstream: Upstream) -> None:
    forged = {
        "not signed": {},
        "signed by another key": signed(key=OTHER_KEY),
        "signed for another body": signed(BODY + b" "),
        "stale": signed(age=3000),
        "from the future": signed(age=-3000),
        "for another request": signed() | {"x-fal-webhook-request-id": "other"},
        "for another user": signed() | {"x-fal-webhook-user-id": "other"},
        "with another timestamp": signed(timestamp=str(int(time.time()) - 1)),
        "with a timestamp that is not a number": signed(timestamp="soon"),
        "with digits of another script": signed(timestamp="١٢٣"),
        "with an endless timestamp": signed(timestamp="1" * 5000),
        "with a signature that is not hexadecimal": signed(signature="z" * 128),
        "with a short signature": signed(signature="ab"),
        "with an empty signature": signed(signature=""),
    }
    async with webhooks(upstream) as fal:
        with Cases() as cases:
            for name, headers in forged.items():
                with cases.case(name), pytest.raises(Denied):
                    await fal.key(headers, BODY)


async def test_forged_webhooks_do_not_cause_a_request_each(upstream: Upstream) -> None:
    async with webhooks(upstream) as fal:
        for _ in range(20):
            with pytest.raises(Denied):
                await fal.key(signed(key=OTHER_KEY), BODY)
    upstream.only("GET", JWKS)


async def test_nothing_is_fetched_for_what_cannot_be_genuine(upstream: Upstream) -> None:
    async with webhooks(upstream) as fal:
        for headers in ({}, signed(age=301), signed(signature="z")):
            with pytest.raises(Denied):
                await fal.key(headers, BODY)
    assert not upstream.requests


async def test_without_the_published_keys_a_webhook_is_to_be_sent_again(upstream: Upstream) -> None:
    with Cases() as cases:
        for reply in (plain(b"", status=500), Silence("reset")):
            async with webhooks(upstream) as fal:
                upstream.on("GET", JWKS, reply)
                with cases.case(reply), pytest.raises(Unready):
                    await fal.key(signed(), BODY)


async def test_new_keys_are_fetched_when_they_were_replaced(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    async with webhooks(upstream) as fal:
        assert await fal.key(signed(), BODY) == ID
        upstream.on("GET", JWKS, js({"keys": [jwk(OTHER_KEY)]}))
        monkeypatch.setattr("app.base.clock.steady", lambda: now + 61)
        assert await fal.key(signed(key=OTHER_KEY), BODY) == ID
        with pytest.raises(Denied):
            await fal.key(signed(), BODY)
        assert len(upstream.requests) == 2
        monkeypatch.setattr("app.base.clock.steady", lambda: now + 25 * 3600)
        await fal.key(signed(key=OTHER_KEY), BODY)
        assert len(upstream.requests) == 3


async def test_a_repeated_webhook_is_recognised(upstream: Upstream) -> None:
    async with webhooks(upstream) as fal:
        verifier = WebhookVerifier("https://studio.example.org", "a server secret", {"fal": fal.key})
        token = verifier.address("fal", "job").rpartition("/")[2]
        assert await verifier.verify("fal", token, signed(), BODY) == "job"
        assert await verifier.verify("fal", token, signed(age=10), BODY) is None
        assert await verifier.verify("fal", token, signed(request_id="another"), BODY) == "job"
        assert await verifier.verify("fal", "job-" + "0" * 64, signed(), BODY) is None
