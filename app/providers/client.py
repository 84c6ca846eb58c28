"""The outbound HTTP client. Every request from Atelier to another server goes through it.

It gives three guarantees that a plain HTTP client does not. URLs lead only to addresses that `addresses` permits, and the
connection goes to the exact address that was checked. A provider's key is sent to that provider's origin only. And an
error says whether the request may have been carried out (see `errors`).

The client never retries. By default a request with a body opens a new connection: on a reused one that the server closes
at the same moment, it would be unknown whether the request was carried out.

`HTTPS_PROXY` and `NO_PROXY` hold for the configured providers and for links in their responses, and never for the URL of
a user: behind a proxy, the address that it leads to could not be pinned. The address of a provider's link is checked as
far as it is known here.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from app.base.config import MB
from app.providers import downloads, urls
from app.providers.addresses import EgressPolicy, Resolver, provider_reach, resolve
from app.providers.bodies import EncodedBody
from app.providers.byte_stream import ByteStream
from app.providers.connections import Connections
from app.providers.downloads import Download
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import AddressNotAllowed, Broken
from app.providers.event_stream import Events, StreamPacing
from app.providers.exchange import ExchangeState
from app.providers.responses import JsonResponse, Response
from app.providers.urls import Url

MAX_REDIRECTS = 5


class Client:
    """`base_urls` are those of the configured providers; only their origins may be at non-public addresses."""

    def __init__(
        self, base_urls: Iterable[str] = (), *, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        """`resolver` and `tls` (the trusted certificate authorities) replace the defaults."""
        self.set_base_urls(base_urls)
        self._resolver = resolver
        self._connections = Connections(resolver, tls)
        self._pacing = StreamPacing()

    def set_base_urls(self, base_urls: Iterable[str]) -> None:
        """Those of the configured providers from now on. Raises AddressNotAllowed."""
        self._origins = {urls.parse(url).origin for url in base_urls}

    async def aclose(self) -> None:
        await self._connections.aclose()

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        endpoint: ProviderEndpoint | None = None,
        content: bytes | EncodedBody | None = None,
        with_key: bool = True,
        max_bytes: int = 32 * MB,
        idle: float = 60,
        total: float = 120,
        reuse: bool = False,
    ) -> JsonResponse:
        """Send one request and read the response as JSON. `content` is JSON when it is bytes; `idle` (the wait for the next byte) and
        `total` are in seconds. Redirects are followed for GET only. Without `endpoint`, only public addresses are
        allowed. With `reuse`, a POST may use an open connection: this is faster, but if the server closes it at the same
        moment, the outcome is unknown."""
        exchange = self._exchange(
            method, url, endpoint, content=content, with_key=with_key, idle=idle, total=total, reuse=reuse
        )
        async with exchange as response, response.exchange.within_deadline():
            return await response.read_json(max_bytes)

    @asynccontextmanager
    async def stream_events(
        self,
        url: str,
        *,
        endpoint: ProviderEndpoint,
        content: bytes | EncodedBody,
        max_bytes: int = 64 * MB,
        idle: float = 120,
        total: float = 1800,
        reuse: bool = True,
    ) -> AsyncIterator[Events]:
        """Send a POST with a streamed response; leaving the block closes the connection. `max_bytes` limits one event, or an
        answer that is not streamed. `reuse` as in `request_json`."""
        exchange = self._exchange("POST", url, endpoint, content=content, idle=idle, total=total, reuse=reuse)
        async with exchange as response:
            with self._pacing.stream():
                yield Events(response, max_bytes, self._pacing.pause)

    @asynccontextmanager
    async def stream_bytes(
        self,
        url: str,
        *,
        endpoint: ProviderEndpoint,
        content: bytes | EncodedBody,
        max_bytes: int = 64 * MB,
        idle: float = 120,
        total: float = 300,
    ) -> AsyncIterator[ByteStream]:
        """Send a POST whose response may be of any type; leaving the block closes the connection."""
        exchange = self._exchange("POST", url, endpoint, content=content, idle=idle, total=total, reuse=True)
        async with exchange as response:
            yield ByteStream(response, max_bytes)

    async def download(
        self,
        url: str,
        to: Path,
        *,
        max_bytes: int,
        endpoint: ProviderEndpoint | None = None,
        with_key: bool = False,
        idle: float = 60,
        total: float = 600,
    ) -> Download:
        """GET into the file `to`, which is removed on failure. `endpoint` is the provider whose response contained the URL;
        its key is sent only with `with_key`, and only to its own origin. Raises OSError when the file cannot be
        written."""
        exchange = self._exchange("GET", url, endpoint, with_key=with_key, idle=idle, total=total)
        async with exchange as response, response.exchange.within_deadline():
            return await downloads.save(response, to, max_bytes)

    async def fetch_public(self, url: str, to: Path, *, max_bytes: int, total: float = 60) -> Download:
        """`download` for a URL given by a user: public addresses only, excluding configured providers at other addresses."""
        return await self.download(url, to, max_bytes=max_bytes, total=total, idle=20)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        endpoint: ProviderEndpoint | None,
        *,
        idle: float,
        total: float,
        content: bytes | EncodedBody | None = None,
        with_key: bool = True,
        reuse: bool = False,
    ) -> AsyncIterator[Response]:
        """The response after all redirects, with its body unread; closed when the block ends."""
        deadline = asyncio.get_running_loop().time() + total
        target = urls.parse(url)
        for _ in range(MAX_REDIRECTS + 1):
            # After a redirect to another origin the key is not sent again, even if a later redirect leads back.
            with_key = with_key and endpoint is not None and target.origin == endpoint.origin
            headers = {
                "User-Agent": "Atelier",
                "Accept": "*/*",
                "Accept-Encoding": "identity",  # what is compressed nevertheless is decoded within the caller's limit
                **(endpoint.headers if endpoint is not None and with_key else {}),
            }
            state = ExchangeState(target.host, deadline)
            async with state.within_deadline():
                policy = await self._policy_for(target, endpoint)
                keep = policy is EgressPolicy.ANYWHERE and (content is None or reuse)
                proxy = self._connections.proxy(target) if endpoint is not None else None
                if proxy is not None and policy is not EgressPolicy.ANYWHERE:
                    await self._check_known_addresses(target, policy)
                    policy = EgressPolicy.ANYWHERE  # of the proxy
                answer = await self._connections.send(
                    method,
                    target,
                    headers,
                    EncodedBody(content) if isinstance(content, bytes) else content,
                    policy=policy,
                    keep=keep,
                    idle=idle,
                    proxy=proxy,
                    exchange=state,
                )
            try:
                state.answered = True
                response = Response(answer, state)
                location = response.redirect if method == "GET" else None
                if location is None:
                    yield response
                    return
            finally:
                response.close()
            target = target.redirected(location)
        raise Broken(f"{target.host} redirects too often")

    async def _policy_for(self, target: Url, endpoint: ProviderEndpoint | None) -> EgressPolicy:
        if endpoint is None:
            return EgressPolicy.PUBLIC
        if endpoint.origin not in self._origins:
            raise AddressNotAllowed(f"{endpoint.origin.host} is not a configured provider")
        if target.origin == endpoint.origin:
            return EgressPolicy.ANYWHERE
        return await provider_reach(endpoint.origin.host, endpoint.origin.port, self._resolver)

    async def _check_known_addresses(self, target: Url, policy: EgressPolicy) -> None:
        """Raises AddressNotAllowed if the host has an address here that the policy forbids. Behind a proxy, public names need
        not resolve here."""
        try:
            addresses = await self._resolver(target.origin.host, target.origin.port)
        except OSError:
            return
        if not all(policy.allows(address) for address in addresses):
            raise AddressNotAllowed(f"{target.host} resolves to an address that may not be reached")
