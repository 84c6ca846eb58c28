"""`/assets`: uploads, whose type is detected from the content and not from the name, and the list of a user's assets."""

import io
import os
import struct
import zlib
from datetime import timedelta
from pathlib import Path

import av
import httpx
import pytest
from PIL import Image

from app.base import clock
from app.base.errors import Missing
from tests.kit import (
    IMAGE_TO_VIDEO_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    UNKNOWN_ID,
    Cases,
    Json,
    check_asset,
    check_list,
    decoded_image,
    decoded_video,
    encoded_mp4,
    ended_job,
    error_of,
    generated_image,
    image_bytes,
    new_user,
    photo_with_exif,
    png,
    read_job,
    requested_video,
    uploaded_asset,
    validation_error,
)
from tests.storage import samples
from tests.studio import Studio, running

PATH = "/api/v1/assets"


UPLOADS = [  # file name, content type of the request, real format, detected type
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
]


async def test_an_image_is_accepted_for_its_content(creator: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for name, claimed, format, mime in UPLOADS:
            with cases.case(repr(name), claimed, format):
                answer = await creator.post(PATH, files={"file": (name, image_bytes(format), claimed)})
                assert answer.status_code == 201, answer.text
                asset = answer.json()
                check_asset(asset)
                assert (asset["kind"], asset["mime"], asset["width"], asset["height"]) == ("image", mime, 64, 48)
                media = await creator.get(asset["url"])
                assert media.headers["content-type"] == mime
                assert decoded_image(media.content).size == (64, 48)
                assert len(media.content) == asset["bytes"]
                assert (await creator.get(f"{PATH}/{asset['id']}")).json() == asset


async def test_an_upload_says_that_only_the_first_frame_of_an_animation_was_kept(creator: httpx.AsyncClient) -> None:
    warnings = [{"code": "FRAMES_DROPPED", "message": "Only the first frame of this animation was kept."}]
    with Cases() as cases:
        for format in ("GIF", "PNG", "WEBP", "AVIF"):
            for frames in (3, 1):
                with cases.case(format, frames):
                    answer = await creator.post(PATH, files={"file": ("a", samples.animated(format, frames))})
                    assert answer.status_code == 201, answer.text
                    asset = answer.json()
                    assert asset.pop("warnings", []) == (warnings if frames > 1 else [])
                    check_asset(asset)
                    assert (await creator.get(f"{PATH}/{asset['id']}")).json() == asset


async def test_a_video_is_accepted_and_playable(creator: httpx.AsyncClient, tmp_path: Path) -> None:
    data = encoded_mp4(tmp_path / "video.mp4")
    answer = await creator.post(PATH, files={"file": ("holiday.txt", data, "text/plain")})
    assert answer.status_code == 201, answer.text
    asset = answer.json()
    check_asset(asset)
    assert (asset["kind"], asset["mime"], asset["width"], asset["height"]) == ("video", "video/mp4", 64, 48)
    assert asset["duration"] == pytest.approx(1, abs=0.11)
    assert decoded_video((await creator.get(asset["url"])).content)[1:3] == (64, 48)
    assert asset["thumbnail_url"]
    assert (await creator.get(asset["thumbnail_url"])).status_code == 200


async def test_a_photo_is_rotated_upright_and_its_exif_data_is_removed(creator: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(creator, photo_with_exif(), "photo.jpg")
    assert (asset["width"], asset["height"]) == (40, 80)
    for url in (asset["url"], asset["thumbnail_url"]):
        content = (await creator.get(url)).content
        image = decoded_image(content)
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


def audio() -> bytes:
    """An MP4 without a video track."""
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


REFUSED = [
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
    ("cut jpeg", photo_with_exif()[:200]),
    ("mp4 signature alone", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"),
    ("mp4 signature and rubbish", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + os.urandom(3000)),
    ("audio only", audio()),
    ("icon", icon()),
    ("zeros", bytes(5000)),
    ("bomb", bomb()),
]


async def test_content_that_is_no_image_and_no_video_is_415_under_any_name(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for what, data in REFUSED:
            for filename, claimed in (("a.png", "image/png"), ("a.mp4", "video/mp4")):
                with cases.case(what, filename):
                    answer = await reader.post(PATH, files={"file": (filename, data, claimed)})
                    if what == "bomb":
                        assert answer.status_code in (413, 415)
                    else:
                        error_of(answer, 415, "INVALID_FILE_TYPE")
    assert (await reader.get(PATH)).json()["total"] == 0


async def test_an_image_with_html_appended_is_served_as_an_image_or_refused(
    creator: httpx.AsyncClient,
) -> None:
    answer = await creator.post(PATH, files={"file": ("a.html", png() + HTML, "text/html")})
    if answer.status_code == 201:
        media = await creator.get(answer.json()["url"])
        assert media.headers["content-type"] == "image/png"
        assert media.headers["x-content-type-options"] == "nosniff"
    else:
        error_of(answer, 415, "INVALID_FILE_TYPE")


async def test_an_image_above_the_limit_is_413(ann: httpx.AsyncClient) -> None:
    file = io.BytesIO()
    Image.frombytes("RGB", (2048, 2048), os.urandom(2048 * 2048 * 3)).save(file, "PNG", compress_level=0)
    error = error_of(await ann.post(PATH, files={"file": ("a.png", file.getvalue())}), 413, "FILE_TOO_LARGE")
    assert error["message"] == "This image must be at most 10 MB."
    assert (await ann.get(PATH)).json()["total"] == 0


async def test_a_video_above_the_limit_and_a_body_above_all_limits_are_413(tmp_path: Path) -> None:
    data = encoded_mp4(tmp_path / "video.mp4")
    async with running(tmp_path, ATELIER_MAX_IMAGE_MB="0.01", ATELIER_MAX_VIDEO_MB="0.01") as studio:
        client = await studio.user()
        padded = data + struct.pack(">I", 20_000) + b"free" + bytes(19_992)
        error_of(await client.post(PATH, files={"file": ("a.mp4", padded)}), 413, "FILE_TOO_LARGE")
        error_of(await client.post(PATH, files={"file": ("a.bin", bytes(3_000_000))}), 413, "FILE_TOO_LARGE")
        assert (await client.get(PATH)).json()["total"] == 0
        leftovers = [
            file for file in (tmp_path / "data").rglob("*") if file.is_file() and file.stat().st_size == 3_000_000
        ]
        assert leftovers == []


INVALID_UPLOADS: dict[str, Json] = {
    "no file": {"files": {"other": ("a.txt", b"x")}},
    "text instead of a file": {"files": {"file": (None, "word")}},
    "two files": {"files": [("file", ("a.png", png())), ("file", ("b.png", png()))]},
    "another name": {"files": {"image": ("a.png", png())}},
    "json": {"json": {"file": "x"}},
    "nothing": {},
    "broken": {"content": b"--y\r\nrubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
}


async def test_an_upload_without_exactly_one_file_is_refused_in_the_envelope(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for what, options in INVALID_UPLOADS.items():
            with cases.case(what):
                answer = await reader.post(PATH, **options)
                assert answer.status_code in (400, 415), answer.text
                error_of(answer, answer.status_code)
                if what in ("no file", "another name", "two files", "text instead of a file"):
                    assert "<class" not in validation_error(answer, "file")["details"]["fields"]["file"]


async def test_own_files_are_listed_newest_first_whether_generated_or_uploaded(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    uploaded = await uploaded_asset(ann)
    generated = (await generated_image(ann))["assets"][0]
    await uploaded_asset(bob)
    answer = await ann.get(PATH)
    assert answer.status_code == 200
    assert check_list(answer.json()) == [generated, uploaded]
    first = (await ann.get(PATH, params={"limit": 1})).json()
    assert (first["items"], first["total"]) == ([generated], 2)
    second = (await ann.get(PATH, params={"limit": 1, "cursor": first["next"]})).json()
    assert (second["items"], second["next"]) == ([uploaded], None)


async def test_a_deleted_file_is_missing_for_its_owner(ann: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(ann)
    kept = await uploaded_asset(ann)
    answer = await ann.delete(f"{PATH}/{asset['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    error_of(await ann.get(f"{PATH}/{asset['id']}"), 404, "RESOURCE_NOT_FOUND")
    assert (await ann.get(asset["url"])).status_code == 404
    assert (await ann.get(asset["thumbnail_url"])).status_code == 404
    error_of(await ann.delete(f"{PATH}/{asset['id']}"), 404, "RESOURCE_NOT_FOUND")
    assert (await ann.get(PATH)).json()["items"] == [kept]


async def test_a_job_outlives_its_deleted_image(creator: httpx.AsyncClient) -> None:
    job = await generated_image(creator)
    await creator.delete(f"{PATH}/{job['assets'][0]['id']}")
    left = await read_job(creator, job["id"])
    assert left == {**job, "assets": []}


async def test_a_file_of_another_user_and_an_unknown_one_get_the_same_404(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    asset = await uploaded_asset(ann)
    for method in ("GET", "DELETE"):
        stranger = await bob.request(method, f"{PATH}/{asset['id']}")
        unknown = await bob.request(method, f"{PATH}/{UNKNOWN_ID}")
        assert error_of(stranger, 404, "RESOURCE_NOT_FOUND") == error_of(unknown, 404, "RESOURCE_NOT_FOUND")
    assert (await ann.get(asset["url"])).status_code == 200


async def test_deleting_the_first_frame_of_a_running_job_loses_no_video(creator: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(creator)
    body = {
        "model": IMAGE_TO_VIDEO_MODEL,
        "prompt": "[stamp] it wakes",
        "image_asset_id": asset["id"],
        **SHORT_IMAGE_TO_VIDEO,
    }
    job = (await creator.post("/api/v1/generate/video/from-image", json=body)).json()
    assert (await creator.delete(f"{PATH}/{asset['id']}")).status_code in (204, 409)
    done = await ended_job(creator, job["id"])
    assert done["status"] == "completed" or done["error"]["message"].strip()


async def test_the_poster_of_a_video_is_deleted_with_it(creator: httpx.AsyncClient) -> None:
    job = await requested_video(creator)
    done = await ended_job(creator, job["id"])
    [asset] = done["assets"]
    assert (await creator.delete(f"{PATH}/{asset['id']}")).status_code == 204
    assert (await creator.get(asset["thumbnail_url"])).status_code == 404
    status = (await creator.get(job["polling_url"])).json()
    assert status["status"] == "completed"
    assert status.get("video_url") is None


async def test_what_was_prepared_for_no_job_is_deleted_after_a_day(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await new_user(studio)
    owner = (await user.get("/api/v1/users/me")).json()["id"]
    video = await uploaded_asset(user, samples.video("h264-silent.mp4"), "a.mp4")
    used, unused = [(await user.post(f"/api/v1/assets/{video['id']}/last-frame")).json()["id"] for _ in range(2)]
    inputs = [{"role": "first_frame", "asset_id": used}]
    body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "[stamp] waves", "inputs": inputs, **SHORT_IMAGE_TO_VIDEO}
    job = await ended_job(user, (await user.post("/api/v1/generate/video/from-image", json=body)).json()["id"])
    library, tomorrow = studio.program.library, clock.now() + timedelta(days=1, minutes=1)
    with monkeypatch.context() as later:
        later.setattr(clock, "now", lambda: tomorrow)
        await library.sweep()
    assert (await library.find(owner, used)).job_id == job["id"]
    with pytest.raises(Missing):
        await library.find(owner, unused)


async def test_a_video_is_extended_from_its_last_frame(atelier: Studio) -> None:
    user = await new_user(atelier)
    frames = [Image.new("RGB", (96, 64), color) for color in ("navy", "gold")]
    video = await uploaded_asset(user, two_colors(frames), "a.mp4")
    answer = await user.post(f"/api/v1/assets/{video['id']}/last-frame")
    assert answer.status_code == 201, answer.text
    frame = answer.json()
    assert (frame["kind"], frame["width"], frame["height"], frame["parent_asset_id"]) == ("image", 96, 64, video["id"])
    red, green, blue = decoded_image((await user.get(frame["url"])).content).convert("RGB").getpixel((48, 32))  # type: ignore[misc]
    assert red > 200
    assert green > 150
    assert blue < 80
    assert (await user.get("/api/v1/assets")).json()["total"] == 1, "what is prepared for a job is not listed"
    inputs = [{"role": "first_frame", "asset_id": frame["id"]}]
    body = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "[stamp] on and on", "inputs": inputs, **SHORT_IMAGE_TO_VIDEO}
    assert (await user.post("/api/v1/generate/video/from-image", json=body)).status_code == 202
    error_of(await user.post(f"/api/v1/assets/{(await uploaded_asset(user))['id']}/last-frame"), 400)


def two_colors(frames: list[Image.Image]) -> bytes:
    """A video of half a second of each."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        for frame in [frame for frame in frames for _ in range(5)]:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode(None))
    return file.getvalue()
