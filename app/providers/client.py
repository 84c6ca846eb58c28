"""The outbound HTTP client. Every request from Atelier to another server goes through it.

It gives three guarantees that a plain HTTP client does not. URLs lead only to addresses that `addresses` permits, and the
connection goes to the exact address that was checked. A provider's key is sent to that provider's origin only. And an
error says whether the request may have been carried out, because a paid request may be repeated only if it was not:

    ClientError
    ├── NotSent                  nothing was sent; safe to retry
    │   └── AddressNotAllowed    the address may not be reached
    └── Ambiguous                sent, at least in part, without a complete response; it may have been carried out
        ├── TimedOut             no response, or only part of it, within the time limit
        ├── Broken               the response ended early or is not valid HTTP
        └── TooBig               the response exceeds the caller's limit

The client never retries. By default a request with a body opens a new connection: on a reused one that the server closes
at the same moment, it would be unknown whether the request was carried out.
"""

import asyncio
import contextlib
import functools
import os
import random
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx
import msgspec

from app.providers.addresses import EgressPolicy, Resolver, provider_reach, resolve
from app.providers.connections import Connection, ConnectionLost, Unreachable, connect, head
from app.providers.sse import EventParser, EventTooLong

MB = 1024 * 1024
CONNECT_SECONDS = 10.0
REDIRECTS = 5
_MAX_IDLE_CONNECTIONS = 64  # per origin
_KEEP_ALIVE = 5.0  # seconds
END = "[DONE]"
_UNTHROTTLED_STREAMS = 25  # streams that are read without a pause
_PAUSE = 0.001  # seconds added to the pause between reads for each further stream
_MAX_PAUSE = 0.22
_CHUNK = MB  # size of disk writes
_HEAD = 2000  # characters kept of an unexpected response
_INLINE = 64 * 1024  # bytes of JSON that are parsed on the event loop; larger bodies are parsed in a thread
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f.]*:[0-9a-f:.]*")  # lower case, IDNA-encoded
_PRINTABLE = re.compile(r"[\x20-\x7e]*")

Origin = tuple[str, str, int]  # scheme, host, port


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


class ProviderEndpoint:
    """A configured provider: its base URL, and the headers, including its key, that are sent to that origin only."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        """Raises ValueError, without the value, when a header value is not printable ASCII."""
        self.base_url = base_url.rstrip("/")
        self.url = _parsed(self.base_url)
        self.origin = _origin(self.url)
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            if not _PRINTABLE.fullmatch(value):
                raise ValueError(f"the header {name} must be plain ASCII on one line")

    def owns(self, url: str) -> bool:
        """Whether the URL has this origin (scheme, host and port)."""
        try:
            return _origin(_parsed(url)) == self.origin
        except AddressNotAllowed:
            return False

    def absolute(self, url: str) -> str:
        """The URL resolved against the base URL. Raises AddressNotAllowed when it is invalid."""
        try:
            return str(httpx.URL(self.base_url + "/").join(url))
        except (httpx.InvalidURL, ValueError):
            raise AddressNotAllowed("this is not a valid URL") from None

    def __repr__(self) -> str:
        return f"ProviderEndpoint({self.base_url!r})"


class JsonResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` have lower-case names. `body` is the parsed JSON; if it is not JSON, `body` is None and `text` holds its
    beginning."""

    status: int
    headers: dict[str, str]
    body: Any = None
    text: str = ""


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """With status 200, `bytes` is the size of the file written; otherwise `text` is the beginning of the response."""

    status: int
    headers: dict[str, str]
    mime: str = ""
    bytes: int = 0
    text: str = ""


class _ExchangeState:
    """The progress of one request, which determines the meaning of a failure."""

    def __init__(self, url: httpx.URL) -> None:
        self.host = url.host
        self.sent = False
        self.answered = False

    @contextlib.asynccontextmanager
    async def within(self, deadline: float) -> AsyncIterator[None]:
        """Apply the deadline, in loop time, and translate connection errors in the block into ClientError."""
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except (Unreachable, ConnectionLost, TimeoutError) as exc:
            raise self.to_client_error(exc) from None

    def to_client_error(self, exc: Unreachable | ConnectionLost | TimeoutError) -> ClientError:
        if isinstance(exc, TimeoutError):
            if not self.sent:
                return NotSent(f"{self.host} could not be reached in time")
            return TimedOut(f"{self.host} did not respond in time")
        if not self.sent:
            return NotSent(f"{self.host} could not be reached ({exc})")
        if not self.answered:
            return Ambiguous(f"{self.host} closed the connection without a response ({exc})")
        return Broken(f"the response of {self.host} ended early ({exc})")


class _Response:
    """A response whose body has not been read yet."""

    def __init__(self, host: str, connection: Connection) -> None:
        self.host = host
        self.connection = connection
        self.status = connection.status
        self.headers = connection.headers
        self.mime = self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def chunks(self) -> AsyncGenerator[bytes, None]:
        if self.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise Broken(f"{self.host} sent a content encoding that was not requested")
        return self.connection.chunks()


class Events:
    """A streamed response. When `is_stream` is false, it is an ordinary one: read it with `json_response()`."""

    def __init__(
        self, response: _Response, state: _ExchangeState, deadline: float, max_bytes: int, pause: Callable[[], float]
    ) -> None:
        """`pause` returns the number of seconds to wait between reads."""
        self._response = response
        self._pause = pause
        self._state = state
        self._deadline = deadline
        self._max_bytes = max_bytes
        self.status = response.status
        self.headers = response.headers
        self.done = False  # whether the [DONE] marker was received

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self._response.mime == "text/event-stream"

    async def json_response(self) -> JsonResponse:
        async with self._state.within(self._deadline):
            return await _json_response(self._response, self._max_bytes)

    async def payloads(self) -> AsyncGenerator[list[str], None]:
        """The data of the events, without comments and the end marker, in lists of those that arrived together. Raises
        TooBig, Broken or TimedOut."""
        parser = EventParser(self._max_bytes)
        self._response.connection.pause = self._pause
        try:
            async with contextlib.aclosing(self._response.chunks()) as chunks:
                async for chunk in chunks:
                    if ready := self._until_end(self._payloads(parser, chunk)):
                        yield ready
                    if self.done:
                        return
        except (ConnectionLost, TimeoutError) as exc:
            raise self._state.to_client_error(exc) from None
        if ready := self._until_end(self._payloads(parser, None)):
            yield ready

    def _until_end(self, payloads: list[str]) -> list[str]:
        if END not in payloads:
            return payloads
        self.done = True
        return payloads[: payloads.index(END)]

    def _payloads(self, parser: EventParser, chunk: bytes | None) -> list[str]:
        try:
            return parser.end() if chunk is None else parser.feed(chunk)
        except EventTooLong:
            raise TooBig(f"{self._state.host} sent an event larger than {self._max_bytes} bytes") from None


class Client:
    """`base_urls` are those of the configured providers; only their origins may be at non-public addresses."""

    def __init__(
        self, base_urls: Iterable[str] = (), *, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        """`resolver` and `tls` (the trusted certificate authorities) replace the system's."""
        self._origins = {_origin(_parsed(url)) for url in base_urls}
        self._resolver = resolver
        self._pool = _Pool(resolver, tls)
        self._streams = 0  # streams being read

    async def aclose(self) -> None:
        self._pool.close()
        await asyncio.sleep(0)  # lets the aborted connections run their callbacks

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        endpoint: ProviderEndpoint | None = None,
        content: bytes | None = None,
        max_bytes: int = 32 * MB,
        idle: float = 60,
        total: float = 120,
        reuse: bool = False,
    ) -> JsonResponse:
        """Send one request and read the response as JSON. `content` is encoded JSON; `idle` (the wait for the next byte) and
        `total` are in seconds. Redirects are followed for GET only. Without `endpoint`, only public addresses are
        allowed. With `reuse`, a POST may use an open connection: this is faster, but if the server closes it at the same
        moment, the outcome is unknown."""
        deadline = _deadline_after(total)
        exchange = self._exchange(method, url, endpoint, endpoint is not None, content, idle, deadline, reuse)
        async with exchange as (response, state), state.within(deadline):
            return await _json_response(response, max_bytes)

    @contextlib.asynccontextmanager
    async def stream_events(
        self,
        url: str,
        *,
        endpoint: ProviderEndpoint,
        content: bytes,
        max_bytes: int = 64 * MB,
        idle: float = 120,
        total: float = 1800,
    ) -> AsyncIterator[Events]:
        """Send a POST with a streamed response; leaving the block closes the connection. `max_bytes` limits one event."""
        deadline = _deadline_after(total)
        async with self._exchange("POST", url, endpoint, True, content, idle, deadline, True) as (response, state):
            self._streams += 1
            try:
                yield Events(response, state, deadline, max_bytes, self._pause)
            finally:
                self._streams -= 1

    def _pause(self) -> float:
        """With many streams, read less often and more at a time: waking up costs far more than parsing a token. The random
        factor keeps streams from being read in lockstep."""
        return min(_MAX_PAUSE, max(0, self._streams - _UNTHROTTLED_STREAMS) * _PAUSE) * random.uniform(0.8, 1.2)

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
        deadline = _deadline_after(total)
        async with self._exchange("GET", url, endpoint, with_key, None, idle, deadline) as (response, state):
            headers = response.headers
            async with state.within(deadline):
                if response.status != 200:
                    return Download(status=response.status, headers=headers, text=await _head(response))
                size = await _save(response, to, max_bytes)
                return Download(status=200, headers=headers, mime=response.mime, bytes=size)

    async def fetch_public(self, url: str, to: Path, *, max_bytes: int, total: float = 60) -> Download:
        """`download` for a URL given by a user: public addresses only, excluding configured providers at other addresses."""
        return await self.download(url, to, max_bytes=max_bytes, total=total, idle=20)

    @contextlib.asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        endpoint: ProviderEndpoint | None,
        with_key: bool,
        content: bytes | None,
        idle: float,
        deadline: float,
        reuse: bool = False,
    ) -> AsyncIterator[tuple[_Response, _ExchangeState]]:
        """The response after all redirects, with its body unread; closed when the block ends."""
        target = _parsed(url)
        for _ in range(REDIRECTS + 1):
            # After a redirect to another origin the key is not sent again, even if a later redirect leads back.
            with_key = with_key and endpoint is not None and _origin(target) == endpoint.origin
            headers = endpoint.headers if endpoint is not None and with_key else {}
            state, origin = _ExchangeState(target), _origin(target)
            async with state.within(deadline):
                policy = await self._policy_for(target, endpoint)
                keep = policy is EgressPolicy.ANYWHERE and (content is None or reuse)
                connection = await self._pool.acquire(origin, policy, keep=keep)
            try:
                connection.idle, connection.deadline = idle, deadline
                async with state.within(deadline):
                    state.sent = True
                    await connection.send(_request_head(method, target, headers, content), content)
                    await connection.read_head()
                state.answered = True
                response = _Response(target.host, connection)
                location = _redirect(response, target) if method == "GET" else None
                if location is None:
                    yield response, state
                    return
            finally:
                self._pool.release(connection, origin, policy, keep=keep)
            target = location
        raise Broken(f"{target.host} redirects too often")

    async def _policy_for(self, target: httpx.URL, endpoint: ProviderEndpoint | None) -> EgressPolicy:
        if endpoint is None:
            return EgressPolicy.PUBLIC
        if endpoint.origin not in self._origins:
            raise AddressNotAllowed(f"{endpoint.url.host} is not a configured provider")
        if _origin(target) == endpoint.origin:
            return EgressPolicy.ANYWHERE
        return await provider_reach(_host(endpoint.url), endpoint.origin[2], self._resolver)


class _Pool:
    """Opens connections and keeps the reusable ones, by origin and egress policy, so that a connection opened under one
    policy is never used under another. The pool does not limit the number of connections.

    A host is resolved once, all its addresses are checked, and the connection goes to one of the checked addresses. With
    TLS, the certificate is verified against the host name."""

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext | None) -> None:
        self._resolver = resolver
        self._tls = tls
        self._idle: dict[tuple[EgressPolicy, Origin], list[Connection]] = {}

    async def acquire(self, origin: Origin, policy: EgressPolicy, *, keep: bool) -> Connection:
        """An idle connection if `keep` is set and there is one, otherwise a new one."""
        idle_connections = self._idle.get((policy, origin), []) if keep else []
        while idle_connections:  # most recently used first
            connection = idle_connections.pop()
            if connection.reusable and _now() - connection.idle_since < _KEEP_ALIVE:
                return connection
            connection.close()
        scheme, host, port = origin
        end = _now() + CONNECT_SECONDS
        addresses = await self._resolve(host, port, policy)
        return await connect(addresses, port, tls=await self._tls_context(scheme), name=host, seconds=end - _now())

    def release(self, connection: Connection, origin: Origin, policy: EgressPolicy, *, keep: bool) -> None:
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

    async def _tls_context(self, scheme: str) -> ssl.SSLContext | None:
        if scheme != "https":
            return None
        if self._tls is None:
            self._tls = await asyncio.to_thread(_default_tls_context)
        return self._tls

    async def _resolve(self, host: str, port: int, policy: EgressPolicy) -> list[str]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await self._resolver(host, port)
        except TimeoutError:
            raise
        except OSError:
            raise Unreachable("NameNotFound") from None
        if not all(policy.allows(address) for address in addresses):
            raise AddressNotAllowed(f"{host} resolves to an address that may not be reached")
        return addresses


@functools.cache
def _default_tls_context() -> ssl.SSLContext:
    """The trusted certificate authorities. Cached, because loading them takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _deadline_after(seconds: float) -> float:
    return _now() + seconds


@functools.lru_cache(64)
def _parsed(url: str) -> httpx.URL:
    """The parsed URL. Raises AddressNotAllowed unless it is http or https with a valid host and port."""
    try:
        parsed = httpx.URL(url)
        _ = parsed.host  # raises for invalid Punycode
    except (httpx.InvalidURL, ValueError, TypeError):
        raise AddressNotAllowed("this is not a valid URL") from None
    if parsed.scheme not in ("http", "https") or parsed.userinfo or not _HOST.fullmatch(_host(parsed)):
        raise AddressNotAllowed("only http and https URLs without credentials are supported")
    if not 0 < _origin(parsed)[2] < 65536:
        raise AddressNotAllowed("the port is out of range")
    return parsed


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower()


def _origin(url: httpx.URL) -> Origin:
    port = url.port
    return url.scheme, _host(url), (443 if url.scheme == "https" else 80) if port is None else port


def _redirect(response: _Response, target: httpx.URL) -> httpx.URL | None:
    """The redirect target; None when the response is not a redirect."""
    if response.status not in (301, 302, 303, 307, 308) or "location" not in response.headers:
        return None
    try:
        location = _parsed(str(target.join(response.headers["location"])))
    except (httpx.InvalidURL, ValueError):
        raise AddressNotAllowed(f"{target.host} redirects to an invalid URL") from None
    if target.scheme == "https" and location.scheme != "https":
        raise AddressNotAllowed(f"{target.host} redirects from https to http")
    return location


def _request_head(method: str, target: httpx.URL, headers: Mapping[str, str], content: bytes | None) -> bytes:
    own = {
        "User-Agent": "Atelier",
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # a compressed response could expand to a thousand times the limit
        **headers,
    }
    if content is not None:
        own |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    return head(method, target.raw_path, target.netloc, own)


async def _read(response: _Response, max_bytes: int) -> bytes:
    _check_declared(response, max_bytes)
    body = bytearray()
    async with contextlib.aclosing(response.chunks()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise TooBig(f"the response of {response.host} is larger than {max_bytes} bytes")
    return bytes(body)


def _check_declared(response: _Response, max_bytes: int) -> None:
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooBig(f"the response of {response.host} has {declared} bytes, more than {max_bytes}")


async def _head(response: _Response) -> str:
    """The beginning of an error response. Read errors are ignored, because the status is already known."""
    body = b""
    with contextlib.suppress(ConnectionLost, Broken, TimeoutError):
        async with contextlib.aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _HEAD:
                    break
    return body[:_HEAD].decode("utf-8", "replace")


async def _json_response(response: _Response, max_bytes: int) -> JsonResponse:
    content = await _read(response, max_bytes)
    read = _json(content) if len(content) <= _INLINE else await asyncio.to_thread(_json, content)
    is_json, body = read
    text = "" if is_json else content[:_HEAD].decode("utf-8", "replace")
    return JsonResponse(status=response.status, headers=response.headers, body=body, text=text)


def _json(content: bytes) -> tuple[bool, Any]:
    try:
        return True, msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False, None


async def _save(response: _Response, to: Path, max_bytes: int) -> int:
    """Write the body to a file and return its size. The HTTP parser checks that a declared length was received in full."""
    _check_declared(response, max_bytes)
    opening = asyncio.ensure_future(asyncio.to_thread(_open, to))
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        if opening.exception() is None:  # the thread has opened the file although no one waits for it any more
            await _in_thread(_discard, opening.result(), to)
        raise
    try:
        size = 0
        buffer = bytearray()
        async with contextlib.aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise TooBig(f"the response of {response.host} is larger than {max_bytes} bytes")
                buffer += chunk
                if len(buffer) >= _CHUNK:
                    await _in_thread(file.write, bytes(buffer))
                    buffer.clear()
        await _in_thread(_finish, file, bytes(buffer))
    except BaseException:
        await _in_thread(_discard, file, to)
        raise
    return size


def _open(path: Path) -> BinaryIO:
    return path.open("wb")


def _finish(file: BinaryIO, remaining: bytes) -> None:
    file.write(remaining)
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _discard(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):  # on a full disk, closing fails too
        file.close()
    path.unlink(missing_ok=True)


T = TypeVar("T")


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run in a thread and wait for it even when cancelled: a file must not be closed while the thread is writing to it."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
