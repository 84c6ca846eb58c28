"""Law 6: a fragment that is fetched equals that element in its page."""

import re

import httpx

from tests.studio import Browser, Studio

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


async def _models(studio: Studio, output: str) -> list[str]:
    program = await studio.person()
    answer = await program.get("/api/v1/ai/models", params={"output": output, "limit": 100})
    return [model["id"] for model in answer.json()["items"]]


async def _job(studio: Studio, browser: Browser, prompt: str) -> str:
    model = (await _models(studio, "image"))[0]
    form = {"model": model, "prompt": prompt, "mode": "words"}
    answer = await browser.send_form("/generate/image", form)
    assert answer.status_code == 303, answer.text
    id = answer.headers["location"].removeprefix("/jobs/")
    program = await studio.person()
    await studio.finished(program, id)
    return id


def _same(answer: httpx.Response) -> str:
    """The markup without what changes from second to second."""
    text = re.sub(r'(data-seconds="|">)\d+(\.\d+)?|just now|\d+ s ago', "", answer.text)
    return re.sub(r'name="idempotency_key" value="\w+"', "", re.sub(r"\s+", " ", text)).strip()


async def test_a_card_is_the_same_alone_and_in_every_page(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    ids = [await _job(studio, browser, prompt) for prompt in ("a boat", "[refuse] a boat")]
    for id in ids:
        card = _same(await browser.get(f"/jobs/{id}/card", headers=FRAGMENT))
        assert card.startswith(f'<article class="card" id="job-{id}"')
        for page in ("/", "/jobs", "/generate/image", "/generate/text"):
            assert card in _same(await browser.get(page)), f"the card differs in {page}"


async def test_a_job_is_the_same_alone_and_in_its_page(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    id = await _job(studio, browser, "a boat")
    fragment = _same(await browser.get(f"/jobs/{id}", headers=FRAGMENT))
    assert fragment
    assert fragment in _same(await browser.get(f"/jobs/{id}"))


async def test_a_models_fields_are_the_same_alone_and_in_the_form(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    for kind in ("image", "video"):
        for model in await _models(studio, kind):
            query = {"model": model, "mode": "words"}
            page = await browser.get(f"/generate/{kind}", params=query)
            if f'value="{model}" selected' not in page.text:
                continue  # one that starts from pictures only
            fields = await browser.get(f"/generate/{kind}/fields", params=query, headers=FRAGMENT)
            assert fields.status_code == 200
            assert _same(fields) in _same(page), f"the fields of {model} differ"


async def test_a_boosted_link_gets_a_whole_page(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    answer = await browser.get("/jobs", headers={"HX-Request": "true", "HX-Request-Type": "full"})
    assert answer.text.lstrip().startswith("<!doctype html>")
