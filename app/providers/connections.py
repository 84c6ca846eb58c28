"""Connections to other servers, on aiohttp. Every address is checked here before anything connects to it.

aiohttp follows no redirect here, keeps no cookie and reads nothing from the environment: `client` decides these.
"""

import asyncio
import functools
import select
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult

from app.base.crash_points import crash_point
from app.providers.addresses import EgressPolicy, Resolver
from app.providers.bodies import EncodedBody
from app.providers.errors import AddressNotAllowed
from app.providers.exchange import ExchangeState
from app.providers.urls import Url

CONNECT_SECONDS: Final = 10.0
MAX_HEADER: Final = 16 * 1024  # bytes of the status line, and of one header
MAX_BUFFERED: Final = 256 * 1024  # bytes of a body not yet consumed; above it, reading is paused
_KEEP_ALIVE: Final = 5.0  # seconds
_WRITE_CHUNK: Final = 64 * 1024  # bytes; the idle timeout applies to each chunk, so a slow link can send a large body

_exchange: ContextVar[ExchangeState] = ContextVar("exchange")  # aiohttp has no other way to pass it to the connector


class Connections:
    """Open connections by egress policy, so that one opened under one policy is never used under another. Their number is
    not limited.

    A host is resolved once, all its addresses are checked, and the connection goes to one of the checked addresses. With
    TLS, the certificate is verified against the host name."""

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext | None) -> None:
        """Without `tls`, the certificate authorities of `certifi` are trusted."""
        self._resolver = resolver
        self._tls = tls
        self._sessions: dict[tuple[EgressPolicy, bool], aiohttp.ClientSession] = {}
        self._proxies = getproxies()

    async def aclose(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def proxy(self, url: Url) -> str | None:
        """The proxy that `HTTPS_PROXY` and `NO_PROXY` name for this URL. Plain HTTP never takes one."""
        proxy = self._proxies.get("https") if url.origin.scheme == "https" else None
        if proxy is None or proxy_bypass(url.origin.host, self._proxies):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    async def send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        content: EncodedBody | None,
        *,
        policy: EgressPolicy,
        keep: bool,
        idle: float,
        proxy: str | None,
        exchange: ExchangeState,
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the head of its response, which the caller must close. With `keep`, an open connection
        may be used, and this one be kept open. Raises what `exchange` translates."""
        _exchange.set(exchange)
        response = await self._session(policy, keep).request(
            method,
            url.exact,
            headers=headers,
            data=None if content is None else _Content(content, idle),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=CONNECT_SECONDS, sock_read=idle),
            ssl=await self._tls_context() if url.origin.scheme == "https" else True,
            proxy=proxy,
        )
        crash_point("response.started")
        return response

    def _session(self, policy: EgressPolicy, keep: bool) -> aiohttp.ClientSession:
        if (policy, keep) not in self._sessions:
            self._sessions[policy, keep] = aiohttp.ClientSession(
                connector=_Connector(
                    resolver=_CheckedResolver(self._resolver, policy),
                    use_dns_cache=False,
                    socket_factory=functools.partial(_checked_socket, policy),
                    limit=0,
                    **{"keepalive_timeout": _KEEP_ALIVE} if keep else {"force_close": True},
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=MAX_BUFFERED // 2,  # aiohttp pauses at twice this size
                max_line_size=MAX_HEADER,
                max_field_size=MAX_HEADER,
            )
        return self._sessions[policy, keep]

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(_default_tls_context)
        return self._tls


class _Connector(aiohttp.TCPConnector):
    """Marks the exchange as sent when it gets a connection: from then on the request may have reached the server. (`TraceConfig`
    could do the same, but costs 0.05 ms a request.)

    Never hands out a connection on which something has arrived since its last response: aiohttp would take a second response
    to the last request for the response to the next one, which may be another user's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[asyncio.Transport] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        exchange = _exchange.get()
        if exchange.sent:  # aiohttp would send a GET again
            raise aiohttp.ClientConnectionError("a request is sent once")
        while True:
            connection = await super().connect(req, traces, timeout)
            transport, protocol = connection.transport, connection.protocol
            if transport is None or protocol is None:  # lost meanwhile, which sending will notice
                break
            if transport not in self._used:
                self._used.add(transport)
                crash_point("connection.opened", req.host)
                break
            if not protocol.should_close and not _is_readable(transport):
                break
            connection.close()
        exchange.sent = True
        if not req.body:  # such a request is written before the next callback runs
            asyncio.get_running_loop().call_soon(crash_point, "request.sent")
        return connection


def _is_readable(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _CheckedResolver(AbstractResolver):
    """Resolves a host name to addresses that the policy allows, or raises AddressNotAllowed."""

    def __init__(self, resolver: Resolver, policy: EgressPolicy) -> None:
        self._resolver = resolver
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._resolver(host, port)
        if not addresses:
            raise OSError("the host has no address")
        if not all(self._policy.allows(address) for address in addresses):
            raise AddressNotAllowed(f"{host} resolves to an address that may not be reached")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def _checked_socket(policy: EgressPolicy, address: aiohttp.AddrInfoType) -> socket.socket:
    """The socket for a connection to this address. aiohttp does not resolve a URL's host that is an address itself, so this
    is where such a host is checked."""
    family, kind, protocol, _, target = address
    if not policy.allows(str(target[0])):
        raise AddressNotAllowed(f"{target[0]} is an address that may not be reached")
    return socket.socket(family=family, type=kind, proto=protocol)


class _Content(aiohttp.Payload):
    """A body, sent in chunks each of which may take `idle` seconds."""

    _value: bytes

    def __init__(self, body: EncodedBody, idle: float) -> None:
        super().__init__(body.content, content_type=body.content_type)
        self._size = len(body.content)
        self._idle = idle

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if len(self._value) <= _WRITE_CHUNK:  # a timeout would cost more than writing it
            await writer.write(self._value)
        else:
            content = memoryview(self._value)
            for start in range(0, len(content), _WRITE_CHUNK):
                async with asyncio.timeout(self._idle):
                    await writer.write(content[start : start + _WRITE_CHUNK])
        crash_point("request.sent")

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)


@functools.cache
def _default_tls_context() -> ssl.SSLContext:
    """Cached, because loading the certificates takes longer than a request."""
    return ssl.create_default_context(cafile=certifi.where())
