"""Whatever is sent: one coded error that names the field, nothing started, nothing charged, nothing broken."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.api.kit import (
    CLIP,
    COUNTED,
    FRAMED,
    PICTURE,
    SHORT_FRAMED,
    SIZED,
    TEXT,
    Json,
    invalid,
    problem,
    submits,
    uploaded,
)
from tests.studio import Studio

KINDS = {"text": TEXT, "image": PICTURE, "video": CLIP}


async def ask(client: httpx.AsyncClient, kind: str, **body: Any) -> httpx.Response:
    asked = {"model": KINDS[kind], "prompt": "a lighthouse", **body}
    return await client.post(f"/api/v1/generate/{kind}", json={key: it for key, it in asked.items() if it is not ...})


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "model",
    ["no/such-model", "", " ", "RECRAFT/RECRAFT-V4", "x" * 10_000, "a\x00b", "../x", None, 7, [], {}, ...],
    ids=lambda value: repr(value)[:20],
)
async def test_an_unknown_model_is_400_and_named(reader: httpx.AsyncClient, kind: str, model: object) -> None:
    invalid(await ask(reader, kind, model=model), "model")


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "prompt",
    ["", " \n\t ", "x" * 100_000, "a\x00b", None, 7, True, ["x"], {"text": "x"}, ...],
    ids=lambda value: repr(value)[:12],
)
async def test_a_prompt_that_cannot_be_is_400_and_named(reader: httpx.AsyncClient, kind: str, prompt: object) -> None:
    error = invalid(await ask(reader, kind, prompt=prompt), "prompt")
    assert len(json.dumps(error)) < 2000  # what was sent is not sent back


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_lone_surrogate_is_no_bug(reader: httpx.AsyncClient, kind: str) -> None:
    content = '{"model": "%s", "prompt": "a \\ud800 b"}' % KINDS[kind]  # noqa: UP031
    answer = await reader.post(
        f"/api/v1/generate/{kind}", content=content, headers={"Content-Type": "application/json"}
    )
    problem(answer, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("value", ["", "x" * 100_000, "a\x00b", 7, ["x"]], ids=lambda value: repr(value)[:12])
async def test_a_system_prompt_that_cannot_be_is_400_and_named(reader: httpx.AsyncClient, value: object) -> None:
    answer = await ask(reader, "text", system_prompt=value)
    if value == "":
        assert answer.status_code == 200  # nothing was said, which is fine
    else:
        invalid(answer, "system_prompt")


PARAMETERS: list[tuple[str, str, str, object]] = [
    ("image", PICTURE, "no_such_parameter", 1),
    ("image", PICTURE, "seed", 1),
    ("image", PICTURE, "n", 2),
    ("image", PICTURE, "negative_prompt", "x"),
    ("image", PICTURE, "size", "1024x1024"),
    ("image", PICTURE, "aspect_ratio", "7:5"),
    ("image", PICTURE, "aspect_ratio", 7),
    ("image", PICTURE, "aspect_ratio", ["1:1"]),
    ("image", PICTURE, "aspect_ratio", {"ratio": "1:1"}),
    ("image", PICTURE, "output_format", "PNG"),
    ("image", PICTURE, "output_format", "svg"),
    ("image", COUNTED, "n", 0),
    ("image", COUNTED, "n", 5),
    ("image", COUNTED, "n", -1),
    ("image", COUNTED, "n", 1.5),
    ("image", COUNTED, "n", "1"),
    ("image", COUNTED, "n", True),
    ("image", COUNTED, "seed", -1),
    ("image", COUNTED, "seed", 2147483648),
    ("image", COUNTED, "seed", 10**40),
    ("image", SIZED, "size", "1x1"),
    ("image", SIZED, "size", "1024X1024"),
    ("image", PICTURE, "status", "completed"),
    ("image", PICTURE, "cost_usd", "0"),
    ("image", PICTURE, "owner_id", "x"),
    ("image", PICTURE, "__proto__", {}),
    ("image", PICTURE, "provider", "nobody"),
    ("image", PICTURE, "messages", []),
    ("image", PICTURE, "größe", "x"),
    ("image", PICTURE, "", "x"),
    ("video", CLIP, "no_such_parameter", 1),
    ("video", CLIP, "duration", 0),
    ("video", CLIP, "duration", 61),
    ("video", CLIP, "duration", "4"),
    ("video", CLIP, "duration", 2.5),
    ("video", CLIP, "seed", 1),
    ("video", CLIP, "resolution", "8K"),
    ("video", CLIP, "generate_audio", True),
    ("video", FRAMED, "duration", 4),
    ("video", "google/veo-3.1", "generate_audio", "yes"),
    ("video", "google/veo-3.1", "duration", 5),
    ("video", "google/veo-3.1", "last_frame", "x"),
    ("video", CLIP, "callback_url", "http://127.0.0.1/"),
    ("text", TEXT, "temperature", 2.1),
    ("text", TEXT, "temperature", "1"),
    ("text", TEXT, "max_tokens", 0),
    ("text", TEXT, "max_tokens", 1.5),
    ("text", TEXT, "stop", "x"),
    ("text", TEXT, "stop", ["a", "b", "c", "d", "e"]),
    ("text", TEXT, "stop", [""]),
    ("text", TEXT, "aspect_ratio", "1:1"),
    ("text", TEXT, "reasoning_effort", "high"),
    ("text", TEXT, "messages", [{"role": "system", "content": "x"}]),
]


@pytest.mark.parametrize(("kind", "model", "name", "value"), PARAMETERS, ids=lambda value: str(value)[:24])
async def test_a_parameter_outside_the_models_schema_is_400_and_named(
    reader: httpx.AsyncClient, kind: str, model: str, name: str, value: object
) -> None:
    invalid(await ask(reader, kind, model=model, **{name: value}), name)


async def test_every_wrong_field_is_named_at_once(reader: httpx.AsyncClient) -> None:
    invalid(await ask(reader, "image", aspect_ratio="7:5", wrong=1), "aspect_ratio", "wrong")


@pytest.mark.parametrize("path", ["text", "image", "video", "video/from-image"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'["model", "prompt"]',
        b'"text"',
        b"7",
        b"true",
        b"{'model': 1}",
        b'{"model": NaN, "prompt": "x"}',
        b'{"model": "x", "prompt": "x"} trailing',
        b'\xff\xfe{"model": "x"}',
        b'{"model": "\xff", "prompt": "x"}',
        b'{"prompt": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"n": ' + b"9" * 5_000 + b"}",
        b'{"n": 1e999}',
    ],
    ids=lambda value: value[:16].decode("latin-1"),
)
async def test_a_body_that_is_no_json_object_is_400(reader: httpx.AsyncClient, path: str, content: bytes) -> None:
    answer = await reader.post(
        f"/api/v1/generate/{path}", content=content, headers={"Content-Type": "application/json"}
    )
    problem(answer, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("path", "method"),
    [("auth/login", "POST"), ("auth/register", "POST"), ("auth/refresh", "POST"), ("users/me", "PUT")],
)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"email": "\\ud800", "password": "x"}']
)
async def test_a_broken_body_is_400_at_the_accounts_too(
    reader: httpx.AsyncClient, path: str, method: str, content: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await reader.request(method, f"/api/v1/{path}", content=content, headers=headers)
    problem(answer, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "rubbish", ""]
)
async def test_another_content_type_is_refused_in_the_envelope(reader: httpx.AsyncClient, kind: str) -> None:
    body = json.dumps({"model": "no/such-model", "prompt": "x"})
    answer = await reader.post("/api/v1/generate/image", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 415)
    problem(answer, answer.status_code)


async def test_a_form_is_no_json(reader: httpx.AsyncClient) -> None:
    answer = await reader.post("/api/v1/generate/image", data={"model": PICTURE, "prompt": "x"})
    assert answer.status_code in (400, 415)
    problem(answer, answer.status_code)


async def test_a_packed_body_is_no_bug(reader: httpx.AsyncClient) -> None:
    packed = gzip.compress(json.dumps({"model": PICTURE, "prompt": ""}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await reader.post("/api/v1/generate/image", content=packed, headers=headers)
    assert answer.status_code in (400, 415)
    problem(answer, answer.status_code)


async def test_a_body_of_many_megabytes_is_refused(reader: httpx.AsyncClient) -> None:
    body = b'{"model": "x", "prompt": "' + b"x" * 12_000_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = await reader.post("/api/v1/generate/image", content=body, headers=headers)
    assert answer.status_code in (400, 413)
    problem(answer, answer.status_code)


PRIVATE = [
    "http://127.0.0.1/x.png",
    "http://127.1/x.png",
    "http://2130706433/x.png",
    "http://0x7f000001/x.png",
    "http://0177.0.0.1/x.png",
    "http://127.0.0.1./x.png",
    "http://１２７.0.0.1/x.png",
    "http://127。0。0。1/x.png",
    "http://localhost/x.png",
    "http://LOCALHOST./x.png",
    "http://0/x.png",
    "http://0.0.0.0/x.png",
    "http://10.0.0.1/x.png",
    "http://172.16.0.1/x.png",
    "http://192.168.1.1/x.png",
    "http://100.64.0.1/x.png",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/x.png",
    "http://[::]/x.png",
    "http://[::ffff:127.0.0.1]/x.png",
    "http://[::ffff:a9fe:a9fe]/x.png",
    "http://[64:ff9b::7f00:1]/x.png",
    "http://[fc00::1]/x.png",
    "http://[fe80::1%25eth0]/x.png",
    "http://example.org@127.0.0.1/x.png",
    "http://user:password@192.168.1.1/x.png",
    "https://127.0.0.1/x.png",
    "http://224.0.0.1/x.png",
    "http://255.255.255.255/x.png",
]
NO_ADDRESS = [
    " ",
    "x",
    "/media/x",
    "//127.0.0.1/x.png",
    "file:///etc/passwd",
    "ftp://example.org/x.png",
    "gopher://127.0.0.1:70/x",
    "javascript:alert(1)",
    "http://",
    "http:///x.png",
    "http://[::1/x.png",
    "http://example.org:99999/x.png",
    "http://exa mple.org/x.png",
    "http://example.org\r\nHost: 127.0.0.1/x.png",
    "http://a\x00b/x.png",
    "https://" + "a" * 9000,
    "http://" + "a." * 200 + "org/",
    7,
    ["https://example.org/x.png"],
    {"url": "https://example.org/x.png"},
]


@pytest.mark.parametrize("url", [*PRIVATE, *NO_ADDRESS], ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("path", ["video/from-image", "video", "image"])
async def test_an_address_that_nobody_may_fetch_is_400_and_named(
    reader: httpx.AsyncClient, path: str, url: object
) -> None:
    model, more = (COUNTED, {}) if path == "image" else (FRAMED, SHORT_FRAMED)
    answer = await reader.post(
        f"/api/v1/generate/{path}", json={"model": model, "prompt": "it wakes", "image_url": url, **more}
    )
    invalid(answer, "image_url")


async def test_no_private_address_is_ever_called(
    reader: httpx.AsyncClient, own_listener: tuple[str, list[bytes]]
) -> None:
    address, heard = own_listener
    port = address.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0", "0"):  # noqa: S104
        body: Json = {"model": FRAMED, "prompt": "it wakes", "image_url": f"http://{host}:{port}/x.png", **SHORT_FRAMED}
        invalid(await reader.post("/api/v1/generate/video/from-image", json=body), "image_url")
    assert heard == []


async def test_data_urls_are_taken_as_pictures_or_refused_by_name(reader: httpx.AsyncClient) -> None:
    for url in (
        "data:text/html,<script>alert(1)</script>",
        "data:image/svg+xml,<svg/>",
        "data:image/png;base64,AAAA",
        "data:",
    ):
        body: Json = {"model": FRAMED, "prompt": "it wakes", "image_url": url, **SHORT_FRAMED}
        invalid(await reader.post("/api/v1/generate/video/from-image", json=body), "image_url")


@pytest.mark.parametrize(
    "value", ["x", "\x00", 7, ["x"], {}, "a" * 5000, "../secret"], ids=lambda value: repr(value)[:12]
)
async def test_an_asset_that_cannot_be_is_named(reader: httpx.AsyncClient, value: object) -> None:
    body: Json = {"model": FRAMED, "prompt": "it wakes", "image_asset_id": value, **SHORT_FRAMED}
    answer = await reader.post("/api/v1/generate/video/from-image", json=body)
    assert answer.status_code in (400, 404)
    error = problem(answer, answer.status_code)
    if answer.status_code == 400:
        assert "image_asset_id" in error["details"]["fields"]


@pytest.mark.parametrize(
    "query", ["limit=", "limit=%00", "limit=0x10", "limit=1_0", "limit=%F0%9F%8E%A8", "limit=%ff", "cursor=%ff"]
)
async def test_the_query_is_checked_like_the_body(reader: httpx.AsyncClient, query: str) -> None:
    answer = await reader.get(f"/api/v1/jobs?{query}")
    invalid(answer, query.split("=")[0])


async def test_all_that_was_refused_left_nothing_behind(atelier: Studio) -> None:
    """One person asks for everything above that a table holds, and then owns nothing and has charged nothing."""
    client = await atelier.person("nothing-left@studio.example")
    asked = "nothing of this may be made"
    for kind, model, name, value in PARAMETERS:
        await ask(client, kind, **{"model": model, "prompt": asked, name: value})
    for kind in KINDS:
        await ask(client, kind, prompt="")
        await ask(client, kind, prompt=asked, model="no/such-model")
    for url in PRIVATE:
        body: Json = {"model": FRAMED, "prompt": asked, "image_url": url, **SHORT_FRAMED}
        await client.post("/api/v1/generate/video/from-image", json=body)
    assert (await client.get("/api/v1/jobs")).json()["total"] == 0
    assert (await client.get("/api/v1/assets")).json()["total"] == 0
    assert [one for one in submits(atelier) if asked in str(one)] == []


async def test_good_input_still_works_after_all_of_it(ann: httpx.AsyncClient) -> None:
    asset = await uploaded(ann)
    answer = await ask(ann, "image", model=COUNTED, n=1, seed=0, aspect_ratio="1:1", image_asset_id=asset["id"])
    assert answer.status_code == 200
    longest = await ask(ann, "text", prompt="x" * 10_000)
    assert longest.status_code == 200


@pytest.mark.parametrize(
    ("path", "model", "params"),
    [
        ("generate/text", TEXT, {"max_tokens": 100.0}),
        ("generate/image", SIZED, {"n": 1.0}),
        ("generate/video", CLIP, {"duration": 1.0}),
    ],
)
async def test_a_whole_number_may_be_written_as_a_float(
    atelier: Studio, ann: httpx.AsyncClient, path: str, model: str, params: Json
) -> None:
    answer = await ann.post(f"/api/v1/{path}", json={"model": model, "prompt": "x", **params})
    assert answer.status_code in (200, 202), answer.text
    job = await atelier.finished(ann, answer.json()["id"])
    assert job["status"] == "completed", job["error"]
    [(name, value)] = params.items()
    assert (job["params"][name], type(job["params"][name])) == (int(value), int)
