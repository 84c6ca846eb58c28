"""An image address from a user leads to public hosts only: through every spelling, name, redirect and change of a name's
addresses, requested over the API as any user could. What the HTTP client itself guarantees is tested in
`tests/providers/test_client`.

`Internet` is the whole internet for this module's program: host names that tests define, and one public address with a
server behind it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.providers.addresses import resolve
from tests.kit import IMAGE_TO_VIDEO_MODEL, MULTI_IMAGE_MODEL, SHORT_IMAGE_TO_VIDEO, Cases, png, validation_error
from tests.pages import new_page_user
from tests.providers.addresses import HOSTS
from tests.studio import Studio, running, served_simulator

PUBLIC = "93.184.215.14"
REFUSED = "The URL must be a public http or https address."


class Internet:
    """Host names and their addresses at each lookup, a server at PUBLIC, and a server on this machine that no request may
    reach. `attempts` are the addresses to which a connection was attempted."""

    def __init__(self) -> None:
        self.names: dict[str, Iterator[list[str]]] = {}
        self.lookups: list[str] = []
        self.answer = b""
        self.served: list[str] = []
        self.reached: list[bytes] = []
        self.attempts: list[str] = []
        self.inner_port = 0
        self.public_port = 0

    def name(self, host: str, *answers: Sequence[str]) -> str:
        """Define `host`: the first lookup gets the first answer, the second one the next, all others the last one."""
        lists = [list(answer) for answer in answers]
        self.names[host] = itertools.chain(lists, itertools.repeat(lists[-1]))
        return host

    async def resolve(self, host: str, port: int) -> list[str]:
        self.lookups.append(host)
        if host in self.names:
            return next(self.names[host])
        if host.endswith(".example"):
            raise OSError("there is no such name")
        return await resolve(host, port)

    def redirect(self, to: str, status: int = 302) -> None:
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.answer = head.encode("utf-8")

    def serve(self, content: bytes) -> None:
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        self.answer = head.encode() + content

    async def serve_public(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.served.append(head.decode("latin-1"))
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    async def serve_inner(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.append(await reader.read(1000))
        writer.close()


@pytest_asyncio.fixture(scope="module")
async def internet() -> AsyncIterator[Internet]:
    internet = Internet()
    loop = type(asyncio.get_running_loop())
    connect = loop.sock_connect

    async def connected(self: Any, sock: Any, address: Any) -> Any:
        host, port = address[:2]
        if port in (80, 443, internet.inner_port):
            internet.attempts.append(host)
        return await connect(self, sock, ("127.0.0.1", internet.public_port) if host == PUBLIC else address)

    public = await asyncio.start_server(internet.serve_public, "127.0.0.1", 0)
    loopback = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    inner = await asyncio.start_server(internet.serve_inner, loopback, 0)
    internet.public_port = public.sockets[0].getsockname()[1]
    internet.inner_port = inner.sockets[0].getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "sock_connect", connected)
        async with public, inner:
            yield internet


def has_ipv6() -> bool:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            return "00000000000000000000000000000001" in file.read()
    except OSError:
        return False


@pytest_asyncio.fixture(scope="module")
async def provider_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The base URL of a provider on this machine, as the settings may name one."""
    async with served_simulator(tmp_path_factory.mktemp("provider")) as origin:
        yield f"{origin}/api/v1"


@pytest_asyncio.fixture(scope="module")
async def studio(
    tmp_path_factory: pytest.TempPathFactory, internet: Internet, provider_url: str
) -> AsyncIterator[Studio]:
    """A program of its own, because it looks up host names in `internet`."""
    async with running(
        tmp_path_factory.mktemp("egress"),
        resolver=internet.resolve,
        OPENROUTER_API_KEY="sk-or-v1-test",
        OPENROUTER_BASE_URL=provider_url,
    ) as studio:
        async with asyncio.timeout(300):
            await studio.program.catalog.filled.wait()
        yield studio


@pytest_asyncio.fixture(scope="module")
async def user(studio: Studio) -> httpx.AsyncClient:
    return (await new_page_user(studio, "egress")).client


@pytest.fixture(autouse=True)
def nothing_reached(internet: Internet) -> Iterator[None]:
    """No test of this module may reach the server on this machine, or try any address but the public one."""
    internet.attempts.clear()
    internet.lookups.clear()
    internet.served.clear()
    yield
    assert internet.reached == []
    assert set(internet.attempts) <= {PUBLIC}


async def generate(client: httpx.AsyncClient, url: object) -> httpx.Response:
    """Request a video from the image at this address."""
    body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "it wakes", "image_url": url, **SHORT_IMAGE_TO_VIDEO}
    return await client.post("/api/v1/generate/video/from-image", json=body)


async def test_an_image_at_a_public_address_is_fetched(internet: Internet, user: httpx.AsyncClient) -> None:
    """So that the refusals below are known to be about the address."""
    internet.serve(png())
    url = f"http://{internet.name('images.example', [PUBLIC])}/a.png?w=1"
    answer = await generate(user, url)
    assert answer.status_code == 202, answer.text
    (request,) = internet.served
    assert request.startswith("GET /a.png?w=1 HTTP/1.1\r\n")
    assert "host: images.example\r\n" in request.lower()
    for secret in ("authorization", "cookie", "atl_", "bearer", "sk-or"):
        assert secret not in request.lower()
    assert internet.attempts == [PUBLIC]


def test_the_table_of_hosts_is_long() -> None:
    assert len(set(HOSTS)) >= 100


async def test_no_spelling_of_an_inner_address_is_fetched(internet: Internet, user: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for scheme, host in itertools.product(("http", "https"), HOSTS):
            with cases.case(scheme, host):
                answer = await generate(user, f"{scheme}://{host}:{internet.inner_port}/a.png")
                fields = validation_error(answer, "image_url")["details"]["fields"]
                assert set(fields) == {"image_url"}
                assert not host.strip(". ") or host not in str(fields), "the address is repeated"
    assert internet.attempts == []


async def test_no_inner_address_is_fetched_by_any_other_route(internet: Internet, studio: Studio) -> None:
    """The API for images, and the form of the page."""
    user = await new_page_user(studio, "routes")
    with Cases() as cases:
        for host in HOSTS[::6]:
            with cases.case(host):
                url = f"http://{host}:{internet.inner_port}/a.png"
                body = {"model": MULTI_IMAGE_MODEL, "prompt": "x", "image_url": url}
                validation_error(await user.client.post("/api/v1/generate/image", json=body), "image_url")
                form = {
                    "model": IMAGE_TO_VIDEO_MODEL,
                    "prompt": "x",
                    "mode": "image",
                    "source": "url",
                    "image_url": url,
                }
                answer = await user.browser.send_form("/generate/video", form)
                assert answer.status_code == 400
    assert internet.attempts == []
    assert (await user.client.get("/api/v1/jobs")).json()["total"] == 0


async def test_an_error_does_not_reveal_what_is_there(internet: Internet, user: httpx.AsyncClient) -> None:
    """An open port and a closed one, an existing host and a missing one get the same answer."""
    answers = set()
    for target in (
        f"127.0.0.1:{internet.inner_port}",
        "127.0.0.1:1",
        "10.255.255.1",
        "169.254.169.254/latest/",
        "[::1]:22",
        "localhost",
    ):
        answers.add((await generate(user, f"http://{target}")).text)
    assert len(answers) == 1
    assert REFUSED in answers.pop()


NAMES: list[tuple[str, list[str]]] = [
    ("127.0.0.1.nip.example", ["127.0.0.1"]),
    ("7f000001.nip.example", ["127.0.0.1"]),
    ("localtest.example", ["127.0.0.1"]),
    ("six.example", ["::1"]),
    ("mapped.example", ["::ffff:127.0.0.1"]),
    ("mapped-hex.example", ["::ffff:7f00:1"]),
    ("compatible.example", ["::7f00:1"]),
    ("six-to-four.example", ["2002:7f00:1::"]),
    ("teredo.example", ["2001:0:7f00:1::"]),
    ("nat64.example", ["64:ff9b::7f00:1"]),
    ("nat64-metadata.example", ["64:ff9b::a9fe:a9fe"]),
    ("any.example", ["0.0.0.0"]),  # noqa: S104
    ("any-six.example", ["::"]),
    ("ten.example", ["10.0.0.1"]),
    ("home.example", ["192.168.1.1"]),
    ("docker.example", ["172.17.0.1"]),
    ("shared.example", ["100.64.0.1"]),
    ("metadata.google.internal", ["169.254.169.254"]),
    ("instance-data.example", ["169.254.169.254"]),
    ("metadata-six.example", ["fd00:ec2::254"]),
    ("azure.example", ["168.63.129.16"]),
    ("alibaba.example", ["100.100.100.200"]),
    ("link-local.example", ["fe80::1"]),
    ("zoned.example", ["fe80::1%eth0"]),
    ("unique-local.example", ["fc00::1"]),
    ("multicast.example", ["224.0.0.1"]),
    ("broadcast.example", ["255.255.255.255"]),
    ("benchmark.example", ["198.18.0.1"]),
    ("documentation.example", ["192.0.2.1"]),
    ("both.example", [PUBLIC, "127.0.0.1"]),
    ("both-the-other-way.example", ["10.0.0.1", PUBLIC]),
    ("four-and-six.example", [PUBLIC, "::1"]),
    ("rubbish.example", ["not an address"]),
    ("xn--nxasmq6b.example", ["127.0.0.1"]),
    ("UPPER.example", ["127.0.0.1"]),
]


async def test_a_host_name_is_judged_by_all_its_addresses(internet: Internet, user: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for name, addresses in NAMES:
            for url in (f"http://{name}:{internet.inner_port}/a.png", f"https://{name}/a.png", f"http://{name}./a.png"):
                with cases.case(url, addresses):
                    internet.name(name.lower(), addresses)
                    internet.name(f"{name.lower()}.", addresses)
                    answer = await generate(user, url)
                    assert REFUSED in str(validation_error(answer, "image_url"))
    assert internet.attempts == []


INVALID_URLS: list[object] = [
    "",
    " ",
    "x",
    "/media/a",
    "//images.example/a.png",
    "images.example/a.png",
    "http:images.example/a.png",
    "http:/images.example/a.png",
    "http:///images.example/a.png",
    "http://",
    "http://:80/",
    "http://?x",
    "http://#x",
    "http://[",
    "http://[::1",
    "http://[::1]x/",
    "http://[v1.x]/",
    "http://images.example:99999/",
    "http://images.example:-1/",
    "http://images.example:x/",
    "http://images.example:0/",
    "http://images.example:80:80/",
    "http://some one@images.example/",
    "http://user@images.example/a.png",
    "http://user:secret@images.example/a.png",
    "http://images.example\\@127.0.0.1/",
    "http://images.example#@127.0.0.1/\r\n",
    "http://images.example/\r\nHost: 127.0.0.1",
    "http://images.example\r\nHost: 127.0.0.1/",
    "http://images.example\t/",
    "http://images.example\x00.evil.example/",
    "http://images%00.example/",
    "http://images%2eexample/",
    "http://ima ges.example/",
    "http://-images.example/",
    "http://images..example/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 130 + "example/",
    "http://\u0661\u0662\u0667.0.0.1/",
    "http://xn--/",
    "http://xn--a/",
    "http://\U0001f600.example/",
    "http://ex\u00adample.example/",
    "http://пример.example/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "ftp://images.example/a.png",
    "gopher://127.0.0.1:70/_x",
    "dict://127.0.0.1:11211/stat",
    "ldap://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "unix:///run/x.sock",
    "http+unix://%2Frun%2Fx.sock/",
    "ws://images.example/",
    "javascript:alert(1)",
    "about:blank",
    "blob:http://images.example/x",
    "view-source:http://127.0.0.1/",
    "data:text/html,<script>alert(1)</script>",
    "data:image/png;base64,AAAA",
    "HTTP://LOCALHOST/",
    "hTTp://127.0.0.1/",
    "https://" + "a" * 5000,
    7,
    True,
    ["http://images.example/a.png"],
    {"url": "http://images.example/a.png"},
]


async def test_an_invalid_address_is_refused_by_field(internet: Internet, user: httpx.AsyncClient) -> None:
    internet.serve(b"not an image")
    internet.name("images.example", [PUBLIC])
    with Cases() as cases:
        for url in INVALID_URLS:
            with cases.case(repr(url)):
                internet.served.clear()
                validation_error(await generate(user, url), "image_url")
                assert internet.served == [] or url == "http://-images.example/"


# Redirects


async def test_a_redirect_to_an_inner_address_is_not_followed(internet: Internet, user: httpx.AsyncClient) -> None:
    internet.name("images.example", [PUBLIC])
    with Cases() as cases:
        for host in HOSTS:
            with cases.case(host):
                target = f"http://{host}:{internet.inner_port}/a.png".replace("\r\n", "%0d%0a")
                internet.redirect(target)
                validation_error(await generate(user, "http://images.example/a.png"), "image_url")
    assert set(internet.attempts) == {PUBLIC}
    assert len(internet.served) >= len(HOSTS)  # at least one request for each; some targets lead to the same server


async def test_every_kind_of_redirect_is_checked(internet: Internet, user: httpx.AsyncClient) -> None:
    internet.name("images.example", [PUBLIC])
    internet.name("metadata.example", ["169.254.169.254"])
    targets = (
        f"http://127.0.0.1:{internet.inner_port}/",
        f"//127.0.0.1:{internet.inner_port}/",
        "http://metadata.example/latest/",
        "file:///etc/passwd",
    )
    with Cases() as cases:
        for status, target in itertools.product((301, 302, 303, 307, 308), targets):
            with cases.case(status, target):
                internet.redirect(target, status)
                validation_error(await generate(user, "http://images.example/a.png"), "image_url")


async def test_a_redirect_loop_ends(internet: Internet, user: httpx.AsyncClient) -> None:
    internet.name("images.example", [PUBLIC])
    internet.redirect("http://images.example/a.png")
    validation_error(await generate(user, "http://images.example/a.png"), "image_url")
    assert len(internet.served) < 10


# Host names whose addresses change


async def test_the_address_that_was_checked_is_the_one_that_is_used(
    internet: Internet, user: httpx.AsyncClient
) -> None:
    """The name is public when it is checked and would lead to this machine at the next lookup: there is none."""
    internet.serve(png(color="olive"))
    host = internet.name("rebinding.example", [PUBLIC], ["127.0.0.1"])
    answer = await generate(user, f"http://{host}:{internet.inner_port}/a.png")
    assert answer.status_code == 202, answer.text
    assert internet.lookups.count(host) == 1
    assert internet.attempts == [PUBLIC]


async def test_a_name_that_leads_elsewhere_after_a_redirect_is_refused(
    internet: Internet, user: httpx.AsyncClient
) -> None:
    host = internet.name("rebinding.example", [PUBLIC], ["127.0.0.1"])
    internet.redirect(f"http://{host}:{internet.inner_port}/b.png")
    validation_error(await generate(user, f"http://{host}:{internet.inner_port}/a.png"), "image_url")
    assert len(internet.served) == 1


async def test_a_name_that_is_public_only_at_a_later_lookup_is_refused(
    internet: Internet, user: httpx.AsyncClient
) -> None:
    for answers in (
        [["127.0.0.1"], [PUBLIC]],
        [[PUBLIC, "127.0.0.1"], [PUBLIC]],
        [["::1"], [PUBLIC]],
        [["169.254.169.254"], [PUBLIC]],
    ):
        host = internet.name("now-and-then.example", *answers)
        validation_error(await generate(user, f"http://{host}:{internet.inner_port}/a.png"), "image_url")
    assert internet.attempts == []


# The configured provider


async def test_a_user_cannot_use_the_address_of_the_configured_provider(
    user: httpx.AsyncClient, provider_url: str
) -> None:
    """The program itself may call it, although it is on this machine."""
    assert provider_url.startswith("http://127.0.0.1:")
    for path in ("/models", "/key", "/videos/x/content"):
        assert REFUSED in str(validation_error(await generate(user, provider_url + path), "image_url"))
