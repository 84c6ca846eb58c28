"""A repeated request with an `image_url` downloads nothing: an image server counts, and the library and the jobs agree."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.kit import (
    IMAGE_TO_VIDEO_MODEL,
    MULTI_IMAGE_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    Json,
    new_email,
    png,
    validation_error,
)
from tests.pages import new_page_user
from tests.storage import samples
from tests.studio import Studio, running

PUBLIC = "93.184.215.14"
PATHS = ("/api/v1/generate/video/from-image", "/api/v1/generate/image")


class ImageServer:
    """Stands behind a public address. `downloads` are the requests that it got; each answer takes a moment, so that
    simultaneous requests meet."""

    def __init__(self) -> None:
        self.downloads: list[str] = []
        self.dead = False
        self.content = png()
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.downloads.append(head.split(b" ")[1].decode())
        await asyncio.sleep(0.1)
        status, content = ("404 Not Found", b"") if self.dead else ("200 OK", self.content)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(content)
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture(scope="module")
async def image_server() -> AsyncIterator[ImageServer]:
    found = ImageServer()
    loop = type(asyncio.get_running_loop())
    connect = loop.sock_connect

    async def connected(self: Any, sock: Any, address: Any) -> Any:
        target = ("127.0.0.1", found.port) if address[0] == PUBLIC else address
        return await connect(self, sock, target)

    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "sock_connect", connected)
        async with server:
            yield found


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory, image_server: ImageServer) -> AsyncIterator[Studio]:
    """A program of its own, because its connections lead to the image server."""
    async with running(tmp_path_factory.mktemp("image-url")) as studio:
        yield studio


@pytest.fixture(autouse=True)
def alive(image_server: ImageServer) -> None:
    image_server.dead, image_server.content = False, png()
    image_server.downloads.clear()


def body(path: str, image: str) -> Json:
    models: dict[str, Json] = {
        PATHS[0]: {"model": IMAGE_TO_VIDEO_MODEL, **SHORT_IMAGE_TO_VIDEO},
        PATHS[1]: {"model": MULTI_IMAGE_MODEL},
    }
    return {**models[path], "prompt": "it wakes", "image_url": f"http://{PUBLIC}/{image}.png"}


async def total(user: httpx.AsyncClient, of: str) -> int:
    count: int = (await user.get(f"/api/v1/{of}")).json()["total"]
    return count


async def uploads(user: httpx.AsyncClient) -> int:
    """The library without the results of jobs."""
    items = (await user.get("/api/v1/assets?limit=100")).json()["items"]
    jobs = (await user.get("/api/v1/jobs?limit=100")).json()["items"]
    results = {asset["id"] for job in jobs for asset in job["assets"]}
    return len([item for item in items if item["id"] not in results])


HEADERS = {"Idempotency-Key": "k", "Prefer": "respond-async"}


@pytest.mark.parametrize("path", PATHS)
async def test_three_requests_in_a_row_download_once(path: str, studio: Studio, image_server: ImageServer) -> None:
    user, request = await studio.user(new_email(), direct=True), body(path, "row")
    answers = [await user.post(path, json=request, headers=HEADERS) for _ in range(3)]
    assert {answer.status_code for answer in answers} <= {200, 202}, answers[-1].text
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert image_server.downloads == ["/row.png"]
    assert (await total(user, "jobs"), await uploads(user)) == (1, 1)


@pytest.mark.parametrize("path", PATHS)
async def test_ten_simultaneous_requests_download_once(path: str, studio: Studio, image_server: ImageServer) -> None:
    user, request = await studio.user(new_email(), direct=True), body(path, "crowd")
    answers = await asyncio.gather(*(user.post(path, json=request, headers=HEADERS) for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert image_server.downloads == ["/crowd.png"]
    assert (await total(user, "jobs"), await uploads(user)) == (1, 1)


@pytest.mark.parametrize("path", PATHS)
async def test_a_url_that_is_dead_by_the_second_time_gets_the_first_answer(
    path: str, studio: Studio, image_server: ImageServer
) -> None:
    user, request = await studio.user(new_email(), direct=True), body(path, "dead")
    first = await user.post(path, json=request, headers=HEADERS)
    image_server.dead = True
    second = await user.post(path, json=request, headers=HEADERS)
    assert second.status_code in (200, 202)
    assert second.json()["id"] == first.json()["id"]
    assert image_server.downloads == ["/dead.png"]


async def test_a_request_whose_download_failed_does_not_use_up_its_key(
    studio: Studio, image_server: ImageServer
) -> None:
    path = PATHS[0]
    user, request = await studio.user(new_email(), direct=True), body(path, "late")
    image_server.dead = True
    validation_error(await user.post(path, json=request, headers=HEADERS), "image_url")
    image_server.dead = False
    assert (await user.post(path, json=request, headers=HEADERS)).status_code == 202
    assert image_server.downloads == ["/late.png", "/late.png"]


@pytest.mark.parametrize("path", PATHS)
async def test_the_answer_says_that_only_the_first_frame_of_an_animation_was_kept(
    path: str, studio: Studio, image_server: ImageServer
) -> None:
    user = await studio.user(new_email(), direct=True)
    for frames, codes in ((3, ["FRAMES_DROPPED"]), (1, [])):
        image_server.content = samples.animated("WEBP", frames)
        headers = {"Prefer": "respond-async"}
        job = (await user.post(path, json=body(path, f"frames-{frames}"), headers=headers)).json()
        assert [(warning["index"], warning["code"]) for warning in job["warnings"]] == [(None, code) for code in codes]
        assert (await user.get(f"/api/v1/jobs/{job['id']}")).json()["warnings"] == job["warnings"]


async def test_openai_clients_upload_or_name_an_image_once(studio: Studio, image_server: ImageServer) -> None:
    user = await studio.user(new_email(), direct=True)
    named = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "it wakes",
        "input_reference": {"image_url": f"http://{PUBLIC}/sdk.png"},
        "seconds": SHORT_IMAGE_TO_VIDEO["duration"],
    }
    answers = await asyncio.gather(*(user.post("/v1/videos", json=named, headers=HEADERS) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert image_server.downloads == ["/sdk.png"]
    fields = {"model": MULTI_IMAGE_MODEL, "prompt": "it wakes"}
    edits = [
        await user.post(
            "/v1/images/edits", data=fields, files={"image": ("a.png", png())}, headers={"Idempotency-Key": "e"}
        )
        for _ in range(3)
    ]
    assert {answer.status_code for answer in edits} == {200}, edits[0].text
    assert len({answer.content for answer in edits}) == 1
    other = {"image": ("a.png", png(90, 60))}
    conflict = await user.post("/v1/images/edits", data=fields, files=other, headers={"Idempotency-Key": "e"})
    assert conflict.status_code == 409
    assert (await total(user, "jobs"), await uploads(user)) == (2, 2)


async def test_a_double_click_with_a_file_stores_it_once_and_another_file_is_another_request(studio: Studio) -> None:
    user = await new_page_user(studio, "double-click")
    form = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "it wakes",
        "mode": "image",
        "idempotency_key": "click",
        **{name: str(value) for name, value in SHORT_IMAGE_TO_VIDEO.items()},
    }

    async def click(image: bytes) -> str:
        answer = await user.browser.send_form("/generate/video", form, files={"image": ("a.png", image)})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    clicks = [await click(png()) for _ in range(3)]
    assert len(set(clicks)) == 1
    assert (await total(user.client, "jobs"), await uploads(user.client)) == (1, 1)
    assert await click(png(90, 60)) not in clicks
    assert (await total(user.client, "jobs"), await uploads(user.client)) == (2, 2)
