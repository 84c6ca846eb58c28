"""The one way out: where it goes, what it takes along, and what it says when something goes wrong."""

import asyncio
import datetime
import errno
import ipaddress
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.providers import addresses
from app.providers.addresses import Reach, Zone, zone
from app.providers.client import (
    Ambiguous,
    Broken,
    Client,
    ClientError,
    Home,
    NotSent,
    Refused,
    TimedOut,
    TooBig,
)
from app.providers.events import EventParser, EventTooLong
from tests.providers.addresses import ELSEWHERE_WITHIN, HOSTS, LOOPBACK, PUBLIC, UNSPECIFIED
from tests.providers.fake_upstream import Reply, Silence, Upstream, js, plain, running, sse, until

KEY = "sk-or-very-secret-1234567890"


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    made = Client([upstream.base_url])
    yield made
    await made.aclose()


@pytest.fixture
def home(upstream: Upstream) -> Home:
    return Home(upstream.base_url, {"Authorization": f"Bearer {KEY}"})


def closed_port() -> int:
    """A port on which nobody listens."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class TestAddresses:
    @pytest.mark.parametrize("host", LOOPBACK)
    async def test_no_spelling_of_this_machine_is_reached(
        self, host: str, client: Client, upstream: Upstream, tmp_path: Path
    ) -> None:
        with pytest.raises(NotSent):  # refused, or not even a name that resolves
            await client.fetch_public(f"http://{host}:{upstream.port}/x", tmp_path / "x", max_bytes=100)
        assert upstream.connections == 0

    @pytest.mark.parametrize("host", UNSPECIFIED + ELSEWHERE_WITHIN)
    async def test_no_spelling_of_an_address_within_is_tried(self, host: str, client: Client, tmp_path: Path) -> None:
        with pytest.raises(Refused):
            await client.fetch_public(f"http://{host}/x", tmp_path / "x", max_bytes=100)

    def test_the_table_of_spellings_is_long_and_without_repetition(self) -> None:
        assert len(HOSTS) == len(set(HOSTS)) > 100
        assert min(len(LOOPBACK), len(ELSEWHERE_WITHIN)) > 40
        assert len(UNSPECIFIED) > 5

    @pytest.mark.parametrize("address", PUBLIC)
    def test_public_addresses_are_public(self, address: str) -> None:
        assert zone(address) is Zone.PUBLIC

    @pytest.mark.parametrize(
        ("address", "where"),
        [
            ("127.0.0.1", Zone.LOOPBACK),
            ("::1", Zone.LOOPBACK),
            ("::ffff:127.0.0.1", Zone.LOOPBACK),
            ("10.1.2.3", Zone.PRIVATE),
            ("192.168.1.1", Zone.PRIVATE),
            ("fd12:3456::1", Zone.PRIVATE),
            ("169.254.169.254", Zone.FORBIDDEN),
            ("fd00:ec2::254", Zone.FORBIDDEN),
            ("fd20:ce::254", Zone.FORBIDDEN),
            ("100.64.0.1", Zone.FORBIDDEN),
            ("0.0.0.0", Zone.FORBIDDEN),  # noqa: S104
            ("64:ff9b::10.0.0.1", Zone.FORBIDDEN),
            ("not an address", Zone.FORBIDDEN),
        ],
    )
    def test_inner_addresses_are_told_apart(self, address: str, where: Zone) -> None:
        assert zone(address) is where

    @pytest.mark.parametrize(
        "answer",
        [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1", "8.8.8.8"], ["8.8.8.8", "169.254.169.254"]],
    )
    async def test_a_name_is_refused_when_any_of_its_addresses_is_inner(
        self, answer: list[str], upstream: Upstream, tmp_path: Path
    ) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return answer

        client = Client(resolver=resolver)
        with pytest.raises(Refused):
            await client.fetch_public(f"http://images.test:{upstream.port}/x", tmp_path / "x", max_bytes=100)
        assert upstream.connections == 0
        await client.aclose()

    async def test_the_address_that_was_checked_is_the_one_that_is_reached(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        """A name that changes its mind between check and connection (DNS rebinding) is asked once only."""
        asked: list[str] = []

        async def resolver(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

        client = Client(resolver=resolver)
        # 8.8.8.8 is not reached from here, or has nothing on that port: what matters is that 127.0.0.1 was not.
        with pytest.raises(ClientError):
            await client.download(
                f"http://rebind.test:{upstream.port}/x", tmp_path / "x", max_bytes=100, idle=0.3, total=0.3
            )
        assert asked == ["rebind.test"]
        assert upstream.connections == 0
        await client.aclose()

    @pytest.mark.parametrize("url", ["ftp://example.com/x", "file:///etc/passwd", "gopher://x", "", "x", "http:/x"])
    async def test_only_http_and_https_are_spoken(self, url: str, client: Client, tmp_path: Path) -> None:
        with pytest.raises(Refused):
            await client.fetch_public(url, tmp_path / "x", max_bytes=100)

    @pytest.mark.parametrize("port", ["0", "65536", "99999999", "-1", "http"])
    async def test_a_port_out_of_range_is_refused(self, port: str, client: Client, tmp_path: Path) -> None:
        with pytest.raises(Refused):
            await client.fetch_public(f"http://8.8.8.8:{port}/x", tmp_path / "x", max_bytes=100)

    async def test_a_configured_provider_may_lie_on_this_machine(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("GET", "/api/v1/models", js({"data": []}))
        answer = await client.request_json("GET", f"{upstream.base_url}/models", home=home)
        assert answer.body == {"data": []}

    async def test_a_url_of_a_person_never_reaches_even_a_configured_provider(
        self, client: Client, upstream: Upstream, tmp_path: Path
    ) -> None:
        """Also not over a connection that is open already because the provider was just asked."""
        upstream.on("GET", "/api/v1/models", Reply(pieces=(b"{}",), ending="keep"))
        home = Home(upstream.base_url)
        await client.request_json("GET", f"{upstream.base_url}/models", home=home)
        with pytest.raises(Refused):
            await client.fetch_public(f"{upstream.base_url}/models", tmp_path / "x", max_bytes=100)
        assert len(upstream.requests) == 1

    async def test_a_provider_that_is_not_configured_is_refused(self, client: Client, stranger: Upstream) -> None:
        with pytest.raises(Refused):
            await client.request_json("GET", f"{stranger.base_url}/models", home=Home(stranger.base_url))
        assert stranger.connections == 0

    async def test_a_provider_on_this_machine_may_point_to_this_machine_without_the_key(
        self, client: Client, upstream: Upstream, stranger: Upstream, home: Home, tmp_path: Path
    ) -> None:
        stranger.on("GET", "/clip.mp4", plain(b"clip"))
        got = await client.download(
            f"{stranger.origin}/clip.mp4", tmp_path / "clip", max_bytes=100, home=home, with_key=True
        )
        assert got.bytes == 4
        assert stranger.only("GET", "/clip.mp4").key is None

    @pytest.mark.parametrize("target", ["10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "192.168.0.1"])
    async def test_a_provider_on_this_machine_may_not_point_to_its_neighbours(
        self, target: str, client: Client, home: Home, tmp_path: Path
    ) -> None:
        with pytest.raises(Refused):
            await client.download(f"http://{target}/x", tmp_path / "x", max_bytes=100, home=home)

    async def test_a_public_provider_may_not_point_to_this_machine(self, upstream: Upstream, tmp_path: Path) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return ["104.18.2.115"] if host == "public.test" else await addresses.resolve(host, port)

        client = Client(["http://public.test/api/v1"], resolver=resolver)
        with pytest.raises(Refused):
            await client.download(
                f"{upstream.origin}/x", tmp_path / "x", max_bytes=100, home=Home("http://public.test/api/v1")
            )
        assert upstream.connections == 0
        await client.aclose()

    @pytest.mark.parametrize(
        ("found", "reach"),
        [
            (["127.0.0.1", "::1"], Reach.LOOPBACK),
            (["10.0.0.5"], Reach.PRIVATE),
            (["fd12::5"], Reach.PRIVATE),
            (["10.0.0.5", "8.8.8.8"], Reach.PUBLIC),
            (["127.0.0.1", "10.0.0.5"], Reach.PUBLIC),
            (["169.254.169.254"], Reach.PUBLIC),
            (["8.8.8.8"], Reach.PUBLIC),
        ],
    )
    async def test_an_answer_reaches_no_further_than_its_providers_own_kind_of_address(
        self, found: list[str], reach: Reach
    ) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return found

        assert await addresses.kin("provider.test", 80, resolver) is reach

    async def test_the_next_address_is_tried_when_the_first_does_not_answer(self, upstream: Upstream) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]  # the server listens on the second alone

        upstream.on("GET", "/x", js({"ok": True}))
        base = f"http://provider.test:{upstream.port}"
        client = Client([base], resolver=resolver)
        answer = await client.request_json("GET", f"{base}/x", home=Home(base))
        assert answer.body == {"ok": True}
        assert upstream.only("GET", "/x").headers["host"] == f"provider.test:{upstream.port}"
        await client.aclose()


class TestRedirects:
    async def test_the_key_stays_behind_when_a_download_is_sent_elsewhere(
        self, client: Client, upstream: Upstream, stranger: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/api/v1/content", plain(b"", status=302, Location=f"{stranger.origin}/clip"))
        stranger.on("GET", "/clip", plain(b"clip", "video/mp4"))
        got = await client.download(
            f"{upstream.base_url}/content", tmp_path / "clip", max_bytes=100, home=home, with_key=True
        )
        assert (got.mime, (tmp_path / "clip").read_bytes()) == ("video/mp4", b"clip")
        assert upstream.only("GET", "/api/v1/content").key == f"Bearer {KEY}"
        assert stranger.only("GET", "/clip").key is None

    async def test_the_key_is_not_taken_up_again_when_a_stranger_sends_us_back(
        self, client: Client, upstream: Upstream, stranger: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/start", plain(b"", status=307, Location=f"{stranger.origin}/back"))
        stranger.on("GET", "/back", plain(b"", status=307, Location=f"{upstream.origin}/end"))
        upstream.on("GET", "/end", plain(b"clip"))
        await client.download(f"{upstream.origin}/start", tmp_path / "x", max_bytes=100, home=home, with_key=True)
        assert upstream.only("GET", "/end").key is None

    async def test_a_relative_redirect_keeps_the_key_at_home(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("GET", "/api/v1/old", plain(b"", status=301, Location="new"))
        upstream.on("GET", "/api/v1/new", js({"ok": True}))
        answer = await client.request_json("GET", f"{upstream.base_url}/old", home=home)
        assert answer.body == {"ok": True}
        assert upstream.only("GET", "/api/v1/new").key == f"Bearer {KEY}"

    @pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[fe80::1]", "0xa9fea9fe"])
    async def test_every_hop_is_checked(
        self, host: str, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/x", plain(b"", status=302, Location=f"http://{host}/latest/meta-data"))
        with pytest.raises(Refused):
            await client.download(f"{upstream.origin}/x", tmp_path / "x", max_bytes=100, home=home)

    @pytest.mark.parametrize(
        "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pass@127.0.0.1/", "//["]
    )
    async def test_a_redirect_to_no_address_is_refused(
        self, location: str, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/x", plain(b"", status=302, Location=location))
        with pytest.raises(Refused):
            await client.download(f"{upstream.origin}/x", tmp_path / "x", max_bytes=100, home=home)

    async def test_a_circle_of_redirects_ends(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/x", plain(b"", status=302, Location="/x"))
        with pytest.raises(Broken):
            await client.download(f"{upstream.origin}/x", tmp_path / "x", max_bytes=100, home=home)
        assert len(upstream.requests) == 6

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_post_is_never_sent_on(self, status: int, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("POST", "/api/v1/videos", plain(b"", status=status, Location="/api/v1/videos"))
        answer = await client.request_json("POST", f"{upstream.base_url}/videos", home=home, content=b"{}")
        assert answer.status == status
        upstream.only("POST", "/api/v1/videos")


class TestSentOrNot:
    """Whether a request may be repeated hangs on this."""

    async def post(self, client: Client, upstream: Upstream, **more: Any) -> Any:
        return await client.request_json(
            "POST", f"{upstream.base_url}/videos", home=Home(upstream.base_url), content=b'{"a":1}', **more
        )

    async def test_a_refused_connection_sent_nothing(self) -> None:
        base = f"http://127.0.0.1:{closed_port()}"
        client = Client([base])
        with pytest.raises(NotSent):
            await client.request_json("POST", f"{base}/x", home=Home(base), content=b"{}")
        await client.aclose()

    async def test_a_name_that_does_not_resolve_sent_nothing(self) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            raise OSError("no such name")

        client = Client(["http://nowhere.test"], resolver=resolver)
        with pytest.raises(NotSent):
            await client.request_json("POST", "http://nowhere.test/x", home=Home("http://nowhere.test"), content=b"{}")
        await client.aclose()

    async def test_a_name_that_resolves_too_slowly_sent_nothing(self) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            await asyncio.sleep(5)
            return ["127.0.0.1"]

        client = Client(["http://slow.test"], resolver=resolver)
        with pytest.raises(NotSent):
            await client.request_json(
                "POST", "http://slow.test/x", home=Home("http://slow.test"), content=b"{}", total=0.1
            )
        await client.aclose()

    async def test_a_failed_tls_handshake_sent_nothing(self, upstream: Upstream) -> None:
        base = f"https://127.0.0.1:{upstream.port}"
        client = Client([base])
        with pytest.raises(NotSent):
            await client.request_json("POST", f"{base}/x", home=Home(base), content=b"{}", total=0.3)
        assert upstream.requests == []
        await client.aclose()

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_a_connection_lost_before_the_answer_is_ambiguous(
        self, ending: str, client: Client, upstream: Upstream
    ) -> None:
        upstream.on("POST", "/api/v1/videos", Silence(ending))
        with pytest.raises(Ambiguous) as caught:
            await self.post(client, upstream)
        assert type(caught.value) is Ambiguous
        assert not isinstance(caught.value, NotSent)
        upstream.only("POST", "/api/v1/videos")

    async def test_silence_after_the_request_is_ambiguous(self, client: Client, upstream: Upstream) -> None:
        upstream.on("POST", "/api/v1/videos", Silence())
        with pytest.raises(TimedOut) as caught:
            await self.post(client, upstream, idle=0.1)
        assert isinstance(caught.value, Ambiguous)

    async def test_an_answer_that_breaks_off_is_ambiguous(self, client: Client, upstream: Upstream) -> None:
        upstream.on("POST", "/api/v1/videos", Reply(pieces=(b'{"id":',), length=100))
        with pytest.raises(Broken) as caught:
            await self.post(client, upstream)
        assert isinstance(caught.value, Ambiguous)

    async def test_something_that_is_not_http_is_ambiguous(self, home: Home) -> None:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client([base])
        with pytest.raises(Ambiguous):
            await client.request_json("POST", f"{base}/x", home=Home(base), content=b"{}")
        await client.aclose()
        server.close()
        await server.wait_closed()

    async def test_an_answer_that_trickles_hits_the_deadline(self, client: Client, upstream: Upstream) -> None:
        """Each byte is in time; all of them together are not."""
        upstream.on("POST", "/api/v1/videos", Reply(pieces=tuple(b"x" for _ in range(100)), pause=0.05))
        started = time.monotonic()
        with pytest.raises(TimedOut):
            await self.post(client, upstream, idle=3, total=1)
        assert time.monotonic() - started < 4

    async def test_a_paid_request_never_goes_out_on_a_kept_connection(self, client: Client, upstream: Upstream) -> None:
        """The server may be closing it at that very moment, and then nobody knows whether the request arrived."""
        upstream.on("GET", "/api/v1/models", Reply(pieces=(b"{}",), ending="keep"))
        upstream.on("POST", "/api/v1/videos", Reply(pieces=(b"{}",), ending="keep"))
        home = Home(upstream.base_url)
        for _ in range(2):
            await client.request_json("GET", f"{upstream.base_url}/models", home=home)
        assert upstream.connections == 1
        for _ in range(2):
            await self.post(client, upstream)
        assert upstream.connections == 3

    async def test_cancelling_the_caller_hangs_up(self, client: Client, upstream: Upstream) -> None:
        upstream.on("POST", "/api/v1/videos", Silence())
        asking = asyncio.create_task(self.post(client, upstream))
        await until(lambda: upstream.requests)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(upstream.hung_up.wait(), 2)


class TestAnswers:
    async def test_what_is_asked_arrives_as_it_was_meant(self, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("POST", "/api/v1/videos", js({"id": "v"}, 202, X_Generation_Id="gen-1"))
        answer = await client.request_json(
            "POST", f"{upstream.base_url}/videos?a=b%20c", home=home, content=b'{"model":"m"}'
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
        }

    async def test_a_large_body_arrives_whole(self, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("POST", "/x", js({}))
        content = os.urandom(3_000_001).hex().encode()
        await client.request_json("POST", f"{upstream.origin}/x", home=home, content=content)
        assert upstream.only("POST", "/x").body == content

    @pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b'{"a":', b"\xff\xfe", b"[" * 100_000])
    async def test_an_answer_that_is_not_json_is_kept_as_text(
        self, body: bytes, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("GET", "/x", plain(body, "text/html", 502))
        answer = await client.request_json("GET", f"{upstream.origin}/x", home=home)
        assert (answer.status, answer.body) == (502, None)
        assert answer.text == body[:2000].decode("utf-8", "replace")

    @pytest.mark.parametrize("declared", [True, False])
    async def test_an_answer_larger_than_the_cap_is_not_read(
        self, declared: bool, client: Client, upstream: Upstream, home: Home
    ) -> None:
        reply = Reply(pieces=tuple(b"x" * 1000 for _ in range(20)), chunked=not declared)
        upstream.on("GET", "/x", reply)
        with pytest.raises(TooBig):
            await client.request_json("GET", f"{upstream.origin}/x", home=home, max_bytes=10_000)

    async def test_a_packed_answer_is_refused_because_it_could_burst(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("GET", "/x", plain(b"\x1f\x8b", "application/json", Content_Encoding="gzip"))
        with pytest.raises(Broken):
            await client.request_json("GET", f"{upstream.origin}/x", home=home)

    async def test_cookies_are_not_kept(self, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("GET", "/x", js({}, Set_Cookie="tracker=1; Path=/"))
        for _ in range(2):
            await client.request_json("GET", f"{upstream.origin}/x", home=home)
        assert "cookie" not in upstream.requests[1].headers

    async def test_proxies_of_the_environment_are_not_used(
        self, upstream: Upstream, stranger: Upstream, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", stranger.origin)
        monkeypatch.setenv("ALL_PROXY", stranger.origin)
        upstream.on("GET", "/x", js({}))
        client = Client([upstream.base_url])
        await client.request_json("GET", f"{upstream.origin}/x", home=home)
        assert stranger.connections == 0
        await client.aclose()


class TestSecrets:
    async def test_neither_errors_nor_reprs_show_the_key_or_a_signed_link(
        self, client: Client, upstream: Upstream, home: Home, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        upstream.on("POST", "/api/v1/x", Silence("reset"))
        with pytest.raises(Ambiguous) as caught:
            await client.request_json("POST", f"{upstream.base_url}/x?signature=signed", home=home, content=b"{}")
        told = f"{caught.value!r} {caught.value} {home!r} {client!r} {caplog.text}"
        chain: BaseException | None = caught.value
        while chain is not None:
            told += repr(chain)
            chain = chain.__cause__ if chain.__suppress_context__ else (chain.__cause__ or chain.__context__)
        assert KEY not in told
        assert "signed" not in told

    @pytest.mark.parametrize("key", ["sk-or-line\nbreak", "sk-or-\r\nX: y", "sk-or-…", "sk-or-\x00"])
    def test_a_key_that_no_header_can_carry_is_said_so_without_quoting_it(self, key: str) -> None:
        with pytest.raises(ValueError, match="Authorization") as caught:
            Home("https://openrouter.ai/api/v1", {"Authorization": f"Bearer {key}"})
        assert "sk-or" not in str(caught.value)


class TestDownloads:
    async def test_a_file_arrives_whole_and_is_described(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        content = os.urandom(5_000_000)
        pieces = tuple(content[start : start + 700_001] for start in range(0, len(content), 700_001))
        upstream.on("GET", "/clip", Reply(headers={"Content-Type": "Video/MP4; codecs=x"}, pieces=pieces))
        got = await client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=6_000_000, home=home)
        assert (got.status, got.mime, got.bytes) == (200, "video/mp4", 5_000_000)
        assert (tmp_path / "clip").read_bytes() == content

    async def test_the_key_goes_along_only_when_asked(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/clip", plain(b"clip"))
        for with_key in (False, True):
            await client.download(f"{upstream.origin}/clip", tmp_path / "x", max_bytes=10, home=home, with_key=with_key)
        assert [request.key for request in upstream.requests] == [None, f"Bearer {KEY}"]

    async def test_a_file_that_breaks_off_is_not_taken_for_whole(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/clip", Reply(pieces=(b"half",), length=8))
        with pytest.raises(Broken):
            await client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=100, home=home)
        assert not (tmp_path / "clip").exists()

    @pytest.mark.parametrize("declared", [True, False])
    async def test_a_file_larger_than_the_cap_is_given_up(
        self, declared: bool, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/clip", Reply(pieces=tuple(b"x" * 1000 for _ in range(20)), chunked=not declared))
        with pytest.raises(TooBig):
            await client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=10_000, home=home)
        assert not (tmp_path / "clip").exists()

    async def test_a_file_that_trickles_hits_the_deadline(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/clip", Reply(pieces=tuple(b"x" for _ in range(100)), pause=0.05))
        with pytest.raises(TimedOut):
            await client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=1000, home=home, total=1)
        assert not (tmp_path / "clip").exists()

    @pytest.mark.parametrize("status", [204, 206, 401, 404, 409, 410, 502])
    async def test_another_status_writes_nothing_and_tells_the_beginning_of_the_answer(
        self, status: int, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/clip", plain(b"not here" if status != 204 else b"", "text/plain", status))
        got = await client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=4, home=home)
        assert (got.status, got.bytes, got.text) == (status, 0, "not here" if status != 204 else "")
        assert not (tmp_path / "clip").exists()

    async def test_a_full_disk_is_passed_on_as_what_it_is(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        (tmp_path / "clip").symlink_to("/dev/full")
        upstream.on("GET", "/clip", plain(b"x" * 3_000_000))
        with pytest.raises(OSError, match="No space left") as caught:
            await client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=4_000_000, home=home)
        assert caught.value.errno == errno.ENOSPC
        assert not (tmp_path / "clip").is_symlink()

    async def test_a_cancelled_download_leaves_nothing(
        self, client: Client, upstream: Upstream, home: Home, tmp_path: Path
    ) -> None:
        upstream.on("GET", "/clip", Reply(pieces=(b"x" * 2_000_000,), length=3_000_000, ending="hang"))
        loading = asyncio.create_task(
            client.download(f"{upstream.origin}/clip", tmp_path / "clip", max_bytes=4_000_000, home=home)
        )
        await until(lambda: (tmp_path / "clip").exists() and (tmp_path / "clip").stat().st_size)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert not (tmp_path / "clip").exists()


class TestStreams:
    async def payloads(self, client: Client, upstream: Upstream, home: Home, **more: Any) -> tuple[list[str], bool]:
        async with client.stream_events(f"{upstream.base_url}/chat", home=home, content=b"{}", **more) as events:
            assert events.is_stream
            async with aclosing(events.payloads()) as batches:
                found = [payload async for payloads in batches for payload in payloads]
            return found, events.done

    async def test_events_come_without_comments_and_the_end_is_told(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse(": OPENROUTER PROCESSING", {"a": 1}, ": still", {"b": 2}))
        assert await self.payloads(client, upstream, home) == (['{"a":1}', '{"b":2}'], True)

    async def test_a_stream_without_its_end_mark_is_told_apart(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False))
        assert await self.payloads(client, upstream, home) == (['{"a":1}'], False)

    async def test_the_end_mark_ends_the_stream_though_the_server_does_not(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, ending="hang"))
        assert await self.payloads(client, upstream, home) == (['{"a":1}'], True)
        await asyncio.wait_for(upstream.hung_up.wait(), 2)

    async def test_an_event_of_many_megabytes_arrives(self, client: Client, upstream: Upstream, home: Home) -> None:
        picture = "x" * 9_000_000
        upstream.on("POST", "/api/v1/chat", sse({"image": picture}))
        started = time.monotonic()
        payloads, done = await self.payloads(client, upstream, home)
        assert (len(payloads[0]), done) == (9_000_012, True)
        assert time.monotonic() - started < 15

    async def test_an_event_larger_than_the_cap_is_given_up(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"image": "x" * 100_000}))
        with pytest.raises(TooBig):
            await self.payloads(client, upstream, home, max_bytes=50_000)

    async def test_a_stream_that_falls_silent_times_out(self, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False, ending="hang"))
        with pytest.raises(TimedOut):
            await self.payloads(client, upstream, home, idle=0.1)

    async def test_a_stream_of_nothing_but_comments_hits_the_deadline(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("POST", "/api/v1/chat", sse(*[": PROCESSING"] * 100, pause=0.05))
        with pytest.raises(TimedOut):
            await self.payloads(client, upstream, home, idle=3, total=1)

    async def test_a_stream_cut_in_the_middle_is_broken(self, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False, ending="reset", pause=0.05))
        with pytest.raises(Broken):
            await self.payloads(client, upstream, home)

    async def test_leaving_the_block_hangs_up(self, client: Client, upstream: Upstream, home: Home) -> None:
        upstream.on("POST", "/api/v1/chat", sse({"a": 1}, done=False, ending="hang"))
        async with (
            client.stream_events(f"{upstream.base_url}/chat", home=home, content=b"{}") as events,
            aclosing(events.payloads()) as payloads,
        ):
            assert await anext(payloads) == ['{"a":1}']
        await asyncio.wait_for(upstream.hung_up.wait(), 2)

    async def test_an_error_in_place_of_a_stream_is_read_as_an_answer(
        self, client: Client, upstream: Upstream, home: Home
    ) -> None:
        upstream.on("POST", "/api/v1/chat", js({"error": {"code": 401}}, 401))
        async with client.stream_events(f"{upstream.base_url}/chat", home=home, content=b"{}") as events:
            assert not events.is_stream
            answer = await events.answer()
        assert (answer.status, answer.body) == (401, {"error": {"code": 401}})

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
    def test_events_are_found_wherever_the_bytes_are_cut(self, size: int) -> None:
        told = (
            b': hello\r\n\r\nevent: x\r\ndata: {"a":\r\ndata: 1}\r\nid: 7\r\n\r\n'
            b"data:no space\n\ndata\n\n\n\ndata: \xc3\xa9\n\n: c\ndata: [DONE]\n\ndata: last"
        )
        parser = EventParser(1000)
        found = [event for start in range(0, len(told), size) for event in parser.feed(told[start : start + size])]
        assert [*found, *parser.end()] == ['{"a":\n1}', "no space", "é", "[DONE]", "last"]

    def test_a_line_without_end_is_given_up_at_the_cap(self) -> None:
        parser = EventParser(100)
        parser.feed(b"data: " + b"x" * 90)
        with pytest.raises(EventTooLong):
            parser.feed(b"xxxxx")


class Authority:
    """A certificate authority for one test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.certificate = self.signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))

    def signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: Any) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        building = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            building = building.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return building.sign(self.key, hashes.SHA256())

    def server(self, folder: Path, host: str) -> ssl.SSLContext:
        """A context for a server that is `host` and also says so for the loopback address."""
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
    """Pinning the address must not cost the check of the name."""

    async def test_a_certificate_is_checked_against_the_name_and_not_the_address(self, tmp_path: Path) -> None:
        authority = Authority()
        told: list[str | None] = []
        context = authority.server(tmp_path, "good.test")
        context.sni_callback = lambda _, name, __: told.append(name)

        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        async with running(context) as upstream:
            upstream.on("GET", "/x", Reply(pieces=(b'{"ok":true}',), ending="keep"))
            good, evil = (f"https://{host}.test:{upstream.port}" for host in ("good", "evil"))
            client = Client([good, evil], resolver=resolver, tls=authority.client())
            answer = await client.request_json("GET", f"{good}/x", home=Home(good))
            assert answer.body == {"ok": True}
            assert told == ["good.test"]
            with pytest.raises(NotSent):  # the same address, and a connection to it is open
                await client.request_json("GET", f"{evil}/x", home=Home(evil))
            assert len(upstream.requests) == 1
            await client.aclose()

    async def test_many_streams_at_once_lose_no_word(self, tmp_path: Path) -> None:
        """So many that each is paused between two looks, which TLS has buffers of its own for."""
        authority = Authority()
        said = [{"word": number} for number in range(100)]

        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        async with running(authority.server(tmp_path, "good.test")) as upstream:
            base = f"https://good.test:{upstream.port}"
            upstream.on("POST", "/chat", sse(*said, pause=0.002))
            client = Client([base], resolver=resolver, tls=authority.client())

            async def heard() -> list[str]:
                async with client.stream_events(f"{base}/chat", home=Home(base), content=b"{}") as events:
                    return [payload async for payloads in events.payloads() for payload in payloads]

            for words in await asyncio.gather(*(heard() for _ in range(40))):
                assert words == [f'{{"word":{number}}}' for number in range(100)]
            await client.aclose()

    async def test_a_certificate_of_an_unknown_authority_is_refused(self, tmp_path: Path) -> None:
        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        async with running(Authority().server(tmp_path, "good.test")) as upstream:
            base = f"https://good.test:{upstream.port}"
            client = Client([base], resolver=resolver)
            with pytest.raises(NotSent):
                await client.request_json("GET", f"{base}/x", home=Home(base))
            assert upstream.requests == []
            await client.aclose()

    async def test_a_redirect_from_https_to_http_is_refused(self, tmp_path: Path, stranger: Upstream) -> None:
        authority = Authority()

        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        async with running(authority.server(tmp_path, "good.test")) as upstream:
            base = f"https://good.test:{upstream.port}"
            upstream.on("GET", "/x", plain(b"", status=302, Location=f"{stranger.origin}/x"))
            client = Client([base], resolver=resolver, tls=authority.client())
            with pytest.raises(Refused):
                await client.request_json("GET", f"{base}/x", home=Home(base))
            assert stranger.connections == 0
            await client.aclose()
