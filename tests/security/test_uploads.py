"""Files made to do harm, sent through both doors that take files, and what is served of those that are taken."""

import re
from urllib.parse import unquote

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import clip, email, png, problem
from tests.security.raw import head, talk
from tests.storage.hostile import CORPUS, Entry, Fate
from tests.studio import Browser, Studio

STATUS = {Fate.WRONG_TYPE: 415, Fate.TOO_LARGE: 413, Fate.CLEANED: 201}
# What a path, an address in memory, or a library's own words would look like in a refusal.
TELLTALE = re.compile(r"/tmp|/media|\.py|0x[0-9a-f]{6}|Errno|libav|ffmpeg|PIL|Pillow|PyAV|Traceback")
# Whatever was claimed, nothing is ever served as something that a browser would run.
HARMLESS = ("image/png", "image/jpeg", "image/webp", "video/mp4", "video/webm")


class Sender:
    """Somebody who sends files in both ways."""

    def __init__(self, client: httpx.AsyncClient, browser: Browser) -> None:
        self.client, self.browser = client, browser
        self.token = ""

    async def by_api(self, name: str, data: bytes, kind: str = "image/png") -> httpx.Response:
        return await self.client.post("/api/v1/assets", files={"file": (name, data, kind)})

    async def by_page(self, name: str, data: bytes, kind: str = "image/png") -> httpx.Response:
        self.token = self.token or await self.browser.form_token("/library")
        files = {"file": (name, data, kind)}
        return await self.browser.post("/library", files=files, data={"_csrf_token": self.token})

    async def total(self) -> int:
        total: int = (await self.client.get("/api/v1/assets")).json()["total"]
        return total


@pytest_asyncio.fixture(scope="module")
async def sender(atelier: Studio) -> Sender:
    address = email("sender")
    return Sender(await atelier.person(address), await atelier.person_in_browser(address))


async def served(sender: Sender, id: str) -> list[httpx.Response]:
    """Everything that is to be had of a file, by bearer and by cookie."""
    paths = (f"/media/{id}", f"/media/{id}?download=true", f"/media/{id}/thumbnail")
    return [await asker.get(path) for path in paths for asker in (sender.client, sender.browser)]


def check_harmless(answer: httpx.Response) -> None:
    assert answer.status_code == 200
    assert answer.headers["content-type"] in HARMLESS
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy
    assert "allow-" not in policy
    name = re.fullmatch(r"(inline|attachment); filename\*=UTF-8''([\w.%-]+)", answer.headers["content-disposition"])
    assert name, answer.headers["content-disposition"]
    assert re.fullmatch(r"[0-9a-f]{32}\.(png|jpg|webp|mp4|webm)", unquote(name[2]))


@pytest.mark.parametrize("entry", CORPUS, ids=str)
async def test_a_hostile_file_gets_what_it_deserves_through_the_api(sender: Sender, entry: Entry) -> None:
    before = await sender.total()
    answer = await sender.by_api(entry.name, entry.data())
    if entry.expected is Fate.CLEANED:
        assert answer.status_code == 201, answer.text
        for file in await served(sender, answer.json()["id"]):
            check_harmless(file)
            assert [trace for trace in entry.traces if trace in file.content] == []
    else:
        code = "INVALID_FILE_TYPE" if entry.expected is Fate.WRONG_TYPE else "FILE_TOO_LARGE"
        error = problem(answer, STATUS[entry.expected], code)
        assert not TELLTALE.search(answer.text)
        assert entry.name not in error["message"]
        assert await sender.total() == before


@pytest.mark.parametrize("entry", CORPUS[::4], ids=str)
async def test_a_hostile_file_gets_what_it_deserves_through_the_form(sender: Sender, entry: Entry) -> None:
    """The same rules stand behind both doors, so a part of the corpus shows that they do."""
    before = await sender.total()
    answer = await sender.by_page(entry.name, entry.data())
    if entry.expected is Fate.CLEANED:
        assert answer.status_code == 303
        id = answer.headers["location"].removeprefix("/library/")
        for file in await served(sender, id):
            check_harmless(file)
            assert [trace for trace in entry.traces if trace in file.content] == []
    else:
        assert answer.status_code == STATUS[entry.expected]
        assert answer.headers["content-type"].startswith("text/html")
        assert not TELLTALE.search(answer.text)
        assert await sender.total() == before


async def test_the_form_sees_every_fate(sender: Sender) -> None:
    assert {entry.expected for entry in CORPUS[::4]} == set(Fate)


CLAIMS = [
    "text/html",
    "image/svg+xml",
    "application/javascript",
    "application/x-httpd-php",
    "x",
    "",
    "image/png\x00text/html",
]


@pytest.mark.parametrize("claimed", CLAIMS)
async def test_what_a_file_is_said_to_be_is_never_believed(sender: Sender, claimed: str) -> None:
    answer = await sender.by_api("page.html", png(), claimed)
    assert answer.status_code == 201
    assert answer.json()["mime"] == "image/png"
    for file in await served(sender, answer.json()["id"]):
        check_harmless(file)
    refused = await sender.by_api("picture.png", b"<html><script>alert(1)</script></html>", "image/png")
    problem(refused, 415, "INVALID_FILE_TYPE")


NAMES = [
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\autoexec.bat",
    "\\\\server\\share\\x.png",
    "a/../../b.png",
    "~/.ssh/id_rsa",
    ".htaccess",
    "..",
    ".",
    "-rf",
    "%2e%2e%2fetc%2fpasswd",
    "a%00.png",
    "a\x00.png",
    "a\r\nSet-Cookie: stolen=1\r\n.png",
    'a"; filename="b.html',
    "a'; drop table assets; --.png",
    "<img src=x onerror=alert(1)>.png",
    "{{ 7 * 7 }}.png",
    "${7*7}.png",
    "$(touch x).png",
    "`id`.png",
    "|id|.png",
    "a\u202egnp.exe",
    "\u200b\u200b.png",
    "\U0001f600.png",
    "é" * 200 + ".png",
    "a" * 4000 + ".png",
    "CON",
    "NUL.png",
    "\ufeffa.png",
    "a\u2028b.png",
    " ",
    "\t.png",
    ".png",
    "a.png/",
    "a.php.png",
    "a.svg",
    "a.html",
    "a.png;.html",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda value: repr(value)[:30])
async def test_a_files_name_is_a_label_and_nothing_else(atelier: Studio, sender: Sender, name: str) -> None:
    """It decides neither where the file lies nor how it is served, and no page says it but as text."""
    answer = await sender.by_api(name, png())
    assert answer.status_code == 201, answer.text
    assert "stolen" not in str(answer.headers)
    id = answer.json()["id"]
    for file in await served(sender, id):
        check_harmless(file)
    page = await sender.browser.get(f"/library/{id}")
    assert page.status_code == 200
    assert "<img src=x" not in page.text
    assert ">49.png" not in page.text
    stored = atelier.program.settings.data_dir
    strange = [
        path
        for path in stored.rglob("*")
        if path.is_file()
        and "media" in path.parts
        and not re.fullmatch(r"[0-9a-f]{64}\.(png|jpg|webp|mp4|webm)", path.name)
    ]
    assert strange == []


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"\xc3(.png", b"a\x7f.png"])
async def test_a_name_that_is_no_text_is_no_bug(atelier: Studio, sender: Sender, name: bytes) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="'
        + name
        + b'"\r\n\r\n'
        + png()
        + b"\r\n--x--\r\n"
    )
    headers = {
        "Authorization": sender.client.headers["authorization"],
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": str(len(body)),
    }
    answer = await talk(atelier.url, head("POST", "/api/v1/assets", headers) + body)
    assert answer.status in (201, 400)


BROKEN = [
    b"",
    b"rubbish",
    b"--x\r\n",
    b"--x--\r\n",
    b"--x\r\n\r\n\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\xff\xfe\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: text/plain; charset=none\r\n\r\nx\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: attachment; name="file"; filename="a"\r\n\r\nx\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx',
    b"--x\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 3_000 + b"--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n' * 2 + b"--x--\r\n",
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda value: repr(value)[:50])
async def test_a_broken_form_is_refused_and_no_bug(sender: Sender, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await sender.client.post("/api/v1/assets", content=body, headers=headers)
    assert answer.status_code in (400, 415), answer.text
    problem(answer, answer.status_code)
    await sender.by_page("a", b"x")  # so that there is a token
    page = await sender.browser.post("/library", content=body, headers={**headers, "X-CSRFToken": sender.token})
    assert page.status_code in (400, 415), page.status_code


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", 'multipart/form-data; boundary=""', "multipart/mixed; boundary=x", "image/png", ""]
)
async def test_a_file_comes_in_a_form_or_not_at_all(sender: Sender, kind: str) -> None:
    answer = await sender.client.post("/api/v1/assets", content=png(), headers={"Content-Type": kind})
    assert answer.status_code in (400, 415)
    problem(answer, answer.status_code)


async def test_a_file_larger_than_any_cap_ends_at_its_announcement(atelier: Studio, sender: Sender) -> None:
    headers = {
        "Authorization": sender.client.headers["authorization"],
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": str(atelier.program.library.largest * 2),
    }
    assert (await talk(atelier.url, head("POST", "/api/v1/assets", headers))).status == 413


async def test_an_upload_by_nobody_is_not_read(atelier: Studio) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "100000000"}
    assert (await talk(atelier.url, head("POST", "/api/v1/assets", headers))).status == 401


async def test_nothing_of_what_was_sent_stays_lying_about(atelier: Studio, sender: Sender) -> None:
    """After all of the above: no half-read upload in the folder for temporary files."""
    await sender.by_api("a.png", CORPUS[0].data())
    left = [path for path in atelier.program.folder.temporary.rglob("*") if path.is_file()]
    assert left == []


async def test_a_clip_is_served_as_harmlessly_as_a_picture(sender: Sender, tmp_path: object) -> None:
    from pathlib import Path

    answer = await sender.by_api("a.html", clip(Path(str(tmp_path)) / "clip.mp4"), "text/html")
    assert answer.status_code == 201
    for file in await served(sender, answer.json()["id"]):
        check_harmless(file)
