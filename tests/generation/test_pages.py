"""The create pages: which models and fields they offer, submitting with and without htmx, refused forms, input images."""

import json
from urllib.parse import quote

import httpx

from tests.html import parse_html
from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    MULTI_IMAGE_MODEL,
    SIZED_IMAGE_MODEL,
    TEXT_MODEL,
    UNKNOWN_ID,
    VIDEO_MODEL,
    Cases,
    Json,
    png,
    submit_log,
    uploaded_asset,
)
from tests.pages import FRAGMENT, INJECTION, PageUser, field_error, new_page_user, select_values
from tests.storage import samples
from tests.studio import Studio


async def test_generate_redirects_to_one_of_its_tabs(viewer: PageUser) -> None:
    answer = await viewer.browser.get("/generate")
    assert answer.status_code in (301, 302, 303, 307, 308)
    assert answer.headers["location"] in ("/generate/text", "/generate/image", "/generate/video")


async def test_only_models_with_the_right_output_are_offered(viewer: PageUser) -> None:
    for kind in ("text", "image", "video"):
        form = (await viewer.page(f"/generate/{kind}")).one("form", id="create")
        able = (await viewer.client.get(f"/api/v1/ai/models?output={kind}&limit=100")).json()["items"]
        offered = set(select_values(form, "model"))
        assert offered
        assert offered <= {model["id"] for model in able}
        # A model with image and text output may be missing on the text page, but not the other way round.
        assert {
            model["id"]
            for model in able
            if model["output_modalities"] == [kind] and "text" in model["input_modalities"]
        } <= offered


async def test_there_is_no_page_for_a_kind_that_no_model_can_create(viewer: PageUser) -> None:
    for kind in ("audio", "render", "unknown"):
        for path in (f"/generate/{kind}", f"/generate/{kind}/fields"):
            assert (await viewer.browser.get(path)).status_code == 404


CREATE_FORMS = [
    ("image", IMAGE_MODEL, "text"),
    ("image", MULTI_IMAGE_MODEL, "text"),
    ("image", SIZED_IMAGE_MODEL, "text"),
    ("video", VIDEO_MODEL, "text"),
    ("video", IMAGE_TO_VIDEO_MODEL, "text"),
    ("video", IMAGE_TO_VIDEO_MODEL, "image"),
    ("video", "google/veo-3.1", "text"),
    ("text", TEXT_MODEL, "text"),
]
OWN_FIELDS = {
    "_csrf_token",
    "mode",
    "model",
    "prompt",
    "system_prompt",
    "source",
    "image",
    "image_url",
    "image_asset_id",
    "idempotency_key",
    # of the prompt, what rewrites it and what Undo brings back
    "action",
    "draft_key",
    "enhanced_by",
    "negative_prompt",
    "previous_negative",
    "previous_prompt",
}


async def test_a_form_has_exactly_the_fields_that_the_model_accepts(viewer: PageUser) -> None:
    with Cases() as cases:
        for kind, model, mode in CREATE_FORMS:
            with cases.case(kind, model, mode):
                page = await viewer.page(f"/generate/{kind}?mode={mode}&model={quote(model, safe='')}")
                form = page.one("form", id="create")
                assert form.values()["model"] == model
                models = await viewer.client.get("/api/v1/ai/models", params={"q": model, "limit": 100})
                found = models.json()["items"]
                [schema] = [one["parameters"] for one in found if one["id"] == model]
                fields = {field["name"] for field in form.all() if field.get("name")} - OWN_FIELDS
                fields -= {name for name in fields if name.startswith(("asset-", "file-"))}  # input files
                assert fields <= set(schema["properties"])
                assert ("takes-negative" in form.one(id="fields")["class"]) == (
                    "negative_prompt" in schema["properties"]
                )
                for name in ("aspect_ratio", "resolution", "duration", "size", "n", "image_size"):
                    assert (name in fields) == (name in schema["properties"]), name
                for name in fields:
                    rule = schema["properties"][name]
                    if "enum" in rule:
                        assert select_values(form, name) == [str(value) for value in rule["enum"]]
                    elif rule["type"] == "integer":
                        field = form.one("input", name=name)
                        assert field["type"] == "number"
                        assert float(field["min"]) == rule["minimum"]
                        assert float(field["max"]) == rule["maximum"]


async def test_changing_the_model_changes_the_fields(viewer: PageUser) -> None:
    for model, durations in ((IMAGE_TO_VIDEO_MODEL, ["2", "3", "5", "10"]), ("google/veo-3.1", ["4", "6", "8"])):
        answer = await viewer.browser.get("/generate/video/fields", params={"model": model}, headers=FRAGMENT)
        assert answer.status_code == 200
        assert "<html" not in answer.text
        fields = parse_html(answer.text).one(id="fields")
        assert select_values(fields, "duration") == durations


async def test_image_to_video_offers_models_with_image_input_and_three_sources(viewer: PageUser) -> None:
    form = (await viewer.page("/generate/video?mode=image")).one("form", id="create")
    assert VIDEO_MODEL not in select_values(form, "model")
    assert IMAGE_TO_VIDEO_MODEL in select_values(form, "model")
    assert form["enctype"] == "multipart/form-data"
    assert form.one("input", name="image")["type"] == "file"
    assert form.all("input", name="image_asset_id")  # the images in the library
    assert form.one("input", name="image_url")
    text_to_video = (await viewer.page("/generate/video")).one("form", id="create")
    assert not text_to_video.all("input", name="image")


async def test_an_unusual_query_is_answered_or_refused(viewer: PageUser) -> None:
    queries = [
        "model=no/such-model",
        "mode=nonsense",
        "from=x",
        f"from={UNKNOWN_ID}",
        "asset=x",
        "prompt=%00",
        "prompt=%ff",
        "model=%F0%9F",
        "mode=image&asset=%27",
    ]
    with Cases() as cases:
        for kind in ("image", "video"):
            for query in queries:
                with cases.case(kind, query):
                    answer = await viewer.browser.get(f"/generate/{kind}?{query}")
                    assert answer.status_code in (200, 303, 400, 404)


async def test_a_prompt_in_the_address_is_filled_in_as_text(viewer: PageUser) -> None:
    prompt = INJECTION + "</textarea>"
    page = await viewer.browser.get("/generate/image", params={"prompt": prompt})
    assert "<script>alert" not in page.text
    assert parse_html(page.text).one("form", id="create").values()["prompt"] == prompt


async def test_the_failures_that_a_prompt_can_request_are_listed(viewer: PageUser) -> None:
    for kind in ("text", "image", "video"):
        text = (await viewer.page(f"/generate/{kind}")).text
        for directive in ("[fail]", "[refuse]", "[ambiguous]"):
            assert directive in text


async def test_a_page_with_input_is_never_refreshed(viewer: PageUser) -> None:
    for path in ("/generate/text", "/generate/image", "/generate/video", "/", "/library", "/jobs"):
        page = await viewer.page(path)
        assert not [meta for meta in page.all("meta") if meta.get("http-equiv") == "refresh"], path


# Submitting


async def test_without_htmx_the_answer_redirects_to_the_job_page(atelier: Studio) -> None:
    for kind, model in (("text", TEXT_MODEL), ("image", IMAGE_MODEL), ("video", VIDEO_MODEL)):
        user = await new_page_user(atelier)
        prompt = f"[stamp] a {kind} of a lighthouse"
        answer = await user.submit_create_form(kind, model=model, prompt=prompt)
        [job] = await user.jobs()
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job['id']}")
        assert (job["kind"], job["prompt"]) == (kind, prompt)
        page = await user.page(f"/jobs/{job['id']}")
        assert prompt in page.one(id=f"job-{job['id']}").text


REFUSED = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": "   "}, "prompt"),
    ({"prompt": "x" * 100_000}, "prompt"),
    ({"prompt": "a\x00b"}, "prompt"),
    ({"model": "no/such-model"}, "model"),
    ({"aspect_ratio": "7:5"}, "aspect_ratio"),
    ({"duration": "999"}, "duration"),
    ({"duration": "x"}, "duration"),
    ({"resolution": "<script>alert(1)</script>"}, "resolution"),
]


async def test_a_refused_form_keeps_the_input_and_names_the_field(page_user: PageUser) -> None:
    page = await page_user.page(f"/generate/video?model={quote(VIDEO_MODEL, safe='')}")
    valid = page.one("form", id="create").values()
    with Cases() as cases:
        for form, field in REFUSED:
            for htmx in (True, False):
                with cases.case(form, f"htmx={htmx}"):
                    prompt = form.get("prompt", INJECTION)
                    filled = {**valid, "prompt": INJECTION, "aspect_ratio": "9:16", **form}
                    headers = FRAGMENT if htmx else {}
                    answer = await page_user.browser.send_form("/generate/video", filled, headers=headers)
                    assert answer.status_code == 400
                    assert ("<html" in answer.text) != htmx
                    assert "<script>alert" not in answer.text
                    shown = parse_html(answer.text).one("form", id="create")
                    [named] = [it for it in shown.all() if it.get("name") == field]
                    message = field_error(shown, named)
                    assert message[0].isupper(), message
                    kept = shown.values()
                    if prompt.strip() and "\x00" not in prompt:
                        assert kept["prompt"] == prompt  # no input is lost, however long
                    if field not in ("aspect_ratio", "model"):
                        assert kept["aspect_ratio"] == "9:16"
    assert await page_user.jobs() == []


# Input images


async def submit_image_to_video(
    user: PageUser, files: Json | None = None, headers: dict[str, str] = FRAGMENT, /, **form: str
) -> httpx.Response:
    page = await user.page(f"/generate/video?mode=image&model={quote(IMAGE_TO_VIDEO_MODEL, safe='')}")
    filled = {
        **page.one("form", id="create").values(),
        "prompt": "[stamp] it wakes",
        "duration": "2",
        "resolution": "480p",
        **form,
    }
    if not filled.get("image_asset_id"):
        filled.pop("image_asset_id", None)
    # Without a file a browser still sends the empty part.
    parts = files or {"image": ("", b"", "application/octet-stream")}
    return await user.browser.send_form("/generate/video", filled, files=parts, headers=headers)


async def test_a_video_starts_from_an_uploaded_image(page_user: PageUser, atelier: Studio) -> None:
    prompt = f"[stamp] it wakes from an upload {page_user.address}"
    files = {"image": ("me.png", png(300, 300, "red"), "image/png")}
    answer = await submit_image_to_video(page_user, files, source="upload", prompt=prompt)
    assert answer.status_code == 200, answer.text[:800]
    [job] = await page_user.jobs()
    assert job["generation_type"] == "image_to_video"
    assert (await page_user.ended(job["id"]))["status"] == "completed"
    [sent] = [one for one in submit_log(atelier) if one["request"].get("prompt") == prompt]
    assert "first_frame" in str(sent["request"])
    assert len(await page_user.assets()) == 2  # the image stays beside the video


async def test_the_page_says_that_a_video_starts_from_the_first_frame_of_an_animation(page_user: PageUser) -> None:
    notice = "Only the first frame of this animation was kept."
    for frames, shown in ((3, notice), (1, None)):
        files = {"image": ("me.gif", samples.animated("GIF", frames), "image/gif")}
        fragment = await submit_image_to_video(page_user, files, source="upload", prompt=f"[stuck] {frames}")
        event = json.loads(fragment.headers.get("HX-Trigger", "{}"))
        assert event == ({"notice": shown} if shown else {})
        whole = await submit_image_to_video(page_user, files, {}, source="upload", prompt=f"[stuck] {frames}")
        page = await page_user.page(whole.headers["location"])
        assert [span.text.strip() for span in page.one(id="notice").all("span")] == ([shown] if shown else [])


async def test_a_video_starts_from_an_image_of_the_library(page_user: PageUser) -> None:
    asset = await uploaded_asset(page_user.client)
    answer = await submit_image_to_video(page_user, source="library", image_asset_id=asset["id"])
    assert answer.status_code == 200, answer.text[:800]
    [job] = await page_user.jobs()
    assert (await page_user.ended(job["id"]))["status"] == "completed"


INVALID_SOURCES: list[tuple[Json | None, dict[str, str]]] = [
    ({"image": ("x.png", b"<svg onload=alert(1)>", "image/png")}, {"source": "upload"}),
    ({"image": ("x.png", b"", "image/png")}, {"source": "upload"}),
    (None, {"source": "upload"}),
    (None, {"source": "url", "image_url": "http://127.0.0.1/x.png"}),
    (None, {"source": "url", "image_url": "http://169.254.169.254/latest"}),
    (None, {"source": "url", "image_url": "file:///etc/passwd"}),
    (None, {"source": "url", "image_url": '"><script>alert(1)</script>'}),
    (None, {"source": "url", "image_url": ""}),
    (None, {"source": "library", "image_asset_id": UNKNOWN_ID}),
    (None, {"source": "library"}),
    (None, {"source": "nonsense"}),
]


async def test_an_invalid_input_image_is_reported_beside_its_field(page_user: PageUser) -> None:
    with Cases() as cases:
        for files, form in INVALID_SOURCES:
            with cases.case(files, form):
                answer = await submit_image_to_video(page_user, files, **form)
                assert answer.status_code in (400, 404, 413, 415)
                assert "<script>alert" not in answer.text
                shown = parse_html(answer.text)
                assert shown.one("form", id="create").values()["prompt"] == "[stamp] it wakes"
                assert shown.one(id="input-image-error").text
    assert await page_user.jobs() == []
