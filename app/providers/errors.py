"""The errors of an outbound request. Each says whether the request may have been carried out, because a paid request may be
repeated only if it was not:

    ClientError
    ├── NotSent                  nothing was sent; safe to retry
    │   └── AddressNotAllowed    the address may not be reached
    └── Ambiguous                sent, at least in part, without a complete response; it may have been carried out
        ├── TimedOut             no response, or only part of it, within the time limit
        ├── Broken               the response ended early or is not valid HTTP
        └── TooBig               the response exceeds the caller's limit
"""


class ClientError(Exception):
    """The message contains the host but never the rest of the URL, which may contain a secret."""


class NotSent(ClientError):
    pass


class AddressNotAllowed(NotSent):
    pass


class Ambiguous(ClientError):
    pass


class TimedOut(Ambiguous):
    pass


class Broken(Ambiguous):
    pass


class TooBig(Ambiguous):
    pass
