"""Multipart forms: which file names are accepted, and that a form which breaks off leaves no file open."""

import os
import tempfile
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, Request, post

from app.base.errors import Invalid
from app.web import forms
from app.web.errors import HANDLERS
from app.web.limits import FILES
from tests.kit import Cases, new_user, png
from tests.studio import Studio

HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}
# The end of a part's Content-Disposition header, and the file's name.
NAMES = {
    b'filename="a.png"': "a.png",
    b"filename*=UTF-8''caf%C3%A9.png": "café.png",
    b"filename*=iso-8859-1'fr'caf%E9.png": "café.png",
    b"filename=\"plain.png\"; filename*=UTF-8''extended.png": "plain.png",
    'filename="café.png"'.encode(): "café.png",
    'filename="café.png"'.encode("latin-1"): "café.png",
    'filename="日本%22.png"'.encode(): '日本".png',
}


def form(parameters: bytes, content: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="file"; ' + parameters + b"\r\n\r\n" + content


async def test_a_file_name_may_be_in_utf_8_or_latin_1_or_in_the_extended_form(atelier: Studio) -> None:
    client = await new_user(atelier)
    owner = (await client.get("/api/v1/users/me")).json()["id"]
    with Cases() as cases:
        for parameters, name in NAMES.items():
            with cases.case(parameters):
                answer = await client.post(
                    "/api/v1/assets", content=form(parameters, png()) + b"\r\n--x--\r\n", headers=HEADERS
                )
                assert answer.status_code == 201, answer.text
                assert (await atelier.program.library.find(owner, answer.json()["id"])).name == name


def open_files(folder: Path) -> list[str]:
    """The files below the folder that this process has open; deleted ones too."""
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]  # noqa: PTH115
    return [link for link in links if link.startswith(str(folder))]


async def test_a_form_that_breaks_off_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    errors: list[Invalid] = []  # they keep the frames of the reader alive, and with them what it has not closed

    @post("/", request_max_body_size=FILES)
    async def read(request: Request[Any, Any, Any]) -> None:
        try:
            await forms.parsed(request)
        except Invalid as exc:
            errors.append(exc)
            raise

    app = Litestar([read], exception_handlers=HANDLERS, logging_config=None, openapi_config=None)
    large = bytes(2_000_000)  # too large to be kept in memory
    finished = form(b'filename="a"', large) + b"\r\n"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, app)), base_url="http://studio.test") as http:
        for body in (
            form(b'filename="a"', large),
            finished,
            finished + form(b'filename="b"', large),
            finished + b"--x",
        ):
            answer = await http.post("/", content=body, headers=HEADERS | {"HX-Request": "true"})
            assert answer.status_code == 400
    assert len(errors) == 4
    assert open_files(tmp_path) == []
