"""Invalid requests to generate something: each gets one error code that names the field, nothing starts, nothing is charged.

A test loops over its cases and reports all that fail.
"""

import gzip
import json
from typing import Any

import httpx

from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    MULTI_IMAGE_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    SIZED_IMAGE_MODEL,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    Json,
    ended_job,
    error_of,
    key_client,
    new_user,
    submit_log,
    uploaded_asset,
    validation_error,
)
from tests.studio import Studio

MODELS = {"text": TEXT_MODEL, "image": IMAGE_MODEL, "video": VIDEO_MODEL}
JSON = {"Content-Type": "application/json"}


async def generate(client: httpx.AsyncClient, kind: str, **body: Any) -> httpx.Response:
    """A request that is valid but for `body`; a field that is `...` is left out."""
    fields = {"model": MODELS[kind], "prompt": "a lighthouse", **body}
    sent = {key: value for key, value in fields.items() if value is not ...}
    return await client.post(f"/api/v1/generate/{kind}", json=sent)


async def test_an_unknown_model_is_400_and_named(reader: httpx.AsyncClient) -> None:
    models: list[object] = ["no/such-model", "", " ", "RECRAFT/RECRAFT-V4", "x" * 10_000, "a\x00b", "../x"]
    models += [None, 7, [], {}, ...]
    with Cases() as cases:
        for kind in MODELS:
            for model in models:
                with cases.case(kind, repr(model)):
                    validation_error(await generate(reader, kind, model=model), "model")


async def test_an_invalid_prompt_is_400_and_named_and_not_repeated(reader: httpx.AsyncClient) -> None:
    prompts: list[object] = ["", " \n\t ", "x" * 100_000, "a\x00b", None, 7, True, ["x"], {"text": "x"}, ...]
    with Cases() as cases:
        for kind in MODELS:
            for prompt in prompts:
                with cases.case(kind, repr(prompt)):
                    error = validation_error(await generate(reader, kind, prompt=prompt), "prompt")
                    assert len(json.dumps(error)) < 2000


async def test_a_lone_surrogate_is_400(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for kind, model in MODELS.items():
            with cases.case(kind):
                content = '{"model": "%s", "prompt": "a \\ud800 b"}' % model  # noqa: UP031
                answer = await reader.post(f"/api/v1/generate/{kind}", content=content, headers=JSON)
                error_of(answer, 400, "VALIDATION_ERROR")


async def test_an_invalid_system_prompt_is_400_and_named_and_an_empty_one_is_none(
    creator: httpx.AsyncClient, reader: httpx.AsyncClient
) -> None:
    with Cases() as cases:
        for value in ("x" * 100_000, "a\x00b", 7, ["x"]):
            with cases.case(repr(value)):
                validation_error(await generate(reader, "text", system_prompt=value), "system_prompt")
    assert (await generate(creator, "text", system_prompt="")).status_code == 200


PARAMETERS: list[tuple[str, str, str, object]] = [
    ("image", IMAGE_MODEL, "no_such_parameter", 1),
    ("image", IMAGE_MODEL, "seed", 1),
    ("image", IMAGE_MODEL, "n", 2),
    ("image", IMAGE_MODEL, "negative_prompt", "x"),
    ("image", IMAGE_MODEL, "size", "1024x1024"),
    ("image", IMAGE_MODEL, "aspect_ratio", "7:5"),
    ("image", IMAGE_MODEL, "aspect_ratio", 7),
    ("image", IMAGE_MODEL, "aspect_ratio", ["1:1"]),
    ("image", IMAGE_MODEL, "aspect_ratio", {"ratio": "1:1"}),
    ("image", IMAGE_MODEL, "output_format", "PNG"),
    ("image", IMAGE_MODEL, "output_format", "svg"),
    ("image", MULTI_IMAGE_MODEL, "n", 0),
    ("image", MULTI_IMAGE_MODEL, "n", 5),
    ("image", MULTI_IMAGE_MODEL, "n", -1),
    ("image", MULTI_IMAGE_MODEL, "n", 1.5),
    ("image", MULTI_IMAGE_MODEL, "n", "1"),
    ("image", MULTI_IMAGE_MODEL, "n", True),
    ("image", MULTI_IMAGE_MODEL, "seed", -1),
    ("image", MULTI_IMAGE_MODEL, "seed", 2147483648),
    ("image", MULTI_IMAGE_MODEL, "seed", 10**40),
    ("image", SIZED_IMAGE_MODEL, "size", "1x1"),
    ("image", SIZED_IMAGE_MODEL, "size", "1024X1024"),
    ("image", IMAGE_MODEL, "status", "completed"),
    ("image", IMAGE_MODEL, "cost_usd", "0"),
    ("image", IMAGE_MODEL, "owner_id", "x"),
    ("image", IMAGE_MODEL, "__proto__", {}),
    ("image", IMAGE_MODEL, "provider", "no-such-provider"),
    ("image", IMAGE_MODEL, "messages", []),
    ("image", IMAGE_MODEL, "größe", "x"),
    ("image", IMAGE_MODEL, "", "x"),
    ("video", VIDEO_MODEL, "no_such_parameter", 1),
    ("video", VIDEO_MODEL, "duration", 0),
    ("video", VIDEO_MODEL, "duration", 61),
    ("video", VIDEO_MODEL, "duration", "4"),
    ("video", VIDEO_MODEL, "duration", 2.5),
    ("video", VIDEO_MODEL, "seed", 1),
    ("video", VIDEO_MODEL, "resolution", "8K"),
    ("video", VIDEO_MODEL, "generate_audio", True),
    ("video", IMAGE_TO_VIDEO_MODEL, "duration", 4),
    ("video", "google/veo-3.1", "generate_audio", "yes"),
    ("video", "google/veo-3.1", "duration", 5),
    ("video", "google/veo-3.1", "last_frame", "x"),
    ("video", VIDEO_MODEL, "callback_url", "http://127.0.0.1/"),
    ("text", TEXT_MODEL, "temperature", 2.1),
    ("text", TEXT_MODEL, "temperature", "1"),
    ("text", TEXT_MODEL, "max_tokens", 0),
    ("text", TEXT_MODEL, "max_tokens", 1.5),
    ("text", TEXT_MODEL, "stop", "x"),
    ("text", TEXT_MODEL, "stop", ["a", "b", "c", "d", "e"]),
    ("text", TEXT_MODEL, "stop", [""]),
    ("text", TEXT_MODEL, "aspect_ratio", "1:1"),
    ("text", TEXT_MODEL, "reasoning_effort", "high"),
    ("text", TEXT_MODEL, "messages", [{"role": "system", "content": "x"}]),
]


async def test_a_parameter_outside_the_schema_of_the_model_is_400_and_named(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for kind, model, name, value in PARAMETERS:
            with cases.case(kind, model, name, repr(value)):
                validation_error(await generate(reader, kind, **{"model": model, name: value}), name)


async def test_all_invalid_fields_are_named_at_once(reader: httpx.AsyncClient) -> None:
    validation_error(await generate(reader, "image", aspect_ratio="7:5", wrong=1), "aspect_ratio", "wrong")


NO_OBJECTS = [
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
]


async def test_a_body_that_is_no_json_object_is_400(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for path in ("text", "image", "video", "video/from-image"):
            for content in NO_OBJECTS:
                with cases.case(path, content[:16]):
                    answer = await reader.post(f"/api/v1/generate/{path}", content=content, headers=JSON)
                    error_of(answer, 400, "VALIDATION_ERROR")


async def test_an_invalid_body_is_400_for_accounts_too(reader: httpx.AsyncClient) -> None:
    contents = [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"email": "\\ud800", "password": "x"}']
    with Cases() as cases:
        for method, path in (
            ("POST", "auth/login"),
            ("POST", "auth/register"),
            ("POST", "auth/refresh"),
            ("PUT", "users/me"),
        ):
            for content in contents:
                with cases.case(method, path, content[:16]):
                    answer = await reader.request(method, f"/api/v1/{path}", content=content, headers=JSON)
                    error_of(answer, 400, "VALIDATION_ERROR")


async def test_another_content_type_is_refused_in_the_envelope(reader: httpx.AsyncClient) -> None:
    body = json.dumps({"model": "no/such-model", "prompt": "x"})
    kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "rubbish", ""]
    with Cases() as cases:
        for kind in kinds:
            with cases.case(kind):
                answer = await reader.post("/api/v1/generate/image", content=body, headers={"Content-Type": kind})
                assert answer.status_code in (400, 415)
                error_of(answer, answer.status_code)


async def test_a_form_is_not_taken_for_json(reader: httpx.AsyncClient) -> None:
    answer = await reader.post("/api/v1/generate/image", data={"model": IMAGE_MODEL, "prompt": "x"})
    assert answer.status_code in (400, 415)
    error_of(answer, answer.status_code)


async def test_a_compressed_body_is_refused_in_the_envelope(reader: httpx.AsyncClient) -> None:
    compressed = gzip.compress(json.dumps({"model": IMAGE_MODEL, "prompt": ""}).encode())
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = await reader.post("/api/v1/generate/image", content=compressed, headers=headers)
    assert answer.status_code in (400, 415)
    error_of(answer, answer.status_code)


async def test_a_body_of_many_megabytes_is_refused(atelier: Studio) -> None:
    """Over a real connection, which the server may close before everything has been sent."""
    client = await new_user(atelier)
    body = b'{"model": "x", "prompt": "' + b"x" * 12_000_000 + b'"}'
    answer = await client.post("/api/v1/generate/image", content=body, headers=JSON)
    assert answer.status_code in (400, 413)
    error_of(answer, answer.status_code)


PRIVATE_URLS = [
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
INVALID_URLS: list[object] = [
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


async def test_an_image_url_that_must_not_be_fetched_is_400_and_named(reader: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for path in ("video/from-image", "video", "image"):
            model, more = (MULTI_IMAGE_MODEL, {}) if path == "image" else (IMAGE_TO_VIDEO_MODEL, SHORT_IMAGE_TO_VIDEO)
            for url in [*PRIVATE_URLS, *INVALID_URLS]:
                with cases.case(path, repr(url)):
                    body = {"model": model, "prompt": "it wakes", "image_url": url, **more}
                    validation_error(await reader.post(f"/api/v1/generate/{path}", json=body), "image_url")


async def test_no_private_address_is_ever_called(
    reader: httpx.AsyncClient, own_listener: tuple[str, list[bytes]]
) -> None:
    address, connections = own_listener
    port = address.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0", "0"):  # noqa: S104
        body: Json = {
            "model": IMAGE_TO_VIDEO_MODEL,
            "prompt": "it wakes",
            "image_url": f"http://{host}:{port}/x.png",
            **SHORT_IMAGE_TO_VIDEO,
        }
        validation_error(await reader.post("/api/v1/generate/video/from-image", json=body), "image_url")
    assert connections == []


async def test_a_data_url_without_a_valid_image_is_400_and_named(reader: httpx.AsyncClient) -> None:
    for url in (
        "data:text/html,<script>alert(1)</script>",
        "data:image/svg+xml,<svg/>",
        "data:image/png;base64,AAAA",
        "data:",
    ):
        body: Json = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "it wakes", "image_url": url, **SHORT_IMAGE_TO_VIDEO}
        validation_error(await reader.post("/api/v1/generate/video/from-image", json=body), "image_url")


async def test_an_invalid_asset_id_is_named(reader: httpx.AsyncClient) -> None:
    values: list[object] = ["x", "\x00", 7, ["x"], {}, "a" * 5000, "../secret"]
    with Cases() as cases:
        for value in values:
            with cases.case(repr(value)):
                body: Json = {
                    "model": IMAGE_TO_VIDEO_MODEL,
                    "prompt": "it wakes",
                    "image_asset_id": value,
                    **SHORT_IMAGE_TO_VIDEO,
                }
                answer = await reader.post("/api/v1/generate/video/from-image", json=body)
                assert answer.status_code in (400, 404)
                error = error_of(answer, answer.status_code)
                if answer.status_code == 400:
                    assert "image_asset_id" in error["details"]["fields"]


async def test_an_invalid_query_is_400_and_named(reader: httpx.AsyncClient) -> None:
    queries = ["limit=", "limit=%00", "limit=0x10", "limit=1_0", "limit=%F0%9F%8E%A8", "limit=%ff", "cursor=%ff"]
    with Cases() as cases:
        for query in queries:
            with cases.case(query):
                validation_error(await reader.get(f"/api/v1/jobs?{query}"), query.split("=")[0])


async def test_refused_requests_leave_nothing_behind(atelier: Studio) -> None:
    """One user sends everything above that a table holds, and then owns nothing and was charged for nothing."""
    client = await key_client(atelier, "refused")
    prompt = "nothing of this may be generated"
    for kind, model, name, value in PARAMETERS:
        await generate(client, kind, **{"model": model, "prompt": prompt, name: value})
    for kind in MODELS:
        await generate(client, kind, prompt="")
        await generate(client, kind, prompt=prompt, model="no/such-model")
    for url in PRIVATE_URLS:
        body: Json = {"model": IMAGE_TO_VIDEO_MODEL, "prompt": prompt, "image_url": url, **SHORT_IMAGE_TO_VIDEO}
        await client.post("/api/v1/generate/video/from-image", json=body)
    assert (await client.get("/api/v1/jobs")).json()["total"] == 0
    assert (await client.get("/api/v1/assets")).json()["total"] == 0
    assert [one for one in submit_log(atelier) if prompt in str(one)] == []


async def test_valid_requests_still_work_after_all_invalid_ones(ann: httpx.AsyncClient) -> None:
    asset = await uploaded_asset(ann)
    answer = await generate(
        ann, "image", model=MULTI_IMAGE_MODEL, n=1, seed=0, aspect_ratio="1:1", image_asset_id=asset["id"]
    )
    assert answer.status_code == 200
    longest = await generate(ann, "text", prompt="x" * 10_000)
    assert longest.status_code == 200


async def test_a_whole_number_may_be_written_as_a_float(creator: httpx.AsyncClient) -> None:
    for kind, model, name in (
        ("text", TEXT_MODEL, "max_tokens"),
        ("image", SIZED_IMAGE_MODEL, "n"),
        ("video", VIDEO_MODEL, "duration"),
    ):
        value = 100.0 if name == "max_tokens" else 1.0
        answer = await generate(creator, kind, **{"model": model, "prompt": "x", name: value})
        assert answer.status_code in (200, 202), answer.text
        job = await ended_job(creator, answer.json()["id"])
        assert job["status"] == "completed", job["error"]
        assert (job["params"][name], type(job["params"][name])) == (int(value), int)
