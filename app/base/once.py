"""Requests that must be carried out once, however often they come (the `Idempotency-Key` header)."""

import hashlib
from typing import Any, Final

import msgspec

from app.base.errors import Invalid

MAX_KEY: Final = 255  # characters


class Once(msgspec.Struct, frozen=True):
    """The caller's key, and a hash of what is asked: the same key must not come with something else. `caller` is who asks
    when that is not the person whom the work is for."""

    key: str
    request: str
    caller: str | None = None


def once(key: str | None, *asked: Any, caller: str | None = None) -> Once | None:
    """None without a key; Invalid for one that is too long or not printable. `asked` is all that makes up the request."""
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        message = f"must be 1 to {MAX_KEY} printable characters"
        raise Invalid(f"The Idempotency-Key {message}.", fields={"Idempotency-Key": message})
    canonical = msgspec.json.encode(asked, order="sorted")
    return Once(key, hashlib.sha256(canonical).hexdigest(), caller)
