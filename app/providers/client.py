"""The one way out: every byte this program sends to another server leaves through here.

Three things are promised that a plain HTTP client does not. A URL leads only where `addresses` lets it, and the connection
goes to the very address that was checked. A provider's key goes to the provider's own origin and nowhere else. And a failure
says whether the request may have reached the other side, because a paid request may only be repeated when it did not:

    ClientError
    ├── NotSent          nothing was sent: doing it again is safe
    │   └── Refused      ... because the address is not one that may be reached
    └── Ambiguous        it was sent, at least in part, and no answer came: it may have been carried out
        ├── TimedOut     ... within the time given, or only part of the answer
        ├── Broken       the answer broke off, or is not valid HTTP
        └── TooBig       the answer is larger than the caller takes

Nothing is ever repeated in here. Requests with a body get a connection of their own: on a kept one that the server has
just closed, 'was it carried out?' would have no answer.
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
_RESTING = 64  # connections to one origin that wait for the next request
_REST = 5.0  # seconds they wait
END = "[DONE]"
_FEW = 25  # streams that are read without a pause
_PAUSE = 0.001  # seconds between two looks for each stream more
_MAX_PAUSE = 0.22
_CHUNK = MB  # written to disk at once
_HEAD = 2000  # characters kept of an answer that is not what was expected
_INLINE = 64 * 1024  # bytes of JSON that are parsed on the event loop; more goes to a thread
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?|[0-9a-f.]*:[0-9a-f:.]*")  # lowered and IDNA-encoded
_PRINTABLE = re.compile(r"[\x20-\x7e]*")

Origin = tuple[str, str, int]  # scheme, host, port


class ClientError(Exception):
    """The message names the host and never the rest of the URL, which may hold a secret."""


class NotSent(ClientError):
    pass


class Refused(NotSent):
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
    """A configured provider: its base URL, and the headers (its key among them) that go to that origin only."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        """ValueError when a header's value cannot be sent; it does not quote the value."""
        self.base_url = base_url.rstrip("/")
        self.url = _parsed(self.base_url)
        self.origin = _origin(self.url)
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            if not _PRINTABLE.fullmatch(value):
                raise ValueError(f"the header {name} must be plain ASCII on one line")

    def owns(self, url: str) -> bool:
        """Whether the URL has this origin: scheme, host and port."""
        try:
            return _origin(_parsed(url)) == self.origin
        except Refused:
            return False

    def absolute(self, url: str) -> str:
        """The URL as seen from the base URL, which matters only when it is relative; Refused when it is none."""
        try:
            return str(httpx.URL(self.base_url + "/").join(url))
        except (httpx.InvalidURL, ValueError):
            raise Refused("this is not an address") from None

    def __repr__(self) -> str:
        return f"Home({self.base_url!r})"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` have lower-case names. `body` is parsed JSON, or None when it is none: then `text` is its beginning."""

    status: int
    headers: dict[str, str]
    body: Any = None
    text: str = ""


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """`bytes` were written, and only when `status` is 200; else `text` is the beginning of the answer."""

    status: int
    headers: dict[str, str]
    mime: str = ""
    bytes: int = 0
    text: str = ""


class _ExchangeState:
    """How far one request has come, which decides what its failure means."""

    def __init__(self, url: httpx.URL) -> None:
        self.host = url.host
        self.sent = False
        self.answered = False

    @contextlib.asynccontextmanager
    async def within(self, deadline: float) -> AsyncIterator[None]:
        """Until the deadline, on the loop's clock; what goes wrong in the block is raised as one of our errors."""
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except (Unreachable, ConnectionLost, TimeoutError) as exc:
            raise self.meaning(exc) from None

    def meaning(self, problem: Unreachable | ConnectionLost | TimeoutError) -> ClientError:
        if isinstance(problem, TimeoutError):
            if not self.sent:
                return NotSent(f"{self.host} could not be reached in time")
            return TimedOut(f"{self.host} did not answer in time")
        if not self.sent:
            return NotSent(f"{self.host} could not be reached ({problem})")
        if not self.answered:
            return Ambiguous(f"{self.host} hung up without an answer ({problem})")
        return Broken(f"the answer of {self.host} broke off ({problem})")


class _Response:
    """An answer whose body is still to be read."""

    def __init__(self, host: str, connection: Connection) -> None:
        self.host = host
        self.connection = connection
        self.status = connection.status
        self.headers = connection.headers
        self.mime = self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def pieces(self) -> AsyncGenerator[bytes, None]:
        if self.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise Broken(f"{self.host} answered in an encoding that was not asked for")
        return self.connection.pieces()


class Events:
    """A streamed answer. When `is_stream` is false there is an ordinary one instead: read it with `answer()`."""

    def __init__(
        self, response: _Response, passage: _ExchangeState, deadline: float, max_bytes: int, pause: Callable[[], float]
    ) -> None:
        """`pause` tells how many seconds to wait between two looks."""
        self._response = response
        self._pause = pause
        self._passage = passage
        self._deadline = deadline
        self._max_bytes = max_bytes
        self.status = response.status
        self.headers = response.headers
        self.done = False  # whether the end mark [DONE] was seen

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self._response.mime == "text/event-stream"

    async def answer(self) -> Answer:
        async with self._passage.within(self._deadline):
            return await _answer(self._response, self._max_bytes)

    async def payloads(self) -> AsyncGenerator[list[str], None]:
        """The data of each event, without comments and end mark, those that come together together; TooBig, Broken or
        TimedOut."""
        parser = EventParser(self._max_bytes)
        self._response.connection.pause = self._pause
        try:
            async with contextlib.aclosing(self._response.pieces()) as pieces:
                async for piece in pieces:
                    if come := self._until_end(self._payloads(parser, piece)):
                        yield come
                    if self.done:
                        return
        except (ConnectionLost, TimeoutError) as exc:
            raise self._passage.meaning(exc) from None
        if come := self._until_end(self._payloads(parser, None)):
            yield come

    def _until_end(self, payloads: list[str]) -> list[str]:
        if END not in payloads:
            return payloads
        self.done = True
        return payloads[: payloads.index(END)]

    def _payloads(self, parser: EventParser, piece: bytes | None) -> list[str]:
        try:
            return parser.end() if piece is None else parser.feed(piece)
        except EventTooLong:
            raise TooBig(f"{self._passage.host} sent an event larger than {self._max_bytes} bytes") from None


class Client:
    """Built with the base URLs of the configured providers; these alone may lie anywhere."""

    def __init__(
        self, base_urls: Iterable[str] = (), *, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        """`resolver` and `tls` (the trusted authorities) stand in for the system's."""
        self._origins = {_origin(_parsed(url)) for url in base_urls}
        self._resolver = resolver
        self._pool = _Pool(resolver, tls)
        self._streams = 0  # that are being read

    async def aclose(self) -> None:
        self._pool.close()
        await asyncio.sleep(0)  # for the connections to end

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        home: ProviderEndpoint | None = None,
        content: bytes | None = None,
        max_bytes: int = 32 * MB,
        idle: float = 60,
        total: float = 120,
        reuse: bool = False,
    ) -> Answer:
        """One request, its answer read as JSON. `content` is JSON already; `idle` (between two bytes) and `total` are
        seconds. Redirects are followed for GET only. Without `home` only public addresses are reached. With `reuse` a
        POST goes over a connection that is open already: it is there sooner, but when the other side hangs up at that
        very moment, nobody knows what became of it."""
        deadline = _after(total)
        exchange = self._exchange(method, url, home, home is not None, content, idle, deadline, reuse)
        async with exchange as (response, passage), passage.within(deadline):
            return await _answer(response, max_bytes)

    @contextlib.asynccontextmanager
    async def stream_events(
        self,
        url: str,
        *,
        home: ProviderEndpoint,
        content: bytes,
        max_bytes: int = 64 * MB,
        idle: float = 120,
        total: float = 1800,
    ) -> AsyncIterator[Events]:
        """POST, answered piece by piece; leaving the block hangs up. `max_bytes` is the cap on one event."""
        deadline = _after(total)
        async with self._exchange("POST", url, home, True, content, idle, deadline, True) as (response, passage):
            self._streams += 1
            try:
                yield Events(response, passage, deadline, max_bytes, self._pause)
            finally:
                self._streams -= 1

    def _pause(self) -> float:
        """With many streams at once words are taken several at a time: a look at a stream costs far more than a word. No
        two pauses are alike, or streams that were kept waiting together would come together ever after."""
        return min(_MAX_PAUSE, max(0, self._streams - _FEW) * _PAUSE) * random.uniform(0.8, 1.2)

    async def download(
        self,
        url: str,
        to: Path,
        *,
        max_bytes: int,
        home: ProviderEndpoint | None = None,
        with_key: bool = False,
        idle: float = 60,
        total: float = 600,
    ) -> Download:
        """GET into the file `to`, which is gone again when anything fails. `home` is the provider whose answer held the
        URL; with the key only when asked, and then only on its own origin. OSError when the disk does not take it."""
        deadline = _after(total)
        async with self._exchange("GET", url, home, with_key, None, idle, deadline) as (response, passage):
            headers = response.headers
            async with passage.within(deadline):
                if response.status != 200:
                    return Download(status=response.status, headers=headers, text=await _head(response))
                size = await _save(response, to, max_bytes)
                return Download(status=200, headers=headers, mime=response.mime, bytes=size)

    async def fetch_public(self, url: str, to: Path, *, max_bytes: int, total: float = 60) -> Download:
        """`download` of a URL that a person gave: public addresses only, not even the configured ones."""
        return await self.download(url, to, max_bytes=max_bytes, total=total, idle=20)

    @contextlib.asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        home: ProviderEndpoint | None,
        with_key: bool,
        content: bytes | None,
        idle: float,
        deadline: float,
        reuse: bool = False,
    ) -> AsyncIterator[tuple[_Response, _ExchangeState]]:
        """The answer at the end of the redirects, its body unread, closed when the block is left."""
        target = _parsed(url)
        for _ in range(REDIRECTS + 1):
            # Once a hop has left home the key stays behind, also when a later hop comes back: it was not our URL then.
            with_key = with_key and home is not None and _origin(target) == home.origin
            headers = home.headers if home is not None and with_key else {}
            passage, origin = _ExchangeState(target), _origin(target)
            async with passage.within(deadline):
                reach = await self._reach(target, home)
                keep = reach is EgressPolicy.ANYWHERE and (content is None or reuse)
                connection = await self._pool.take(origin, reach, keep=keep)
            try:
                connection.idle, connection.deadline = idle, deadline
                async with passage.within(deadline):
                    passage.sent = True
                    await connection.send(_beginning(method, target, headers, content), content)
                    await connection.answered()
                passage.answered = True
                response = _Response(target.host, connection)
                following = _redirect(response, target) if method == "GET" else None
                if following is None:
                    yield response, passage
                    return
            finally:
                self._pool.give_back(connection, origin, reach, keep=keep)
            target = following
        raise Broken(f"{target.host} redirects too often")

    async def _reach(self, target: httpx.URL, home: ProviderEndpoint | None) -> EgressPolicy:
        if home is None:
            return EgressPolicy.PUBLIC
        if home.origin not in self._origins:
            raise Refused(f"{home.url.host} is not a configured provider")
        if _origin(target) == home.origin:
            return EgressPolicy.ANYWHERE
        return await provider_reach(_host(home.url), home.origin[2], self._resolver)


class _Pool:
    """Opens connections, and keeps those that may be used again: each for its origin and its reach, so that a connection
    made under one rule is never used under another. How many there are is decided by whoever asks, not by a queue in here.

    A name is resolved once, every address of it is checked, and the connection goes to an address that was checked; with
    TLS the certificate is still checked against the name."""

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext | None) -> None:
        self._resolver = resolver
        self._tls = tls
        self._resting: dict[tuple[EgressPolicy, Origin], list[Connection]] = {}

    async def take(self, origin: Origin, reach: EgressPolicy, *, keep: bool) -> Connection:
        """One that rests when it may be kept afterwards, or a new one."""
        resting = self._resting.get((reach, origin), []) if keep else []
        while resting:  # the one that was used last, of those that can be used still
            connection = resting.pop()
            if connection.usable and _now() - connection.since < _REST:
                return connection
            connection.close()
        scheme, host, port = origin
        end = _now() + CONNECT_SECONDS
        addresses = await self._checked(host, port, reach)
        return await connect(addresses, port, tls=await self._secured(scheme), name=host, seconds=end - _now())

    def give_back(self, connection: Connection, origin: Origin, reach: EgressPolicy, *, keep: bool) -> None:
        if not keep:
            connection.close()
            return
        resting = self._resting.setdefault((reach, origin), [])
        if connection.usable and len(resting) < _RESTING:
            connection.rest()
            resting.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for resting in self._resting.values():
            for connection in resting:
                connection.close()
        self._resting.clear()

    async def _secured(self, scheme: str) -> ssl.SSLContext | None:
        if scheme != "https":
            return None
        if self._tls is None:
            self._tls = await asyncio.to_thread(_authorities)
        return self._tls

    async def _checked(self, host: str, port: int, reach: EgressPolicy) -> list[str]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await self._resolver(host, port)
        except TimeoutError:
            raise
        except OSError:
            raise Unreachable("NameNotFound") from None
        if not all(reach.allows(address) for address in addresses):
            raise Refused(f"{host} leads to an address that may not be reached")
        return addresses


@functools.cache
def _authorities() -> ssl.SSLContext:
    """The authorities that are trusted, read once: it takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _after(seconds: float) -> float:
    return _now() + seconds


@functools.lru_cache(64)
def _parsed(url: str) -> httpx.URL:
    """The URL, or Refused when it is not http or https, or names nobody, or names somebody in an odd spelling."""
    try:
        parsed = httpx.URL(url)
        _ = parsed.host  # raises where a name in Punycode stands for nothing
    except (httpx.InvalidURL, ValueError, TypeError):
        raise Refused("this is not an address") from None
    if parsed.scheme not in ("http", "https") or parsed.userinfo or not _HOST.fullmatch(_host(parsed)):
        raise Refused("only plain http and https addresses are reached")
    if not 0 < _origin(parsed)[2] < 65536:
        raise Refused("the port is out of range")
    return parsed


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower()


def _origin(url: httpx.URL) -> Origin:
    port = url.port
    return url.scheme, _host(url), (443 if url.scheme == "https" else 80) if port is None else port


def _redirect(response: _Response, target: httpx.URL) -> httpx.URL | None:
    """Where the answer points to; None when it is not a redirect."""
    if response.status not in (301, 302, 303, 307, 308) or "location" not in response.headers:
        return None
    try:
        following = _parsed(str(target.join(response.headers["location"])))
    except (httpx.InvalidURL, ValueError):
        raise Refused(f"{target.host} redirects to something that is not an address") from None
    if target.scheme == "https" and following.scheme != "https":
        raise Refused(f"{target.host} redirects from https to http")
    return following


def _beginning(method: str, target: httpx.URL, headers: Mapping[str, str], content: bytes | None) -> bytes:
    own = {
        "User-Agent": "Atelier",
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # a packed answer could be a thousand times as large as the cap
        **headers,
    }
    if content is not None:
        own |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    return head(method, target.raw_path, target.netloc, own)


async def _read(response: _Response, max_bytes: int) -> bytes:
    _check_declared(response, max_bytes)
    body = bytearray()
    async with contextlib.aclosing(response.pieces()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > max_bytes:
                raise TooBig(f"the answer of {response.host} is larger than {max_bytes} bytes")
    return bytes(body)


def _check_declared(response: _Response, max_bytes: int) -> None:
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooBig(f"the answer of {response.host} has {declared} bytes, more than {max_bytes}")


async def _head(response: _Response) -> str:
    """The beginning of an answer whose status already says enough: what cannot be read of it does not matter."""
    body = b""
    with contextlib.suppress(ConnectionLost, Broken, TimeoutError):
        async with contextlib.aclosing(response.pieces()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > _HEAD:
                    break
    return body[:_HEAD].decode("utf-8", "replace")


async def _answer(response: _Response, max_bytes: int) -> Answer:
    content = await _read(response, max_bytes)
    read = _json(content) if len(content) <= _INLINE else await asyncio.to_thread(_json, content)
    is_json, body = read
    text = "" if is_json else content[:_HEAD].decode("utf-8", "replace")
    return Answer(status=response.status, headers=response.headers, body=body, text=text)


def _json(content: bytes) -> tuple[bool, Any]:
    try:
        return True, msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False, None


async def _save(response: _Response, to: Path, max_bytes: int) -> int:
    """The bytes written. That all of a declared length arrived is checked by the HTTP parser below us."""
    _check_declared(response, max_bytes)
    file = await _threaded(_opened, to)
    try:
        size = 0
        waiting = bytearray()
        async with contextlib.aclosing(response.pieces()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size > max_bytes:
                    raise TooBig(f"the answer of {response.host} is larger than {max_bytes} bytes")
                waiting += piece
                if len(waiting) >= _CHUNK:
                    await _threaded(file.write, bytes(waiting))
                    waiting.clear()
        await _threaded(_finish, file, bytes(waiting))
    except BaseException:
        await _threaded(_discard, file, to)
        raise
    return size


def _opened(path: Path) -> BinaryIO:
    return path.open("wb")


def _finish(file: BinaryIO, rest: bytes) -> None:
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _discard(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):  # on a full disk closing fails a second time
        file.close()
    path.unlink(missing_ok=True)


T = TypeVar("T")


async def _threaded(work: Callable[..., T], *arguments: Any) -> T:
    """In a thread, and waited for even when cancelled: a file must not be closed under the thread that writes it."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise
