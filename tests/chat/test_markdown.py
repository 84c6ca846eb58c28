"""What a model wrote can be read and can do nothing."""

import asyncio
import re
import time
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from app.web import markdown
from app.web.markdown import Growing, Renderer, html
from tests.chat.hostile import BOMBS, EVIL, HOSTILE

TAGS = {
    "p",
    "br",
    "hr",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "s",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "a",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
VOID = {"br", "hr"}
ATTRIBUTES = {
    ("a", "href"): r"(?i)(https?://|mailto:)[^\s\"'<>]+",
    ("a", "target"): "_blank",
    ("a", "rel"): "noopener noreferrer nofollow",
    ("code", "tabindex"): "0",
    ("code", "data-language"): r"[A-Za-z0-9+#._-]{1,20}",
    ("table", "tabindex"): "0",
    ("th", "data-align"): "center|right",
    ("td", "data-align"): "center|right",
    ("ol", "start"): r"\d{1,9}",
}


class Checked(HTMLParser):
    """Reads strictly: only what is allowed, and every element closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""
        self.deepest = 0
        self.links: list[str] = []
        self.feed(str(text))
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, f"<{tag}>"
        for name, value in attrs:
            assert (tag, name) in ATTRIBUTES, f"<{tag} {name}>"
            assert re.fullmatch(ATTRIBUTES[tag, name], value or ""), f"<{tag} {name}={value!r}>"
        if tag == "a":
            assert "a" not in self.open
            assert {name for name, _ in attrs} == {"href", "target", "rel"}
            self.links.append(dict(attrs)["href"] or "")
        if tag not in VOID:
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction")


def checked(made: str) -> Checked:
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", made), "a mark that turns the text"
    return Checked(made)


def test_the_corpus_is_large_enough() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 150


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_it_can_do_nothing(text: str) -> None:
    assert checked(html(text)).deepest < 200
    for wrapped in (f"> {text}", f"- {text}", f"**{text}**", f"| {text} |\n|---|", f"before {text} after", f"# {text}"):
        checked(html(wrapped))


@pytest.mark.parametrize("text", [text for text in HOSTILE if len(text) < 300])
async def test_it_can_do_nothing_while_it_comes(text: str) -> None:
    """Split at every place, also in the middle of a tag, and followed by more."""
    renderer = Renderer()
    try:
        growing = Growing(renderer)
        for end in range(len(text) + 1):
            checked(await growing.render(text[:end]))
        whole = f"{text}\n\nMore *text*.\n\n- and\n- more"
        if "]: " in text:  # what a reference means is known once it has come
            return
        assert checked(await growing.render(whole)).words.split() == checked(html(whole)).words.split()
    finally:
        renderer.close()


RICH = """[r]: https://example.org/reference

# Title

Text with **bold**, *italic*, ~~struck~~, `code`, [a link](https://example.org/a?b=1&c=2) and a [reference][r].
A line that goes on,
and on.

## Sub

- one
- two
  - nested

    with a paragraph
- three

3. three
4. four

> quoted
> > twice

| left | centre | right |
|:-----|:------:|------:|
| 1 | 2 | 3 |

```python hidden
def f(x):
    return x < 2
```

    indented

Title again
===========

***

Last.
"""


async def test_an_answer_that_grows_ends_as_the_whole_is_rendered() -> None:
    renderer = Renderer()
    for ends in ("\n", "\r\n"):
        text = (RICH * 3).replace("\n", ends)
        for step in (1, 7, 1_000):
            growing = Growing(renderer)
            for end in range(0, len(text), step):
                checked(await growing.render(text[:end]))
            assert await growing.render(text) == html(text)
    renderer.close()


async def test_a_finished_block_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = markdown._read

    def counted(text: str, known: dict[str, object], budget: float) -> object:
        read.append(len(text))
        return real(text, known, budget)

    monkeypatch.setattr(markdown, "_read", counted)
    renderer = Renderer()
    growing = Growing(renderer)
    text = "A paragraph of some words.\n\n" * 400
    for end in range(0, len(text), 20):
        await growing.render(text[:end])
    renderer.close()
    assert max(read) < 200


def test_markdown_is_what_people_expect() -> None:
    made = html(RICH)
    for wanted in (
        "<h3>Title</h3>",
        "<h4>Sub</h4>",
        "<strong>bold</strong>",
        "<em>italic</em>",
        "<s>struck</s>",
        "<code>code</code>",
        'href="https://example.org/a?b=1&amp;c=2" target="_blank" rel="noopener noreferrer nofollow"',
        'href="https://example.org/reference"',
        '<ol start="3">',
        '<th data-align="center">centre</th>',
        '<td data-align="right">3</td>',
        '<pre><code tabindex="0" data-language="python">def f(x):\n    return x &lt; 2\n</code></pre>',
        '<pre><code tabindex="0">indented\n</code></pre>',
        "<hr>",
    ):
        assert wanted in made, wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# a\n## b\n# c", ["h3", "h4", "h3"]),
        ("### a\n##### b\n### c\n# d", ["h3", "h4", "h3", "h3"]),
        ("# 1\n## 2\n### 3\n#### 4\n##### 5", ["h3", "h4", "h5", "h6", "h6"]),
    ],
)
async def test_headings_never_skip_a_level(text: str, wanted: list[str]) -> None:
    assert re.findall(r"<(h\d)>", html(text)) == wanted
    renderer = Renderer()
    growing = Growing(renderer)
    for end in range(len(text)):
        await growing.render(text[:end])
    assert re.findall(r"<(h\d)>", await growing.render(text)) == wanted
    renderer.close()


def test_a_picture_becomes_a_link_with_its_name() -> None:
    link = 'target="_blank" rel="noopener noreferrer nofollow"'
    assert html(f"![a cat]({EVIL}/cat.png)") == f'<p><a href="{EVIL}/cat.png" {link}>a cat</a></p>\n'
    assert html(f"[![a cat]({EVIL}/cat.png)](https://example.org)") == (
        f'<p><a href="https://example.org" {link}>a cat</a></p>\n'
    )
    assert html("![a cat](data:image/png;base64,AAAA)") == "<p>a cat</p>\n"


def test_what_stands_in_text_is_shown_as_it_is() -> None:
    for text in ("<b>not bold</b>", "a < b && c > d", "</div>", "<!-- note -->", "&lt;"):
        assert Checked(html(f"`{text}`")).words.strip() == text
    assert Checked(html("<b>not bold</b>")).words.strip() == "<b>not bold</b>"


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_no_more_than_its_budget(name: str) -> None:
    began = time.thread_time()
    made = html(BOMBS[name], budget=0.3)
    assert time.thread_time() - began < 3, "the budget, and what is done once at the end"
    assert checked(made).deepest < 200


async def test_bombs_do_not_stall_the_loop() -> None:
    renderer = Renderer()
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            gaps.append(time.perf_counter() - began)

    beating = asyncio.create_task(beat())
    await asyncio.gather(*(Growing(renderer).render(bomb) for bomb in BOMBS.values()))
    beating.cancel()
    renderer.close()
    assert sorted(gaps)[len(gaps) // 2] < 0.1
    assert max(gaps) < 3, "on the loop they would take longer, also on a machine that is idle"


async def test_what_takes_too_long_is_shown_as_it_is() -> None:
    text = "# <b>\n\n" + "[" * 30_000
    made = html(text, budget=0.0)
    assert made.startswith("<p># &lt;b&gt;<br>")
    assert Checked(made).words.replace("\n", "") == text.replace("\n", "")
    assert isinstance(made, Markup)


async def test_finished_texts_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer()
    (first,) = await renderer.render(["*a*"])
    assert (await renderer.render(["*a*", "*b*", "*a*"]))[0] is first
    monkeypatch.setattr(markdown, "KEPT", 10_000)
    for n in range(50):
        await renderer.render([f"{n} " * 300])
    assert sum(len(text) + len(made) for text, made in renderer._known.items()) == renderer._size <= 10_000
    assert await renderer.render([]) == []
    renderer.close()
