"""Access tokens: JWTs that are valid for 15 minutes.

They name the user and the session. The role is not in them: it is looked up on every request.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from app.base.errors import Denied

LIFE: Final = 900  # seconds
MAX_LENGTH: Final = 2048  # characters
ALGORITHM: Final = "HS256"


class Claims(msgspec.Struct, frozen=True):
    """User (`sub`), session (`sid`), and the times of issue and expiry in seconds since 1970."""

    sub: str
    sid: str
    iat: int
    exp: int
    typ: str = "access"


class AccessTokens:
    """Signs and verifies access tokens with `secret`, which is used for nothing else."""

    def __init__(self, secret: str) -> None:
        self._key = OctKey.import_key(secret)

    def sign(self, user_id: str, session_id: str, now: datetime) -> str:
        issued = _seconds(now)
        claims = Claims(user_id, session_id, issued, issued + LIFE)
        return jwt.encode({"alg": ALGORITHM}, msgspec.structs.asdict(claims), self._key)

    def read(self, token: str, now: datetime) -> Claims:
        """The claims of a valid token; Denied if the signature is invalid or the token has expired."""
        try:
            if len(token) > MAX_LENGTH:
                raise ValueError
            claims = msgspec.convert(jwt.decode(token, self._key, [ALGORITHM]).claims, Claims)
            if claims.typ != "access":
                raise ValueError
        except (JoseError, msgspec.ValidationError, ValueError):
            raise Denied("The access token is not valid.", signed_in=False) from None
        if claims.exp <= _seconds(now):
            raise Denied("The access token has expired.", signed_in=False)
        return claims


def _seconds(time: datetime) -> int:
    return int(time.replace(tzinfo=UTC).timestamp())
