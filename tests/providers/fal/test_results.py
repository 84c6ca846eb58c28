"""Files of a finished job: all that can be had are downloaded, without the key, and within the limits."""

import base64
import errno
from pathlib import Path
from typing import Any

import pytest

from app.providers.contract import Completed, ErrorCode, Failed, Outcome, Pending, ResultFile
from app.providers.fal.results import MAX_OUTPUTS, outputs
from tests.kit import Cases
from tests.providers.fake_upstream import Reply, Silence, Upstream, js, plain
from tests.providers.fal.kit import on_result, polled, provider, upstream_job, with_keys
from tests.providers.openrouter.kit import DATA_URL, MP4, PNG, contents, expect, new_folder


async def downloaded(upstream: Upstream, folder: Path, output: Any, **settings: Any) -> Outcome:
    """The outcome of a completed job with this output."""
    on_result(upstream, js(output))
    return await polled(upstream, folder, **settings)


def links(upstream: Upstream, *paths: str) -> list[dict[str, str]]:
    return [{"url": f"{upstream.origin}{path}"} for path in paths]


async def test_files_are_found_wherever_models_put_them(upstream: Upstream, stranger: Upstream, tmp_path: Path) -> None:
    stranger.on("GET", "/a", plain(PNG, "image/png"))
    stranger.on("GET", "/v", plain(MP4, "video/mp4"))
    image, video = f"{stranger.origin}/a", f"{stranger.origin}/v"
    table: list[tuple[dict[str, Any], list[bytes]]] = [
        ({"images": [{"url": image}, {"url": image}], "seed": 7}, [PNG, PNG]),
        ({"images": [image]}, [PNG]),
        ({"images": [None, {"url": ""}, {}, {"url": image}]}, [PNG]),
        ({"image": {"url": image, "width": 4}}, [PNG]),
        ({"video": {"url": video, "content_type": "video/mp4"}}, [MP4]),
        ({"videos": [{"url": video}]}, [MP4]),
        ({"video": {"url": video}, "images": [{"url": image}]}, [MP4]),
        ({"images": [{"url": DATA_URL}]}, [PNG]),
    ]
    with Cases() as cases:
        for output, expected in table:
            folder = new_folder(tmp_path)
            with cases.case(output):
                expect(Completed, await downloaded(upstream, folder, output))
                assert list(contents(folder).values()) == expected
    assert with_keys(stranger.requests) == []


async def test_the_reported_type_comes_from_the_output_or_the_download(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/a", plain(PNG, "image/png"))
    output = [{"url": f"{stranger.origin}/a", "content_type": "image/webp"}, *links(stranger, "/a")]
    done = expect(Completed, await downloaded(upstream, tmp_path, {"images": output}))
    assert done.media == (
        ResultFile(tmp_path / "output-0", "image/webp"),
        ResultFile(tmp_path / "output-1", "image/png"),
    )
    assert done.cost_nano is None


async def test_the_key_is_not_even_sent_to_a_file_at_the_providers_own_origin(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/moved", plain(b"", status=302, Location=f"{upstream.origin}/file"))
    upstream.on("GET", "/file", plain(PNG, "image/png"))
    output = links(upstream, "/file") + links(stranger, "/moved")
    assert len(expect(Completed, await downloaded(upstream, tmp_path, {"images": output})).media) == 2
    assert "/file" not in with_keys(upstream.requests)


async def test_an_output_without_files_fails(upstream: Upstream, tmp_path: Path) -> None:
    table: list[Any] = [{}, [], None, 7, "x", {"images": []}, {"images": None}, {"video": {}}, {"text": "no"}]
    with Cases() as cases:
        for output in table:
            with cases.case(output):
                failed = expect(Failed, await downloaded(upstream, tmp_path, output))
                assert failed.code is ErrorCode.PROVIDER_FAILED


async def test_a_black_image_for_blocked_content_is_a_refusal(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/a", plain(PNG, "image/png"))
    two = links(stranger, "/a", "/a")
    table: list[tuple[Any, list[int]]] = [
        ([False, False], []),
        ([True, False], [0]),
        ([False, True], [1]),
        ([True], [0]),
        ([True, True], [0, 1]),
        (True, [0, 1]),
        (False, []),
        (None, []),
        ("yes", []),
        ([None, 1], []),
    ]
    with Cases() as cases:
        for flags, blocked in table:
            folder = new_folder(tmp_path)
            with cases.case(flags):
                outcome = await downloaded(upstream, folder, {"images": two, "has_nsfw_concepts": flags})
                if len(blocked) < 2:
                    done = expect(Completed, outcome)
                    assert len(done.media) == len(contents(folder)) == 2 - len(blocked)
                    missing = [(each.index, each.code) for each in done.missing]
                    assert missing == [(index, ErrorCode.PROVIDER_REFUSED) for index in blocked]
                else:
                    assert expect(Failed, outcome).code is ErrorCode.PROVIDER_REFUSED


async def test_a_file_that_is_gone_has_expired(upstream: Upstream, stranger: Upstream, tmp_path: Path) -> None:
    with Cases() as cases:
        for status in (403, 404, 410):
            stranger.on("GET", "/a", plain(b"gone", status=status))
            with cases.case(status):
                failed = expect(Failed, await downloaded(upstream, tmp_path, {"images": links(stranger, "/a")}))
                assert failed.code is ErrorCode.PROVIDER_EXPIRED


async def test_a_file_that_cannot_be_had_now_is_fetched_later(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/a", plain(PNG, "image/png"))
    replies: list[Reply | Silence] = [plain(b"", status=status) for status in (408, 409, 425, 429, 500, 502, 503, 504)]
    replies += [Silence("reset"), Silence("close"), Reply(pieces=(b"x",), length=9)]
    with Cases() as cases:
        for reply in replies:
            folder = new_folder(tmp_path)
            stranger.on("GET", "/b", reply, plain(PNG, "image/png"))
            with cases.case(reply):
                output = {"images": links(stranger, "/a", "/b")}
                pending = expect(Pending, await downloaded(upstream, folder, output))
                assert (pending.upstream_job, pending.state) == (upstream_job(upstream), "COMPLETED")
                assert len(expect(Completed, await polled(upstream, folder)).media) == 2


async def test_a_part_of_a_result_is_kept_when_the_rest_cannot_be_had_for_long(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/a", plain(PNG, "image/png"))
    stranger.on("GET", "/b", plain(b"", status=503))
    on_result(upstream, js({"images": links(stranger, "/a", "/b")}))
    async with provider(upstream) as fal:
        for _ in range(4):
            expect(Pending, await fal.poll(upstream_job(upstream), new_folder(tmp_path)))
        done = expect(Completed, await fal.poll(upstream_job(upstream), new_folder(tmp_path)))
        assert (len(done.media), [each.index for each in done.missing]) == (1, [1])
        on_result(upstream, js({"images": links(stranger, "/b")}))
        for _ in range(9):
            expect(Pending, await fal.poll(upstream_job(upstream), new_folder(tmp_path)))


async def test_a_file_at_a_private_address_is_refused_with_a_clear_error(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    """The scripted provider is on loopback itself, so loopback alone is allowed for its links."""
    stranger.on("GET", "/a", plain(b"", status=302, Location="http://169.254.169.254/latest/meta-data"))
    addresses = [
        "http://169.254.169.254/",
        "http://10.0.0.1/a.png",
        "http://[fd00::1]/",
        "file:///etc/passwd",
        "http://[",
    ]
    with Cases() as cases:
        for link in [*addresses, "javascript:alert(1)", "/relative", f"{stranger.origin}/a"]:
            with cases.case(link):
                failed = expect(Failed, await downloaded(upstream, tmp_path, {"images": [{"url": link}]}))
                assert failed.code is ErrorCode.RESULT_INVALID
                assert "address that may not be reached" in failed.message


async def test_what_is_good_is_kept_when_other_files_are_broken(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/good", plain(PNG, "image/png"))
    stranger.on("GET", "/gone", plain(b"", status=404))
    stranger.on("GET", "/empty", plain(b"", "image/png"))
    stranger.on("GET", "/html", plain(b"<html>", "text/html"))
    stranger.on("GET", "/refused", plain(b"", status=401))
    stranger.on("GET", "/large", plain(b"x" * 2_000_000, "image/png"))
    output = links(stranger, "/gone", "/empty", "/html", "/good", "/refused", "/large")
    outcome = await downloaded(upstream, tmp_path, {"images": [*output, {"url": "http://10.0.0.1/"}]})
    done = expect(Completed, outcome)
    assert [(index, path.read_bytes()) for index, path in done.outputs] == [(3, PNG)]
    assert [(each.index, each.code.value) for each in done.missing] == [
        (0, "PROVIDER_EXPIRED"),
        (1, "RESULT_INVALID"),
        (2, "RESULT_INVALID"),
        (4, "PROVIDER_FAILED"),
        (5, "RESULT_TOO_LARGE"),
        (6, "RESULT_INVALID"),
    ]


async def test_a_file_above_its_limit_is_too_large(upstream: Upstream, stranger: Upstream, tmp_path: Path) -> None:
    stranger.on("GET", "/a", plain(b"x" * 1001, "image/png"))
    limits = {"max_image_bytes": 1000, "max_video_bytes": 1001}
    data_url = "data:image/png;base64," + base64.b64encode(b"x" * 1010).decode()
    with Cases() as cases:
        for link in (f"{stranger.origin}/a", data_url):
            with cases.case(link):
                outcome = await downloaded(upstream, tmp_path, {"images": [{"url": link}]}, **limits)
                assert expect(Failed, outcome).code is ErrorCode.RESULT_TOO_LARGE
    expect(Completed, await downloaded(upstream, tmp_path, {"video": {"url": f"{stranger.origin}/a"}}, **limits))


async def test_a_file_that_is_no_image_or_video_is_invalid(
    upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    stranger.on("GET", "/svg", plain(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"))
    stranger.on("GET", "/html", plain(b"\n <html>", "image/png"))
    stranger.on("GET", "/empty", plain(b"", "image/png"))
    sources = [f"{stranger.origin}{path}" for path in ("/svg", "/html", "/empty")]
    sources += ["data:", "data:image/png;base64", "data:image/png;base64,", "data:image/png;base64,A", "data:,<svg>"]
    with Cases() as cases:
        for source in sources:
            folder = new_folder(tmp_path)
            with cases.case(source):
                failed = expect(Failed, await downloaded(upstream, folder, {"images": [{"url": source}]}))
                assert failed.code is ErrorCode.RESULT_INVALID
                assert not any(contents(folder).values())


async def test_a_full_disk_ends_the_job(
    upstream: Upstream, stranger: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    stranger.on("GET", "/a", plain(PNG, "image/png"))
    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = await downloaded(upstream, tmp_path, {"images": links(stranger, "/a", "/a")})
    assert expect(Failed, outcome).code is ErrorCode.STORAGE_FULL


def test_at_most_twenty_files_are_downloaded() -> None:
    assert len(outputs({"images": [{"url": "http://x/"}] * 50})) == MAX_OUTPUTS == 20
