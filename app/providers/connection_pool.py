"""Opens connections and keeps the reusable ones. Here every address is checked before anything connects to it."""

import asyncio
import functools
import ssl

import certifi

from app.providers.addresses import EgressPolicy, Resolver
from app.providers.connections import HttpConnection, Unreachable, connect
from app.providers.errors import AddressNotAllowed
from app.providers.urls import UrlOrigin

CONNECT_SECONDS = 10.0
_MAX_IDLE_CONNECTIONS = 64  # per origin
_KEEP_ALIVE = 5.0  # seconds


class ConnectionPool:
    """Connections by origin and egress policy, so that one opened under one policy is never used under another. Their number
    is not limited.

    A host is resolved once, all its addresses are checked, and the connection goes to one of the checked addresses. With
    TLS, the certificate is verified against the host name."""

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext | None) -> None:
        """Without `tls`, the certificate authorities of `certifi` are trusted."""
        self._resolver = resolver
        self._tls = tls
        self._idle: dict[tuple[EgressPolicy, UrlOrigin], list[HttpConnection]] = {}

    async def acquire(self, origin: UrlOrigin, policy: EgressPolicy, *, keep: bool) -> HttpConnection:
        """An idle connection if `keep` is set and there is one, otherwise a new one."""
        loop = asyncio.get_running_loop()
        idle_connections = self._idle.get((policy, origin), []) if keep else []
        while idle_connections:  # most recently used first
            connection = idle_connections.pop()
            if connection.reusable and loop.time() - connection.idle_since < _KEEP_ALIVE:
                return connection
            connection.close()
        end = loop.time() + CONNECT_SECONDS
        addresses = await self._resolve(origin, policy)
        tls = await self._tls_context() if origin.scheme == "https" else None
        return await connect(addresses, origin.port, tls=tls, name=origin.host, seconds=end - loop.time())

    def release(self, connection: HttpConnection, origin: UrlOrigin, policy: EgressPolicy, *, keep: bool) -> None:
        if not keep:
            connection.close()
            return
        idle_connections = self._idle.setdefault((policy, origin), [])
        if connection.reusable and len(idle_connections) < _MAX_IDLE_CONNECTIONS:
            connection.mark_idle()
            idle_connections.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for idle_connections in self._idle.values():
            for connection in idle_connections:
                connection.close()
        self._idle.clear()

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(_default_tls_context)
        return self._tls

    async def _resolve(self, origin: UrlOrigin, policy: EgressPolicy) -> list[str]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await self._resolver(origin.host, origin.port)
        except TimeoutError:
            raise
        except OSError:
            raise Unreachable("NameNotFound") from None
        if not all(policy.allows(address) for address in addresses):
            raise AddressNotAllowed(f"{origin.host} resolves to an address that may not be reached")
        return addresses


@functools.cache
def _default_tls_context() -> ssl.SSLContext:
    """Cached, because loading the certificates takes longer than a request."""
    return ssl.create_default_context(cafile=certifi.where())
