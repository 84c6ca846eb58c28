"""Input files travel within the request or are uploaded before it; the key goes to the REST service only."""

import base64
import functools
from pathlib import Path

from app.providers.contract import ErrorCode, Failed, Pending, Retryable
from app.providers.fal import FalTimeouts
from tests.kit import Cases
from tests.providers.fake_upstream import LOST_ANSWERS, Reply, Upstream, js, plain
from tests.providers.fake_upstream import running as running_upstream
from tests.providers.fal.kit import (
    AUTHORIZATION,
    INITIATE,
    SUBMIT,
    accepted,
    image,
    image_request,
    provider,
    with_keys,
    wrong,
)
from tests.providers.manual_time import in_manual_time, skip
from tests.providers.openrouter.kit import LONGER_THAN_ANY_TIMEOUT, PNG, expect

WITH_IMAGE = f"{SUBMIT}/image-to-image"
LARGE = PNG + bytes(256 * 1024)
FILE_URL = "https://v3.fal.media/files/rabbit/abc.png"


def on_upload(upstream: Upstream, storage: Upstream, reply: Reply | None = None) -> None:
    links = {"upload_url": f"{storage.origin}/put?signature=x%2Fy", "file_url": FILE_URL}
    upstream.on("POST", INITIATE, js(links))
    storage.on("PUT", "/put", reply or plain(b""))


async def test_a_small_file_is_part_of_the_request(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", WITH_IMAGE, accepted(upstream))
    async with provider(upstream) as fal:
        await fal.submit(image_request(images=(image(tmp_path / "a", PNG),)), tmp_path)
    encoded = base64.b64encode(PNG).decode()
    assert upstream.only("POST", WITH_IMAGE).json["image_url"] == f"data:image/png;base64,{encoded}"


async def test_a_large_file_is_uploaded_to_a_signed_url_without_the_key(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    on_upload(upstream, stranger)
    upstream.on("POST", WITH_IMAGE, accepted(upstream))
    async with provider(upstream) as fal:
        expect(Pending, await fal.submit(image_request(images=(image(tmp_path / "a", LARGE),)), tmp_path))
    started, sent = upstream.only("POST", INITIATE), stranger.only("PUT", "/put")
    assert (started.key, started.query) == (AUTHORIZATION, {"storage_type": "gcs"})
    assert started.json == {"file_name": "image.png", "content_type": "image/png"}
    assert (sent.body, sent.headers["content-type"], sent.query) == (LARGE, "image/png", {"signature": "x/y"})
    assert with_keys(stranger.requests) == []
    assert upstream.only("POST", WITH_IMAGE).json["image_url"] == FILE_URL


async def test_the_upload_to_the_services_own_origin_has_no_key_either(upstream: Upstream, tmp_path: Path) -> None:
    on_upload(upstream, upstream)
    upstream.on("POST", WITH_IMAGE, accepted(upstream))
    async with provider(upstream) as fal:
        await fal.submit(image_request(images=(image(tmp_path / "a", LARGE),)), tmp_path)
    assert "/put" not in with_keys(upstream.requests)


async def test_a_failed_upload_may_be_repeated_because_nothing_was_submitted(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    initiates = [wrong(500), wrong(503), wrong(429), js({}), js({"upload_url": "x"}), plain(b"<html>", "text/html")]
    initiates += [js({"upload_url": "http://169.254.169.254/", "file_url": FILE_URL})]
    request = image_request(images=(image(tmp_path / "a", LARGE),))
    with Cases() as cases:
        for reply in initiates:
            upstream.on("POST", INITIATE, reply)
            with cases.case("initiate", reply.status, reply.pieces):
                async with provider(upstream) as fal:
                    expect(Retryable, await fal.submit(request, tmp_path))
        for status in (302, 400, 403, 500, 503):
            on_upload(upstream, stranger, plain(b"", status=status, Location="http://evil.test/"))
            with cases.case("put", status):
                async with provider(upstream) as fal:
                    outcome = await fal.submit(request, tmp_path)
                if status == 403:
                    expect(Failed, outcome)
                else:
                    expect(Retryable, outcome)
    assert not upstream.received("POST", WITH_IMAGE)


@in_manual_time
async def test_an_upload_without_an_answer_may_be_repeated(tmp_path: Path) -> None:
    async with running_upstream() as upstream:
        upstream.when_silent = functools.partial(skip, LONGER_THAN_ANY_TIMEOUT)
        request = image_request(images=(image(tmp_path / "a", LARGE),))
        with Cases() as cases:
            for name, reply in LOST_ANSWERS.items():
                on_upload(upstream, upstream)
                upstream.on("PUT", "/put", reply)
                with cases.case(name):
                    async with provider(upstream, timeouts=FalTimeouts()) as fal:
                        expect(Retryable, await fal.submit(request, tmp_path))
        assert not upstream.received("POST", WITH_IMAGE)


async def test_a_key_without_the_right_to_upload_ends_the_job(upstream: Upstream, tmp_path: Path) -> None:
    request = image_request(images=(image(tmp_path / "a", LARGE),))
    with Cases() as cases:
        for status, words in {401: "API key", 402: "no credit", 403: "no access"}.items():
            upstream.on("POST", INITIATE, wrong(status))
            with cases.case(status):
                async with provider(upstream) as fal:
                    failed = expect(Failed, await fal.submit(request, tmp_path))
                assert (failed.code, failed.carried_out) == (ErrorCode.PROVIDER_FAILED, False)
                assert words in failed.message
