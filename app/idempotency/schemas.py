"""The data type of an idempotency key."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Self

import msgspec

from app.base.errors import Invalid

MAX_KEY: Final = 255  # characters
_NOT_CONTENT: Final = ("_csrf_token", "idempotency_key")  # fields of a form


class IdempotencyKey(msgspec.Struct, frozen=True):
    """The key of a request and a hash of everything that the request consists of: the same key with another request is a
    conflict. `owner` is the user who sends the request; keys of different users never meet."""

    owner: str
    key: str
    request_hash: str

    @classmethod
    def of(cls, owner: str, key: str | None, *request: Any) -> Self | None:
        """From the `Idempotency-Key` header; None without one. Raises Invalid if it is too long or not printable."""
        if key is None:
            return None
        if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
            message = f"must be 1 to {MAX_KEY} printable characters"
            raise Invalid(f"The Idempotency-Key {message}.", fields={"Idempotency-Key": message})
        canonical = msgspec.json.encode(request, order="sorted")
        return cls(owner, key, hashlib.sha256(canonical).hexdigest())

    @classmethod
    def of_form(cls, owner: str, path: str, form: Mapping[str, str]) -> Self | None:
        """From the hidden field `idempotency_key`. A double click sends the same form twice; changed content is another
        request, not a conflict, so the hash is part of the key."""
        fields = {name: value for name, value in form.items() if name not in _NOT_CONTENT}
        found = cls.of(owner, form.get("idempotency_key") or None, path, fields)
        return cls(owner, f"form {found.key[:100]} {found.request_hash}", found.request_hash) if found else None
