"""`/media/…`: the bytes of a file for its owner alone, complete or in ranges."""

import re
from email.utils import formatdate
from urllib.parse import quote

import httpx
import pytest_asyncio

from tests.kit import UNKNOWN_ID, Cases, Json, check_asset, ended_job, key_client, requested_video, uploaded_asset
from tests.pages import PageUser
from tests.studio import Studio


class OwnedVideo:
    """A video and its bytes, as served to its owner."""

    def __init__(self, client: httpx.AsyncClient, asset: Json, content: bytes, etag: str) -> None:
        self.client = client
        self.asset = asset
        self.url: str = asset["url"]
        self.content = content
        self.etag = etag

    async def get(self, **headers: str) -> httpx.Response:
        return await self.client.get(self.url, headers={key.replace("_", "-"): text for key, text in headers.items()})


def error_in(answer: httpx.Response) -> Json:
    """The error of the response."""
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json().keys() == {"error"}
    error: Json = answer.json()["error"]
    return error


@pytest_asyncio.fixture(scope="module")
async def video(atelier: Studio) -> OwnedVideo:
    client = await key_client(atelier, "owner")
    job = await ended_job(client, (await requested_video(client))["id"])
    assert job["status"] == "completed"
    [asset] = job["assets"]
    check_asset(asset)
    answer = await client.get(asset["url"])
    return OwnedVideo(client, asset, answer.content, answer.headers["etag"])


async def test_the_complete_video_is_served_with_the_headers_that_a_player_needs(video: OwnedVideo) -> None:
    answer = await video.get()
    assert answer.status_code == 200
    assert len(answer.content) == video.asset["bytes"]
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(video.content))
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-encoding" not in answer.headers
    assert re.fullmatch(r'(W/)?"[^"]+"', answer.headers["etag"])


async def test_media_opened_as_a_page_can_do_no_harm(video: OwnedVideo) -> None:
    answer = await video.get()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script-src 'self'" not in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"]
    assert "public" not in answer.headers["cache-control"]
    assert not answer.headers.get("content-disposition", "inline").startswith("attachment")


async def test_a_download_is_an_attachment_with_a_plain_name(video: OwnedVideo) -> None:
    answer = await video.client.get(video.url, params={"download": "1"})
    assert answer.status_code == 200
    assert answer.content == video.content
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment")
    assert re.search(r"""filename\*?=(UTF-8'')?"?[A-Za-z0-9._ -]+\.mp4"?""", disposition), disposition


RANGES = [  # header, first byte, last byte (negative: from the end)
    ("bytes=0-0", 0, 0),
    ("bytes=0-99", 0, 99),
    ("bytes=100-199", 100, 199),
    ("bytes=100-", 100, -1),
    ("bytes=0-", 0, -1),
    ("bytes=-50", -50, -1),
    ("bytes=-999999999999999", 0, -1),
    ("bytes=5-999999999999999", 5, -1),
]


async def test_a_range_is_served_as_206(video: OwnedVideo) -> None:
    size = len(video.content)
    with Cases() as cases:
        for header, first, last in [*RANGES, (f"bytes={size - 1}-{size - 1}", -1, -1)]:
            with cases.case(header):
                first, last = first % size, last % size
                answer = await video.get(range=header)
                assert answer.status_code == 206
                assert answer.content == video.content[first : last + 1]
                assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
                assert answer.headers["content-length"] == str(last - first + 1)
                assert answer.headers["etag"] == video.etag
                assert answer.headers["content-type"] == "video/mp4"


async def test_a_range_outside_the_file_is_416(video: OwnedVideo) -> None:
    size = len(video.content)
    with Cases() as cases:
        for header in (f"bytes={size}-", f"bytes={size}-{size}", "bytes=-0", "bytes=999999999999999-"):
            with cases.case(header):
                answer = await video.get(range=header)
                assert answer.status_code == 416
                assert answer.headers["content-range"] == f"bytes */{size}"
                assert video.content[:20] not in answer.content
                assert answer.headers["cache-control"] == "no-store"
                assert "etag" not in answer.headers
                assert error_in(answer)["code"] == "VALIDATION_ERROR"
                assert str(size) in error_in(answer)["message"]


async def test_a_browser_gets_a_page_for_a_range_outside_the_file(page_user: PageUser) -> None:
    asset = await uploaded_asset(page_user.client)
    answer = await page_user.browser.get(asset["url"], headers={"Range": "bytes=999999999-"})
    assert answer.status_code == 416
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-range"] == f"bytes */{asset['bytes']}"
    assert answer.headers["cache-control"] == "no-store"
    assert "is outside the file" in answer.text


INVALID_RANGES = [
    "bytes=5-2",
    "bytes=x-y",
    "bytes=",
    "bytes",
    "items=0-1",
    "0-1",
    "bytes=-",
    "bytes=1-2-3",
    "bytes=--5",
    "bytes=0-" + "9" * 5000,
]


async def test_an_invalid_range_is_ignored(video: OwnedVideo) -> None:
    with Cases() as cases:
        for header in INVALID_RANGES:
            with cases.case(header):
                answer = await video.get(range=header)
                assert (answer.status_code, answer.content) == (200, video.content)


async def test_several_ranges_are_served_as_multipart_or_as_the_complete_file(video: OwnedVideo) -> None:
    answer = await video.get(range="bytes=0-9,20-29")
    if answer.status_code == 206:
        assert answer.headers["content-type"].startswith("multipart/byteranges")
        assert video.content[:10] in answer.content
        assert video.content[20:30] in answer.content
    else:
        assert (answer.status_code, answer.content) == (200, video.content)


async def test_a_thousand_ranges_do_not_multiply_the_file(video: OwnedVideo) -> None:
    for ranges in (["0-"] * 1000, [f"{number}-{number}" for number in range(800)]):
        answer = await video.get(range="bytes=" + ",".join(ranges))
        assert answer.status_code in (200, 206, 400, 416, 431)
        assert len(answer.content) < 3 * len(video.content) + 200_000


async def test_if_range_serves_the_range_only_of_the_same_version(video: OwnedVideo) -> None:
    same = await video.get(range="bytes=0-9", if_range=video.etag)
    assert (same.status_code, same.content) == (206, video.content[:10])
    for other in ('"another"', f"W/{video.etag}", formatdate(0, usegmt=True), "nonsense"):
        whole = await video.get(range="bytes=0-9", if_range=other)
        assert (whole.status_code, len(whole.content)) == (200, len(video.content)), other


async def test_a_version_that_the_client_has_is_304(video: OwnedVideo) -> None:
    with Cases() as cases:
        for known in (video.etag, f"W/{video.etag}", f'"another", {video.etag}', "*"):
            with cases.case(known):
                answer = await video.get(if_none_match=known)
                assert (answer.status_code, answer.content) == (304, b"")
                assert answer.headers["etag"] == video.etag
                assert answer.headers["x-request-id"]
                assert answer.headers["x-content-type-options"] == "nosniff"
        for known in ('"another"', "nonsense", "", '"'):
            with cases.case(known):
                answer = await video.get(if_none_match=known)
                assert (answer.status_code, answer.content) == (200, video.content)


async def test_head_has_the_headers_of_get_and_no_body(video: OwnedVideo, atelier: Studio) -> None:
    client = atelier.client(video.client.headers["Authorization"].removeprefix("Bearer "))  # over a real connection
    whole = await client.get(video.url)
    assert whole.content == video.content
    head = await client.head(video.url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "content-security-policy"):
        assert head.headers[name] == whole.headers[name], name


async def test_a_poster_is_an_image_with_the_same_protection(video: OwnedVideo, bob: httpx.AsyncClient) -> None:
    url = video.asset["thumbnail_url"]
    answer = await video.client.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("image/")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await bob.get(url)).status_code == 404


async def test_media_are_served_for_a_bearer_token_and_for_a_cookie(video: OwnedVideo, page_user: PageUser) -> None:
    asset = await uploaded_asset(page_user.client)
    by_cookie = await page_user.browser.get(asset["url"])
    by_bearer = await page_user.client.get(asset["url"])
    assert (by_cookie.status_code, by_bearer.status_code) == (200, 200)
    assert by_cookie.content == by_bearer.content
    assert (await page_user.browser.get(video.url)).status_code == 404


async def test_media_of_another_user_and_unknown_ones_get_the_same_404(
    video: OwnedVideo, bob: httpx.AsyncClient
) -> None:
    for suffix in ("", "/thumbnail", "?download=1"):
        for headers in ({}, {"Range": "bytes=0-0"}, {"If-None-Match": video.etag}, {"If-None-Match": "*"}):
            stranger = await bob.get(video.url + suffix, headers=headers)
            unknown = await bob.get(f"/media/{UNKNOWN_ID}{suffix}", headers=headers)
            assert stranger.status_code == unknown.status_code == 404
            number = re.compile(r"[0-9a-f]{32}")
            assert number.sub("", stranger.text) == number.sub("", unknown.text)
            assert "etag" not in stranger.headers
            assert error_in(stranger)["code"] == "RESOURCE_NOT_FOUND"
    assert (await bob.head(video.url)).status_code == 404


async def test_a_signed_out_browser_is_redirected_to_sign_in_and_back(video: OwnedVideo, atelier: Studio) -> None:
    answer = await atelier.direct().get(video.url)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={quote(video.url, safe='')}"
    assert answer.content == b""


async def test_an_invalid_bearer_token_is_401_in_the_envelope_and_never_a_page(
    video: OwnedVideo, atelier: Studio
) -> None:
    with Cases() as cases:
        for value in ("Bearer expired", "Bearer", "Basic YTpi", "", "Bearer atl_" + "0" * 43):
            for suffix in ("", "/thumbnail", "?download=1"):
                with cases.case(value, suffix):
                    answer = await atelier.direct().get(video.url + suffix, headers={"Authorization": value})
                    assert answer.status_code == 401
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert error_in(answer)["code"] == "AUTHENTICATION_ERROR"


async def test_an_api_client_gets_the_envelope_for_every_error_below_media(bob: httpx.AsyncClient) -> None:
    for path in ("/media/", "/media/x/y/z", f"/media/{UNKNOWN_ID}"):
        answer = await bob.get(path)
        assert (answer.status_code, error_in(answer)["code"]) == (404, "RESOURCE_NOT_FOUND"), path
    posted = await bob.post(f"/media/{UNKNOWN_ID}")
    assert (posted.status_code, error_in(posted)["code"]) == (405, "METHOD_NOT_ALLOWED")
    wrong = await bob.get(f"/media/{UNKNOWN_ID}?download=perhaps")
    assert (wrong.status_code, error_in(wrong)["code"]) == (400, "VALIDATION_ERROR")


async def test_a_bearer_token_changes_nothing_about_pages(bob: httpx.AsyncClient) -> None:
    assert (await bob.get("/library")).headers["location"].startswith("/login")
    assert (await bob.get("/nothing-here")).headers["content-type"].startswith("text/html")


OUTSIDE = [
    "/media/",
    "/media/..",
    "/media/../atelier.duckdb",
    "/media/..%2f..%2fsecret",
    "/media/%2e%2e/%2e%2e/secret",
    "/media/%00",
    "/media/" + "a" * 3000,
    "/media/%ff",
    "/media/x/y/z",
    "/media//etc/passwd",
    "/static/../app/main.py",
    "/static/..%2fapp%2fmain.py",
    "/static/%2e%2e/app/main.py",
    "/static/....//app/main.py",
    "/static/%00",
    "/static/..\\app\\main.py",
]


async def test_no_path_leads_out_of_the_store(ann: httpx.AsyncClient) -> None:
    """Over a real connection; httpx would resolve `..`, so the path is sent as it is."""
    with Cases() as cases:
        for path in OUTSIDE:
            with cases.case(path):
                target = httpx.URL(str(ann.base_url)).copy_with(raw_path=path.encode("latin-1"))
                answer = await ann.send(httpx.Request("GET", target, headers=ann.headers))
                assert answer.status_code in (400, 404) or answer.headers.get("location", "").startswith("/login")
                assert b"import" not in answer.content
                assert b"root:" not in answer.content


async def test_media_are_read_only(video: OwnedVideo) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await video.client.request(method, video.url)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]


async def test_no_answer_contains_an_address_of_the_provider(video: OwnedVideo) -> None:
    jobs = (await video.client.get("/api/v1/jobs")).text
    assert "http://" not in jobs
    assert "https://" not in jobs
    assert "gen-vid" not in jobs


async def test_after_signing_out_a_browser_gets_no_media(page_user: PageUser) -> None:
    asset = await uploaded_asset(page_user.client)
    assert (await page_user.browser.get(asset["url"])).status_code == 200
    await page_user.browser.send_form("/logout")
    assert (await page_user.browser.get(asset["url"])).status_code == 303
