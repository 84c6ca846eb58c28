"""The exception tree, by meaning.

    AtelierError
    ├── Invalid            the input is wrong                      400
    │   ├── TooLarge       ... because it is too large             413
    │   └── WrongType      ... because it has the wrong type       415
    ├── Denied             not signed in, or not permitted         401, 403
    ├── Missing            does not exist, or belongs to another   404
    ├── Conflict           conflicts with the current state        409
    ├── Gone               existed once                            410
    ├── Exhausted          rate limit or quota; retry later        429
    ├── Upstream           a provider failed                       502
    └── Unready            Atelier cannot serve this now           503

Services raise them; only `web.errors` knows status codes. Every message may be shown to any user.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar


class AtelierError(Exception):
    """`message` is for users; `details` is for API clients and must not contain secrets."""

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class Invalid(AtelierError):
    """`fields` maps the name of each wrong field to what is wrong with it."""

    code = "VALIDATION_ERROR"

    def __init__(
        self, message: str, *, fields: Mapping[str, str] | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.fields = dict(fields or {})
        if self.fields:
            self.details["fields"] = self.fields


class TooLarge(Invalid):
    code = "FILE_TOO_LARGE"


class WrongType(Invalid):
    code = "INVALID_FILE_TYPE"


class Denied(AtelierError):
    """`signed_in` distinguishes 'not permitted' (True) from 'not authenticated' (False)."""

    code = "FORBIDDEN"

    def __init__(self, message: str, *, signed_in: bool = True) -> None:
        super().__init__(message)
        self.signed_in = signed_in


class Missing(AtelierError):
    code = "RESOURCE_NOT_FOUND"


class Conflict(AtelierError):
    code = "CONFLICT"


class Gone(AtelierError):
    code = "GONE"


class Exhausted(AtelierError):
    """`retry_after` is in seconds. `quota` distinguishes an exhausted quota (True) from a rate limit."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: int, quota: bool = False) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)
        self.quota = quota


class Upstream(AtelierError):
    """`retry_after` is in seconds, when the provider gives one."""

    code = "UPSTREAM_ERROR"

    def __init__(
        self, message: str, *, details: Mapping[str, Any] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after = None if retry_after is None else max(1, math.ceil(retry_after))
        if self.retry_after is not None:
            self.details["retry_after"] = self.retry_after


class Unready(AtelierError):
    code = "SERVICE_UNAVAILABLE"
