"""`/assets`: files that people bring, judged by what they are and never by what they are called."""

import io
import os
import struct
import zlib
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image

from tests.api.kit import (
    INVENTED,
    asked_clip,
    check_asset,
    check_list,
    clip,
    eventually,
    invalid,
    photograph,
    picture,
    pictured,
    png,
    problem,
    read_job,
    seen,
    uploaded,
    watched,
)
from tests.studio import running

PATH = "/api/v1/assets"


@pytest.mark.parametrize(
    ("name", "claimed", "form", "mime"),
    [
        ("a.png", "image/png", "PNG", "image/png"),
        ("a.jpg", "image/jpeg", "JPEG", "image/jpeg"),
        ("a.webp", "image/webp", "WEBP", "image/webp"),
        ("page.html", "text/html", "PNG", "image/png"),
        ("a.png", "image/png", "JPEG", "image/jpeg"),
        ("noname", "application/octet-stream", "PNG", "image/png"),
        ("../../etc/passwd", "image/png", "PNG", "image/png"),
        ("\u202egnp.exe", "image/png", "PNG", "image/png"),
        ("a" * 3000 + ".png", "image/png", "PNG", "image/png"),
        ("nul\x00.png", "image/png", "PNG", "image/png"),
        ("<script>.png", "image/png", "PNG", "image/png"),
    ],
)
async def test_a_picture_is_taken_for_what_it_is(
    maker: httpx.AsyncClient, name: str, claimed: str, form: str, mime: str
) -> None:
    answer = await maker.post(PATH, files={"file": (name, picture(form), claimed)})
    assert answer.status_code == 201, answer.text
    asset = answer.json()
    check_asset(asset)
    assert (asset["kind"], asset["mime"], asset["width"], asset["height"]) == ("image", mime, 64, 48)
    media = await maker.get(asset["url"])
    assert media.headers["content-type"] == mime
    assert seen(media.content).size == (64, 48)
    assert len(media.content) == asset["bytes"]
    assert (await maker.get(f"{PATH}/{asset['id']}")).json() == asset


async def test_a_clip_is_taken_and_plays(maker: httpx.AsyncClient, tmp_path: Path) -> None:
    data = clip(tmp_path / "clip.mp4")
    answer = await maker.post(PATH, files={"file": ("holiday.txt", data, "text/plain")})
    assert answer.status_code == 201, answer.text
    asset = answer.json()
    check_asset(asset)
    assert (asset["kind"], asset["mime"], asset["width"], asset["height"]) == ("video", "video/mp4", 64, 48)
    assert asset["duration"] == pytest.approx(1, abs=0.11)
    assert watched((await maker.get(asset["url"])).content)[1:3] == (64, 48)
    assert asset["thumbnail_url"]
    assert (await maker.get(asset["thumbnail_url"])).status_code == 200


async def test_a_photograph_stands_upright_and_no_longer_tells_where_it_was_taken(maker: httpx.AsyncClient) -> None:
    asset = await uploaded(maker, photograph(), "photo.jpg")
    assert (asset["width"], asset["height"]) == (40, 80)
    for url in (asset["url"], asset["thumbnail_url"]):
        content = (await maker.get(url)).content
        image = seen(content)
        assert not dict(image.getexif())
        for secret in (b"SecretCamera", b"Exif", b"made at home"):
            assert secret not in content
        assert image.width < image.height


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)" width="9" height="9"/>'
HTML = b"<!doctype html><html><script>alert(1)</script></html>"


def bomb() -> bytes:
    """A PNG of 60,000 by 60,000 in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_000), 9))
        + chunk(b"IEND", b"")
    )


def sound() -> bytes:
    """An MP4 with nothing to see."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def icon() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "ICO")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("svg", SVG),
        ("svg called png", SVG),
        ("html", HTML),
        ("text", b"hello"),
        ("empty", b""),
        ("one byte", b"\x89"),
        ("zip", b"PK\x03\x04" + bytes(100)),
        ("pdf", b"%PDF-1.7\n" + bytes(100)),
        ("exe", b"MZ" + bytes(100)),
        ("playlist", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n"),
        ("ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("cut png", png()[:60]),
        ("png signature alone", b"\x89PNG\r\n\x1a\n"),
        ("cut jpeg", photograph()[:200]),
        ("mp4 signature alone", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"),
        ("mp4 signature and rubbish", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + os.urandom(3000)),
        ("sound alone", sound()),
        ("icon", icon()),
        ("zeros", bytes(5000)),
        ("bomb", bomb()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_no_picture_and_no_clip_is_415_whatever_it_is_called(
    reader: httpx.AsyncClient, name: str, data: bytes
) -> None:
    for filename, claimed in (("a.png", "image/png"), ("a.mp4", "video/mp4")):
        answer = await reader.post(PATH, files={"file": (filename, data, claimed)})
        if name == "bomb":
            assert answer.status_code in (413, 415)
        else:
            problem(answer, 415, "INVALID_FILE_TYPE")
    assert (await reader.get(PATH)).json()["total"] == 0


async def test_a_picture_with_a_page_hidden_behind_it_is_served_as_a_picture_or_not_at_all(
    maker: httpx.AsyncClient,
) -> None:
    answer = await maker.post(PATH, files={"file": ("a.html", png() + HTML, "text/html")})
    if answer.status_code == 201:
        media = await maker.get(answer.json()["url"])
        assert media.headers["content-type"] == "image/png"
        assert media.headers["x-content-type-options"] == "nosniff"
    else:
        problem(answer, 415, "INVALID_FILE_TYPE")


async def test_a_picture_above_the_cap_is_413(ann: httpx.AsyncClient) -> None:
    file = io.BytesIO()
    Image.frombytes("RGB", (2048, 2048), os.urandom(2048 * 2048 * 3)).save(file, "PNG", compress_level=0)
    error = problem(await ann.post(PATH, files={"file": ("a.png", file.getvalue())}), 413, "FILE_TOO_LARGE")
    assert error["message"] == "This picture is larger than the 10 MB that are taken."
    assert (await ann.get(PATH)).json()["total"] == 0


async def test_a_clip_above_the_cap_and_a_body_above_every_cap_are_413(tmp_path: Path) -> None:
    data = clip(tmp_path / "clip.mp4")
    caps = {"ATELIER_MAX_IMAGE_MB": "0.01", "ATELIER_MAX_VIDEO_MB": "0.01"}
    async with running(tmp_path, **caps) as studio:
        client = await studio.person()
        padded = data + struct.pack(">I", 20_000) + b"free" + bytes(19_992)
        problem(await client.post(PATH, files={"file": ("a.mp4", padded)}), 413, "FILE_TOO_LARGE")
        problem(await client.post(PATH, files={"file": ("a.bin", bytes(3_000_000))}), 413, "FILE_TOO_LARGE")
        assert (await client.get(PATH)).json()["total"] == 0
        leftovers = [
            file for file in (tmp_path / "data").rglob("*") if file.is_file() and file.stat().st_size == 3_000_000
        ]
        assert leftovers == []


@pytest.mark.parametrize(
    "case", ["no file", "a word instead", "two files", "another name", "json", "nothing", "broken"]
)
async def test_an_upload_without_its_file_is_refused_in_the_envelope(maker: httpx.AsyncClient, case: str) -> None:
    if case == "no file":
        answer = await maker.post(PATH, files={"other": ("a.txt", b"x")})
    elif case == "a word instead":
        answer = await maker.post(PATH, files={"file": (None, "word")})
    elif case == "two files":
        answer = await maker.post(PATH, files=[("file", ("a.png", png())), ("file", ("b.png", png()))])
    elif case == "another name":
        answer = await maker.post(PATH, files={"picture": ("a.png", png())})
    elif case == "json":
        answer = await maker.post(PATH, json={"file": "x"})
    elif case == "nothing":
        answer = await maker.post(PATH)
    else:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = await maker.post(PATH, content=b"--y\r\nrubbish", headers=headers)
    assert answer.status_code in (400, 415), answer.text
    problem(answer, answer.status_code)
    if case in ("no file", "another name", "two files", "a word instead"):
        assert "<class" not in invalid(answer, "file")["details"]["fields"]["file"]


async def test_own_files_are_listed_newest_first_whether_made_or_brought(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    brought = await uploaded(ann)
    made = (await pictured(ann))["assets"][0]
    await uploaded(bob)
    answer = await ann.get(PATH)
    assert answer.status_code == 200
    assert check_list(answer.json()) == [made, brought]
    first = (await ann.get(PATH, params={"limit": 1})).json()
    assert (first["items"], first["total"]) == ([made], 2)
    second = (await ann.get(PATH, params={"limit": 1, "cursor": first["next"]})).json()
    assert (second["items"], second["next"]) == ([brought], None)


async def test_a_deleted_file_is_gone_for_good_for_its_owner(ann: httpx.AsyncClient) -> None:
    asset = await uploaded(ann)
    kept = await uploaded(ann)
    answer = await ann.delete(f"{PATH}/{asset['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(await ann.get(f"{PATH}/{asset['id']}"), 404, "RESOURCE_NOT_FOUND")
    assert (await ann.get(asset["url"])).status_code == 404
    assert (await ann.get(asset["thumbnail_url"])).status_code == 404
    problem(await ann.delete(f"{PATH}/{asset['id']}"), 404, "RESOURCE_NOT_FOUND")
    assert (await ann.get(PATH)).json()["items"] == [kept]


async def test_the_job_outlives_its_deleted_picture(maker: httpx.AsyncClient) -> None:
    job = await pictured(maker)
    await maker.delete(f"{PATH}/{job['assets'][0]['id']}")
    left = await read_job(maker, job["id"])
    assert left == {**job, "assets": []}


async def test_a_strangers_file_is_exactly_as_absent_as_an_invented_one(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    asset = await uploaded(ann)
    for method in ("GET", "DELETE"):
        stranger = await bob.request(method, f"{PATH}/{asset['id']}")
        nobody = await bob.request(method, f"{PATH}/{INVENTED}")
        assert problem(stranger, 404, "RESOURCE_NOT_FOUND") == problem(nobody, 404, "RESOURCE_NOT_FOUND")
    assert (await ann.get(asset["url"])).status_code == 200


async def test_deleting_a_first_frame_under_way_loses_no_clip(maker: httpx.AsyncClient) -> None:
    from tests.api.kit import FRAMED, SHORT_FRAMED

    asset = await uploaded(maker)
    body = {"model": FRAMED, "prompt": "it wakes", "image_asset_id": asset["id"], **SHORT_FRAMED}
    job = (await maker.post("/api/v1/generate/video/from-image", json=body)).json()
    assert (await maker.delete(f"{PATH}/{asset['id']}")).status_code in (204, 409)
    done = await eventually(
        lambda: read_job(maker, job["id"]), lambda now: now["status"] in ("completed", "failed", "cancelled")
    )
    assert done["status"] == "completed" or done["error"]["message"].strip()


async def test_a_clips_poster_is_deleted_with_it(maker: httpx.AsyncClient) -> None:
    job = await asked_clip(maker)
    done = await eventually(lambda: read_job(maker, job["id"]), lambda now: now["status"] == "completed")
    [asset] = done["assets"]
    assert (await maker.delete(f"{PATH}/{asset['id']}")).status_code == 204
    assert (await maker.get(asset["thumbnail_url"])).status_code == 404
    status = (await maker.get(job["polling_url"])).json()
    assert status["status"] == "completed"
    assert status.get("video_url") is None
