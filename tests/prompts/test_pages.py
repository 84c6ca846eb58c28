"""The pages of prompts: forms, deletion with undo, copies, import and export, and what the create form makes of them."""

import json
from datetime import timedelta

import pytest

from app.base import clock
from app.prompts.service import UNDO
from tests.html import Element, parse_html
from tests.kit import IMAGE_MODEL, Cases, Json
from tests.pages import FRAGMENT, INJECTION, PageUser, field_error, new_page_user
from tests.prompts.test_api import LIST, PROMPTS, TEMPLATE, created
from tests.studio import Studio


def shown(page: Element) -> list[str]:
    """The names in the list of prompts."""
    return [item.one("h3").text.strip() for item in page.all("article") if item.all("h3")]


async def save(user: PageUser, path: str, **values: str) -> Json:
    """Fill in the form at `path` and save it; the prompt that results."""
    form = (await user.page(path)).one("main").one("form").values()
    answer = await user.browser.send_form(path.partition("?")[0].removesuffix("/new"), {**form, **values})
    assert (answer.status_code, answer.headers.get("location")) == (303, "/prompts"), answer.text[:2000]
    items = (await user.client.get(PROMPTS, params={"q": values["name"], "visibility": "own"})).json()["items"]
    [found] = [item for item in items if item["name"] == values["name"]]
    prompt: Json = (await user.client.get(f"{PROMPTS}/{found['id']}")).json()
    return prompt


async def test_forms_create_and_change_a_template_and_a_list(page_user: PageUser) -> None:
    template = await save(
        page_user,
        "/prompts/new?kind=template",
        name="harbour",
        text=INJECTION,
        output="video",
        tags="a, b",
        shared="true",
    )
    assert (template["text"], template["output"], template["tags"], template["shared"]) == (
        INJECTION,
        "video",
        ["a", "b"],
        True,
    )
    listed = await save(page_user, "/prompts/new?kind=wildcards", name="weather", lines="rain\r\n\r\nsnow")
    assert listed["lines"] == ["rain", "snow"]
    changed = await save(page_user, f"/prompts/{template['id']}", name="harbour", text="a boat")
    assert {**template, "text": "a boat", "version": 2, "updated_at": changed["updated_at"]} == changed
    form = (await page_user.page("/prompts/new?kind=wildcards")).one("main").one("form")
    assert form["enctype"] == "multipart/form-data"
    longest = {**form.values(), "name": "longest", "lines": "\n".join(["\U0001f6f6" * 999] * 200)}
    no_file = {"none": ("", b"")}
    assert (await page_user.browser.send_form("/prompts", longest, files=no_file)).status_code == 303
    page = await page_user.page("/prompts?q=harbour")
    assert "harbour" in shown(page)


async def test_a_refused_form_keeps_the_input_and_names_the_field(page_user: PageUser) -> None:
    await created(page_user.client, TEMPLATE)
    form = (await page_user.page("/prompts/new?kind=template")).one("main").one("form").values()
    for values, field in (({"text": ""}, "text"), ({"name": "HARBOUR"}, "name"), ({"output": "audio"}, "output")):
        filled = {**form, "name": INJECTION, "text": INJECTION, "tags": "kept", **values}
        answer = await page_user.browser.send_form("/prompts", filled)
        assert answer.status_code in (400, 409)
        again = parse_html(answer.text).one("main").one("form")
        [named] = [it for it in again.all() if it.get("name") == field]
        assert field_error(again, named)
        assert again.values()["tags"] == "kept"


async def test_the_second_of_two_editors_sees_what_was_saved_and_can_save_again(page_user: PageUser) -> None:
    prompt = await created(page_user.client, TEMPLATE)
    path = f"/prompts/{prompt['id']}"
    form = (await page_user.page(path)).one("main").one("form").values()
    await page_user.browser.send_form(path, {**form, "text": "the first"})
    answer = await page_user.browser.send_form(path, {**form, "text": "the second"})
    assert answer.status_code == 409
    again = parse_html(answer.text).one("main").one("form")
    assert "the first" in again.text
    assert again.values()["text"] == "the second"
    assert (await page_user.browser.send_form(path, again.values())).status_code == 303
    assert (await page_user.client.get(f"{PROMPTS}/{prompt['id']}")).json()["text"] == "the second"


async def test_a_deleted_prompt_can_be_brought_back_for_ten_minutes(
    page_user: PageUser, atelier: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = await created(page_user.client, TEMPLATE)
    path = f"/prompts/{prompt['id']}"
    for htmx in (True, False):
        answer = await page_user.browser.send_form(f"{path}/delete", headers=FRAGMENT if htmx else {})
        page = parse_html(answer.text) if htmx else await page_user.page(answer.headers["location"])
        [undo] = [form for form in page.all("form") if form.get("action") == f"{path}/restore"]
        assert (await page_user.browser.get(path)).status_code == 404
        assert (await page_user.browser.send_form(undo["action"])).status_code == 303
        assert (await page_user.client.get(f"{PROMPTS}/{prompt['id']}")).json() == prompt
    await page_user.browser.send_form(f"{path}/delete")
    await atelier.program.prompts.sweep()
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + UNDO + timedelta(seconds=1))
    assert (await page_user.browser.send_form(f"{path}/restore")).status_code == 404
    await atelier.program.prompts.sweep()
    monkeypatch.setattr(clock, "now", lambda: now)
    assert (await page_user.browser.send_form(f"{path}/restore")).status_code == 404


async def test_a_shared_prompt_is_read_used_and_copied_by_others(page_user: PageUser, atelier: Studio) -> None:
    other = await new_page_user(atelier)
    for content, name in ((TEMPLATE, "Harbour 2"), (LIST, "weather-2")):
        prompt = await created(page_user.client, content, shared=True)
        page = await other.page(f"/prompts/{prompt['id']}")
        assert not page.all("textarea")
        assert {form["action"] for form in page.one("main").all("form")} == {f"/prompts/{prompt['id']}/copy"}
        assert (await other.browser.send_form(f"/prompts/{prompt['id']}", {"name": "x"})).status_code == 403
        for expected in (prompt["name"], name):
            answer = await other.browser.send_form(f"/prompts/{prompt['id']}/copy")
            copied = (await other.client.get(f"{PROMPTS}/{answer.headers['location'].rpartition('/')[2]}")).json()
            assert (copied["name"], copied["own"], copied["shared"]) == (expected, True, False)
            assert (copied["text"], copied["lines"]) == (prompt["text"], prompt["lines"])


async def test_prompts_leave_and_come_back_as_files(page_user: PageUser, atelier: Studio) -> None:
    template, listed = await created(page_user.client, TEMPLATE), await created(page_user.client, LIST)
    exported = await page_user.browser.get("/prompts/export")
    assert exported.headers["content-disposition"] == 'attachment; filename="prompts.json"'
    text = await page_user.browser.get(f"/prompts/{listed['id']}/export")
    assert (text.text, text.headers["content-type"]) == ("light rain\nfirst snow\n", "text/plain; charset=utf-8")
    assert (await page_user.browser.get(f"/prompts/{template['id']}/export")).status_code == 404

    other = await new_page_user(atelier)

    async def send(name: str, content: bytes) -> tuple[int, list[str], str]:
        """The status, the names that the user has afterwards, and the page."""
        files = {"file": (name, content, "text/plain")}
        answer = await other.browser.send_form("/prompts/import", files=files)
        items = (await other.client.get(PROMPTS, params={"visibility": "own"})).json()["items"]
        return answer.status_code, [item["name"] for item in items], answer.text

    assert (await send("Warm colors.txt", b"\xef\xbb\xbf# by hand\r\nred\r\n\r\n orange \n"))[:2] == (
        303,
        ["warm-colors"],
    )
    assert (await send("prompts.json", exported.content))[:2] == (303, ["Harbour", "warm-colors", "weather"])
    assert (await send("prompts.json", exported.content))[:2] == (303, ["Harbour", "warm-colors", "weather"])
    back = json.loads((await other.browser.get("/prompts/export")).content)["prompts"]
    assert [entry for entry in back if entry["name"] != "warm-colors"] == json.loads(exported.content)["prompts"]
    assert [entry["lines"] for entry in back if entry["name"] == "warm-colors"] == [["red", "orange"]]
    broken = json.dumps({"prompts": [*back[:1], {"kind": "template", "name": INJECTION}]}).encode()
    with Cases() as cases:
        for name, content in (
            ("a.txt", b""),
            ("a.txt", b"\xff\xfe"),
            ("!.txt", b"red"),
            ("a.json", b"[]"),
            ("a.json", b'{"prompts": []}'),
            ("a.json", broken.replace(b"Harbour", b"New")),
        ):
            with cases.case(name, content):
                status, names, page = await send(name, content)
                assert (status, names) == (400, ["Harbour", "warm-colors", "weather"])
                main = parse_html(page).one("main")
                assert field_error(main, main.one("input", name="file"))


# In the create form


async def test_a_template_fills_the_form_and_undo_brings_the_old_prompt_back(page_user: PageUser) -> None:
    prompt = await created(page_user.client, TEMPLATE)
    form = (await page_user.page(f"/generate/image?template={prompt['id']}")).one("form", id="create")
    assert form.values()["prompt"] == TEMPLATE["text"]
    assert form.values()["negative_prompt"] == "people"
    for htmx in (True, False):
        typed = {**form.values(), "prompt": "typed", "negative_prompt": "typed too", "n": "2"}
        for action, text, negative in ((prompt["id"], TEMPLATE["text"], "people"), ("undo", "typed", "typed too")):
            headers = FRAGMENT if htmx else {}
            answer = await page_user.browser.send_form(
                "/generate/image/draft", {**typed, "action": action}, headers=headers
            )
            assert answer.status_code == 200
            typed |= parse_html(answer.text).one(id="prompt-part").values()
            assert (typed["prompt"], typed["negative_prompt"]) == (text, negative)
    for action in ("no-such-template", prompt["id"] + "x"):
        answer = await page_user.browser.send_form(
            "/generate/image/draft", {**typed, "action": action}, headers=FRAGMENT
        )
        assert answer.status_code == 400
        assert field_error(parse_html(answer.text), parse_html(answer.text).one("textarea", name="prompt"))


async def test_a_prompt_uses_ones_own_list_before_a_shared_one_and_lists_within_lists(
    page_user: PageUser, atelier: Studio
) -> None:
    other = await new_page_user(atelier)
    await created(page_user.client, LIST, name="mood", lines=["calm"], shared=True)
    await created(page_user.client, LIST, name="sky", lines=["__mood__ sky"], shared=True)
    body = {"model": IMAGE_MODEL, "prompt": "[stamp] a __Sky__"}
    assert (await other.client.post("/api/v1/generate/image", json=body)).json()["prompt"] == "[stamp] a calm sky"
    await created(other.client, LIST, name="mood", lines=["wild"])
    assert (await other.client.post("/api/v1/generate/image", json=body)).json()["prompt"] == "[stamp] a wild sky"
    page = await other.page("/generate/image")
    assert "__mood__" in page.one(id="prompt-help").text
    answer = await other.submit_create_form("image", htmx=True, prompt="a __missing__ boat")
    assert answer.status_code == 400
    form = parse_html(answer.text).one("form", id="create")
    assert "__missing__" in field_error(form, form.one("textarea", name="prompt"))
