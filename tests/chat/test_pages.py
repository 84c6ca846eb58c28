"""The pages of chat as HTTP: with forms as a browser without JavaScript sends them, and with fragments as htmx asks for them."""

import asyncio
import re
import signal
import time
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.html import read
from tests.api.processes import atelier
from tests.studio import PASSWORD, Browser, Studio, running
from tests.trust import trust

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}
INVENTED = "0" * 32


async def begin(browser: Browser, text: str, **form: str) -> str:
    """Begin a conversation by its form; returns its address."""
    page = await browser.get("/chat/new")
    found = re.search(r'<option value="([^"]+)" selected|<option value="([^"]+)"', page.text)
    assert found
    answer = await browser.send_form("/chat", {"text": text, "model": found[1] or found[2], **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def sent(page: str, action: str) -> dict[str, str]:
    """What a browser sends of the form with this address, fields that stand elsewhere on the page included."""
    whole = read(page)
    (form,) = whole.all("form", action=action)
    outside = whole.all("input", form=form.get("id")) if form.get("id") else []
    return {**form.values(), **{field["name"]: field.get("value") for field in outside}}


async def finished(browser: Browser, address: str) -> str:
    """The page once nothing is being written on it."""
    async with asyncio.timeout(30):
        while 'data-status="streaming"' in (page := (await browser.get(address)).text):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return page


def turns(page: str) -> list[str]:
    return re.findall(r'<article class="turn".*?</article>', page, re.DOTALL)


def ids(page: str) -> list[str]:
    return re.findall(r'<article class="turn" id="message-([0-9a-f]{32})"', page)


def words(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


async def events(client: httpx.AsyncClient, address: str, **options: Any) -> list[str]:
    """The elements that a live answer sends, to its end."""
    found: list[str] = []
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
                found.append("\n".join(lines))
                lines = []
    return found


async def test_a_conversation_by_forms_alone(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    assert (await browser.get("/chat")).headers["location"] == "/chat/new"
    address = await begin(browser, "Count to 12", system_prompt="Be brief.")
    page = await finished(browser, address)
    question, answer = turns(page)
    assert "Count to 12" in words(question)
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12" in words(answer)
    assert re.search(r" · [\d,]+ tokens · \$[\d.]+", words(answer))
    assert "<title>Count to 12 · Atelier</title>" in page
    assert 'http-equiv="refresh"' not in page
    assert ">\nBe brief.</textarea>" in page
    assert (await browser.get("/chat")).headers["location"] == address

    said = await browser.send_form(address, {"text": "Say exactly: on we go"})
    assert said.status_code == 303
    assert said.headers["location"].startswith(f"{address}#message-")
    page = await finished(browser, address)
    assert "on we go" in words(turns(page)[3])

    retried = await browser.send_form(f"{address}/messages/{ids(page)[3]}/retry")
    assert retried.status_code == 303
    page = await finished(browser, address)
    assert "2/2" in words(turns(page)[3])

    edited = await browser.send_form(f"{address}/messages/{ids(page)[2]}/edit", {"text": "Say exactly: elsewhere"})
    assert edited.status_code == 303
    page = await finished(browser, address)
    assert "elsewhere" in words(turns(page)[3])
    (before,) = re.findall(r'action="[^"]+/messages/([0-9a-f]{32})/show"', turns(page)[2])
    assert (await browser.send_form(f"{address}/messages/{before}/show")).status_code == 303
    assert "on we go" in words(turns((await browser.get(address)).text)[3])


async def test_a_form_that_is_sent_again_is_asked_and_paid_for_once(studio: Studio) -> None:
    """Back and Send in a browser without JavaScript, long after the answer has ended."""
    browser = await studio.person_in_browser()
    address = await begin(browser, "Say exactly: one")
    page = await finished(browser, address)
    question, answer = (f"{address}/messages/{id}" for id in ids(page))
    for action, typed in (
        (address, {"text": "Say exactly: two"}),
        (f"{question}/edit", {"text": "Say exactly: instead"}),
        (f"{answer}/retry", {}),
    ):
        form = {**sent(page, action), **typed}
        first = await browser.send_form(action, form)
        assert first.status_code == 303
        before = await finished(browser, address)
        again = await browser.send_form(action, form)
        assert (again.status_code, again.headers["location"]) == (303, first.headers["location"]), action
        assert await finished(browser, address) == before, action
    (month,) = (await (await studio.person()).get("/api/v1/users/me/spending")).json()["items"]
    assert month["subjects"] == 4


async def test_what_is_said_again_on_purpose_is_answered_again(studio: Studio) -> None:
    """After each answer htmx has the form for the next message, which may be the same."""
    browser = await studio.person_in_browser()
    address = await begin(browser, "Say exactly: same")
    page = await finished(browser, address)
    for said in (2, 3):
        form = {**sent(page, address), "text": "Say exactly: same"}
        thread = await browser.send_form(address, form, headers=FRAGMENT)
        assert f'value="{form["idempotency_key"]}"' not in thread.text, "the key on the page is used up"
        page = await finished(browser, address)
        assert len(turns(page)) == 2 * said
    for version in (2, 3):
        action = f"{address}/messages/{ids(page)[-1]}/retry"
        assert (await browser.send_form(action, sent(page, action), headers=FRAGMENT)).status_code == 200
        page = await finished(browser, address)
        assert f"{version}/{version}" in words(turns(page)[-1])


async def test_a_title_is_changed_and_a_conversation_deleted_and_brought_back(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Hello")
    await finished(browser, address)
    renamed = await browser.send_form(f"{address}/rename", {"title": "<b>Boats</b>"})
    page = (await browser.get(renamed.headers["location"])).text
    assert "The conversation was renamed." in page
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


async def test_the_model_and_system_prompt_are_kept(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Hello")
    page = await finished(browser, address)
    other = re.findall(r'<option value="([^"]+)" >', page)[-1]
    form = {"model": other, "system_prompt": "You are a cook."}
    assert (await browser.send_form(f"{address}/settings", form, headers=FRAGMENT)).status_code == 204
    page = (await browser.get(address)).text
    assert f'<option value="{other}" selected>' in page
    assert ">\nYou are a cook.</textarea>" in page
    wrong = await browser.send_form(f"{address}/settings", {"model": "maker/unknown"}, headers=FRAGMENT)
    assert wrong.status_code == 400


async def test_what_is_refused_stands_beside_its_field_and_what_was_typed_stays(studio: Studio) -> None:
    browser = await studio.person_in_browser()
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
    for form in ({"system_prompt": long}, {"model": "maker/unknown", "text": "typed"}):
        answer = await browser.send_form(settings, form)
        assert answer.status_code == 400
        assert 'aria-invalid="true"' in answer.text
        assert form.get("text", form.get("system_prompt", "")) in answer.text
        assert answer.text.lstrip().startswith("<!doctype html>")
        fragment = await browser.send_form(settings, form, headers=FRAGMENT)
        assert fragment.status_code == 400
        assert fragment.text.startswith('<form class="maker composer" id="composer"')
        assert 'aria-invalid="true"' in fragment.text
    fragment = await browser.send_form(address, {"text": "  "}, headers=FRAGMENT)
    assert fragment.status_code == 400
    assert fragment.text.startswith('<form class="maker composer" id="composer"')
    assert "Write something first." in fragment.text


def told(page: str, field: str) -> tuple[str, str]:
    """What stands in the field with this name that is wrong, and the sentence beside it."""
    whole = read(page)
    (wrong,) = (it for it in whole.all(name=field) if it.get("aria-invalid"))
    return wrong.get("value") or wrong.text, whole.one(id=wrong["aria-describedby"]).text


async def test_a_refused_edit_keeps_what_was_typed_and_says_why_beside_it(slow: Studio) -> None:
    browser = await slow.person_in_browser()
    address = await begin(browser, "Say exactly: hello")
    page = await finished(browser, address)
    edit = f"{address}/messages/{ids(page)[0]}/edit"
    typed = "x" * 100_001
    answer = await browser.send_form(edit, {"text": typed})
    assert answer.status_code == 400
    assert answer.text.lstrip().startswith("<!doctype html>")
    assert told(answer.text, "text") == (typed, "This has 100,001 characters; at most 100,000 are taken.")
    assert '<details class="edit" open>' in answer.text
    empty = await browser.send_form(edit, {"text": " "}, headers=FRAGMENT)
    assert empty.status_code == 400
    assert empty.text.startswith(f'<form class="panel" id="edit-{ids(page)[0]}"')
    assert told(empty.text, "text")[1] == "Write something first."

    await browser.send_form(address, {"text": "Count to 900"})
    answer = await browser.send_form(edit, {"text": "Too soon"})
    assert answer.status_code == 409
    text, why = told(answer.text, "text")
    assert (text, why.partition(".")[0]) == ("Too soon", "An answer is still being written here")
    assert 'http-equiv="refresh"' not in answer.text, "a refresh would lose what was typed"


async def test_an_edit_among_earlier_messages_is_refused_where_it_was_made(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Say exactly: 0")
    page = await finished(browser, address)
    first = ids(page)[0]
    for n in range(1, 31):
        await browser.send_form(address, {"text": f"Say exactly: {n}"})
        page = await finished(browser, address)
    (earlier,) = re.findall(rf'href="({address}\?until=\w+)"', page)
    edit = f"{address}/messages/{first}/edit"
    form = sent((await browser.get(earlier)).text, edit)
    answer = await browser.send_form(edit, {**form, "text": "x" * 100_001})
    assert answer.status_code == 400
    assert told(answer.text, "text")[0] == "x" * 100_001
    unseen = await browser.send_form(edit, {"text": " "}, headers=FRAGMENT)
    assert unseen.status_code == 404, "where the form is not shown nothing is put in its place"


async def test_a_refused_title_keeps_what_was_typed_and_says_why_beside_it(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Hello")
    await finished(browser, address)
    for title, why in (("x" * 500, "This has 500 characters; at most 80 are taken."), (" ", "Give it a title.")):
        answer = await browser.send_form(f"{address}/rename", {"title": title})
        assert answer.status_code == 400
        assert told(answer.text, "title") == (title, why)
        assert "<title>Hello · Atelier</title>" in answer.text


async def test_an_answer_is_sent_while_it_is_written(slow: Studio) -> None:
    browser = await slow.person_in_browser()
    address = await begin(browser, "Count to 60")
    page = (await browser.get(address)).text
    assert 'http-equiv="refresh"' in page, "without JavaScript the page looks again by itself"
    (live,) = re.findall(r'hx-sse:connect="([^"]+)"', page)
    states = await events(browser, live, headers={"Accept-Encoding": "gzip, br"})
    texts = [words(it) for it in states]
    assert len(states) > 5, "it came in many steps"
    assert all('data-status="streaming"' in it and "hx-sse:connect" in it for it in states[:-1])
    assert all(it.startswith('<article class="turn" id="message-') for it in states)
    assert len({len(it) for it in texts}) > 5
    assert 'data-status="complete"' in states[-1]
    assert "hx-sse" not in states[-1]
    assert texts[-1].count(",") >= 59
    assert states[-1] in (await browser.get(address)).text, "the last state is the element of the page"
    assert await events(browser, live) == states[-1:], "whoever comes late is told the end at once"


async def test_leaving_changes_nothing_and_coming_back_goes_on(slow: Studio) -> None:
    browser = await slow.person_in_browser()
    address = await begin(browser, "Count to 60")
    (live,) = re.findall(r'hx-sse:connect="([^"]+)"', (await browser.get(address)).text)
    async with browser.stream("GET", live) as answer:
        async for line in answer.aiter_lines():
            if "10," in line:
                break
    await asyncio.sleep(0.3)
    back = (await browser.get(address)).text
    assert "10, 11," in words(back)
    assert "59" not in words(turns(back)[1])
    assert "59, 60" in words(turns(await finished(browser, address))[1])


async def test_stop_keeps_what_came(slow: Studio) -> None:
    browser = await slow.person_in_browser()
    address = await begin(browser, "Count to 400")
    await asyncio.sleep(1.2)
    stopped = await browser.send_form(f"{address}/stop", headers=FRAGMENT)
    assert stopped.status_code == 200
    assert stopped.text.startswith('<section class="thread" id="thread"')
    answer = turns(stopped.text)[1]
    assert 'data-status="stopped"' in answer
    assert "1, 2, 3" in words(answer)
    assert "400" not in words(answer)
    assert "Retry" in answer


async def test_the_thread_and_its_messages_are_the_same_alone_and_in_the_page(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Write some code: **bold** <b>")
    page = await finished(browser, address)
    thread = await browser.get(address, headers=FRAGMENT)
    assert thread.text.strip() in page
    for turn, id in zip(turns(page), ids(page), strict=True):
        if 'data-role="assistant"' in turn:
            assert (await events(browser, f"{address}/messages/{id}/live"))[0] == turn
    found = await browser.get("/chat/list", params={"current": address.removeprefix("/chat/")}, headers=FRAGMENT)
    assert found.text.strip() in page


async def test_the_list_is_searched_and_goes_on(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    for n in range(33):
        await finished(browser, await begin(browser, f"Talk {n} {'boat' if n % 2 else 'harbour'}"))
    first = (await browser.get("/chat/list", headers=FRAGMENT)).text
    assert first.count('class="talk"') == 30
    (more,) = re.findall(r'hx-get="([^"]+)"', first)
    rest = (await browser.get(unescape(more), headers=FRAGMENT)).text
    assert rest.count('class="talk"') == 3
    assert "Older" not in rest
    assert (await browser.get("/chat/list", params={"q": "BOAT 1"}, headers=FRAGMENT)).text.count('class="talk"') == 8
    assert "No title has these words." in (await browser.get("/chat/new", params={"q": "zebra"})).text
    (older,) = re.findall(r'class="button" href="(/chat/new\?cursor[^"]+)"', first)
    assert (await browser.get(unescape(older))).text.count('class="talk"') == 3
    assert (await browser.get("/chat/list", params={"cursor": "nonsense"}, headers=FRAGMENT)).status_code == 400


def every_route(address: str, message: str) -> list[tuple[str, str]]:
    return [
        ("GET", address),
        ("POST", address),
        *(("POST", f"{address}/{verb}") for verb in ("settings", "stop", "rename", "delete", "restore")),
        *(("POST", f"{address}/messages/{message}/{verb}") for verb in ("edit", "retry", "show")),
        ("GET", f"{address}/messages/{message}/live"),
    ]


async def test_a_stranger_finds_nothing(studio: Studio) -> None:
    ann, bob = await studio.person_in_browser(), await studio.person_in_browser("bob@studio.example")
    address = await begin(ann, "My secret")
    page = await finished(ann, address)
    theirs = await begin(bob, "Theirs")
    await finished(bob, theirs)
    token = await bob.form_token("/jobs")
    form = {"text": "x", "title": "x", "_csrf_token": token}
    for id in ids(page):
        for method, path in [
            *every_route(address, id),
            *every_route(f"/chat/{INVENTED}", INVENTED),
            *every_route(theirs, id)[7:],
        ]:
            answer = await bob.request(method, path, data=form if method == "POST" else None)
            assert answer.status_code == 404, (method, path, answer.status_code)
            assert "secret" not in answer.text
    assert words(turns((await ann.get(address)).text)[0]) == words(turns(page)[0])


async def test_every_change_wants_the_form_token(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Hello")
    page = await finished(browser, address)
    for method, path in [("POST", "/chat"), *every_route(address, ids(page)[1])]:
        if method == "POST":
            answer = await browser.post(path, data={"text": "x", "title": "x"})
            assert answer.status_code == 403, path
    assert (await browser.get(address)).text.count('class="turn"') == 2


async def test_signed_out_nobody_sees_a_conversation(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "Hello")
    page = await finished(browser, address)
    stranger = studio.browser()
    for method, path in [
        ("GET", "/chat"),
        ("GET", "/chat/new"),
        ("GET", "/chat/list"),
        *every_route(address, ids(page)[1]),
    ]:
        if method == "GET":
            answer = await stranger.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login")
            assert (await stranger.get(path, headers=FRAGMENT)).status_code == 401


async def test_a_failed_answer_says_why_and_offers_a_retry(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    address = await begin(browser, "[error-in-stream] Count to 12")
    answer = turns(await finished(browser, address))[1]
    assert 'data-status="failed"' in answer
    assert "1, 2" in words(answer)
    assert "What arrived is kept" in words(answer)
    assert '<button class="button">' in answer


async def test_the_server_stops_quickly_with_readers_and_tells_them(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="1") as studio:
        browser = await studio.person_in_browser()
        address = await begin(browser, "Count to 900")
        (live,) = re.findall(r'hx-sse:connect="([^"]+)"', (await browser.get(address)).text)
        reading = asyncio.create_task(events(browser, live))
        await asyncio.sleep(1)
        began = time.monotonic()
        await studio.program.chat.close()
        last = (await reading)[-1]
        assert time.monotonic() - began < 3
        assert "Atelier was stopped while this was being written" in words(last)
        assert "1, 2, 3" in words(last)
    async with running(tmp_path) as studio:
        browser = await studio.person_in_browser()
        answer = turns((await browser.get(address)).text)[1]
        assert "1, 2, 3" in words(answer)
        assert "Atelier was stopped while this was being written" in words(answer)


async def _signed_in(url: str, path: str) -> Browser:
    browser = Browser(base_url=url, timeout=30, trust_env=False, verify=trust())
    await browser.send_form(path, {"email": "ann@studio.example", "password": PASSWORD, "name": "Ann"})
    assert "session" in browser.cookies
    return browser


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
async def test_a_stopped_or_killed_process_keeps_what_came(tmp_path: Path, with_signal: signal.Signals) -> None:
    settings = {"ATELIER_SIMULATOR_SPEED": "1"}
    async with atelier(tmp_path, settings=settings) as process:
        await process.ready()
        browser = await _signed_in(process.url, "/register")
        address = await begin(browser, "Count to 900")
        (live,) = re.findall(r'hx-sse:connect="([^"]+)"', (await browser.get(address)).text)
        reading = asyncio.create_task(events(browser, live))
        await asyncio.sleep(2.5)
        seen = words(turns((await browser.get(address)).text)[1])
        began = time.monotonic()
        await process.stopped(with_signal)
        assert time.monotonic() - began < 5
        await asyncio.gather(reading, return_exceptions=True)
        await browser.aclose()
    async with atelier(tmp_path, settings=settings) as process:
        await process.ready()
        browser = await _signed_in(process.url, "/login")
        answer = turns((await browser.get(address)).text)[1]
        await browser.aclose()
    assert 'data-status="failed"' in answer
    assert "Atelier was stopped while this was being written" in words(answer)
    counted = [int(it) for it in re.findall(r"(\d+),", words(answer).partition("Atelier was")[0])]
    known = [int(it) for it in re.findall(r"(\d+),", seen)]
    assert counted == list(range(1, len(counted) + 1))
    # A word comes every 0.03 s; what came in the last half second may be gone after a kill.
    lost = 40 if with_signal is signal.SIGKILL else 0
    assert len(counted) >= max(1, len(known) - lost)
