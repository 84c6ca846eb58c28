"""Access tokens: signed for a quarter of an hour, so that checking one costs no database.

They say who and by which sign-in, never in which role: that is looked up at every request.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from app.base.errors import Denied

LIFE: Final = 900  # seconds
LONGEST: Final = 2048
ALGORITHM: Final = "HS256"


class Claims(msgspec.Struct, frozen=True):
    """Who (`sub`), signed in where (`sid`, the refresh family), from and until when (seconds since 1970)."""

    sub: str
    sid: str
    iat: int
    exp: int
    typ: str = "access"


class AccessTokens:
    """Signs and reads them with `secret`, which nothing else is signed with."""

    def __init__(self, secret: str) -> None:
        self._key = OctKey.import_key(secret)

    def sign(self, user_id: str, session_id: str, now: datetime) -> str:
        issued = _seconds(now)
        claims = Claims(user_id, session_id, issued, issued + LIFE)
        return jwt.encode({"alg": ALGORITHM}, msgspec.structs.asdict(claims), self._key)

    def read(self, token: str, now: datetime) -> Claims:
        """The claims of a token that we signed and that has not expired; else Denied."""
        try:
            if len(token) > LONGEST:
                raise ValueError
            claims = msgspec.convert(jwt.decode(token, self._key, [ALGORITHM]).claims, Claims)
            if claims.typ != "access":
                raise ValueError
        except (JoseError, msgspec.ValidationError, ValueError):
            raise Denied("The access token is not valid.", signed_in=False) from None
        if claims.exp <= _seconds(now):
            raise Denied("The access token has expired.", signed_in=False)
        return claims


def _seconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())
