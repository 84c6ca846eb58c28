"""A conversation in a real browser: it grows while one reads, survives leaving, and nothing in it can do anything."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from app.base import clock
from app.base.database import Transaction
from app.base.secret import new_id
from app.chat import repository
from app.chat.schemas import Conversation, Message, Role
from tests.api.kit import eventually
from tests.chat.hostile import HOSTILE, OUT
from tests.journeys.conftest import AXE, PHONE, WIDE, Visit, visit
from tests.studio import PASSWORD, Studio, running

ANSWER = '.turn[data-role="assistant"]'
DONE = f'{ANSWER}[data-status="complete"]'
STREAMING = '.turn[data-status="streaming"]'


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Studio]:
    """An Atelier whose simulator writes a word every few hundredths of a second."""
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="1") as studio:
        yield studio


async def begin(window: Visit, text: str) -> None:
    await window.go("/chat/new")
    await window.page.fill("#prompt", text)
    await window.page.keyboard.press("Enter")
    await window.page.wait_for_url(re.compile(r"/chat/[0-9a-f]{32}$"))


async def grown(page: Page, text: str) -> None:
    """Wait until the answer that is being written has come to this word."""
    await expect(page.locator(STREAMING)).to_contain_text(text)


async def test_an_answer_grows_word_by_word_and_a_reload_goes_on(chromium: Browser, slow: Studio) -> None:
    async with visit(chromium, slow) as window:
        page = window.page
        await window.register()
        await page.get_by_role("link", name="Chat", exact=True).click()
        await expect(page).to_have_url(f"{window.url}/chat/new")
        await begin(window, "Count to 120")
        await grown(page, "10, 11")
        early = await page.locator(STREAMING).inner_text()
        await eventually(page.locator(STREAMING).inner_text, lambda later: len(later) > len(early))
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        await expect(page.get_by_role("button", name="Send")).to_be_hidden()
        await page.reload()
        await grown(page, "10, 11")
        assert "120" not in await page.locator(STREAMING).inner_text(), "the reload was in the middle"
        await grown(page, "60, 61")
        await page.evaluate("window.neverReloaded = true")
        await expect(page.locator(DONE)).to_contain_text("119, 120")
        await expect(page.locator(DONE)).to_contain_text(re.compile(r" · [\d,]+ tokens · \$"))
        assert await page.evaluate("window.neverReloaded")
        await expect(page.locator("[hx-sse\\:connect]")).to_have_count(0)
        await expect(page.locator("#said")).to_have_text("The answer is complete")
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
        assert window.troubles == []


async def test_reading_is_not_disturbed_while_the_answer_grows(chromium: Browser, slow: Studio) -> None:
    async with visit(chromium, slow, viewport={"width": 900, "height": 500}) as window:
        page = window.page
        await window.register()
        await begin(window, "Count to 300")
        await grown(page, "20, 21")
        await page.fill("#prompt", "typed while it grows")
        await page.evaluate(
            """() => {
              const text = document.querySelector('.turn[data-status=streaming] .written p').firstChild;
              getSelection().setBaseAndExtent(text, 0, text, 5);
            }"""
        )
        await grown(page, "40, 41")
        assert await page.evaluate("getSelection().toString()") == "1, 2,", "the selection stays"
        assert await page.input_value("#prompt") == "typed while it grows"
        assert await page.evaluate("document.activeElement.id") == "prompt"
        await page.keyboard.press("Enter")
        assert await page.input_value("#prompt") == "typed while it grows", "the next message waits"
        end = "document.documentElement.scrollHeight - innerHeight - scrollY"
        assert await page.evaluate(end) < 60, "the page follows"
        await grown(page, "200, 201")
        assert await page.evaluate(end) < 60
        await page.mouse.wheel(0, -300)
        await page.wait_for_timeout(300)
        at = await page.evaluate("scrollY")
        await grown(page, "260, 261")
        assert await page.evaluate("scrollY") == at, "who reads above is left there"
        assert window.troubles == []


async def test_stop_retry_edit_and_going_back_to_what_was(chromium: Browser, slow: Studio) -> None:
    async with visit(chromium, slow) as window:
        page = window.page
        await window.register()
        await begin(window, "Count to 900")
        await grown(page, "10, 11")
        await page.get_by_role("button", name="Stop").click()
        stopped = page.locator(f'{ANSWER}[data-status="stopped"]')
        await expect(stopped).to_contain_text("10, 11")
        await stopped.get_by_role("button", name="Retry").click()
        await grown(page, "5, 6")
        await page.get_by_role("button", name="Stop").click()
        await expect(stopped).to_contain_text("2/2")
        await page.locator("summary", has_text="Edit").click()
        await page.fill(".edit textarea", "Say exactly: something else")
        await page.get_by_role("button", name="Send instead").click()
        await expect(page.locator(DONE)).to_contain_text("something else")
        question = page.locator('.turn[data-role="user"]')
        await expect(question).to_contain_text("2/2")
        await question.get_by_role("button", name="Version before").click()
        await expect(question).to_contain_text("Count to 900")
        await expect(stopped).to_contain_text("2/2")
        await stopped.get_by_role("button", name="Version before").click()
        await expect(stopped).to_contain_text("10, 11")
        await question.get_by_role("button", name="Version after").click()
        await expect(page.locator(DONE)).to_contain_text("something else")
        assert window.troubles == []


async def test_talking_on_copying_renaming_and_deleting(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
        await window.go("/chat/new")
        await page.locator(".examples a").nth(2).click()
        await page.wait_for_url(re.compile(r"/chat/[0-9a-f]{32}$"))
        await expect(page.locator(DONE)).to_contain_text("def ")
        await page.evaluate(
            "navigator.clipboard.writeText = (text) => { document.documentElement.dataset.copied = text; }"
        )
        await page.get_by_role("button", name="Copy this code").click()
        copied = page.locator("html")
        await expect(copied).to_have_attribute("data-copied", re.compile(r"^def "))
        await page.get_by_role("button", name="Copy", exact=True).click()
        await expect(copied).to_have_attribute("data-copied", re.compile("```python"))

        await page.fill("#prompt", "Say exactly: second")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(DONE)).to_have_count(2)
        await expect(page.locator("#prompt")).to_have_value("")
        await expect(page.get_by_role("button", name="Copy this code")).to_have_count(1)
        await page.fill("#prompt", "Say exactly: second")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(DONE)).to_have_count(3)
        await page.fill("#prompt", "  ")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#prompt")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#prompt-error")).to_have_text("Write something first.")

        await page.get_by_role("button", name="Rename or delete").click()
        await page.fill("#title", "Renamers")
        await page.get_by_role("button", name="Rename", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Renamers")
        await expect(page.locator(".talk [aria-current=page]")).to_have_text("Renamers")

        await begin(window, "Say exactly: another")
        row = page.locator(".talk", has_text="Renamers")
        await row.hover()
        await row.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Undo").click()
        await page.get_by_role("link", name="Renamers").click()
        await expect(page.locator(DONE)).to_have_count(3)

        await page.get_by_role("button", name="Rename or delete").click()
        await page.locator("#talk-menu").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("The conversation was deleted.")).to_be_visible()
        await page.get_by_role("button", name="Undo").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Renamers")
        await expect(page.locator(DONE)).to_have_count(3)
        assert window.troubles == []


async def test_what_is_refused_is_said_beside_its_field(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
        await begin(window, "Say exactly: hello")
        await expect(page.locator(DONE)).to_be_visible()
        await page.locator("summary", has_text="Edit").click()
        instead = page.get_by_label("Say this instead")
        await instead.fill(" ")
        width = "it => it.getBoundingClientRect().width"
        room = await page.locator("#thread").evaluate(width)
        assert await instead.evaluate(width) > 0.9 * room, "an empty box is as wide as a full one"
        await page.get_by_role("button", name="Send instead").click()
        await expect(page.locator(".edit .error")).to_have_text("Write something first.")
        await expect(instead).to_be_focused()
        await expect(instead).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#notice")).to_be_empty()
        await instead.fill("Say exactly: edited")
        await page.get_by_role("button", name="Send instead").click()
        await expect(page.locator(DONE)).to_contain_text("edited")

        await page.locator("summary", has_text="System prompt").click()
        long, prompt = "x" * 16_001, page.get_by_label("How the model should behave in this conversation")
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
        assert window.troubles == []


async def test_a_draft_and_the_settings_survive_a_reload(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
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
        assert window.troubles == []


async def test_a_lost_line_is_found_again(chromium: Browser, slow: Studio) -> None:
    async with visit(chromium, slow) as window:
        page = window.page
        await window.register()
        await begin(window, "Count to 200")
        await grown(page, "10, 11")
        await page.context.set_offline(True)
        await page.wait_for_timeout(1500)
        await page.context.set_offline(False)
        await expect(page.locator(DONE)).to_contain_text("199, 200")


async def test_without_javascript_a_conversation_still_works(chromium: Browser, slow: Studio) -> None:
    async with visit(chromium, slow, java_script_enabled=False) as window:
        page = window.page
        await window.register()
        await window.go("/chat/new")
        await page.locator(".examples a").first.click()
        await expect(page.locator("#prompt")).to_have_value(re.compile("Five shots"))
        await page.fill("#prompt", "Count to 90")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(STREAMING)).to_be_visible()
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        await expect(page.locator(DONE)).to_contain_text("89, 90")  # it looks again by itself
        await page.fill("#prompt", "Count to 900")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(f'{ANSWER}[data-status="stopped"]')).to_be_visible()
        await page.locator("summary", has_text="Edit").last.click()
        await page.locator(".edit textarea").last.fill("Say exactly: edited")
        await page.get_by_role("button", name="Send instead").last.click()
        await expect(page.locator(DONE).last).to_contain_text("edited")
        await page.get_by_role("button", name="Version before").click()
        await expect(page.locator(f'{ANSWER}[data-status="stopped"]')).to_be_visible()
        await page.locator("summary", has_text="Edit").last.click()
        await page.locator(".edit textarea").last.fill(" ")
        await page.get_by_role("button", name="Send instead").last.click()
        await expect(page.locator(".edit .error")).to_be_visible()
        await page.get_by_role("button", name="Rename or delete").click()
        await page.fill("#title", " ")
        await page.get_by_role("button", name="Rename", exact=True).click()
        await expect(page.locator("#title-error")).to_have_text("Give it a title.")
        await page.fill("#title", "Counting")
        await page.get_by_role("button", name="Rename", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Counting")
        await page.get_by_role("button", name="Rename or delete").click()
        await page.locator("#talk-menu").get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Undo").click()
        await expect(page.locator(DONE)).to_have_count(1)
        assert window.troubles == []


async def answered(studio: Studio, owner: str, texts: list[str], *, asked: str = "And?", title: str = "Hostile") -> str:
    """A conversation in which these answers were given, written straight into the database."""
    id, now = new_id(), clock.now()
    said: list[Message] = []
    for text in texts:
        for role, words in ((Role.USER, asked), (Role.ASSISTANT, text)):
            said.append(
                Message(
                    id=new_id(),
                    conversation_id=id,
                    owner_id=owner,
                    parent_id=said[-1].id if said else None,
                    role=role,
                    text=words,
                    model="maker/model" if role is Role.ASSISTANT else None,
                    model_name="Model" if role is Role.ASSISTANT else None,
                    created_at=now,
                    ended_at=now,
                )
            )
    talk = Conversation(
        id=id, owner_id=owner, title=title, model="x", leaf_id=said[-1].id, created_at=now, changed_at=now
    )

    def write(tx: Transaction) -> None:
        repository.add_conversation(tx, owner, talk)
        for message in said:
            repository.add(tx, owner, message)

    await studio.program.database.write(write)
    return f"/chat/{id}"


ESCAPED = """() => {
  const found = [];
  for (const one of document.querySelectorAll('.written')) {
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
      if (it.parentElement.closest('.written > :is(pre, table, ul, ol, blockquote)')) continue; // these scroll
      if (box.left < bubble.left - 1 || box.right > bubble.right + 1) found.push(`${it.tagName} is outside`);
    }
  }
  return found;
}"""


@pytest.mark.parametrize("part", range(8))
async def test_nothing_in_an_answer_can_do_anything(chromium: Browser, studio: Studio, part: int) -> None:
    await studio.person()
    owner = await studio.program.database.read(lambda tx: tx.value("select id from users"))
    texts = HOSTILE[part::8]
    address = await answered(studio, owner, texts)
    async with visit(chromium, studio, viewport=PHONE) as window:
        page = window.page
        await window.go("/login")
        await page.fill("input[name=email]", "ann@studio.example")
        await page.fill("input[name=password]", PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(window.url + "/")
        await page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error(e.blockedURI))"
        )
        await window.go(address)
        await page.wait_for_load_state("networkidle")
        assert await page.locator(ANSWER).count() == min(len(texts), 30)
        assert await page.evaluate(ESCAPED) == []
        assert await page.evaluate("window.owned") is None
        assert await page.evaluate("document.cookie + document.body.tagName + typeof document.getElementById") == (
            "BODYfunction"
        )
        outside = await page.evaluate(
            "[...document.querySelectorAll('.written')].forEach(it => it.remove()), document.body.textContent"
        )
        assert OUT not in re.sub(r'data-copy="[^"]*"', "", outside)
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.url == window.url + address
        assert window.troubles == []


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


SIGN_IN_FIELD = """() => {
  const [sign, field] = ['.search .icon', '.search input[type=search]'].map(it => document.querySelector(it).getBoundingClientRect());
  return sign.left > field.left && sign.right < field.right && sign.top > field.top && sign.bottom < field.bottom;
}"""
ENDLESS = "https://studio.example/" + "a" * 600  # one word, as far as a browser breaks lines


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_chat_is_accessible_and_fits_a_phone(chromium: Browser, studio: Studio, scheme: str) -> None:
    await studio.person()
    owner = await studio.program.database.read(lambda tx: tx.value("select id from users"))
    address = await answered(studio, owner, [RICH, "Short.", "x" * 300], asked=ENDLESS, title="x" * 80)
    async with visit(chromium, studio, color_scheme=scheme, bypass_csp=True) as window:
        page = window.page
        await window.go("/login")
        await page.fill("input[name=email]", "ann@studio.example")
        await page.fill("input[name=password]", PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(window.url + "/")
        await begin(window, "[error-in-stream] Count to 30")
        await expect(page.locator(f'{ANSWER}[data-status="failed"]')).to_be_visible()
        failed = page.url.removeprefix(window.url)
        await begin(window, "[stuck] wait")
        streaming = page.url.removeprefix(window.url)
        found: list[str] = []
        for path in (address, failed, streaming, "/chat/new", "/chat/new?q=zebra"):
            for viewport in (WIDE, PHONE):
                await page.set_viewport_size(viewport)  # type: ignore[arg-type]
                await window.go(path)
                wide = await page.evaluate("document.documentElement.scrollWidth")
                if wide > viewport["width"]:
                    found.append(f"{path} is {wide} wide at {viewport['width']}")
                if viewport is PHONE:
                    await page.get_by_role("button", name="Conversations").click()
                    if "?q=" in path and not await page.evaluate(SIGN_IN_FIELD):
                        found.append(f"{path}: the sign of the search stands outside its field")
                    found += await _findings(page, f"{path} with its drawer")
                    await page.keyboard.press("Escape")
                if viewport is WIDE and path == address:
                    await page.locator("summary", has_text="Edit").first.click()
                    await page.locator("summary", has_text="System prompt").click()
                found += await _findings(page, f"{path} at {viewport['width']}")
        assert found == []
        assert window.troubles == []


async def test_chat_can_be_used_by_keyboard_alone(chromium: Browser, studio: Studio) -> None:
    async with visit(chromium, studio) as window:
        page = window.page
        await window.register()
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
        assert window.troubles == []


async def _findings(page: Page, path: str) -> list[str]:
    """What axe finds on the page as it stands."""
    await page.add_script_tag(path=AXE)
    violations = await page.evaluate("async () => (await axe.run()).violations")
    return [f"{path}: {one['id']} {[node['target'] for node in one['nodes']][:3]}" for one in violations]
