"""The library pages: uploads, search, players, deleting and undoing."""

from tests.html import parse_html
from tests.kit import Cases, generated_image, png, requested_video, uploaded_asset
from tests.pages import FRAGMENT, INJECTION, PageUser
from tests.storage import samples


async def test_an_upload_on_the_library_page_is_added_to_the_library(page_user: PageUser) -> None:
    answer = await page_user.browser.send_form("/library", {}, files={"file": ("me.png", png(), "image/png")})
    assert answer.status_code == 303
    [asset] = await page_user.assets()
    page = await page_user.page("/library")
    assert page.one(id=f"asset-{asset['id']}")
    for data in (b"", b"<svg/>", b"hello"):
        refused = await page_user.browser.send_form("/library", {}, files={"file": ("x.png", data, "image/png")})
        assert refused.status_code in (400, 415)
        assert "<html" in refused.text
    assert await page_user.assets() == [asset]


async def test_the_page_says_that_only_the_first_frame_of_an_animation_was_kept(page_user: PageUser) -> None:
    for frames, notice in (
        (3, "The file was added to your library. Only the first frame of this animation was kept."),
        (1, "The file was added to your library."),
    ):
        files = {"file": ("me.gif", samples.animated("GIF", frames), "image/gif")}
        answer = await page_user.browser.send_form("/library", {}, files=files)
        page = await page_user.page(answer.headers["location"])
        assert page.one(id="notice").one("span").text.strip() == notice


async def test_the_library_shows_unfinished_jobs_first_and_players_for_videos(page_user: PageUser) -> None:
    completed = await page_user.ended((await requested_video(page_user.client))["id"])
    running = await requested_video(page_user.client, "[stuck] still running")
    page = await page_user.page("/library")
    text = (await page_user.browser.get("/library")).text
    asset_id = completed["assets"][0]["id"]
    assert text.index(f'id="job-{running["id"]}"') < text.index(f'id="asset-{asset_id}"')
    assert "controls" in page.one(id=f"asset-{asset_id}").one("video").attributes
    await page_user.client.post(f"/api/v1/jobs/{running['id']}/cancel")


async def test_the_library_is_searched_by_text_and_kind(page_user: PageUser) -> None:
    red = (await generated_image(page_user.client, "[stamp] a red 100% barn"))["assets"][0]
    blue = (await generated_image(page_user.client, "[stamp] a blue harbour"))["assets"][0]
    for query, found in [
        ({"q": "RED"}, [red]),
        ({"q": "100%"}, [red]),
        ({"q": "%"}, [red]),
        ({"q": "_"}, []),
        ({"q": "zebra"}, []),
        ({"kind": "video"}, []),
        ({"kind": "image"}, [blue, red]),
    ]:
        page = parse_html((await page_user.browser.get("/library", params=query)).text)
        shown = [tile["id"] for tile in page.all("article") if tile.get("id").startswith("asset-")]
        assert shown == [f"asset-{asset['id']}" for asset in found], query
    answer = await page_user.browser.get("/library", params={"q": INJECTION})
    assert "<script>alert" not in answer.text


async def test_an_unusual_query_is_answered_or_refused(viewer: PageUser) -> None:
    paths = [
        "/library?cursor=x",
        "/library?kind=nonsense",
        "/jobs?cursor=x",
        "/library?q=%00",
        "/jobs?limit=x",
        "/library?cursor=%ff",
    ]
    with Cases() as cases:
        for path in paths:
            for headers in ({}, FRAGMENT):
                with cases.case(path, headers):
                    assert (await viewer.browser.get(path, headers=headers)).status_code in (200, 400, 404)


async def test_a_deleted_image_is_restored_by_undo(page_user: PageUser) -> None:
    asset = await uploaded_asset(page_user.client)
    answer = await page_user.browser.send_form(f"/library/{asset['id']}/delete", headers=FRAGMENT)
    assert answer.status_code == 200
    assert await page_user.assets() == []
    assert parse_html(answer.text).all("form", action=f"/library/{asset['id']}/restore")
    await page_user.browser.send_form(f"/library/{asset['id']}/restore", headers=FRAGMENT)
    assert await page_user.assets() == [asset]
    assert (await page_user.client.get(asset["url"])).status_code == 200


async def test_a_change_is_confirmed_once(page_user: PageUser) -> None:
    asset = await uploaded_asset(page_user.client)
    answer = await page_user.browser.send_form(f"/library/{asset['id']}/delete")
    assert answer.status_code == 303
    first = parse_html((await page_user.browser.get(answer.headers["location"])).text)
    assert first.one(id="notice").text
    second = parse_html((await page_user.browser.get(answer.headers["location"])).text)
    assert not second.one(id="notice").text


async def test_extend_opens_the_form_of_a_video_with_the_last_frame(page_user: PageUser) -> None:
    video = (await uploaded_asset(page_user.client, samples.video("h264-silent.mp4"), "a.mp4"))["id"]
    assert (await page_user.page(f"/library/{video}")).all("form", action=f"/library/{video}/extend")
    answer = await page_user.browser.send_form(f"/library/{video}/extend")
    assert answer.status_code == 303
    chosen = (await page_user.page(answer.headers["location"])).one("form", id="create").values()["image_asset_id"]
    assert (await page_user.client.get(f"/api/v1/assets/{chosen}")).json()["parent_asset_id"] == video
