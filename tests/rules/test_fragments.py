"""Architecture rule 6: a fragment that is fetched equals that element in its page."""

import re

import httpx

from tests.kit import Cases
from tests.pages import FRAGMENT, PageUser


async def _models(user: PageUser, output: str) -> list[str]:
    answer = await user.client.get("/api/v1/ai/models", params={"output": output, "limit": 100})
    return [model["id"] for model in answer.json()["items"]]


async def _ended_job(user: PageUser, prompt: str) -> str:
    """The id of an image job that was requested with the form."""
    model = (await _models(user, "image"))[0]
    answer = await user.browser.send_form("/generate/image", {"model": model, "prompt": prompt, "mode": "text"})
    assert answer.status_code == 303, answer.text
    id = answer.headers["location"].removeprefix("/jobs/")
    await user.ended(id)
    return id


def _stable(answer: httpx.Response) -> str:
    """The markup without what changes from second to second."""
    text = re.sub(r'(data-seconds="|">)\d+(\.\d+)?|just now|\d+ s ago', "", answer.text)
    return re.sub(r'name="idempotency_key" value="\w+"', "", re.sub(r"\s+", " ", text)).strip()


async def test_a_job_card_is_the_same_alone_and_in_every_page(page_user: PageUser) -> None:
    ids = [await _ended_job(page_user, prompt) for prompt in ("a boat", "[refuse] a boat")]
    with Cases() as cases:
        for id in ids:
            card = _stable(await page_user.browser.get(f"/jobs/{id}/card", headers=FRAGMENT))
            assert card.startswith(f'<article class="card" id="job-{id}"')
            for page in ("/", "/jobs", "/generate/image", "/generate/text"):
                with cases.case(page):
                    assert card in _stable(await page_user.browser.get(page))


async def test_a_job_is_the_same_alone_and_in_its_page(page_user: PageUser) -> None:
    id = await _ended_job(page_user, "a boat")
    fragment = _stable(await page_user.browser.get(f"/jobs/{id}", headers=FRAGMENT))
    assert fragment
    assert fragment in _stable(await page_user.browser.get(f"/jobs/{id}"))


async def test_the_fields_of_a_model_are_the_same_alone_and_in_the_form(page_user: PageUser) -> None:
    with Cases() as cases:
        for kind in ("image", "video"):
            for model in await _models(page_user, kind):
                query = {"model": model, "mode": "text"}
                page = await page_user.browser.get(f"/generate/{kind}", params=query)
                if f'value="{model}" selected' not in page.text:
                    continue  # it needs an input image
                fields = await page_user.browser.get(f"/generate/{kind}/fields", params=query, headers=FRAGMENT)
                with cases.case(model):
                    assert fields.status_code == 200
                    assert _stable(fields) in _stable(page)


async def test_a_boosted_link_gets_a_whole_page(page_user: PageUser) -> None:
    answer = await page_user.browser.get("/jobs", headers={"HX-Request": "true", "HX-Request-Type": "full"})
    assert answer.text.lstrip().startswith("<!doctype html>")
