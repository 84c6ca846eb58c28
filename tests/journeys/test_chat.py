"""A conversation in a real browser: answers arrive word by word, survive a reload, and nothing in them is executed."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.chat.hostile import HOSTILE, OUT
from tests.chat.pace import Pace
from tests.chat.stored import store_conversation, user_with_email
from tests.journeys.conftest import PHONE, WIDE, Window, new_browser_user, open_window
from tests.journeys.proxy import proxied
from tests.studio import Studio

pytestmark = pytest.mark.xdist_group("browser-1")

ANSWER = '.chat-message[data-role="assistant"]'
DONE = f'{ANSWER}[data-status="complete"]'
ANSWERS_ON_A_PAGE = 30
STREAMING = '.chat-message[data-status="streaming"]'
TO_END = "document.documentElement.scrollHeight - innerHeight - scrollY"  # pixels below the window


async def begin(window: Window, text: str) -> None:
    await window.go("/chat/new")
    await window.page.fill("#prompt", text)
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url(re.compile(r"/chat/[0-9a-f]{32}$"))


async def grown(page: Page, text: str) -> None:
    """Wait until the answer that is being written has reached this text."""
    await expect(page.locator(STREAMING)).to_contain_text(text)


async def test_an_answer_grows_word_by_word_also_after_a_reload(chromium: Browser, atelier: Studio, pace: Pace) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/")
        await page.get_by_role("link", name="Chat", exact=True).click()
        await expect(page).to_have_url(f"{window.url}/chat/new")
        await begin(window, "[slow] Count to 120")
        pace.allow(15)
        await grown(page, "10, 11")
        assert "19" not in await page.locator(STREAMING).inner_text()
        pace.allow(10)
        await grown(page, "19, 20")
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        await expect(page.get_by_role("button", name="Send")).to_be_hidden()
        await page.reload()
        await grown(page, "19, 20")
        pace.allow(40)
        await grown(page, "60, 61")
        await page.evaluate("window.neverReloaded = true")
        pace.finish()
        await expect(page.locator(DONE)).to_contain_text("119, 120")
        await expect(page.locator(DONE)).to_contain_text(re.compile(r" · [\d,]+ tokens · \$"))
        assert await page.evaluate("window.neverReloaded")
        await expect(page.locator("[hx-sse\\:connect]")).to_have_count(0)
        await expect(page.locator("#announcements")).to_have_text("The answer is complete")
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
        assert window.problems == []


async def test_reading_is_not_disturbed_while_the_answer_grows(chromium: Browser, atelier: Studio, pace: Pace) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user, viewport={"width": 900, "height": 500}) as window:
        page = window.page
        await begin(window, "[slow] Count to 300")
        pace.allow(25)
        await grown(page, "20, 21")
        await page.fill("#prompt", "typed while it grows")
        await page.evaluate(
            """() => {
              const text = document.querySelector('.chat-message[data-status=streaming] .markdown p').firstChild;
              getSelection().setBaseAndExtent(text, 0, text, 5);
            }"""
        )
        pace.allow(20)
        await grown(page, "40, 41")
        assert await page.evaluate("getSelection().toString()") == "1, 2,", "the selection stays"
        assert await page.input_value("#prompt") == "typed while it grows"
        assert await page.evaluate("document.activeElement.id") == "prompt"
        await page.keyboard.press("Enter")
        assert await page.input_value("#prompt") == "typed while it grows", "the next message waits"
        await page.wait_for_function(f"() => {TO_END} < 60")
        pace.allow(160)
        await grown(page, "200, 201")
        await page.wait_for_function(f"() => {TO_END} < 60")
        assert await page.evaluate("scrollY") > 60
        await page.mouse.wheel(0, -300)
        await page.wait_for_function("() => scrollY === 0")
        pace.allow(30)
        await grown(page, "230, 231")
        pace.allow(30)
        await grown(page, "260, 261")  # all that follows the swap before has been done
        assert await page.evaluate("scrollY") == 0, "a reader further up is not moved"
        assert window.problems == []


async def test_an_answer_is_stopped_and_retried_a_question_edited_and_earlier_versions_shown(
    chromium: Browser, atelier: Studio, pace: Pace
) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await begin(window, "[slow] Count to 900")
        pace.allow(15)
        await grown(page, "10, 11")
        await page.get_by_role("button", name="Stop").click()
        stopped = page.locator(f'{ANSWER}[data-status="stopped"]')
        await expect(stopped).to_contain_text("10, 11")
        await stopped.get_by_role("button", name="Retry").click()
        pace.allow(10)
        await grown(page, "5, 6")
        await page.get_by_role("button", name="Stop").click()
        await expect(stopped).to_contain_text("2/2")
        await page.locator("[data-role=user] summary", has_text="Edit").click()
        await page.fill(".message-edit textarea", "Say exactly: something else")
        await page.get_by_role("button", name="Send edited message").click()
        await expect(page.locator(DONE)).to_contain_text("something else")
        question = page.locator('.chat-message[data-role="user"]')
        await expect(question).to_contain_text("2/2")
        await question.get_by_role("button", name="Previous version").click()
        await expect(question).to_contain_text("Count to 900")
        await expect(stopped).to_contain_text("2/2")
        await stopped.get_by_role("button", name="Previous version").click()
        await expect(stopped).to_contain_text("10, 11")
        await question.get_by_role("button", name="Next version").click()
        await expect(page.locator(DONE)).to_contain_text("something else")
        assert window.problems == []


async def test_a_conversation_is_continued_copied_renamed_deleted_and_restored(
    chromium: Browser, atelier: Studio
) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/chat/new")
        await page.locator(".examples a").nth(2).click()
        await page.wait_for_url(re.compile(r"/chat/[0-9a-f]{32}$"))
        await expect(page.locator(DONE)).to_contain_text("def ")
        await page.evaluate(
            "navigator.clipboard.writeText = (text) => { document.documentElement.dataset.copied = text; }"
        )
        await page.get_by_role("button", name="Copy code").click()
        copied = page.locator("html")
        await expect(copied).to_have_attribute("data-copied", re.compile(r"^def "))
        await page.get_by_role("button", name="Copy", exact=True).click()
        await expect(copied).to_have_attribute("data-copied", re.compile("```python"))

        await page.fill("#prompt", "Say exactly: second")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(DONE)).to_have_count(2)
        await expect(page.locator("#prompt")).to_have_value("")
        await expect(page.get_by_role("button", name="Copy code")).to_have_count(1)
        await page.fill("#prompt", "Say exactly: second")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(DONE)).to_have_count(3)
        await page.fill("#prompt", "  ")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#prompt")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#prompt-error")).to_have_text("Enter a message.")

        await page.get_by_role("button", name="Rename, export or delete").click()
        await page.fill("#title", "Renamers")
        await page.get_by_role("button", name="Rename", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Renamers")
        await expect(page.locator(".conversation-item [aria-current=page]")).to_have_text("Renamers")

        await begin(window, "Say exactly: another")
        row = page.locator(".conversation-item", has_text="Renamers")
        await row.hover()
        await row.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Undo").click()
        await page.get_by_role("link", name="Renamers").click()
        await expect(page.locator(DONE)).to_have_count(3)

        await page.get_by_role("button", name="Rename, export or delete").click()
        await page.locator("#conversation-menu").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("Conversation deleted.")).to_be_visible()
        await page.get_by_role("button", name="Undo").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Renamers")
        await expect(page.locator(DONE)).to_have_count(3)
        assert window.problems == []


async def test_an_error_stands_beside_its_field(chromium: Browser, atelier: Studio) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await begin(window, "Say exactly: hello")
        await expect(page.locator(DONE)).to_be_visible()
        await page.locator("[data-role=user] summary", has_text="Edit").click()
        instead = page.get_by_label("Edit message")
        await instead.fill(" ")
        width = "it => it.getBoundingClientRect().width"
        thread_width = await page.locator("#thread").evaluate(width)
        assert await instead.evaluate(width) > 0.9 * thread_width, "an empty box is as wide as a full one"
        await page.get_by_role("button", name="Send edited message").click()
        await expect(page.locator(".message-edit .error")).to_have_text("Enter a message.")
        await expect(instead).to_be_focused()
        await expect(instead).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#notice")).to_be_empty()
        await instead.fill("Say exactly: edited")
        await page.get_by_role("button", name="Send edited message").click()
        await expect(page.locator(DONE)).to_contain_text("edited")

        await page.locator("summary", has_text="System prompt").click()
        long, prompt = "x" * 16_001, page.get_by_label("Instructions for the model in this conversation")
        async with page.expect_response("**/settings"):
            await prompt.fill(long)
            await page.locator("#prompt").focus()
        await page.keyboard.type("typed meanwhile")
        await expect(page.locator("#system-prompt-error")).to_contain_text("at most 16,000")
        await expect(prompt).to_have_value(long)
        await expect(page.locator("#prompt")).to_have_value("typed meanwhile")
        await expect(page.locator("#notice")).to_be_empty()
        await prompt.fill("Be brief.")
        await page.locator("#prompt").focus()
        await expect(page.locator("#system-prompt-error")).to_have_count(0)
        await expect(prompt).not_to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#prompt")).to_have_value("typed meanwhile")
        assert window.problems == []


async def test_a_draft_and_the_settings_survive_a_reload(chromium: Browser, atelier: Studio) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await begin(window, "Say exactly: hello")
        await page.fill("#prompt", "not sent yet")
        await page.locator("summary", has_text="System prompt").click()
        async with page.expect_response("**/settings"):
            await page.fill("#system-prompt", "You are a cook.")
            await page.locator("#prompt").focus()
        async with page.expect_response("**/settings"):
            await page.locator("#model").select_option(index=1)
        chosen = await page.input_value("#model")
        await page.reload()
        assert await page.input_value("#prompt") == "not sent yet"
        assert await page.input_value("#system-prompt") == "You are a cook."
        assert await page.input_value("#model") == chosen
        assert window.problems == []


async def test_an_answer_goes_on_after_a_lost_connection(chromium: Browser, atelier: Studio, pace: Pace) -> None:
    _, user = await new_browser_user(atelier)
    async with proxied(atelier.url) as proxy, open_window(chromium, atelier, user, url=proxy.url) as window:
        page = window.page
        await begin(window, "[slow] Count to 200")
        pace.allow(15)
        await grown(page, "10, 11")
        proxy.cut()
        async with asyncio.timeout(300):
            await proxy.refused.wait()  # the page has noticed, and tries again
        pace.allow(20)
        proxy.restore()
        await grown(page, "30, 31")
        pace.finish()
        await expect(page.locator(DONE)).to_contain_text("199, 200")


async def test_a_conversation_works_without_javascript(chromium: Browser, atelier: Studio, pace: Pace) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user, java_script_enabled=False) as window:
        page = window.page
        await window.go("/chat/new")
        await page.locator(".examples a").first.click()
        await expect(page.locator("#prompt")).to_have_value(re.compile("Five shots"))
        await page.fill("#prompt", "[slow] Count to 90")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(STREAMING)).to_be_visible()
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        pace.allow(100)
        await expect(page.locator(DONE)).to_contain_text("89, 90")  # the page reloads by itself
        await page.fill("#prompt", "[slow] Count to 900")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(f'{ANSWER}[data-status="stopped"]')).to_be_visible()
        await page.locator("[data-role=user] summary", has_text="Edit").last.click()
        await page.locator("[data-role=user] .message-edit textarea").last.fill("Say exactly: edited")
        await page.get_by_role("button", name="Send edited message").last.click()
        await expect(page.locator(DONE).last).to_contain_text("edited")
        await page.get_by_role("button", name="Previous version").click()
        await expect(page.locator(f'{ANSWER}[data-status="stopped"]')).to_be_visible()
        await page.locator("[data-role=user] summary", has_text="Edit").last.click()
        await page.locator("[data-role=user] .message-edit textarea").last.fill(" ")
        await page.get_by_role("button", name="Send edited message").last.click()
        await expect(page.locator(".message-edit .error")).to_be_visible()
        await page.get_by_role("button", name="Rename, export or delete").click()
        await page.fill("#title", " ")
        await page.get_by_role("button", name="Rename", exact=True).click()
        await expect(page.locator("#title-error")).to_have_text("Enter a title.")
        await page.fill("#title", "Counting")
        await page.get_by_role("button", name="Rename", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Counting")
        await page.get_by_role("button", name="Rename, export or delete").click()
        await page.locator("#conversation-menu").get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Undo").click()
        await expect(page.locator(DONE)).to_have_count(1)
        assert window.problems == []


ESCAPED = """() => {
  const found = [];
  for (const one of document.querySelectorAll('.markdown')) {
    for (const it of one.querySelectorAll(':scope > :is(pre, table, ul, ol, blockquote)'))
      if (it.scrollWidth > it.clientWidth && !/auto|hidden/.test(getComputedStyle(it).overflowX + getComputedStyle(it.firstElementChild).overflowX)) found.push(`${it.tagName} spills`);
    for (const it of one.querySelectorAll('*')) {
      if (it.closest('pre > button')) continue;
      if (!/^(P|BR|HR|H[3-6]|STRONG|EM|S|CODE|PRE|BLOCKQUOTE|[UO]L|LI|A|TABLE|THEAD|TBODY|T[RHD])$/.test(it.tagName)) found.push(it.tagName);
      for (const {name} of it.attributes)
        if (!/^(href|target|rel|tabindex|start|data-language|data-align)$/.test(name)) found.push(`${it.tagName} ${name}`);
    }
    const bubble = one.parentElement.getBoundingClientRect();
    for (const it of one.querySelectorAll('*')) {
      const box = it.getBoundingClientRect();
      if (it.parentElement.closest('.markdown > :is(pre, table, ul, ol, blockquote)')) continue; // these scroll
      if (box.left < bubble.left - 1 || box.right > bubble.right + 1) found.push(`${it.tagName} is outside`);
    }
  }
  return found;
}"""


async def test_nothing_in_an_answer_is_executed_loaded_or_placed_outside_of_it(
    chromium: Browser, atelier: Studio
) -> None:
    email, user = await new_browser_user(atelier)
    owner = await user_with_email(atelier, email)
    found: list[str] = []
    async with open_window(chromium, atelier, user, viewport=PHONE) as window:
        page = window.page
        await page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error(e.blockedURI))"
        )
        for start in range(0, len(HOSTILE), ANSWERS_ON_A_PAGE):
            texts = HOSTILE[start : start + ANSWERS_ON_A_PAGE]
            address = await store_conversation(atelier, owner, texts)
            await window.go(address)
            await page.wait_for_load_state("networkidle")
            assert await page.locator(ANSWER).count() == len(texts)
            found += [f"{start}: {it}" for it in await page.evaluate(ESCAPED)]
            if await page.evaluate("window.owned") is not None:
                found.append(f"{start}: a script was executed")
            if await page.evaluate("document.cookie + document.body.tagName + typeof document.getElementById") != (
                "BODYfunction"
            ):
                found.append(f"{start}: the document was changed")
            found += await window.overflow(f"{start}: the page")
            outside = await page.evaluate(
                "[...document.querySelectorAll('.markdown, .message-edit')].forEach(it => it.remove()), document.body.textContent"
            )
            if OUT in re.sub(r'data-copy="[^"]*"', "", outside):
                found.append(f"{start}: text outside of its answer")
            if page.url != window.url + address:
                found.append(f"{start}: the page went to {page.url}")
    assert found == []
    assert window.problems == []


RICH = """# Title

Text with **bold** and `code`, [a link](https://example.org).

| Shot | Lens | A rather long heading so that the table scrolls | And another one that is long |
|:--|--:|---|---|
| Wide | 24 mm | Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft | x |

```python
print("a line that is long enough to be scrolled sideways on every telephone that there is", "and longer")
```

- one
  1. nested

> quoted
"""


ICON_IN_FIELD = """() => {
  const [icon, field] = ['.search .icon', '.search input[type=search]'].map(it => document.querySelector(it).getBoundingClientRect());
  return icon.left > field.left && icon.right < field.right && icon.top > field.top && icon.bottom < field.bottom;
}"""
ENDLESS = "https://studio.example/" + "a" * 600  # one word, which a browser does not break


async def test_chat_is_accessible_and_fits_a_phone(chromium: Browser, atelier: Studio) -> None:
    email, user = await new_browser_user(atelier)
    owner = await user_with_email(atelier, email)
    address = await store_conversation(atelier, owner, [RICH, "Short.", "x" * 300], question=ENDLESS, title="x" * 80)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await begin(window, "[error-in-stream] Count to 30")
        await expect(page.locator(f'{ANSWER}[data-status="failed"]')).to_be_visible()
        failed = page.url.removeprefix(window.url)
        await begin(window, "[stuck] wait")
        streaming = page.url.removeprefix(window.url)
        found: list[str] = []
        for path in (address, failed, streaming, "/chat/new", "/chat/new?q=zebra"):
            await page.set_viewport_size(PHONE)
            await window.go(path)
            found += await window.examine(path, PHONE)
            await page.get_by_role("button", name="Conversations").click()
            if "?q=" in path and not await page.evaluate(ICON_IN_FIELD):
                found.append(f"{path}: the icon of the search stands outside its field")
            found += await window.axe(f"{path} with its drawer")
            await page.keyboard.press("Escape")
            await page.set_viewport_size(WIDE)
            found += await window.overflow(path)
            if path == address:
                await page.locator("[data-role=user] summary", has_text="Edit").first.click()
                await page.locator("summary", has_text="System prompt").click()
            found += await window.axe(f"{path} at {WIDE['width']}")
        await window.go(streaming)
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(STREAMING)).to_have_count(0)
        assert found == []
        assert window.problems == []


async def test_chat_can_be_used_by_keyboard_alone(chromium: Browser, atelier: Studio) -> None:
    _, user = await new_browser_user(atelier)
    async with open_window(chromium, atelier, user) as window:
        page = window.page
        await window.go("/chat/new")
        assert await page.evaluate("document.activeElement.id") == "prompt"
        await page.keyboard.type("Say exactly: one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await page.keyboard.press("Enter")
        await expect(page.locator(DONE)).to_contain_text("two")
        await page.locator("body").press("/")
        assert await page.evaluate("document.activeElement.id") == "prompt"
        for _ in range(30):
            await page.keyboard.press("Shift+Tab")
            if await page.evaluate("document.activeElement.textContent.includes('Retry')"):
                break
        await page.keyboard.press("Enter")
        await expect(page.locator(DONE)).to_contain_text("2/2")
        assert window.problems == []
