"""A picture's address that a person gives leads to public places only: through every spelling, name, redirect and change of
mind of a name, asked over HTTP as anybody could. What the client itself promises stands in `tests/providers/test_client`.

`Internet` is all there is of it here: names that tests make up, and one public address with a server behind it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.providers.addresses import resolve
from app.providers.client import Client
from tests.api.kit import COUNTED, FRAMED, SHORT_FRAMED, invalid, person, png
from tests.providers.addresses import HOSTS
from tests.studio import Studio

PUBLIC = "93.184.215.14"
REFUSED = "This address cannot be used: it must be a public http or https address."


class Internet:
    """Names and what they lead to, each time they are asked for; a server at PUBLIC; a canary on this machine that must
    never sing. `tried` are the addresses that somebody set out to."""

    def __init__(self) -> None:
        self.names: dict[str, Iterator[list[str]]] = {}
        self.asked: list[str] = []
        self.answer = b""
        self.served: list[str] = []
        self.sung: list[bytes] = []
        self.tried: list[str] = []
        self.port = 0  # of the canary
        self.public_port = 0

    def name(self, host: str, *answers: Sequence[str]) -> str:
        """`host` leads to the first answer when it is asked for once, to the second one next, to the last one ever after."""
        lists = [list(answer) for answer in answers]
        self.names[host] = itertools.chain(lists, itertools.repeat(lists[-1]))
        return host

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
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

    async def _public(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.served.append(head.decode("latin-1"))
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    async def _canary(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sung.append(await reader.read(1000))
        writer.close()


@pytest_asyncio.fixture(scope="module")
async def world(atelier: Studio) -> AsyncIterator[Internet]:
    internet = Internet()
    loop = type(asyncio.get_running_loop())
    connect = loop.create_connection

    async def connected(self: Any, made: Any, host: str, port: int, **more: Any) -> Any:
        if port in (80, 443, internet.port):
            internet.tried.append(host)
        where = ("127.0.0.1", internet.public_port) if host == PUBLIC else (host, port)
        return await connect(self, made, *where, **more)

    public = await asyncio.start_server(internet._public, "127.0.0.1", 0)
    canary = await asyncio.start_server(internet._canary, ["127.0.0.1", "::1"] if _has_six() else "127.0.0.1", 0)
    internet.public_port = public.sockets[0].getsockname()[1]
    internet.port = canary.sockets[0].getsockname()[1]
    client = Client((), resolver=internet.resolve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "create_connection", connected)
        patch.setattr(atelier.program.library, "_client", client)
        async with public, canary:
            yield internet
    await client.aclose()


def _has_six() -> bool:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            return "00000000000000000000000000000001" in file.read()
    except OSError:
        return False


@pytest_asyncio.fixture(scope="module")
async def asker(atelier: Studio) -> httpx.AsyncClient:
    return await person(atelier, "asker")


@pytest.fixture(autouse=True)
def quiet(world: Internet) -> Iterator[None]:
    """Every test here ends without a sound from the canary, and without a step outside the public network."""
    world.tried.clear()
    world.asked.clear()
    world.served.clear()
    yield
    assert world.sung == []
    assert set(world.tried) <= {PUBLIC}


async def ask(client: httpx.AsyncClient, url: object) -> httpx.Response:
    body = {"model": FRAMED, "prompt": "it wakes", "image_url": url, **SHORT_FRAMED}
    return await client.post("/api/v1/generate/video/from-image", json=body)


async def test_a_picture_at_a_public_address_is_fetched(world: Internet, asker: httpx.AsyncClient) -> None:
    """So that what is refused below is refused for its address."""
    world.serve(png())
    url = f"http://{world.name('pictures.example', [PUBLIC])}/a.png?w=1"
    answer = await ask(asker, url)
    assert answer.status_code == 202, answer.text
    (request,) = world.served
    assert request.startswith("GET /a.png?w=1 HTTP/1.1\r\n")
    assert "host: pictures.example\r\n" in request.lower()
    for secret in ("authorization", "cookie", "atl_", "bearer"):
        assert secret not in request.lower()
    assert world.tried == [PUBLIC]


async def test_the_corpus_is_as_large_as_was_asked() -> None:
    assert len(set(HOSTS)) >= 100


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_an_inner_address_is_fetched(
    world: Internet, asker: httpx.AsyncClient, scheme: str
) -> None:
    wrong = []
    for host in HOSTS:
        answer = await ask(asker, f"{scheme}://{host}:{world.port}/a.png")
        fields = invalid(answer, "image_url")["details"]["fields"]
        if set(fields) != {"image_url"} or (host.strip(". ") and host in str(fields)):
            wrong.append((host, fields))
    assert wrong == []
    assert world.tried == []


async def test_no_inner_address_is_fetched_through_any_other_door(world: Internet, atelier: Studio) -> None:
    """The call for pictures, and the form that people fill in."""
    address = "doors@studio.example"
    client, browser = await atelier.person(address), await atelier.person_in_browser(address)
    for host in HOSTS[::6]:
        url = f"http://{host}:{world.port}/a.png"
        body = {"model": COUNTED, "prompt": "x", "image_url": url}
        invalid(await client.post("/api/v1/generate/image", json=body), "image_url")
        form = {"model": FRAMED, "prompt": "x", "mode": "picture", "source": "url", "image_url": url}
        answer = await browser.send_form("/generate/video", form)
        assert answer.status_code == 400, host
    assert world.tried == []
    assert (await client.get("/api/v1/jobs")).json()["total"] == 0


async def test_the_answer_does_not_tell_what_there_is_within(world: Internet, asker: httpx.AsyncClient) -> None:
    """An open port and a closed one, a host that is there and one that is not: one answer."""
    answers = set()
    for place in (
        f"127.0.0.1:{world.port}",
        "127.0.0.1:1",
        "10.255.255.1",
        "169.254.169.254/latest/",
        "[::1]:22",
        "localhost",
    ):
        answers.add((await ask(asker, f"http://{place}")).text)
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


@pytest.mark.parametrize(("name", "addresses"), NAMES, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_name_is_judged_by_every_address_it_leads_to(
    world: Internet, asker: httpx.AsyncClient, name: str, addresses: list[str]
) -> None:
    world.name(name.lower(), addresses)
    for url in (f"http://{name}:{world.port}/a.png", f"https://{name}/a.png", f"http://{name}./a.png"):
        world.name(f"{name.lower()}.", addresses)
        answer = await ask(asker, url)
        assert REFUSED in str(invalid(answer, "image_url")), url
    assert world.tried == []


NO_URLS = [
    "",
    " ",
    "x",
    "/media/a",
    "//pictures.example/a.png",
    "pictures.example/a.png",
    "http:pictures.example/a.png",
    "http:/pictures.example/a.png",
    "http:///pictures.example/a.png",
    "http://",
    "http://:80/",
    "http://?x",
    "http://#x",
    "http://[",
    "http://[::1",
    "http://[::1]x/",
    "http://[v1.x]/",
    "http://pictures.example:99999/",
    "http://pictures.example:-1/",
    "http://pictures.example:x/",
    "http://pictures.example:0/",
    "http://pictures.example:80:80/",
    "http://some one@pictures.example/",
    "http://user@pictures.example/a.png",
    "http://user:secret@pictures.example/a.png",
    "http://pictures.example\\@127.0.0.1/",
    "http://pictures.example#@127.0.0.1/\r\n",
    "http://pictures.example/\r\nHost: 127.0.0.1",
    "http://pictures.example\r\nHost: 127.0.0.1/",
    "http://pictures.example\t/",
    "http://pictures.example\x00.evil.example/",
    "http://pictures%00.example/",
    "http://pictures%2eexample/",
    "http://pic tures.example/",
    "http://-pictures.example/",
    "http://pictures..example/",
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
    "ftp://pictures.example/a.png",
    "gopher://127.0.0.1:70/_x",
    "dict://127.0.0.1:11211/stat",
    "ldap://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "unix:///run/x.sock",
    "http+unix://%2Frun%2Fx.sock/",
    "ws://pictures.example/",
    "javascript:alert(1)",
    "about:blank",
    "blob:http://pictures.example/x",
    "view-source:http://127.0.0.1/",
    "data:text/html,<script>alert(1)</script>",
    "data:image/png;base64,AAAA",
    "HTTP://LOCALHOST/",
    "hTTp://127.0.0.1/",
    "https://" + "a" * 5000,
    7,
    True,
    ["http://pictures.example/a.png"],
    {"url": "http://pictures.example/a.png"},
]


@pytest.mark.parametrize("url", NO_URLS, ids=lambda value: repr(value)[:40])
async def test_what_is_no_plain_address_is_refused_by_name(
    world: Internet, asker: httpx.AsyncClient, url: object
) -> None:
    world.serve(b"no picture at all")
    world.name("pictures.example", [PUBLIC])
    invalid(await ask(asker, url), "image_url")
    assert world.served == [] or url in ("http://-pictures.example/",)


# Redirects


async def test_a_redirect_to_an_inner_address_ends_there(world: Internet, asker: httpx.AsyncClient) -> None:
    world.name("pictures.example", [PUBLIC])
    for host in HOSTS:
        target = f"http://{host}:{world.port}/a.png".replace("\r\n", "%0d%0a")
        world.redirect(target)
        invalid(await ask(asker, "http://pictures.example/a.png"), "image_url")
    assert set(world.tried) == {PUBLIC}
    assert len(world.served) >= len(HOSTS)  # each was asked once, and some were asked again below themselves


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_checked(world: Internet, asker: httpx.AsyncClient, status: int) -> None:
    world.name("pictures.example", [PUBLIC])
    for target in (
        f"http://127.0.0.1:{world.port}/",
        f"//127.0.0.1:{world.port}/",
        "http://metadata.example/latest/",
        "file:///etc/passwd",
    ):
        world.name("metadata.example", ["169.254.169.254"])
        world.redirect(target, status)
        invalid(await ask(asker, "http://pictures.example/a.png"), "image_url")


async def test_a_circle_of_redirects_ends(world: Internet, asker: httpx.AsyncClient) -> None:
    world.name("pictures.example", [PUBLIC])
    world.redirect("http://pictures.example/a.png")
    invalid(await ask(asker, "http://pictures.example/a.png"), "image_url")
    assert len(world.served) < 10


# Names that change their answer


async def test_the_address_that_was_checked_is_the_one_that_is_reached(
    world: Internet, asker: httpx.AsyncClient
) -> None:
    """Public when it is checked, and this machine when it would be asked again: it is not asked again."""
    world.serve(png(colour="olive"))
    host = world.name("rebinding.example", [PUBLIC], ["127.0.0.1"])
    answer = await ask(asker, f"http://{host}:{world.port}/a.png")
    assert answer.status_code == 202, answer.text
    assert world.asked.count(host) == 1
    assert world.tried == [PUBLIC]


async def test_a_name_that_has_changed_its_mind_is_refused_at_the_next_hop(
    world: Internet, asker: httpx.AsyncClient
) -> None:
    host = world.name("rebinding.example", [PUBLIC], ["127.0.0.1"])
    world.redirect(f"http://{host}:{world.port}/b.png")
    invalid(await ask(asker, f"http://{host}:{world.port}/a.png"), "image_url")
    assert len(world.served) == 1


async def test_a_name_that_is_public_only_now_and_then_is_never_followed_within(
    world: Internet, asker: httpx.AsyncClient
) -> None:
    for answers in (
        [["127.0.0.1"], [PUBLIC]],
        [[PUBLIC, "127.0.0.1"], [PUBLIC]],
        [["::1"], [PUBLIC]],
        [["169.254.169.254"], [PUBLIC]],
    ):
        host = world.name("now-and-then.example", *answers)
        invalid(await ask(asker, f"http://{host}:{world.port}/a.png"), "image_url")
    assert world.tried == []


# The providers of the settings are no exception for a person


async def test_a_person_cannot_point_to_the_configured_provider_on_this_machine(
    world: Internet, asker: httpx.AsyncClient, atelier: Studio
) -> None:
    provider: Any = next(iter(atelier.program.providers.values()))
    base = provider._provider._api.home.base_url
    assert base.startswith("http://127.0.0.1:")
    for path in ("/models", "/key", "/videos/x/content"):
        assert REFUSED in str(invalid(await ask(asker, base + path), "image_url"))
