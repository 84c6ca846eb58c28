"""Idempotency keys: a request that is repeated with the same `Idempotency-Key` header is executed once."""

import hashlib
from typing import Any, Final

import msgspec

from app.base.errors import Invalid

MAX_KEY: Final = 255  # characters


class Once(msgspec.Struct, frozen=True):
    """The client's key and a hash of the request: the same key with another request is a conflict. `caller` is the id of the user
    who sends the request, if that is not the user for whom the work is done."""

    key: str
    request: str
    caller: str | None = None


def once(key: str | None, *request: Any, caller: str | None = None) -> Once | None:
    """None without a key; Invalid if the key is too long or not printable. `request` is everything that the request consists of."""
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        message = f"must be 1 to {MAX_KEY} printable characters"
        raise Invalid(f"The Idempotency-Key {message}.", fields={"Idempotency-Key": message})
    canonical = msgspec.json.encode(request, order="sorted")
    return Once(key, hashlib.sha256(canonical).hexdigest(), caller)
