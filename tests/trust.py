"""What the clients of tests believe in: nothing, because they speak plain HTTP on loopback."""

import ssl
from functools import cache


@cache
def trust() -> ssl.SSLContext:
    """For httpx's `verify`. By itself each client reads all authorities there are, which takes longer than most requests."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
