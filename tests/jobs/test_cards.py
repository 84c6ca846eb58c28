"""Job cards and job pages: polling until the job ends, retrying, cancelling, and what other users see."""

import re

from tests.html import parse_html
from tests.kit import SHORT_VIDEO, UNKNOWN_ID, VIDEO_MODEL, decoded_video, requested_video
from tests.pages import FRAGMENT, PageUser, job_card


async def test_with_htmx_the_answer_is_a_card_that_polls_until_the_job_ends(page_user: PageUser) -> None:
    answer = await page_user.submit_create_form(
        "video",
        htmx=True,
        model=VIDEO_MODEL,
        prompt="[stamp] a lighthouse",
        **{key: str(it) for key, it in SHORT_VIDEO.items()},
    )
    assert answer.status_code == 200, answer.text[:500]
    assert "<html" not in answer.text
    first = job_card(answer.text)
    [job] = await page_user.jobs()
    assert first["id"] == f"job-{job['id']}"
    assert first["hx-get"] == f"/jobs/{job['id']}/card"
    assert "every 5s" in first["hx-trigger"]
    assert "a lighthouse" in first.text

    assert (await page_user.ended(job["id"]))["status"] == "completed"
    polled = await page_user.browser.get(f"/jobs/{job['id']}/card", headers=FRAGMENT)
    assert polled.status_code == 200
    last = job_card(polled.text)
    assert last["id"] == first["id"]
    assert "hx-get" not in last.attributes
    assert "hx-trigger" not in last.attributes
    assert "every" not in polled.text
    video = last.one("video")
    assert "controls" in video.attributes
    media = await page_user.browser.get(video["src"])
    assert media.status_code == 200
    assert decoded_video(media.content)[0] == "h264"


async def test_without_scripts_a_job_page_refreshes_itself_only_while_the_job_runs(page_user: PageUser) -> None:
    job = await requested_video(page_user.client, "[stuck] a lighthouse")
    unfinished = await page_user.page(f"/jobs/{job['id']}")
    [refresh] = [
        meta
        for noscript in unfinished.all("noscript")
        for meta in noscript.all("meta")
        if meta.get("http-equiv") == "refresh"
    ]
    assert refresh["content"].split(";")[0].isdigit()
    assert "every 5s" in unfinished.one(id=f"job-{job['id']}")["hx-trigger"]
    await page_user.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    finished = await page_user.page(f"/jobs/{job['id']}")
    assert not [meta for meta in finished.all("meta") if meta.get("http-equiv") == "refresh"]
    assert "hx-trigger" not in finished.one(id=f"job-{job['id']}").attributes


async def test_a_failed_card_shows_the_error_message_and_offers_a_retry(page_user: PageUser) -> None:
    job = await page_user.ended((await requested_video(page_user.client, "[refuse] a lighthouse"))["id"])
    failed = job_card((await page_user.browser.get(f"/jobs/{job['id']}/card", headers=FRAGMENT)).text)
    assert job["error"]["message"] in failed.text
    assert failed.all("form", action=f"/jobs/{job['id']}/retry")
    assert "hx-trigger" not in failed.attributes
    answer = await page_user.browser.send_form(f"/jobs/{job['id']}/retry")
    assert answer.status_code == 303
    [second, _] = await page_user.jobs()
    await page_user.ended(second["id"])
    again = await page_user.browser.send_form(f"/jobs/{job['id']}/retry", headers=FRAGMENT)
    assert again.status_code == 200
    assert job_card(again.text)["id"] != f"job-{job['id']}"


async def test_a_job_is_cancelled_on_its_card(page_user: PageUser) -> None:
    job = await requested_video(page_user.client, "[stuck] a lighthouse")
    shown = job_card((await page_user.browser.get(f"/jobs/{job['id']}/card", headers=FRAGMENT)).text)
    assert shown.all("form", action=f"/jobs/{job['id']}/cancel")
    answer = await page_user.browser.send_form(f"/jobs/{job['id']}/cancel", headers=FRAGMENT)
    assert answer.status_code == 200
    cancelled = job_card(answer.text)
    assert "Cancelled" in cancelled.text
    assert "hx-trigger" not in cancelled.attributes
    again = await page_user.browser.send_form(f"/jobs/{job['id']}/cancel")
    assert again.status_code == 409
    assert "<html" in again.text


async def test_a_job_or_file_of_another_user_and_an_unknown_one_get_the_same_page(
    page_user: PageUser, viewer: PageUser
) -> None:
    job, asset = (await viewer.jobs())[0], (await viewer.assets())[0]
    ids = re.compile(r"[0-9a-f]{32,64}")
    for template, owned in [("/jobs/{}", job), ("/jobs/{}/card", job), ("/library/{}", asset)]:
        for headers in ({}, FRAGMENT):
            stranger = await page_user.browser.get(template.format(owned["id"]), headers=headers)
            unknown = await page_user.browser.get(template.format(UNKNOWN_ID), headers=headers)
            assert stranger.status_code == unknown.status_code == 404
            assert ids.sub("", stranger.text) == ids.sub("", unknown.text)
            assert ("<html" in stranger.text) == (headers != FRAGMENT)
    for template, owned in [
        ("/jobs/{}/cancel", job),
        ("/jobs/{}/retry", job),
        ("/jobs/{}/delete", job),
        ("/jobs/{}/restore", job),
        ("/library/{}/delete", asset),
        ("/library/{}/restore", asset),
    ]:
        answers = [await page_user.browser.send_form(template.format(it)) for it in (owned["id"], UNKNOWN_ID)]
        assert [answer.status_code for answer in answers] == [404, 404], template
        assert len({ids.sub("", answer.text) for answer in answers}) == 1
    assert (await viewer.client.get(asset["url"])).status_code == 200
    for template, owned in [("/generate/image?from={}", job), ("/generate/video?mode=image&asset={}", asset)]:
        pages = [await page_user.browser.get(template.format(it)) for it in (owned["id"], UNKNOWN_ID)]
        assert pages[0].status_code == pages[1].status_code
        assert len({ids.sub("", page.text) for page in pages}) == 1
        assert job["prompt"] not in parse_html(pages[0].text).text
