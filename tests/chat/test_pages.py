"""The pages of chat over HTTP: forms as a browser without JavaScript sends them, and fragments as htmx fetches them."""

import asyncio
import re
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial
from html import unescape
from operator import ne
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chat.pace import Pace
from tests.chat.stored import store_conversation, user_with_email
from tests.html import parse_html
from tests.kit import Cases, Json, eventually, new_email
from tests.pages import FRAGMENT, new_page_user
from tests.processes import atelier_process
from tests.studio import PASSWORD, Browser, Studio, running
from tests.trust import trust

UNKNOWN_ID = "0" * 32
ACCOUNT = {"email": "ann@studio.example", "password": PASSWORD}
STOPPED = "Atelier was stopped while the answer was being written"


@pytest.fixture
async def browser(atelier: Studio) -> Browser:
    """The browser of a new user, whose requests call the application in process."""
    return await atelier.user_in_browser(new_email(), direct=True)


@pytest.fixture
async def remote(atelier: Studio) -> Browser:
    """The browser of a new user, whose requests go over HTTP: for streams that are read while they are written."""
    return await atelier.user_in_browser(new_email())


async def begin(browser: Browser, text: str, **form: str) -> str:
    """Begin a conversation by its form; returns its address."""
    page = await browser.get("/chat/new")
    found = re.search(r'<option value="([^"]+)" selected|<option value="([^"]+)"', page.text)
    assert found
    answer = await browser.send_form("/chat", {"text": text, "model": found[1] or found[2], **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def form_values(page: str, action: str) -> dict[str, str]:
    """The values of the form with this address, including its fields elsewhere on the page."""
    document = parse_html(page)
    (form,) = document.all("form", action=action)
    outside = document.all("input", form=form.get("id")) if form.get("id") else []
    return {**form.values(), **{field["name"]: field.get("value") for field in outside}}


async def page_with(browser: Browser, address: str, text: str) -> str:
    """The page once this text is on it."""

    async def read() -> str:
        return (await browser.get(address)).text

    return await eventually(read, lambda page: text in text_of(page))


async def finished(browser: Browser, address: str) -> str:
    """The page once no answer on it is being written."""

    async def read() -> str:
        return (await browser.get(address)).text

    return await eventually(read, lambda page: 'data-status="streaming"' not in page)


def turns(page: str) -> list[str]:
    return re.findall(r'<article class="chat-message".*?</article>', page, re.DOTALL)


def ids(page: str) -> list[str]:
    return re.findall(r'<article class="chat-message" id="message-([0-9a-f]{32})"', page)


def text_of(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def live_address(page: str) -> str:
    """The address of the stream of the answer that is being written."""
    (found,) = re.findall(r'hx-sse:connect="([^"]+)"', page)
    return str(found)


async def states(client: httpx.AsyncClient, address: str, **options: Any) -> AsyncGenerator[str, None]:
    """The elements that the stream of an answer sends, to its end."""
    lines: list[str] = []
    async with client.stream("GET", address, **options) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                lines.append(line.removeprefix("data: "))
            elif not line and lines:
                yield "\n".join(lines)
                lines = []


async def test_a_conversation_works_with_forms_alone(browser: Browser) -> None:
    assert (await browser.get("/chat")).headers["location"] == "/chat/new"
    address = await begin(browser, "Count to 12", system_prompt="Be brief.")
    page = await finished(browser, address)
    question, answer = turns(page)
    assert "Count to 12" in text_of(question)
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12" in text_of(answer)
    assert re.search(r" · [\d,]+ tokens · \$[\d.]+", text_of(answer))
    assert "<title>Count to 12 · Atelier</title>" in page
    assert 'http-equiv="refresh"' not in page
    assert ">\nBe brief.</textarea>" in page
    assert (await browser.get("/chat")).headers["location"] == address

    sent = await browser.send_form(address, {"text": "Say exactly: on we go"})
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(f"{address}#message-")
    page = await finished(browser, address)
    assert "on we go" in text_of(turns(page)[3])

    retried = await browser.send_form(f"{address}/messages/{ids(page)[3]}/retry")
    assert retried.status_code == 303
    page = await finished(browser, address)
    assert "2/2" in text_of(turns(page)[3])

    edited = await browser.send_form(f"{address}/messages/{ids(page)[2]}/edit", {"text": "Say exactly: elsewhere"})
    assert edited.status_code == 303
    page = await finished(browser, address)
    assert "elsewhere" in text_of(turns(page)[3])
    (before,) = re.findall(r'action="[^"]+/messages/([0-9a-f]{32})/show"', turns(page)[2])
    assert (await browser.send_form(f"{address}/messages/{before}/show")).status_code == 303
    assert "on we go" in text_of(turns((await browser.get(address)).text)[3])


async def test_a_form_that_is_sent_twice_is_answered_and_paid_for_once(atelier: Studio) -> None:
    """Back and Send in a browser without JavaScript, long after the answer has ended."""
    email = new_email()
    browser = await atelier.user_in_browser(email, direct=True)
    address = await begin(browser, "Say exactly: one")
    page = await finished(browser, address)
    question, answer = (f"{address}/messages/{id}" for id in ids(page))
    for action, typed in (
        (address, {"text": "Say exactly: two"}),
        (f"{question}/edit", {"text": "Say exactly: instead"}),
        (f"{answer}/retry", {}),
    ):
        form = {**form_values(page, action), **typed}
        first = await browser.send_form(action, form)
        assert first.status_code == 303
        before = await finished(browser, address)
        again = await browser.send_form(action, form)
        assert (again.status_code, again.headers["location"]) == (303, first.headers["location"]), action
        assert await finished(browser, address) == before, action
    (month,) = (await (await atelier.user(email, direct=True)).get("/api/v1/users/me/spending")).json()["items"]
    assert month["subjects"] == 4


async def test_the_same_text_sent_on_purpose_is_answered_again(browser: Browser) -> None:
    """After each answer htmx has the form for the next message, which may be the same."""
    address = await begin(browser, "Say exactly: same")
    page = await finished(browser, address)
    for count in (2, 3):
        form = {**form_values(page, address), "text": "Say exactly: same"}
        thread = await browser.send_form(address, form, headers=FRAGMENT)
        assert f'value="{form["idempotency_key"]}"' not in thread.text, "the key on the page is used up"
        page = await finished(browser, address)
        assert len(turns(page)) == 2 * count
    for version in (2, 3):
        action = f"{address}/messages/{ids(page)[-1]}/retry"
        assert (await browser.send_form(action, form_values(page, action), headers=FRAGMENT)).status_code == 200
        page = await finished(browser, address)
        assert f"{version}/{version}" in text_of(turns(page)[-1])


async def test_a_conversation_is_renamed_deleted_and_restored(browser: Browser) -> None:
    address = await begin(browser, "Hello")
    await finished(browser, address)
    renamed = await browser.send_form(f"{address}/rename", {"title": "<b>Boats</b>"})
    page = (await browser.get(renamed.headers["location"])).text
    assert "Conversation renamed." in page
    assert "&lt;b&gt;Boats&lt;/b&gt;" in page
    assert "<b>Boats" not in page
    deleted = await browser.send_form(f"{address}/delete")
    page = (await browser.get(deleted.headers["location"])).text
    assert f'action="{address}/restore"' in page
    assert (await browser.get(address)).status_code == 404
    restored = await browser.send_form(f"{address}/restore")
    assert restored.headers["location"] == address
    assert (await browser.get(address)).status_code == 200
    assert '/restore"' not in (await browser.get('/chat/new?deleted="><b>')).text


async def test_a_conversation_is_exported_as_markdown_and_json(browser: Browser) -> None:
    address = await begin(browser, "Three *words* about boats", system_prompt="Be brief")
    await finished(browser, address)
    text = await browser.get(f"{address}/export")
    assert text.headers["content-type"].startswith("text/markdown")
    assert text.headers["content-disposition"].startswith("attachment; filename*=UTF-8''Three")
    assert text.text.startswith("# Three words about boats\n\n## System prompt\n\nBe brief\n\n## You\n\nThree *words*")
    exported = (await browser.get(f"{address}/export?format=json")).json()
    assert [message["role"] for message in exported["messages"]] == ["user", "assistant"]
    assert exported["messages"][0]["text"] == "Three *words* about boats"
    assert exported["messages"][1]["text"] in text.text
    assert (await browser.get(f"{address}/export?format=pdf")).status_code == 400
    assert (await browser.get(f"/chat/{UNKNOWN_ID}/export")).status_code == 404


async def test_a_fork_goes_on_from_a_message_and_costs_nothing_again(atelier: Studio) -> None:
    user = await new_page_user(atelier)
    address = await begin(user.browser, "First question")
    first = await finished(user.browser, address)
    question, answer = ids(first)
    form = {"text": "Second question", **form_values(first, address), "model": ""}
    await user.browser.send_form(address, {**form, "text": "Second question"})
    await finished(user.browser, address)
    spent = (await user.client.get("/api/v1/users/me/spending")).json()
    forked = await user.browser.send_form(f"{address}/messages/{answer}/fork", {})
    assert forked.status_code == 303
    copy = await finished(user.browser, forked.headers["location"])
    assert len(turns(copy)) == 2
    assert "Second question" not in text_of(copy)
    assert not {question, answer} & set(ids(copy)), "the original stays as it is"
    assert len(turns(await finished(user.browser, address))) == 4
    assert (await user.client.get("/api/v1/users/me/spending")).json() == spent
    assert (await user.browser.send_form(f"{address}/messages/{UNKNOWN_ID}/fork", {})).status_code == 404
    stranger = await new_page_user(atelier)
    assert (await stranger.browser.send_form(f"{address}/messages/{answer}/fork", {})).status_code == 404


async def test_an_edited_answer_is_another_version_that_costs_nothing_and_is_sent_from_then_on(studio: Studio) -> None:
    user = await new_page_user(studio)
    address = await begin(user.browser, "First question")
    (_, answer) = ids(await finished(user.browser, address))
    form = {"text": "My own words", "idempotency_key": "1"}
    for _ in range(2):
        edited = await user.browser.send_form(f"{address}/messages/{answer}/edit", form)
        assert edited.status_code == 303
    page = await finished(user.browser, address)
    assert len(turns(page)) == 2
    assert "My own words" in text_of(turns(page)[1])
    assert "2/2" in text_of(turns(page)[1])
    assert "(edited)" in text_of(turns(page)[1])
    refused = await user.browser.send_form(f"{address}/messages/{ids(page)[1]}/edit", {"text": " "})
    assert refused.status_code == 400
    assert (await user.browser.send_form(f"{address}/messages/{answer}/fork", {})).status_code == 303
    found = await studio.program.maintenance.examine()
    assert found.ok, found.text


async def test_the_model_and_system_prompt_are_saved(browser: Browser) -> None:
    address = await begin(browser, "Hello")
    page = await finished(browser, address)
    other = re.findall(r'<option value="([^"]+)" >', page)[-1]
    form = {"model": other, "system_prompt": "You are a cook."}
    assert (await browser.send_form(f"{address}/settings", form, headers=FRAGMENT)).status_code == 204
    page = (await browser.get(address)).text
    assert f'<option value="{other}" selected>' in page
    assert ">\nYou are a cook.</textarea>" in page
    wrong = await browser.send_form(f"{address}/settings", {"model": "acme/unknown"}, headers=FRAGMENT)
    assert wrong.status_code == 400


async def test_an_error_stands_beside_its_field_and_the_input_stays(browser: Browser) -> None:
    address = await begin(browser, "Hello")
    await finished(browser, address)
    long = "x" * 100_001
    for path, form in (
        ("/chat", {"text": "typed", "model": "", "system_prompt": "kept"}),
        ("/chat", {"text": " ", "model": "x", "system_prompt": "kept"}),
        (address, {"text": long, "system_prompt": "kept"}),
        (address, {"text": "typed", "system_prompt": "x" * 16_001}),
    ):
        answer = await browser.send_form(path, form)
        assert answer.status_code == 400
        assert 'aria-invalid="true"' in answer.text
        for text in form.values():
            assert text.strip() in answer.text
        assert answer.text.lstrip().startswith("<!doctype html>")
    settings = f"{address}/settings"
    for form in ({"system_prompt": long}, {"model": "acme/unknown", "text": "typed"}):
        answer = await browser.send_form(settings, form)
        assert answer.status_code == 400
        assert 'aria-invalid="true"' in answer.text
        assert form.get("text", form.get("system_prompt", "")) in answer.text
        assert answer.text.lstrip().startswith("<!doctype html>")
        fragment = await browser.send_form(settings, form, headers=FRAGMENT)
        assert fragment.status_code == 400
        assert fragment.text.startswith('<form class="prompt-box composer" id="composer"')
        assert 'aria-invalid="true"' in fragment.text
    fragment = await browser.send_form(address, {"text": "  "}, headers=FRAGMENT)
    assert fragment.status_code == 400
    assert fragment.text.startswith('<form class="prompt-box composer" id="composer"')
    assert "Enter a message." in fragment.text


def field_and_error(page: str, field: str) -> tuple[str, str]:
    """The value of the invalid field with this name, and the error beside it."""
    document = parse_html(page)
    (invalid,) = (it for it in document.all(name=field) if it.get("aria-invalid"))
    return invalid.get("value") or invalid.text, document.one(id=invalid["aria-describedby"]).text


async def test_a_refused_edit_keeps_the_input_with_the_error_beside_it(browser: Browser, pace: Pace) -> None:
    address = await begin(browser, "Say exactly: hello")
    page = await finished(browser, address)
    edit = f"{address}/messages/{ids(page)[0]}/edit"
    typed = "x" * 100_001
    answer = await browser.send_form(edit, {"text": typed})
    assert answer.status_code == 400
    assert answer.text.lstrip().startswith("<!doctype html>")
    assert field_and_error(answer.text, "text") == (typed, "Must be at most 100,000 characters.")
    assert '<details class="message-edit" open>' in answer.text
    empty = await browser.send_form(edit, {"text": " "}, headers=FRAGMENT)
    assert empty.status_code == 400
    assert empty.text.startswith(f'<form class="panel" id="edit-{ids(page)[0]}"')
    assert field_and_error(empty.text, "text")[1] == "Enter a message."

    await browser.send_form(address, {"text": "[slow] Count to 900"})
    answer = await browser.send_form(edit, {"text": "Too soon"})
    assert answer.status_code == 409
    text, error = field_and_error(answer.text, "text")
    assert (text, error.partition(".")[0]) == ("Too soon", "An answer is still being written in this conversation")
    assert 'http-equiv="refresh"' not in answer.text, "a refresh would lose what was typed"


async def test_an_invalid_edit_of_an_earlier_message_is_shown_on_its_page(atelier: Studio) -> None:
    email = new_email()
    browser = await atelier.user_in_browser(email, direct=True)
    owner = await user_with_email(atelier, email)
    address = await store_conversation(atelier, owner, ["an answer"] * 31)
    page = (await browser.get(address)).text
    assert len(turns(page)) == 60
    (earlier,) = re.findall(rf'href="({address}\?until=\w+)"', page)
    first_page = (await browser.get(earlier)).text
    edit = f"{address}/messages/{ids(first_page)[0]}/edit"
    form = form_values(first_page, edit)
    answer = await browser.send_form(edit, {**form, "text": "x" * 100_001})
    assert answer.status_code == 400
    assert field_and_error(answer.text, "text")[0] == "x" * 100_001
    not_shown = await browser.send_form(edit, {"text": " "}, headers=FRAGMENT)
    assert not_shown.status_code == 404, "where the form is not shown nothing is put in its place"


async def test_a_refused_title_keeps_the_input_with_the_error_beside_it(browser: Browser) -> None:
    address = await begin(browser, "Hello")
    await finished(browser, address)
    for title, error in (("x" * 500, "Must be at most 80 characters."), (" ", "Enter a title.")):
        answer = await browser.send_form(f"{address}/rename", {"title": title})
        assert answer.status_code == 400
        assert field_and_error(answer.text, "title") == (title, error)
        assert "<title>Hello · Atelier</title>" in answer.text


async def test_an_answer_is_sent_while_it_is_written(remote: Browser, pace: Pace) -> None:
    """The simulator writes ten words more for each state that the reader has seen."""
    address = await begin(remote, "[slow] Count to 60")
    page = (await remote.get(address)).text
    assert 'http-equiv="refresh"' in page, "without JavaScript the page reloads by itself"
    live, seen = live_address(page), []
    async for state in states(remote, live, headers={"Accept-Encoding": "gzip, br"}):
        seen.append(state)
        pace.allow(10)
    texts = [text_of(it) for it in seen]
    assert len(seen) > 5, "it arrived in many steps"
    assert all('data-status="streaming"' in it and "hx-sse:connect" in it for it in seen[:-1])
    assert all(it.startswith('<article class="chat-message" id="message-') for it in seen)
    assert len({len(it) for it in texts}) > 5
    assert 'data-status="complete"' in seen[-1]
    assert "hx-sse" not in seen[-1]
    assert texts[-1].count(",") >= 59
    assert seen[-1] in (await remote.get(address)).text, "the last state is the element of the page"
    assert [it async for it in states(remote, live)] == seen[-1:], "a late reader gets the end at once"


async def test_a_reader_who_leaves_changes_nothing_and_can_come_back(remote: Browser, pace: Pace) -> None:
    address = await begin(remote, "[slow] Count to 60")
    pace.allow(15)
    async with remote.stream("GET", live_address((await remote.get(address)).text)) as answer:
        async for line in answer.aiter_lines():
            if "10," in line:
                break
    pace.allow(10)
    page = await page_with(remote, address, "20, 21,")
    assert "59" not in text_of(turns(page)[1])
    pace.finish()
    assert "59, 60" in text_of(turns(await finished(remote, address))[1])


async def test_a_stopped_answer_keeps_its_text(browser: Browser, pace: Pace) -> None:
    address = await begin(browser, "[slow] Count to 400")
    pace.allow(15)
    await page_with(browser, address, "1, 2, 3")
    stopped = await browser.send_form(f"{address}/stop", headers=FRAGMENT)
    assert stopped.status_code == 200
    assert stopped.text.startswith('<section class="thread" id="thread"')
    answer = turns(stopped.text)[1]
    assert 'data-status="stopped"' in answer
    assert "1, 2, 3" in text_of(answer)
    assert "400" not in text_of(answer)
    assert "Retry" in answer


async def test_fragments_equal_their_elements_in_the_page(browser: Browser) -> None:
    address = await begin(browser, "Write some code: **bold** <b>")
    page = await finished(browser, address)
    thread = await browser.get(address, headers=FRAGMENT)
    assert thread.text.strip() in page
    for turn, id in zip(turns(page), ids(page), strict=True):
        if 'data-role="assistant"' in turn:
            assert [it async for it in states(browser, f"{address}/messages/{id}/live")] == [turn]
    found = await browser.get("/chat/list", params={"current": address.removeprefix("/chat/")}, headers=FRAGMENT)
    assert found.text.strip() in page


async def test_the_list_is_searched_and_read_in_pages(atelier: Studio) -> None:
    email = new_email()
    browser = await atelier.user_in_browser(email, direct=True)
    owner = await user_with_email(atelier, email)
    for n in range(33):
        title = f"Talk {n} {'boat' if n % 2 else 'harbour'}"
        await store_conversation(atelier, owner, ["an answer"], title=title)
    first = (await browser.get("/chat/list", headers=FRAGMENT)).text
    assert first.count('class="conversation-item"') == 30
    (more,) = re.findall(r'hx-get="([^"]+)"', first)
    rest = (await browser.get(unescape(more), headers=FRAGMENT)).text
    assert rest.count('class="conversation-item"') == 3
    assert "Older" not in rest
    assert (await browser.get("/chat/list", params={"q": "BOAT 1"}, headers=FRAGMENT)).text.count(
        'class="conversation-item"'
    ) == 8
    assert "No matching conversations." in (await browser.get("/chat/new", params={"q": "zebra"})).text
    (older,) = re.findall(r'class="button" href="(/chat/new\?cursor[^"]+)"', first)
    assert (await browser.get(unescape(older))).text.count('class="conversation-item"') == 3
    assert (await browser.get("/chat/list", params={"cursor": "nonsense"}, headers=FRAGMENT)).status_code == 400


def every_route(address: str, message: str) -> list[tuple[str, str]]:
    return [
        ("GET", address),
        ("POST", address),
        *(("POST", f"{address}/{verb}") for verb in ("settings", "stop", "rename", "delete", "restore")),
        *(("POST", f"{address}/messages/{message}/{verb}") for verb in ("edit", "retry", "show")),
        ("GET", f"{address}/messages/{message}/live"),
    ]


async def test_the_conversations_of_another_user_are_not_found(atelier: Studio, browser: Browser) -> None:
    bob = await atelier.user_in_browser(new_email("bob"), direct=True)
    address = await begin(browser, "My secret")
    page = await finished(browser, address)
    own = await begin(bob, "Theirs")
    await finished(bob, own)
    token = await bob.form_token("/jobs")
    form = {"text": "x", "title": "x", "_csrf_token": token}
    with Cases() as cases:
        for id in ids(page):
            for method, path in [
                *every_route(address, id),
                *every_route(f"/chat/{UNKNOWN_ID}", UNKNOWN_ID),
                *every_route(own, id)[7:],
            ]:
                with cases.case(method, path):
                    answer = await bob.request(method, path, data=form if method == "POST" else None)
                    assert answer.status_code == 404
                    assert "secret" not in answer.text
    assert text_of(turns((await browser.get(address)).text)[0]) == text_of(turns(page)[0])


async def test_every_change_requires_the_form_token(browser: Browser) -> None:
    address = await begin(browser, "Hello")
    page = await finished(browser, address)
    for method, path in [("POST", "/chat"), *every_route(address, ids(page)[1])]:
        if method == "POST":
            answer = await browser.post(path, data={"text": "x", "title": "x"})
            assert answer.status_code == 403, path
    assert (await browser.get(address)).text.count('class="chat-message"') == 2


async def test_conversations_require_a_session(atelier: Studio, browser: Browser) -> None:
    address = await begin(browser, "Hello")
    page = await finished(browser, address)
    signed_out = atelier.direct_browser()
    with Cases() as cases:
        for method, path in [
            ("GET", "/chat"),
            ("GET", "/chat/new"),
            ("GET", "/chat/list"),
            *every_route(address, ids(page)[1]),
        ]:
            if method == "GET":
                with cases.case(path):
                    answer = await signed_out.get(path)
                    assert answer.status_code == 303
                    assert answer.headers["location"].startswith("/login")
                    assert (await signed_out.get(path, headers=FRAGMENT)).status_code == 401


async def test_a_failed_answer_shows_the_reason_and_offers_a_retry(browser: Browser) -> None:
    address = await begin(browser, "[error-in-stream] Count to 12")
    answer = turns(await finished(browser, address))[1]
    assert 'data-status="failed"' in answer
    assert "1, 2" in text_of(answer)
    assert "The part received is kept" in text_of(answer)
    assert '<button class="button">' in answer


async def test_a_stop_of_the_server_ends_the_readers_and_keeps_the_text(tmp_path: Path, pace: Pace) -> None:
    """The stop does not wait for the provider, which never ends the answer."""
    async with running(tmp_path) as studio:
        browser = await studio.user_in_browser()
        address = await begin(browser, "[slow] Count to 900")
        pace.allow(15)
        page = await page_with(browser, address, "1, 2, 3")
        async with asyncio.timeout(300), aclosing(states(browser, live_address(page))) as reading:
            await anext(reading)
            await studio.program.chat.close()
            *_, last = [it async for it in reading]
        assert STOPPED in text_of(last)
        assert "1, 2, 3" in text_of(last)
    async with running(tmp_path) as studio:
        browser = await studio.user_in_browser()
        answer = turns((await browser.get(address)).text)[1]
        assert "1, 2, 3" in text_of(answer)
        assert STOPPED in text_of(answer)


async def flushed(client: httpx.AsyncClient, admin_token: str) -> None:
    """Wait until everything that has arrived by now is on disk: until the flush after the one that may be running has ended."""

    async def last_beat() -> str:
        answer = await client.get("/api/v1/admin/health", headers={"Authorization": f"Bearer {admin_token}"})
        tasks: list[Json] = answer.json()["background_tasks"]
        return next(str(task["last_beat"]) for task in tasks if task["name"] == "chat flush")

    beat = await last_beat()
    for _ in range(2):
        beat = await eventually(last_beat, partial(ne, beat))


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_stopped_or_killed_process_keeps_the_text(tmp_path: Path, signal_number: signal.Signals) -> None:
    """The answer would take five minutes."""
    async with (
        atelier_process(tmp_path, settings={"ATELIER_SIMULATOR_SPEED": "10"}) as process,
        Browser(timeout=300, trust_env=False, verify=trust()) as browser,
    ):
        browser.base_url = (await process.ready(seconds=300)).url
        await browser.send_form("/register", {**ACCOUNT, "name": "Ann"})
        tokens = (await browser.post("/api/v1/auth/login", json=ACCOUNT)).json()
        address = await begin(browser, "Count to 900")
        page = (await browser.get(address)).text
        async with aclosing(states(browser, live_address(page))) as reading:
            async for state in reading:
                known = [int(it) for it in re.findall(r"(\d+),", text_of(state))]
                if len(known) >= 3:
                    break
            if signal_number is signal.SIGKILL:
                await flushed(browser, tokens["access_token"])
            await process.stopped(signal_number, seconds=300)
            with suppress(httpx.RemoteProtocolError, httpx.ReadError):
                async for _ in reading:
                    pass
    async with running(tmp_path) as studio:
        browser = await studio.user_in_browser(ACCOUNT["email"], direct=True)
        answer = turns((await browser.get(address)).text)[1]
    assert 'data-status="failed"' in answer
    assert STOPPED in text_of(answer)
    counted = [int(it) for it in re.findall(r"(\d+),", text_of(answer).partition(STOPPED)[0])]
    assert len(counted) >= len(known) >= 3
    assert counted == list(range(1, len(counted) + 1))
    assert len(counted) < 900
