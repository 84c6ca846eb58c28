"""The text of a model is rendered readable and inert: its HTML cannot run, load or submit anything."""

import asyncio
import itertools
import re
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markupsafe import Markup

from app.web.markdown import INLINE, PLAIN, Renderer, StreamingRenderer, TooSlow, html, plain
from tests.chat.hostile import BOMBS, EVIL, HOSTILE
from tests.kit import Cases

LIMIT = 60.0  # seconds of processor time for one bomb, which takes less than one

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
    """A strict reader: fails on everything that is not allowed, and on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.depth = 0
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
        if tag not in VOID:
            self.open.append(tag)
            self.depth = max(self.depth, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("a processing instruction")


def checked(markup: str) -> Checked:
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", markup), "a character that changes the text direction"
    return Checked(markup)


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


def test_the_corpus_is_large_enough() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 150


def test_hostile_text_is_inert() -> None:
    with Cases() as cases:
        for text in HOSTILE:
            with cases.case(repr(text)):
                assert checked(html(text)).depth < 200
            for wrapped in (
                f"> {text}",
                f"- {text}",
                f"**{text}**",
                f"| {text} |\n|---|",
                f"before {text} after",
                f"# {text}",
            ):
                with cases.case(repr(wrapped)):
                    checked(html(wrapped))


async def test_hostile_text_is_inert_while_it_is_streamed(renderer: Renderer) -> None:
    """Cut at every position, also in the middle of a tag, and followed by more text."""
    with Cases() as cases:
        for text in HOSTILE:
            if len(text) >= 300:
                continue
            growing = StreamingRenderer(renderer)
            for end in range(len(text) + 1):
                with cases.case(repr(text[:end])):
                    checked(await growing.render(text[:end]))
            if "]: " in text:  # a link reference is known only once its definition has arrived
                continue
            whole = f"{text}\n\nMore *text*.\n\n- and\n- more"
            with cases.case(repr(whole)):
                assert checked(await growing.render(whole)).text.split() == checked(html(whole)).text.split()


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


async def test_a_streamed_answer_ends_as_the_whole_text_is_rendered(renderer: Renderer) -> None:
    for ends, (step, times) in itertools.product(("\n", "\r\n"), ((1, 2), (7, 3), (1_000, 3))):
        text = (RICH * times).replace("\n", ends)
        growing = StreamingRenderer(renderer)
        for end in range(0, len(text), step):
            checked(await growing.render(text[:end]))
        assert await growing.render(text) == html(text)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many characters the Markdown parser is given at each call, and the thread that calls it."""
    calls: list[tuple[int, int]] = []
    parse = MarkdownIt.parse

    def recording(self: MarkdownIt, src: str, env: Any = None) -> Any:
        calls.append((len(src), threading.get_ident()))
        return parse(self, src, env)

    monkeypatch.setattr(MarkdownIt, "parse", recording)
    return calls


async def test_a_finished_block_is_not_parsed_again(renderer: Renderer, parsed: list[tuple[int, int]]) -> None:
    growing = StreamingRenderer(renderer)
    text = "A paragraph of some words.\n\n" * 400
    for end in range(0, len(text), 20):
        await growing.render(text[:end])
    assert len(parsed) > 500
    assert max(size for size, _ in parsed) < 200


def test_markdown_is_rendered_as_expected() -> None:
    rendered = html(RICH)
    expected = (
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
    )
    assert not [part for part in expected if part not in rendered]


async def test_headings_never_skip_a_level(renderer: Renderer) -> None:
    for text, expected in (
        ("# a\n## b\n# c", ["h3", "h4", "h3"]),
        ("### a\n##### b\n### c\n# d", ["h3", "h4", "h3", "h3"]),
        ("# 1\n## 2\n### 3\n#### 4\n##### 5", ["h3", "h4", "h5", "h6", "h6"]),
    ):
        assert re.findall(r"<(h\d)>", html(text)) == expected
        growing = StreamingRenderer(renderer)
        for end in range(len(text)):
            await growing.render(text[:end])
        assert re.findall(r"<(h\d)>", await growing.render(text)) == expected


def test_an_image_becomes_a_link_with_its_name() -> None:
    link = 'target="_blank" rel="noopener noreferrer nofollow"'
    assert html(f"![a cat]({EVIL}/cat.png)") == f'<p><a href="{EVIL}/cat.png" {link}>a cat</a></p>\n'
    assert html(f"[![a cat]({EVIL}/cat.png)](https://example.org)") == (
        f'<p><a href="https://example.org" {link}>a cat</a></p>\n'
    )
    assert html("![a cat](data:image/png;base64,AAAA)") == "<p>a cat</p>\n"


def test_html_in_a_text_is_shown_as_text() -> None:
    for text in ("<b>not bold</b>", "a < b && c > d", "</div>", "<!-- note -->", "&lt;"):
        assert Checked(html(f"`{text}`")).text.strip() == text
    assert Checked(html("<b>not bold</b>")).text.strip() == "<b>not bold</b>"


def test_a_bomb_is_not_parsed_beyond_its_budget() -> None:
    """The clock shows one second more at each look, so the budget is a number of looks and the same on every machine."""
    with Cases() as cases:
        for name, bomb in BOMBS.items():
            with cases.case(name):
                ticks = itertools.count()
                started = time.thread_time()
                rendered = html(bomb, budget=500, clock=ticks.__next__)
                spent = time.thread_time() - started
                assert next(ticks) <= 502, "it is parsed beyond its budget"
                assert spent < LIMIT, "between two looks at the clock there is too much work"
                assert checked(rendered).depth < 200


async def test_a_long_text_is_parsed_in_a_thread(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop goes on while bombs are parsed: the parser waits for it."""
    released = threading.Event()
    parsed: list[tuple[int, int]] = []

    def held(self: MarkdownIt, src: str, env: Any = None) -> Any:
        parsed.append((len(src), threading.get_ident()))
        if len(src) > INLINE:
            assert released.wait(300), "the event loop waits for the parser"
        raise TooSlow

    monkeypatch.setattr(MarkdownIt, "parse", held)
    bombs = [bomb for bomb in BOMBS.values() if len(bomb) > INLINE]
    rendering = [asyncio.create_task(StreamingRenderer(renderer).render(bomb)) for bomb in bombs]
    rendering.append(asyncio.create_task(renderer.threaded(lambda: html("a" * (INLINE + 1)))))
    short = await StreamingRenderer(renderer).render("*short*")
    assert short == "<p>*short*</p>"
    assert not any(task.done() for task in rendering)
    released.set()
    await asyncio.gather(*rendering)
    assert sorted(size for size, thread in parsed if thread != threading.get_ident()) == sorted(
        [*map(len, bombs), INLINE + 1]
    )
    assert all(size <= INLINE for size, thread in parsed if thread == threading.get_ident())


async def test_a_text_that_takes_too_long_is_shown_unformatted() -> None:
    text = "# <b>\n\n" + "[" * 30_000
    rendered = html(text, budget=0.0)
    assert rendered.startswith("<p># &lt;b&gt;<br>")
    assert Checked(rendered).text.replace("\n", "") == text.replace("\n", "")
    assert isinstance(rendered, Markup)


async def test_rendered_texts_are_cached_within_bounds() -> None:
    renderer = Renderer(cache_size=10_000)
    (first,) = await renderer.render(["*a*"])
    assert (await renderer.render(["*a*", "*b*", "*a*"]))[0] is first
    texts = [f"{n} " * 300 for n in range(50)]
    rendered = [(await renderer.render([text]))[0] for text in texts]
    size = 0
    for text, markup in zip(reversed(texts), reversed(rendered), strict=True):
        if (await renderer.render([text]))[0] is not markup:
            break
        size += len(text) + len(markup)
    assert 8_000 < size <= 10_000
    assert (await renderer.render(["*a*"]))[0] is not first
    assert await renderer.render([]) == []
    renderer.close()


def test_a_preview_has_the_words_without_the_syntax() -> None:
    text = "# Boats\n\n- **Paper** and *tin*, `oak`\n- [a link](https://a.example)\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n```js\nx = 1\n```"
    assert plain(text) == "Boats\nPaper and tin, oak\na link\na\nb\n1\n2\nx = 1"
    assert plain("two\nlines <b>\\* 2 * 3 * 4") == "two\nlines <b>* 2 * 3 * 4"
    assert plain("") == ""
    assert len(plain("x" * 10 * PLAIN)) == PLAIN
    assert plain("**a**", clock=itertools.count().__next__) == "**a**"  # too slow: as it is
