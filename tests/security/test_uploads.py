"""Hostile files, uploaded by API and by form, and what is served of those that are accepted."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest_asyncio

from tests.kit import Cases, encoded_mp4, error_of, eventually, png
from tests.pages import new_page_user
from tests.security.raw import exchange, head
from tests.storage.hostile import CORPUS, Entry, Fate
from tests.studio import Browser, Studio

STATUS = {Fate.WRONG_TYPE: 415, Fate.TOO_LARGE: 413, Fate.CLEANED: 201}
CODE = {Fate.WRONG_TYPE: "INVALID_FILE_TYPE", Fate.TOO_LARGE: "FILE_TOO_LARGE"}
# What a path, an address in memory, or the message of a library would look like in an error.
INTERNALS = re.compile(r"/tmp|/media|\.py|0x[0-9a-f]{6}|Errno|libav|ffmpeg|PIL|Pillow|PyAV|Traceback")
# Whatever a file claims to be, nothing is ever served as something that a browser would run.
HARMLESS = ("image/png", "image/jpeg", "image/webp", "video/mp4", "video/webm")
FORM_ENTRIES = CORPUS[::4]  # both ways apply the same rules, so a part of the corpus shows that the form does


class Sender:
    """A user who uploads files by API and by form."""

    def __init__(self, client: httpx.AsyncClient, browser: Browser, token: str) -> None:
        self.client, self.browser, self.token = client, browser, token

    async def by_api(self, name: str, data: bytes, kind: str = "image/png") -> httpx.Response:
        return await self.client.post("/api/v1/assets", files={"file": (name, data, kind)})

    async def by_form(self, name: str, data: bytes, kind: str = "image/png") -> httpx.Response:
        files = {"file": (name, data, kind)}
        return await self.browser.post("/library", files=files, data={"_csrf_token": self.token})

    async def total(self) -> int:
        total: int = (await self.client.get("/api/v1/assets")).json()["total"]
        return total


@pytest_asyncio.fixture(scope="module")
async def sender(atelier: Studio) -> Sender:
    user = await new_page_user(atelier, "uploads")
    return Sender(user.client, user.browser, await user.browser.form_token("/library"))


async def served(sender: Sender, id: str) -> list[httpx.Response]:
    """The file and its thumbnail, by bearer and by cookie."""
    paths = (f"/media/{id}", f"/media/{id}?download=true", f"/media/{id}/thumbnail")
    return [await client.get(path) for path in paths for client in (sender.client, sender.browser)]


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


async def check_cleaned(sender: Sender, entry: Entry, id: str) -> None:
    for file in await served(sender, id):
        check_harmless(file)
        assert [trace for trace in entry.traces if trace in file.content] == []


async def test_hostile_files_are_refused_or_cleaned_by_the_api(sender: Sender) -> None:
    total = await sender.total()
    with Cases() as cases:
        for entry in CORPUS:
            with cases.case(entry):
                answer = await sender.by_api(entry.name, entry.data())
                if entry.expected is Fate.CLEANED:
                    assert answer.status_code == 201, answer.text
                    total += 1
                    await check_cleaned(sender, entry, answer.json()["id"])
                else:
                    error = error_of(answer, STATUS[entry.expected], CODE[entry.expected])
                    assert not INTERNALS.search(answer.text)
                    assert entry.name not in error["message"]
                assert await sender.total() == total


async def test_hostile_files_are_refused_or_cleaned_by_the_form(sender: Sender) -> None:
    assert {entry.expected for entry in FORM_ENTRIES} == set(Fate)
    total = await sender.total()
    with Cases() as cases:
        for entry in FORM_ENTRIES:
            with cases.case(entry):
                answer = await sender.by_form(entry.name, entry.data())
                if entry.expected is Fate.CLEANED:
                    assert answer.status_code == 303
                    total += 1
                    await check_cleaned(sender, entry, answer.headers["location"].removeprefix("/library/"))
                else:
                    assert answer.status_code == STATUS[entry.expected]
                    assert answer.headers["content-type"].startswith("text/html")
                    assert not INTERNALS.search(answer.text)
                assert await sender.total() == total


CLAIMS = [
    "text/html",
    "image/svg+xml",
    "application/javascript",
    "application/x-httpd-php",
    "x",
    "",
    "image/png\x00text/html",
]


async def test_the_declared_type_of_a_file_is_never_believed(sender: Sender) -> None:
    with Cases() as cases:
        for claimed in CLAIMS:
            with cases.case(repr(claimed)):
                answer = await sender.by_api("page.html", png(), claimed)
                assert answer.status_code == 201
                assert answer.json()["mime"] == "image/png"
                for file in await served(sender, answer.json()["id"]):
                    check_harmless(file)
    refused = await sender.by_api("image.png", b"<html><script>alert(1)</script></html>", "image/png")
    error_of(refused, 415, "INVALID_FILE_TYPE")


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


def unexpected_files(studio: Studio) -> list[Path]:
    """The stored media whose names are not made of their content and type."""
    return [
        path
        for path in studio.program.settings.data_dir.rglob("*")
        if path.is_file()
        and "media" in path.parts
        and not re.fullmatch(r"[0-9a-f]{64}\.(png|jpg|webp|mp4|webm)", path.name)
    ]


async def test_the_name_of_a_file_is_only_a_label(atelier: Studio, sender: Sender) -> None:
    """It decides neither where the file is stored nor how it is served, and pages show it only as text."""
    with Cases() as cases:
        for name in NAMES:
            with cases.case(repr(name)):
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
    assert unexpected_files(atelier) == []


async def test_a_name_that_is_not_valid_text_causes_no_bug(atelier: Studio, sender: Sender) -> None:
    """Byte for byte over a real connection, because no client would send such names."""
    with Cases() as cases:
        for name in (b"\xff\xfe.png", b"\xc3(.png", b"a\x7f.png"):
            with cases.case(name):
                start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
                body = start + png() + b"\r\n--x--\r\n"
                headers = {
                    "Authorization": sender.client.headers["authorization"],
                    "Content-Type": "multipart/form-data; boundary=x",
                    "Content-Length": str(len(body)),
                }
                answer = await exchange(atelier.url, head("POST", "/api/v1/assets", headers) + body)
                assert answer.status in (201, 400)


MALFORMED_FORMS = [
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


async def test_a_malformed_form_is_refused(sender: Sender) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with Cases() as cases:
        for body in MALFORMED_FORMS:
            with cases.case(body[:80]):
                answer = await sender.client.post("/api/v1/assets", content=body, headers=headers)
                assert answer.status_code in (400, 415), answer.text
                error_of(answer, answer.status_code)
                page_headers = {**headers, "X-CSRFToken": sender.token}
                page = await sender.browser.post("/library", content=body, headers=page_headers)
                assert page.status_code in (400, 415), page.status_code


async def test_a_file_is_accepted_only_in_a_form(sender: Sender) -> None:
    kinds = (
        *("multipart/form-data", 'multipart/form-data; boundary=""', "multipart/mixed; boundary=x"),
        *("image/png", ""),
    )
    with Cases() as cases:
        for kind in kinds:
            with cases.case(kind):
                answer = await sender.client.post("/api/v1/assets", content=png(), headers={"Content-Type": kind})
                assert answer.status_code in (400, 415)
                error_of(answer, answer.status_code)


async def test_a_file_that_is_too_large_is_refused_when_its_size_is_announced(atelier: Studio, sender: Sender) -> None:
    headers = {
        "Authorization": sender.client.headers["authorization"],
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": str(atelier.program.library.max_upload_bytes * 2),
    }
    assert (await exchange(atelier.url, head("POST", "/api/v1/assets", headers))).status == 413


async def test_an_upload_without_authentication_is_not_read(atelier: Studio) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "100000000"}
    assert (await exchange(atelier.url, head("POST", "/api/v1/assets", headers))).status == 401


async def test_a_video_is_served_as_harmlessly_as_an_image(sender: Sender, tmp_path: Path) -> None:
    answer = await sender.by_api("a.html", encoded_mp4(tmp_path / "video.mp4"), "text/html")
    assert answer.status_code == 201
    for file in await served(sender, answer.json()["id"]):
        check_harmless(file)


async def test_no_upload_leaves_a_temporary_file(atelier: Studio, sender: Sender) -> None:
    """After everything above; the program's own temporary files, of jobs in progress, end with their jobs."""
    await sender.by_api("a.png", CORPUS[0].data())

    async def temporary_files() -> list[Path]:
        # os.walk skips a folder that is removed while it is read.
        return [
            Path(folder, name) for folder, _, names in os.walk(atelier.program.data_dir.temporary) for name in names
        ]

    assert await eventually(temporary_files, lambda found: not found) == []
