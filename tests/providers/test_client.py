"""The outbound HTTP client: allowed addresses, where the key is sent, and what errors say about a failed request."""

import asyncio
import contextlib
import datetime
import errno
import functools
import gzip
import ipaddress
import itertools
import logging
import os
import resource
import ssl
import threading
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PosixPath
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.providers import addresses
from app.providers.client import Client
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import AddressNotAllowed, Ambiguous, Broken, ClientError, NotSent, TimedOut, TooBig
from tests.kit import Cases
from tests.providers.addresses import LOOPBACK, PRIVATE, UNSPECIFIED
from tests.providers.fake_upstream import Reply, Silence, Upstream, js, plain, running, sse, until
from tests.providers.manual_time import SECONDS, in_manual_time, skip

KEY = "sk-or-very-secret-1234567890"
LONG = 10**9  # seconds


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    made = Client([upstream.base_url])
    yield made
    await made.aclose()


@pytest.fixture
def endpoint(upstream: Upstream) -> ProviderEndpoint:
    return ProviderEndpoint(upstream.base_url, {"Authorization": f"Bearer {KEY}"})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Client, Upstream, ProviderEndpoint]]:
    """Client, upstream and endpoint for a test in manual time."""
    async with running() as upstream:
        client = Client([upstream.base_url])
        yield client, upstream, ProviderEndpoint(upstream.base_url, {"Authorization": f"Bearer {KEY}"})
        await client.aclose()


async def this_machine(host: str, port: int) -> list[str]:
    """Resolves every name to the loopback address."""
    return ["127.0.0.1"]


def closed_port() -> int:
    """A port on which nothing listens."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class TestEgress:
    async def test_no_spelling_of_loopback_is_reached(self, client: Client, upstream: Upstream, tmp_path: Path) -> None:
        with Cases() as cases:
            for host in LOOPBACK:
                with cases.case(repr(host)), pytest.raises(NotSent):  # blocked, or the name does not resolve
                    await client.fetch_public(f"http://{host}:{upstream.port}/x", tmp_path / "x", max_bytes=100)
        assert upstream.connections == 0

    async def test_no_spelling_of_a_private_address_is_tried(self, client: Client, tmp_path: Path) -> None:
        with Cases() as cases:
            for host in UNSPECIFIED + PRIVATE:
                with cases.case(repr(host)), pytest.raises(AddressNotAllowed):
                    await client.fetch_public(f"http://{host}/x", tmp_path / "x", max_bytes=100)

    async def test_a_name_is_refused_when_any_of_its_addresses_is_private(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        answers = (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1", "8.8.8.8"], ["8.8.8.8", "169.254.169.254"])
        with Cases() as cases:
            for answer in answers:

                async def resolver(host: str, port: int, answer: list[str] = answer) -> list[str]:
                    return answer

                client = Client(resolver=resolver)
                with cases.case(answer), pytest.raises(AddressNotAllowed):
                    await client.fetch_public(f"http://images.test:{upstream.port}/x", tmp_path / "x", max_bytes=100)
                await client.aclose()
        assert upstream.connections == 0

    @in_manual_time
    async def test_the_address_that_was_checked_is_the_one_that_is_reached(self, tmp_path: Path) -> None:
        """A name that resolves differently between check and connection (DNS rebinding) is resolved once only."""
        resolved: list[str] = []

        async def resolver(host: str, port: int) -> list[str]:
            resolved.append(host)
            skip(60)  # do not wait for an address that drops packets
            return ["8.8.8.8"] if len(resolved) == 1 else ["127.0.0.1"]

        async with running() as upstream:
            client = Client(resolver=resolver)
            # 8.8.8.8 is unreachable here or refuses the port; the point is that 127.0.0.1 was not reached.
            with pytest.raises(ClientError):
                await client.download(
                    f"http://rebind.test:{upstream.port}/x", tmp_path / "x", max_bytes=100, idle=30, total=30
                )
            assert resolved == ["rebind.test"]
            assert upstream.connections == 0
            await client.aclose()

    async def test_only_http_and_https_urls_are_fetched(self, client: Client, tmp_path: Path) -> None:
        with Cases() as cases:
            for url in ("ftp://example.com/x", "file:///etc/passwd", "gopher://x", "", "x", "http:/x"):
                with cases.case(repr(url)), pytest.raises(AddressNotAllowed):
                    await client.fetch_public(url, tmp_path / "x", max_bytes=100)

    async def test_a_port_out_of_range_is_refused(self, client: Client, tmp_path: Path) -> None:
        with Cases() as cases:
            for port in ("0", "65536", "99999999", "-1", "http"):
                with cases.case(port), pytest.raises(AddressNotAllowed):
                    await client.fetch_public(f"http://8.8.8.8:{port}/x", tmp_path / "x", max_bytes=100)

    async def test_a_configured_provider_may_run_on_this_machine(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("GET", "/api/v1/models", js({"data": []}))
        answer = await client.request_json("GET", f"{upstream.base_url}/models", endpoint=endpoint)
        assert answer.body == {"data": []}

    async def test_a_url_of_a_user_never_reaches_even_a_configured_provider(
        self, client: Client, upstream: Upstream, tmp_path: Path
    ) -> None:
        """Not even over a connection left open by an earlier request to the provider."""
        upstream.on("GET", "/api/v1/models", Reply(pieces=(b"{}",), ending="keep"))
        endpoint = ProviderEndpoint(upstream.base_url)
        await client.request_json("GET", f"{upstream.base_url}/models", endpoint=endpoint)
        with pytest.raises(AddressNotAllowed):
            await client.fetch_public(f"{upstream.base_url}/models", tmp_path / "x", max_bytes=100)
        assert len(upstream.requests) == 1

    async def test_a_provider_that_is_not_configured_is_refused(self, client: Client, stranger: Upstream) -> None:
        with pytest.raises(AddressNotAllowed):
            await client.request_json(
                "GET", f"{stranger.base_url}/models", endpoint=ProviderEndpoint(stranger.base_url)
            )
        assert stranger.connections == 0

    async def test_a_provider_on_this_machine_may_point_to_this_machine_without_the_key(
        self, client: Client, upstream: Upstream, stranger: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/video.mp4", plain(b"data"))
        download = await client.download(
            f"{stranger.origin}/video.mp4", tmp_path / "video", max_bytes=100, endpoint=endpoint, with_key=True
        )
        assert download.bytes == 4
        assert stranger.only("GET", "/video.mp4").key is None

    async def test_a_provider_on_this_machine_may_not_point_to_its_private_network(
        self, client: Client, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        with Cases() as cases:
            for target in ("10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "192.168.0.1"):
                with cases.case(target), pytest.raises(AddressNotAllowed):
                    await client.download(f"http://{target}/x", tmp_path / "x", max_bytes=100, endpoint=endpoint)

    async def test_a_public_provider_may_not_point_to_this_machine(self, upstream: Upstream, tmp_path: Path) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return ["104.18.2.115"] if host == "public.test" else await addresses.resolve(host, port)

        client = Client(["http://public.test/api/v1"], resolver=resolver)
        with pytest.raises(AddressNotAllowed):
            await client.download(
                f"{upstream.origin}/x",
                tmp_path / "x",
                max_bytes=100,
                endpoint=ProviderEndpoint("http://public.test/api/v1"),
            )
        assert upstream.connections == 0
        await client.aclose()

    async def test_the_next_address_is_tried_when_the_first_does_not_answer(self, upstream: Upstream) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]  # the server listens on the second only

        upstream.on("GET", "/x", js({"ok": True}))
        base = f"http://provider.test:{upstream.port}"
        client = Client([base], resolver=resolver)
        answer = await client.request_json("GET", f"{base}/x", endpoint=ProviderEndpoint(base))
        assert answer.body == {"ok": True}
        assert upstream.only("GET", "/x").headers["host"] == f"provider.test:{upstream.port}"
        await client.aclose()


class TestRedirects:
    async def test_the_key_is_not_sent_when_a_download_is_redirected_to_another_origin(
        self, client: Client, upstream: Upstream, stranger: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/api/v1/content", plain(b"", status=302, Location=f"{stranger.origin}/video"))
        stranger.on("GET", "/video", plain(b"data", "video/mp4"))
        download = await client.download(
            f"{upstream.base_url}/content", tmp_path / "video", max_bytes=100, endpoint=endpoint, with_key=True
        )
        assert (download.mime, (tmp_path / "video").read_bytes()) == ("video/mp4", b"data")
        assert upstream.only("GET", "/api/v1/content").key == f"Bearer {KEY}"
        assert stranger.only("GET", "/video").key is None

    async def test_the_key_is_not_sent_again_when_another_origin_redirects_back(
        self, client: Client, upstream: Upstream, stranger: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/start", plain(b"", status=307, Location=f"{stranger.origin}/back"))
        stranger.on("GET", "/back", plain(b"", status=307, Location=f"{upstream.origin}/end"))
        upstream.on("GET", "/end", plain(b"data"))
        await client.download(
            f"{upstream.origin}/start", tmp_path / "x", max_bytes=100, endpoint=endpoint, with_key=True
        )
        assert upstream.only("GET", "/end").key is None

    async def test_a_relative_redirect_keeps_the_key(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("GET", "/api/v1/old", plain(b"", status=301, Location="new"))
        upstream.on("GET", "/api/v1/new", js({"ok": True}))
        answer = await client.request_json("GET", f"{upstream.base_url}/old", endpoint=endpoint)
        assert answer.body == {"ok": True}
        assert upstream.only("GET", "/api/v1/new").key == f"Bearer {KEY}"

    async def test_the_target_of_every_redirect_is_checked(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        within = ("169.254.169.254", "10.0.0.1", "[fe80::1]", "0xa9fea9fe")
        invalid = ("file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pass@127.0.0.1/", "//[")
        with Cases() as cases:
            for location in (*(f"http://{host}/latest/meta-data" for host in within), *invalid):
                upstream.on("GET", "/x", plain(b"", status=302, Location=location))
                with cases.case(location), pytest.raises(AddressNotAllowed):
                    await client.download(f"{upstream.origin}/x", tmp_path / "x", max_bytes=100, endpoint=endpoint)

    async def test_a_redirect_loop_ends(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/x", plain(b"", status=302, Location="/x"))
        with pytest.raises(Broken):
            await client.download(f"{upstream.origin}/x", tmp_path / "x", max_bytes=100, endpoint=endpoint)
        assert len(upstream.requests) == 6

    async def test_a_post_is_never_redirected(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        with Cases() as cases:
            for status in (301, 302, 303, 307, 308):
                upstream.reset()
                upstream.on("POST", "/api/v1/videos", plain(b"", status=status, Location="/api/v1/videos"))
                with cases.case(status):
                    answer = await client.request_json(
                        "POST", f"{upstream.base_url}/videos", endpoint=endpoint, content=b"{}"
                    )
                    assert answer.status == status
                    upstream.only("POST", "/api/v1/videos")


async def post(client: Client, upstream: Upstream, **more: Any) -> Any:
    return await client.request_json(
        "POST", f"{upstream.base_url}/videos", endpoint=ProviderEndpoint(upstream.base_url), content=b'{"a":1}', **more
    )


class TestSentOrNot:
    """Decides whether a request may be retried."""

    async def test_a_refused_connection_sent_nothing(self) -> None:
        base = f"http://127.0.0.1:{closed_port()}"
        client = Client([base])
        with pytest.raises(NotSent):
            await client.request_json("POST", f"{base}/x", endpoint=ProviderEndpoint(base), content=b"{}")
        await client.aclose()

    async def test_a_name_that_does_not_resolve_sent_nothing(self) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            raise OSError("no such name")

        client = Client(["http://nowhere.test"], resolver=resolver)
        with pytest.raises(NotSent):
            await client.request_json(
                "POST", "http://nowhere.test/x", endpoint=ProviderEndpoint("http://nowhere.test"), content=b"{}"
            )
        await client.aclose()

    @in_manual_time
    async def test_a_name_that_resolves_too_slowly_sent_nothing(self) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            skip(60)
            await asyncio.Event().wait()
            return ["127.0.0.1"]

        client = Client(["http://slow.test"], resolver=resolver)
        with pytest.raises(NotSent):
            await client.request_json(
                "POST", "http://slow.test/x", endpoint=ProviderEndpoint("http://slow.test"), content=b"{}", total=50
            )
        await client.aclose()

    async def test_a_failed_tls_handshake_sent_nothing(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        base = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client([base])
        with pytest.raises(NotSent):
            await client.request_json("POST", f"{base}/x", endpoint=ProviderEndpoint(base), content=b"{}")
        await client.aclose()
        server.close()
        await server.wait_closed()

    @in_manual_time
    async def test_a_tls_handshake_that_does_not_end_sent_nothing(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            skip(60)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        base = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client([base])
        with pytest.raises(NotSent):
            await client.request_json("POST", f"{base}/x", endpoint=ProviderEndpoint(base), content=b"{}", total=50)
        await client.aclose()
        server.close()
        await server.wait_closed()

    async def test_a_connection_lost_before_the_answer_is_ambiguous(self, client: Client, upstream: Upstream) -> None:
        with Cases() as cases:
            for ending in ("close", "reset"):
                upstream.reset()
                upstream.on("POST", "/api/v1/videos", Silence(ending))
                with cases.case(ending):
                    with pytest.raises(Ambiguous) as caught:
                        await post(client, upstream)
                    assert type(caught.value) is Ambiguous
                    upstream.only("POST", "/api/v1/videos")

    @in_manual_time
    async def test_silence_after_the_request_is_ambiguous(self) -> None:
        async with connected() as (client, upstream, _):
            upstream.when_silent = functools.partial(skip, 60)
            upstream.on("POST", "/api/v1/videos", Silence())
            with pytest.raises(TimedOut) as caught:
                await post(client, upstream, idle=50, total=LONG)
            assert isinstance(caught.value, Ambiguous)

    async def test_an_incomplete_response_is_ambiguous(self, client: Client, upstream: Upstream) -> None:
        upstream.on("POST", "/api/v1/videos", Reply(pieces=(b'{"id":',), length=100))
        with pytest.raises(Broken) as caught:
            await post(client, upstream)
        assert isinstance(caught.value, Ambiguous)

    async def test_an_answer_that_is_not_http_is_ambiguous(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client([base])
        with pytest.raises(Ambiguous):
            await client.request_json("POST", f"{base}/x", endpoint=ProviderEndpoint(base), content=b"{}")
        await client.aclose()
        server.close()
        await server.wait_closed()

    @in_manual_time
    async def test_a_slow_response_meets_the_deadline(self) -> None:
        """Each byte arrives in time, but the whole response does not."""
        async with connected() as (client, upstream, _):
            upstream.after_piece = functools.partial(skip, 1)
            upstream.on("POST", "/api/v1/videos", Reply(pieces=itertools.repeat(b"x"), length=LONG))
            with pytest.raises(TimedOut):
                await post(client, upstream, idle=LONG, total=60, max_bytes=2 * LONG)

    async def test_a_paid_request_never_reuses_a_connection(self, client: Client, upstream: Upstream) -> None:
        """The server might be closing it at that moment; then it is unknown whether the request was received."""
        upstream.on("GET", "/api/v1/models", Reply(pieces=(b"{}",), ending="keep"))
        upstream.on("POST", "/api/v1/videos", Reply(pieces=(b"{}",), ending="keep"))
        endpoint = ProviderEndpoint(upstream.base_url)
        for _ in range(2):
            await client.request_json("GET", f"{upstream.base_url}/models", endpoint=endpoint)
        assert upstream.connections == 1
        for _ in range(2):
            await post(client, upstream)
        assert upstream.connections == 3

    async def test_cancelling_the_caller_closes_the_connection(self, client: Client, upstream: Upstream) -> None:
        upstream.on("POST", "/api/v1/videos", Silence())
        task = asyncio.create_task(post(client, upstream))
        await upstream.request_arrived()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.client_disconnected()


class TestAnswers:
    async def test_a_request_arrives_as_it_was_given(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/videos", js({"id": "v"}, 202, X_Generation_Id="gen-1"))
        answer = await client.request_json(
            "POST", f"{upstream.base_url}/videos?a=b%20c", endpoint=endpoint, content=b'{"model":"m"}'
        )
        assert (answer.status, answer.body, answer.headers["x-generation-id"]) == (202, {"id": "v"}, "gen-1")
        request = upstream.only("POST", "/api/v1/videos")
        assert request.query == {"a": "b c"}
        assert request.json == {"model": "m"}
        assert request.headers == {
            "host": f"127.0.0.1:{upstream.port}",
            "user-agent": "Atelier",
            "accept": "*/*",
            "accept-encoding": "identity",
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "content-length": "13",
            "connection": "close",
        }

    async def test_a_large_body_arrives_complete(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/x", js({}))
        content = os.urandom(3_000_001).hex().encode()
        await client.request_json("POST", f"{upstream.origin}/x", endpoint=endpoint, content=content)
        assert upstream.only("POST", "/x").body == content

    async def test_a_response_that_is_not_json_is_returned_as_text(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        with Cases() as cases:
            for body in (b"<html>Bad gateway</html>", b"", b'{"a":', b"\xff\xfe", b"[" * 100_000):
                upstream.on("GET", "/x", plain(body, "text/html", 502))
                with cases.case(body[:20]):
                    answer = await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint)
                    assert (answer.status, answer.body) == (502, None)
                    assert answer.text == body[:2000].decode("utf-8", "replace")

    async def test_a_response_above_the_limit_is_not_read(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        with Cases() as cases:
            for chunked in (False, True):
                upstream.on("GET", "/x", Reply(pieces=(b"x" * 1000,) * 20, chunked=chunked))
                with cases.case("chunked" if chunked else "with its length"), pytest.raises(TooBig):
                    await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint, max_bytes=10_000)

    async def test_a_response_that_is_compressed_without_being_asked_is_decoded(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        body = msgspec.json.encode({"text": "words " * 10_000})
        with Cases() as cases:
            for encoding, compressed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
                upstream.on("GET", "/x", plain(compressed, "application/json", Content_Encoding=encoding))
                with cases.case(encoding):
                    answer = await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint)
                    assert msgspec.json.encode(answer.body) == body

    async def test_the_limit_is_of_the_decoded_bytes(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        """A compressed response can expand to a thousand times its size; no more than the limit is ever expanded."""
        compressed = gzip.compress(bytes(500_000_000), 9)
        upstream.on("GET", "/x", plain(compressed, "application/json", Content_Encoding="gzip"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(TooBig):
            await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint, max_bytes=1_000_000)
        with pytest.raises(TooBig):
            await client.download(f"{upstream.origin}/x", tmp_path / "x", endpoint=endpoint, max_bytes=1_000_000)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes

    async def test_a_content_encoding_that_cannot_be_decoded_is_rejected(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        with Cases() as cases:
            for encoding, body in (("br", b"x"), ("zstd", b"x"), ("gzip, gzip", b"x"), ("gzip", b"not gzip")):
                upstream.on("GET", "/x", plain(body, "application/json", Content_Encoding=encoding))
                with cases.case(encoding), pytest.raises(Ambiguous):
                    await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint)

    async def test_cookies_are_not_kept(self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint) -> None:
        upstream.on("GET", "/x", js({}, Set_Cookie="tracker=1; Path=/"))
        for _ in range(2):
            await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint)
        assert "cookie" not in upstream.requests[1].headers

    async def test_a_proxy_is_not_used_for_plain_http(
        self, upstream: Upstream, stranger: Upstream, endpoint: ProviderEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, stranger.origin)
        upstream.on("GET", "/x", js({}))
        client = Client([upstream.base_url])
        await client.request_json("GET", f"{upstream.origin}/x", endpoint=endpoint)
        assert stranger.connections == 0
        await client.aclose()


class TestSecrets:
    async def test_neither_errors_nor_reprs_show_the_key_or_a_signed_link(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        upstream.on("POST", "/api/v1/x", Silence("reset"))
        with pytest.raises(Ambiguous) as caught:
            await client.request_json(
                "POST", f"{upstream.base_url}/x?signature=signed", endpoint=endpoint, content=b"{}"
            )
        shown = f"{caught.value!r} {caught.value} {endpoint!r} {client!r} {caplog.text}"
        chain: BaseException | None = caught.value
        while chain is not None:
            shown += repr(chain)
            chain = chain.__cause__ if chain.__suppress_context__ else (chain.__cause__ or chain.__context__)
        assert KEY not in shown
        assert "signed" not in shown

    def test_a_key_that_is_invalid_in_a_header_is_rejected_without_quoting_it(self) -> None:
        with Cases() as cases:
            for key in ("sk-or-line\nbreak", "sk-or-\r\nX: y", "sk-or-…", "sk-or-\x00"):
                with cases.case(repr(key)):
                    with pytest.raises(ValueError, match="Authorization") as caught:
                        ProviderEndpoint("https://openrouter.ai/api/v1", {"Authorization": f"Bearer {key}"})
                    assert "sk-or" not in str(caught.value)


class TestDownloads:
    async def test_a_file_arrives_complete_and_with_its_type(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        content = os.urandom(5_000_000)
        pieces = tuple(content[start : start + 700_001] for start in range(0, len(content), 700_001))
        upstream.on("GET", "/video", Reply(headers={"Content-Type": "Video/MP4; codecs=x"}, pieces=pieces))
        download = await client.download(
            f"{upstream.origin}/video", tmp_path / "video", max_bytes=6_000_000, endpoint=endpoint
        )
        assert (download.status, download.mime, download.bytes) == (200, "video/mp4", 5_000_000)
        assert (tmp_path / "video").read_bytes() == content

    async def test_the_key_is_sent_only_on_request(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/video", plain(b"data"))
        for with_key in (False, True):
            await client.download(
                f"{upstream.origin}/video", tmp_path / "x", max_bytes=10, endpoint=endpoint, with_key=with_key
            )
        assert [request.key for request in upstream.requests] == [None, f"Bearer {KEY}"]

    async def test_an_incomplete_file_is_not_treated_as_complete(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/video", Reply(pieces=(b"half",), length=8))
        with pytest.raises(Broken):
            await client.download(f"{upstream.origin}/video", tmp_path / "video", max_bytes=100, endpoint=endpoint)
        assert not (tmp_path / "video").exists()

    async def test_a_file_above_the_limit_is_abandoned(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        with Cases() as cases:
            for chunked in (False, True):
                upstream.on("GET", "/video", Reply(pieces=(b"x" * 1000,) * 20, chunked=chunked))
                with cases.case("chunked" if chunked else "with its length"):
                    with pytest.raises(TooBig):
                        await client.download(
                            f"{upstream.origin}/video", tmp_path / "video", max_bytes=10_000, endpoint=endpoint
                        )
                    assert not (tmp_path / "video").exists()

    @in_manual_time
    async def test_a_slow_file_meets_the_deadline(self, tmp_path: Path) -> None:
        async with connected() as (client, upstream, endpoint):
            upstream.after_piece = functools.partial(skip, 1)
            upstream.on("GET", "/video", Reply(pieces=itertools.repeat(b"x"), length=LONG))
            with pytest.raises(TimedOut):
                await client.download(
                    f"{upstream.origin}/video",
                    tmp_path / "video",
                    max_bytes=2 * LONG,
                    endpoint=endpoint,
                    idle=LONG,
                    total=60,
                )
            assert not (tmp_path / "video").exists()

    async def test_another_status_writes_nothing_and_returns_the_beginning_of_the_response(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        with Cases() as cases:
            for status in (204, 206, 401, 404, 409, 410, 502):
                text = "" if status == 204 else "not here"
                upstream.on("GET", "/video", plain(text.encode(), "text/plain", status))
                with cases.case(status):
                    download = await client.download(
                        f"{upstream.origin}/video", tmp_path / "video", max_bytes=4, endpoint=endpoint
                    )
                    assert (download.status, download.bytes, download.text) == (status, 0, text)
                    assert not (tmp_path / "video").exists()

    async def test_a_full_disk_is_reported_as_such(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        (tmp_path / "video").symlink_to("/dev/full")
        upstream.on("GET", "/video", plain(b"x" * 3_000_000))
        with pytest.raises(OSError, match="No space left") as caught:
            await client.download(
                f"{upstream.origin}/video", tmp_path / "video", max_bytes=4_000_000, endpoint=endpoint
            )
        assert caught.value.errno == errno.ENOSPC
        assert not (tmp_path / "video").is_symlink()

    async def test_a_cancelled_download_leaves_nothing(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/video", Reply(pieces=(b"x" * 2_000_000,), length=3_000_000, ending="hang"))
        task = asyncio.create_task(
            client.download(f"{upstream.origin}/video", tmp_path / "video", max_bytes=4_000_000, endpoint=endpoint)
        )
        await until(lambda: (tmp_path / "video").exists() and (tmp_path / "video").stat().st_size)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not (tmp_path / "video").exists()

    async def test_a_download_that_is_cancelled_while_its_file_is_being_opened_leaves_nothing(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint, tmp_path: Path
    ) -> None:
        """A thread opens the file, and cannot be stopped."""
        upstream.on("GET", "/video", Reply(pieces=(b"x",), length=2, ending="hang"))
        to = SlowlyOpened(tmp_path / "video")
        task = asyncio.create_task(client.download(f"{upstream.origin}/video", to, max_bytes=100, endpoint=endpoint))
        await until(to.opening.is_set)
        task.cancel()
        task.get_loop().call_later(0.05, to.may_open.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert to.opened.is_set()
        assert not to.exists()


class SlowlyOpened(PosixPath):
    """The path of one test, on a slow disk: it opens when it may."""

    opening = threading.Event()
    may_open = threading.Event()
    opened = threading.Event()

    def open(self, *args: Any, **kwargs: Any) -> Any:
        self.opening.set()
        assert self.may_open.wait(SECONDS)
        file = super().open(*args, **kwargs)
        self.opened.set()
        return file


async def read_stream(
    client: Client, upstream: Upstream, endpoint: ProviderEndpoint, **more: Any
) -> tuple[list[str], bool]:
    """The data of all events, and whether the end marker came."""
    async with client.stream_events(f"{upstream.base_url}/chat", endpoint=endpoint, content=b"{}", **more) as events:
        assert events.is_stream
        async with aclosing(events.payloads()) as batches:
            found = [payload async for payloads in batches for payload in payloads]
        return found, events.done


class TestStreams:
    async def test_events_come_without_comments_and_with_their_end_marker(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse(": OPENROUTER PROCESSING", {"a": 1}, ": still", {"b": 2}))
        assert await read_stream(client, upstream, endpoint) == (['{"a":1}', '{"b":2}'], True)

    async def test_a_stream_without_its_end_mark_is_recognised(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False))
        assert await read_stream(client, upstream, endpoint) == (['{"a":1}'], False)

    async def test_the_end_mark_ends_the_stream_though_the_connection_stays_open(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, ending="hang"))
        assert await read_stream(client, upstream, endpoint) == (['{"a":1}'], True)
        await upstream.client_disconnected()

    async def test_an_event_of_many_megabytes_is_received(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"image": "x" * 9_000_000}))
        payloads, done = await read_stream(client, upstream, endpoint, total=300)
        assert (len(payloads[0]), done) == (9_000_012, True)

    async def test_an_event_above_the_limit_is_abandoned(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"image": "x" * 100_000}))
        with pytest.raises(TooBig):
            await read_stream(client, upstream, endpoint, max_bytes=50_000)

    @in_manual_time
    async def test_a_silent_stream_times_out(self) -> None:
        async with connected() as (client, upstream, endpoint):
            upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False, ending="hang"))
            stream = client.stream_events(
                f"{upstream.base_url}/chat", endpoint=endpoint, content=b"{}", idle=50, total=LONG
            )
            async with stream as events, aclosing(events.payloads()) as payloads:
                assert await anext(payloads) == ['{"a":1}']
                skip(60)
                with pytest.raises(TimedOut):
                    await anext(payloads)

    @in_manual_time
    async def test_a_stream_of_nothing_but_comments_meets_the_deadline(self) -> None:
        async with connected() as (client, upstream, endpoint):
            upstream.after_piece = functools.partial(skip, 1)
            upstream.on("POST", "/api/v1/chat", sse(*[": PROCESSING"] * 100, done=False, ending="hang"))
            with pytest.raises(TimedOut):
                await read_stream(client, upstream, endpoint, idle=LONG, total=60)

    async def test_a_stream_that_is_reset_is_broken(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False, ending="reset"))
        with pytest.raises(Broken):
            await read_stream(client, upstream, endpoint)

    async def test_leaving_the_block_closes_the_connection(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False, ending="hang"))
        async with (
            client.stream_events(f"{upstream.base_url}/chat", endpoint=endpoint, content=b"{}") as events,
            aclosing(events.payloads()) as payloads,
        ):
            assert await anext(payloads) == ['{"a":1}']
        await upstream.client_disconnected()

    async def test_an_error_instead_of_a_stream_is_read_as_a_response(
        self, client: Client, upstream: Upstream, endpoint: ProviderEndpoint
    ) -> None:
        upstream.on("POST", "/api/v1/chat", js({"error": {"code": 401}}, 401))
        async with client.stream_events(f"{upstream.base_url}/chat", endpoint=endpoint, content=b"{}") as events:
            assert not events.is_stream
            answer = await events.json_response()
        assert (answer.status, answer.body) == (401, {"error": {"code": 401}})


class Authority:
    """A certificate authority for one test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.certificate = self.signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))

    def signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: Any) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def server(self, folder: Path, host: str) -> ssl.SSLContext:
        """A context for a server named `host`, whose certificate also names another loopback address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))])
        certificate = self.signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key, names)
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode())
        return context


class TestCertificates:
    """Connecting to a checked address must not bypass the certificate's name check."""

    async def test_a_certificate_is_checked_against_the_name_and_not_the_address(self, tmp_path: Path) -> None:
        authority = Authority()
        names: list[str | None] = []
        context = authority.server(tmp_path, "good.test")
        context.sni_callback = lambda _, name, __: names.append(name)
        async with running(context) as upstream:
            upstream.on("GET", "/x", Reply(pieces=(b'{"ok":true}',), ending="keep"))
            good, evil = (f"https://{host}.test:{upstream.port}" for host in ("good", "evil"))
            client = Client([good, evil], resolver=this_machine, tls=authority.client())
            answer = await client.request_json("GET", f"{good}/x", endpoint=ProviderEndpoint(good))
            assert answer.body == {"ok": True}
            assert names == ["good.test"]
            with pytest.raises(NotSent):  # same address, with an open connection to it
                await client.request_json("GET", f"{evil}/x", endpoint=ProviderEndpoint(evil))
            assert len(upstream.requests) == 1
            await client.aclose()

    async def test_many_simultaneous_streams_lose_nothing(self, tmp_path: Path) -> None:
        """So many that the client pauses between reads, over TLS, which has its own buffers."""
        authority = Authority()
        async with running(authority.server(tmp_path, "good.test")) as upstream:
            base = f"https://good.test:{upstream.port}"
            events = sse(*({"word": number} for number in range(60)))
            upstream.on("POST", "/chat", msgspec.structs.replace(events, pause=0.002))
            client = Client([base], resolver=this_machine, tls=authority.client())

            async def received() -> list[str]:
                async with client.stream_events(
                    f"{base}/chat", endpoint=ProviderEndpoint(base), content=b"{}"
                ) as events:
                    return [payload async for payloads in events.payloads() for payload in payloads]

            for payloads in await asyncio.gather(*(received() for _ in range(40))):
                assert payloads == [f'{{"word":{number}}}' for number in range(60)]
            await client.aclose()

    async def test_a_certificate_of_an_unknown_authority_is_refused(self, tmp_path: Path) -> None:
        async with running(Authority().server(tmp_path, "good.test")) as upstream:
            base = f"https://good.test:{upstream.port}"
            client = Client([base], resolver=this_machine)
            with pytest.raises(NotSent):
                await client.request_json("GET", f"{base}/x", endpoint=ProviderEndpoint(base))
            assert upstream.requests == []
            await client.aclose()

    async def test_a_redirect_from_https_to_http_is_refused(self, tmp_path: Path, stranger: Upstream) -> None:
        authority = Authority()
        async with running(authority.server(tmp_path, "good.test")) as upstream:
            base = f"https://good.test:{upstream.port}"
            upstream.on("GET", "/x", plain(b"", status=302, Location=f"{stranger.origin}/x"))
            client = Client([base], resolver=this_machine, tls=authority.client())
            with pytest.raises(AddressNotAllowed):
                await client.request_json("GET", f"{base}/x", endpoint=ProviderEndpoint(base))
            assert stranger.connections == 0
            await client.aclose()


class Proxy:
    """A proxy that opens tunnels to this machine, whatever host is asked for, and records the requests for them."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer = b"HTTP/1.1 200 OK\r\n\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        port = int(head.split()[1].rpartition(":")[2])
        writer.write(self.answer)
        if b" 200 " in self.answer:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def behind_a_proxy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hosts: dict[str, str], scheme: str = "http://"
) -> AsyncIterator[tuple[Proxy, Upstream, Client, ProviderEndpoint]]:
    """A provider at good.test that is only reached through a proxy. Other names resolve as `hosts` says, or not at all."""
    authority, proxy = Authority(), Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}user:pass@127.0.0.1:{server.sockets[0].getsockname()[1]}")

    async def resolver(host: str, port: int) -> list[str]:
        if host in hosts:
            return [hosts[host]]
        if host.endswith(".test"):
            raise OSError("no such name")
        return await addresses.resolve(host, port)

    async with server, running(authority.server(folder, "good.test")) as upstream:
        base = f"https://good.test:{upstream.port}"
        client = Client([base], resolver=resolver, tls=authority.client())
        yield proxy, upstream, client, ProviderEndpoint(base, {"Authorization": f"Bearer {KEY}"})
        await client.aclose()


class TestProxy:
    @pytest.mark.parametrize("scheme", ["http://", ""])
    async def test_a_provider_is_reached_through_the_proxy_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        async with behind_a_proxy(tmp_path, monkeypatch, {}, scheme) as (proxy, upstream, client, endpoint):
            upstream.on("POST", "/x", js({"ok": True}))
            answer = await client.request_json(
                "POST", f"{endpoint.base_url}/x", endpoint=endpoint, content=b"{}", reuse=True
            )
            assert answer.body == {"ok": True}
            (request,) = proxy.requests
            assert request.startswith(f"CONNECT good.test:{upstream.port} HTTP/1.1\r\n")
            assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in request
            assert KEY not in request
            assert "proxy-authorization" not in upstream.only("POST", "/x").headers

    async def test_hosts_of_no_proxy_are_reached_directly(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_PROXY", "localhost,good.test")
        hosts = {"good.test": "127.0.0.1"}
        async with behind_a_proxy(tmp_path, monkeypatch, hosts) as (proxy, upstream, client, endpoint):
            upstream.on("GET", "/x", js({}))
            await client.request_json("GET", f"{endpoint.base_url}/x", endpoint=endpoint)
            assert (proxy.requests, len(upstream.requests)) == ([], 1)

    async def test_the_url_of_a_user_never_goes_through_a_proxy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with behind_a_proxy(tmp_path, monkeypatch, {}) as (proxy, _, client, endpoint):
            for url in (f"{endpoint.base_url}/x", "https://images.test/x", "https://127.0.0.1/x"):
                with pytest.raises(NotSent):
                    await client.fetch_public(url, tmp_path / "x", max_bytes=100)
            assert proxy.requests == []

    async def test_a_link_of_a_provider_goes_through_the_proxy_unless_it_is_known_to_lead_inside(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hosts = {"inside.test": "10.0.0.1", "good.test": "104.18.2.115"}
        async with behind_a_proxy(tmp_path, monkeypatch, hosts) as (proxy, upstream, client, endpoint):
            for host in ("inside.test", "10.0.0.1", "169.254.169.254", "[::1]"):
                with pytest.raises(ClientError):
                    await client.download(
                        f"https://{host}:{upstream.port}/x", tmp_path / "x", max_bytes=100, endpoint=endpoint
                    )
            assert proxy.requests == []
            with pytest.raises(NotSent):  # the certificate is of good.test
                await client.download(
                    f"https://images.test:{upstream.port}/x", tmp_path / "x", max_bytes=100, endpoint=endpoint
                )
            assert proxy.requests[0].startswith(f"CONNECT images.test:{upstream.port} ")
            assert upstream.requests == []

    async def test_a_proxy_that_refuses_sent_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with behind_a_proxy(tmp_path, monkeypatch, {}) as (proxy, upstream, client, endpoint):
            proxy.answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
            with pytest.raises(NotSent):
                await client.request_json("POST", f"{endpoint.base_url}/x", endpoint=endpoint, content=b"{}")
            assert upstream.requests == []
