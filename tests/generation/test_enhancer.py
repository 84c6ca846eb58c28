"""Prompts that a text model rewrites before they are sent: both are kept, each model is paid for once."""

from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from app.base.errors import Upstream
from app.generation.enhancer import INSTRUCTIONS, MAX_PROMPT, rewritten
from app.jobs.schemas import GenerationType
from app.providers.contract import Kind
from tests.html import parse_html
from tests.kit import (
    IMAGE_MODEL,
    IMAGE_TO_VIDEO_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    SHORT_VIDEO,
    TEXT_MODEL,
    VIDEO_MODEL,
    Cases,
    Json,
    ended_job,
    error_of,
    new_user,
    read_job,
    submit_log,
    uploaded_asset,
    validation_error,
)
from tests.pages import FRAGMENT, PageUser, field_error
from tests.studio import Studio, running

IMAGE = "/api/v1/generate/image"


def sent(atelier: Studio, word: str) -> list[Json]:
    """The requests that reached the provider and have this word in their prompt."""
    return [entry for entry in submit_log(atelier) if word in str(entry["request"])]


async def jobs_of(client: httpx.AsyncClient) -> dict[str, Json]:
    """The latest job of each type."""
    items = (await client.get("/api/v1/jobs")).json()["items"]
    return {job["generation_type"]: job for job in reversed(items)}


async def test_a_rewritten_prompt_is_sent_and_both_are_kept(atelier: Studio) -> None:
    user = await new_user(atelier)
    image = await uploaded_asset(user)
    requests: list[tuple[str, Kind, Json]] = [
        (IMAGE, Kind.IMAGE, {"model": IMAGE_MODEL}),
        ("/api/v1/generate/video", Kind.VIDEO, {"model": VIDEO_MODEL, **SHORT_VIDEO}),
        (
            "/api/v1/generate/video/from-image",
            Kind.VIDEO,
            {"model": IMAGE_TO_VIDEO_MODEL, "image_asset_id": image["id"], **SHORT_IMAGE_TO_VIDEO},
        ),
    ]
    for number, (path, kind, body) in enumerate(requests):
        prompt = f"[stamp] a {{lighthouse|lighthouse}} {number} {image['id']}"
        answer = await user.post(path, json={**body, "prompt": prompt, "enhance": True})
        assert answer.status_code in (200, 202), answer.text
        job = answer.json()
        text = await read_job(user, (await jobs_of(user))[GenerationType.PROMPT_ENHANCEMENT]["id"])
        assert job["prompt"] == text["prompt"] == prompt.replace("{lighthouse|lighthouse}", "lighthouse")
        assert job["enhanced_prompt"] == text["text"]
        assert job["prompt"] in job["enhanced_prompt"] != job["prompt"]
        await ended_job(user, job["id"])
        requested = [entry["request"] for entry in sent(atelier, f"{number} {image['id']}")]
        assert [request.get("prompt") for request in requested] == [None, job["enhanced_prompt"]]
        assert requested[0]["messages"][0] == {"role": "system", "content": INSTRUCTIONS[kind]}
    plain = await user.post(IMAGE, json={"model": IMAGE_MODEL, "prompt": "[stamp] a boat", "enhance": False})
    assert plain.json()["enhanced_prompt"] is None


async def test_the_money_of_both_adds_up(atelier: Studio) -> None:
    user = await new_user(atelier)
    await user.post(IMAGE, json={"model": IMAGE_MODEL, "prompt": "[stamp] a boat", "enhance": True})
    costs = [Decimal(job["cost_usd"]) for job in (await jobs_of(user)).values()]
    assert len(costs) == 2
    assert all(costs)
    months = (await user.get("/api/v1/users/me/spending")).json()
    assert sum(costs) == Decimal(months["items"][0]["spent_usd"])


async def test_when_the_prompt_cannot_be_rewritten_nothing_is_generated(atelier: Studio) -> None:
    user = await new_user(atelier)
    for directive, code in (("[fail]", "PROVIDER_FAILED"), ("[refuse]", "PROVIDER_REFUSED")):
        word = f"{directive} {user.headers['Authorization'][-12:]}"
        answer = await user.post(IMAGE, json={"model": IMAGE_MODEL, "prompt": word, "enhance": True})
        error = error_of(answer, 502, "UPSTREAM_ERROR")
        assert error["details"]["code"] == code
        assert (await read_job(user, error["details"]["job_id"]))["generation_type"] == "prompt_enhancement"
    assert set(await jobs_of(user)) == {"prompt_enhancement"}


async def test_a_request_that_stopped_between_the_two_is_continued_and_paid_for_once(
    atelier: Studio, ann: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = f"once-{ann.headers['Authorization'][-12:]}"
    body = {"model": IMAGE_MODEL, "prompt": f"[stamp] {{a|b|c|d|e|f|g|h}} {word}", "enhance": True}
    headers = {"Idempotency-Key": word}
    enqueue = atelier.program.jobs.enqueue

    async def stopped(job, *args, **more):  # type: ignore[no-untyped-def]
        if job.kind is Kind.IMAGE:
            raise Upstream("The program stopped here.")
        return await enqueue(job, *args, **more)

    monkeypatch.setattr(atelier.program.jobs, "enqueue", stopped)
    error_of(await ann.post(IMAGE, json=body, headers=headers), 502)
    monkeypatch.undo()
    first = await ann.post(IMAGE, json=body, headers=headers)
    again = await ann.post(IMAGE, json=body, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["id"] == again.json()["id"]
    text = (await jobs_of(ann))["prompt_enhancement"]
    assert (first.json()["prompt"], first.json()["enhanced_prompt"]) == (text["prompt"], text["text"])
    assert len(sent(atelier, word)) == 2
    error_of(await ann.post(IMAGE, json={**body, "prompt": "another"}, headers=headers), 409)


async def test_what_is_wrong_is_reported_before_anything_is_rewritten(atelier: Studio, ann: httpx.AsyncClient) -> None:
    wrong: list[tuple[str, Json, str]] = [
        (IMAGE, {"model": IMAGE_MODEL, "prompt": "a", "enhance": "yes"}, "enhance"),
        (IMAGE, {"model": IMAGE_MODEL, "prompt": " ", "enhance": True}, "prompt"),
        (IMAGE, {"model": IMAGE_MODEL, "prompt": "a", "n": 0, "enhance": True}, "n"),
        ("/api/v1/generate/text", {"model": TEXT_MODEL, "prompt": "a", "enhance": True}, "enhance"),
        (
            "/api/v1/generate/video/from-image",
            {"model": IMAGE_TO_VIDEO_MODEL, "prompt": "a", "enhance": True},
            "image_url",
        ),
    ]
    with Cases() as cases:
        for path, body, field in wrong:
            with cases.case(path, body):
                validation_error(await ann.post(path, json=body), field)
    limits = {"name": "images", "allowed_models": [IMAGE_MODEL]}
    key = (await ann.post("/api/v1/users/me/keys", json=limits)).json()["key"]
    body = {"model": IMAGE_MODEL, "prompt": "a", "enhance": True}
    error_of(await atelier.direct(key).post(IMAGE, json=body), 403, "FORBIDDEN")
    assert await jobs_of(ann) == {}


async def test_the_model_is_the_cheapest_that_is_not_free_or_that_of_the_setting(
    tmp_path: Path, atelier: Studio
) -> None:
    chosen = atelier.program.generation.enhancer.model(Kind.IMAGE)
    assert chosen is not None
    texts = [model for model in atelier.program.catalog.search() if model.output_modalities == ("text",)]
    prices = {
        model.id: Decimal(model.pricing.get("prompt", "0")) + Decimal(model.pricing.get("completion", "0"))
        for model in texts
    }
    assert prices[chosen.id] == min(price for price in prices.values() if price)
    assert atelier.program.generation.enhancer.model(Kind.TEXT) is None
    async with running(tmp_path, ATELIER_ENHANCER_MODEL=TEXT_MODEL) as studio:
        enhancer, admin = studio.program.generation.enhancer, await studio.user()
        chosen = enhancer.model(Kind.VIDEO)
        assert chosen is not None
        assert chosen.id == TEXT_MODEL
        await admin.put(f"/api/v1/admin/models/{TEXT_MODEL}", json={"enabled": False})
        assert enhancer.model(Kind.VIDEO) is None
        error_of(await admin.post(IMAGE, json={"model": IMAGE_MODEL, "prompt": "a", "enhance": True}), 503)
        assert 'id="enhance"' not in (await (await studio.user_in_browser()).get("/generate/image")).text


def test_an_answer_is_only_text() -> None:
    answers = {
        ' "a boat" ': "a boat",
        "“a boat”": "a boat",
        '"a" and "b"': '"a" and "b"',
        "a\x00\r\nb": "a\nb",
        '""': "",
        "x" * (MAX_PROMPT + 1): "x" * MAX_PROMPT,
        "<script>{{ 7 * 7 }}</script>": "<script>{{ 7 * 7 }}</script>",
    }
    assert {answer: rewritten(answer) for answer in answers} == answers


# On the page


async def test_the_button_rewrites_the_prompt_in_place_and_undo_brings_the_old_one_back(page_user: PageUser) -> None:
    form = (await page_user.page(f"/generate/image?model={IMAGE_MODEL}")).one("form", id="create").values()
    typed = {**form, "prompt": "[stamp] a boat"}
    enhance = {**typed, "action": "enhance"}
    answers = [await page_user.browser.send_form("/generate/image/draft", enhance, headers=FRAGMENT) for _ in range(2)]
    part, again = [parse_html(answer.text).one(id="prompt-part").values() for answer in answers]
    whole = await page_user.browser.send_form("/generate/image/draft", enhance)
    assert parse_html(whole.text).one("form", id="create").values()["prompt"] == part["prompt"] == again["prompt"]
    assert len(await page_user.jobs()) == 1  # the same form three times is paid for once
    assert part["prompt"] not in ("[stamp] a boat", "")
    undone = await page_user.browser.send_form("/generate/image/draft", {**typed, **part, "action": "undo"})
    assert parse_html(undone.text).one("form", id="create").values()["prompt"] == "[stamp] a boat"

    await page_user.browser.send_form("/generate/image", {**typed, **part, "prompt": part["prompt"] + ", edited"})
    [job] = [job for job in await page_user.jobs() if job["kind"] == "image"]
    assert (job["prompt"], job["enhanced_prompt"]) == ("[stamp] a boat", part["prompt"] + ", edited")
    assert (await page_user.ended(job["id"]))["status"] == "completed"
    [asset] = await page_user.assets()
    for path in (f"/jobs/{job['id']}", f"/library/{asset['id']}"):
        page = (await page_user.page(path)).one("main")
        assert page.one(id=f"job-{job['id']}-enhanced-text").text == job["enhanced_prompt"]
        assert "[stamp] a boat" in page.text
        assert [link for link in page.all("a") if link["href"] == f"/jobs/{part['enhanced_by']}"]
    feed = (await page_user.page("/generate/image")).one(id="feed")
    assert [card["id"] for card in feed.all("article")] == [
        f"job-{job['id']}"
    ]  # the text job is only in the list of jobs


async def test_an_error_of_the_text_model_is_shown_beside_the_prompt(page_user: PageUser) -> None:
    form = (await page_user.page("/generate/image")).one("form", id="create").values()
    for prompt in ("[fail] a boat", ""):
        for headers in (FRAGMENT, {}):
            filled = {**form, "prompt": prompt, "action": "enhance"}
            answer = await page_user.browser.send_form("/generate/image/draft", filled, headers=headers)
            assert answer.status_code == 400
            part = parse_html(answer.text).one(id="prompt-part")
            assert field_error(part, part.one("textarea", name="prompt"))
            assert part.values()["prompt"] == prompt
