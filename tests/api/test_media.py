"""`/media/…`: what was made and what was uploaded, to its owner alone, whole or in part."""

import re
from email.utils import formatdate
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import INVENTED, Json, asked_clip, check_asset, eventually, person, png, read_job, uploaded
from tests.studio import PASSWORD, Studio


class Owned:
    """A clip and its bytes, as its owner sees them."""

    def __init__(self, client: httpx.AsyncClient, asset: Json, content: bytes, etag: str) -> None:
        self.client = client
        self.asset = asset
        self.url: str = asset["url"]
        self.content = content
        self.etag = etag

    async def get(self, **headers: str) -> httpx.Response:
        return await self.client.get(self.url, headers={key.replace("_", "-"): text for key, text in headers.items()})


def refusal(answer: httpx.Response) -> Json:
    """What a program is told went wrong, out of the envelope."""
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json().keys() == {"error"}
    problem: Json = answer.json()["error"]
    return problem


@pytest_asyncio.fixture(scope="module")
async def clip(atelier: Studio) -> Owned:
    client = await person(atelier, "owner")
    job = await asked_clip(client)
    job = await eventually(lambda: read_job(client, job["id"]), lambda now: now["status"] == "completed")
    [asset] = job["assets"]
    check_asset(asset)
    answer = await client.get(asset["url"])
    return Owned(client, asset, answer.content, answer.headers["etag"])


async def test_the_whole_clip_is_served_with_what_a_player_needs(clip: Owned) -> None:
    answer = await clip.get()
    assert answer.status_code == 200
    assert len(answer.content) == clip.asset["bytes"]
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(clip.content))
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-encoding" not in answer.headers
    assert re.fullmatch(r'(W/)?"[^"]+"', answer.headers["etag"])


async def test_media_are_harmless_even_when_opened_alone(clip: Owned) -> None:
    answer = await clip.get()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script-src 'self'" not in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"]
    assert "public" not in answer.headers["cache-control"]
    assert not answer.headers.get("content-disposition", "inline").startswith("attachment")


async def test_a_download_is_an_attachment_with_a_plain_name(clip: Owned) -> None:
    answer = await clip.client.get(clip.url, params={"download": "1"})
    assert answer.status_code == 200
    assert answer.content == clip.content
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment")
    assert re.search(r"""filename\*?=(UTF-8'')?"?[A-Za-z0-9._ -]+\.mp4"?""", disposition), disposition


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-199", 100, 199),
        ("bytes=100-", 100, -1),
        ("bytes=0-", 0, -1),
        ("bytes=-50", -50, -1),
        ("bytes=-999999999999999", 0, -1),
        ("bytes=5-999999999999999", 5, -1),
    ],
)
async def test_a_part_is_served_as_206(clip: Owned, asked: str, first: int, last: int) -> None:
    size = len(clip.content)
    first, last = first % size, last % size
    answer = await clip.get(range=asked)
    assert answer.status_code == 206
    assert answer.content == clip.content[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.headers["etag"] == clip.etag
    assert answer.headers["content-type"] == "video/mp4"


async def test_the_last_byte_alone_is_served(clip: Owned) -> None:
    size = len(clip.content)
    answer = await clip.get(range=f"bytes={size - 1}-{size - 1}")
    assert (answer.status_code, answer.content) == (206, clip.content[-1:])


@pytest.mark.parametrize("asked", ["bytes={size}-", "bytes={size}-{size}", "bytes=-0", "bytes=999999999999999-"])
async def test_a_part_that_is_not_there_is_416(clip: Owned, asked: str) -> None:
    answer = await clip.get(range=asked.format(size=len(clip.content)))
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(clip.content)}"
    assert clip.content[:20] not in answer.content
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    assert refusal(answer)["code"] == "VALIDATION_ERROR"
    assert str(len(clip.content)) in refusal(answer)["message"]


async def test_a_browser_is_told_in_words_that_a_part_is_not_there(clip: Owned, atelier: Studio) -> None:
    browser = await atelier.person_in_browser("ranges@studio.example")
    asset = await uploaded(await atelier.person("ranges@studio.example"))
    answer = await browser.get(asset["url"], headers={"Range": "bytes=999999999-"})
    assert answer.status_code == 416
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-range"] == f"bytes */{asset['bytes']}"
    assert answer.headers["cache-control"] == "no-store"
    assert "lies outside it" in answer.text


@pytest.mark.parametrize(
    "asked",
    [
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
    ],
)
async def test_a_range_that_means_nothing_is_ignored(clip: Owned, asked: str) -> None:
    answer = await clip.get(range=asked)
    assert (answer.status_code, answer.content) == (200, clip.content)


async def test_several_parts_come_as_multipart_or_the_whole(clip: Owned) -> None:
    answer = await clip.get(range="bytes=0-9,20-29")
    if answer.status_code == 206:
        assert answer.headers["content-type"].startswith("multipart/byteranges")
        assert clip.content[:10] in answer.content
        assert clip.content[20:30] in answer.content
    else:
        assert (answer.status_code, answer.content) == (200, clip.content)


@pytest.mark.parametrize(
    "asked", ["bytes=" + ",".join(["0-"] * 1000), "bytes=" + ",".join(f"{n}-{n}" for n in range(800))]
)
async def test_a_thousand_parts_do_not_multiply_the_clip(clip: Owned, asked: str) -> None:
    answer = await clip.get(range=asked)
    assert answer.status_code in (200, 206, 400, 416, 431)
    assert len(answer.content) < 3 * len(clip.content) + 200_000


async def test_if_range_serves_the_part_only_of_the_same_bytes(clip: Owned) -> None:
    same = await clip.get(range="bytes=0-9", if_range=clip.etag)
    assert (same.status_code, same.content) == (206, clip.content[:10])
    for other in ('"another"', f"W/{clip.etag}", formatdate(0, usegmt=True), "nonsense"):
        whole = await clip.get(range="bytes=0-9", if_range=other)
        assert (whole.status_code, len(whole.content)) == (200, len(clip.content)), other


@pytest.mark.parametrize("known", ["{etag}", "W/{etag}", '"another", {etag}', "*"])
async def test_what_the_browser_has_is_not_sent_again(clip: Owned, known: str) -> None:
    answer = await clip.get(if_none_match=known.format(etag=clip.etag))
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == clip.etag
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("known", ['"another"', "nonsense", "", '"'])
async def test_what_the_browser_has_not_is_sent(clip: Owned, known: str) -> None:
    answer = await clip.get(if_none_match=known)
    assert (answer.status_code, answer.content) == (200, clip.content)


async def test_head_tells_all_but_the_bytes(clip: Owned) -> None:
    whole = await clip.get()
    head = await clip.client.head(clip.url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "accept-ranges", "content-security-policy"):
        assert head.headers[name] == whole.headers[name], name


async def test_a_poster_or_thumbnail_is_a_picture_with_the_same_protection(clip: Owned, bob: httpx.AsyncClient) -> None:
    url = clip.asset["thumbnail_url"]
    answer = await clip.client.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("image/")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await bob.get(url)).status_code == 404


async def test_media_are_served_by_bearer_and_by_cookie(clip: Owned, atelier: Studio) -> None:
    browser = await atelier.person_in_browser("cookie-media@studio.example")
    client = await atelier.person("cookie-media@studio.example")
    asset = await uploaded(client)
    by_cookie = await browser.get(asset["url"])
    by_bearer = await client.get(asset["url"])
    assert (by_cookie.status_code, by_bearer.status_code) == (200, 200)
    assert by_cookie.content == by_bearer.content
    assert (await browser.get(clip.url)).status_code == 404


async def test_a_strangers_media_are_exactly_as_absent_as_invented_ones(clip: Owned, bob: httpx.AsyncClient) -> None:
    for suffix in ("", "/thumbnail", "?download=1"):
        for headers in ({}, {"Range": "bytes=0-0"}, {"If-None-Match": clip.etag}, {"If-None-Match": "*"}):
            stranger = await bob.get(clip.url + suffix, headers=headers)
            nobody = await bob.get(f"/media/{INVENTED}{suffix}", headers=headers)
            assert stranger.status_code == nobody.status_code == 404
            number = re.compile(r"[0-9a-f]{32}")
            assert number.sub("", stranger.text) == number.sub("", nobody.text)
            assert "etag" not in stranger.headers
            assert refusal(stranger)["code"] == "RESOURCE_NOT_FOUND"
    assert (await bob.head(clip.url)).status_code == 404


async def test_somebody_signed_out_is_led_to_signing_in_and_back_to_the_media(clip: Owned, atelier: Studio) -> None:
    answer = await atelier.client().get(clip.url)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={quote(clip.url, safe='')}"
    assert answer.content == b""


@pytest.mark.parametrize("given", ["Bearer expired", "Bearer", "Basic YTpi", "", "Bearer atl_" + "0" * 43])
@pytest.mark.parametrize("suffix", ["", "/thumbnail", "?download=1"])
async def test_a_program_whose_bearer_does_not_hold_is_told_so_and_never_saves_a_page_as_a_clip(
    clip: Owned, atelier: Studio, given: str, suffix: str
) -> None:
    answer = await atelier.client().get(clip.url + suffix, headers={"Authorization": given})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert refusal(answer)["code"] == "AUTHENTICATION_ERROR"


async def test_a_program_is_answered_in_the_envelope_wherever_there_is_no_media(bob: httpx.AsyncClient) -> None:
    for path in ("/media/", "/media/x/y/z", f"/media/{INVENTED}"):
        answer = await bob.get(path)
        assert (answer.status_code, refusal(answer)["code"]) == (404, "RESOURCE_NOT_FOUND"), path
    posted = await bob.post(f"/media/{INVENTED}")
    assert (posted.status_code, refusal(posted)["code"]) == (405, "METHOD_NOT_ALLOWED")
    wrong = await bob.get(f"/media/{INVENTED}?download=perhaps")
    assert (wrong.status_code, refusal(wrong)["code"]) == (400, "VALIDATION_ERROR")


async def test_a_bearer_changes_nothing_on_the_pages_of_people(bob: httpx.AsyncClient) -> None:
    assert (await bob.get("/library")).headers["location"].startswith("/login")
    assert (await bob.get("/nothing-here")).headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    [
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
    ],
)
async def test_no_path_leads_out_of_the_store(reader: httpx.AsyncClient, path: str) -> None:
    # httpx would tidy `..` away, so the path is sent as it stands.
    target = httpx.URL(str(reader.base_url)).copy_with(raw_path=path.encode("latin-1"))
    answer = await reader.send(httpx.Request("GET", target, headers=reader.headers))
    assert answer.status_code in (400, 404) or answer.headers.get("location", "").startswith("/login")
    assert b"import" not in answer.content
    assert b"root:" not in answer.content


async def test_media_are_only_read(clip: Owned) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await clip.client.request(method, clip.url)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]


async def test_no_answer_names_a_providers_address(clip: Owned) -> None:
    jobs = (await clip.client.get("/api/v1/jobs")).text
    assert "http://" not in jobs
    assert "https://" not in jobs
    assert "gen-vid" not in jobs


async def test_media_of_a_browser_that_signed_out_are_gone_for_it(atelier: Studio) -> None:
    browser = await atelier.person_in_browser("leaver@studio.example")
    client = await atelier.person("leaver@studio.example")
    asset = await uploaded(client, png(10, 10))
    assert (await browser.get(asset["url"])).status_code == 200
    await browser.send_form("/logout")
    answer = await browser.get(asset["url"])
    assert answer.status_code == 303
    assert PASSWORD not in answer.text
