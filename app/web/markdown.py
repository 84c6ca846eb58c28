"""Renders a model's Markdown as safe HTML: parsed by markdown-it, sanitised by nh3.

The parser ignores raw HTML and turns images into links; the sanitiser drops every tag and attribute that is not on a
short allow list. Parsing that takes too long is stopped and the text shown unformatted, so that an answer cannot block
the server.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import nh3
from cachetools import LRUCache
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

T = TypeVar("T")

INLINE: Final = 2_000  # characters rendered on the event loop (about 2 ms); longer texts go to a thread
BUDGET: Final = 1.5  # seconds of CPU time for one finished text
LIVE_BUDGET: Final = 0.2  # seconds of CPU time for the last block of a text that is still streaming
PLAIN: Final = 1_000  # characters of a preview
PLAIN_BUDGET: Final = 0.02  # seconds of CPU time for one
CACHE_SIZE: Final = 16_000_000  # characters of finished texts and their HTML
MAX_NESTING: Final = 24  # levels of lists and quotes; deeper content is dropped
MAX_EMPHASIS_NESTING: Final = 12

TAGS: Final = {
    "p", "br", "hr", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote",
    "ul", "ol", "li", "a", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES: Final = {
    "a": {"href", "target"},
    "code": {"data-language", "tabindex"},
    "ol": {"start"},
    "table": {"tabindex"},
    "th": {"data-align"},
    "td": {"data-align"},
}
VALUES: Final = {
    "href": re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]{1,4000}", re.IGNORECASE),
    "target": re.compile("_blank"),
    "rel": re.compile("noopener noreferrer nofollow"),
    "tabindex": re.compile("0"),
    "start": re.compile(r"[0-9]{1,9}"),
    "data-language": re.compile(r"[A-Za-z0-9+#._-]{1,20}"),
    "data-align": re.compile("center|right"),
}

# Bidirectional control characters, which can make text display in a misleading order.
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_LINE = re.compile(r"\r\n?|\n")


class TooSlow(Exception):
    """Parsing exceeded its time budget."""


def html(text: str, budget: float = BUDGET, clock: Callable[[], float] = time.thread_time) -> Markup:
    """The HTML of a finished text. `budget` is in seconds of `clock`, which returns the CPU time of this thread."""
    try:
        tokens = _parse(text, {}, budget, clock)
    except TooSlow:
        return _plain_text(text)
    _normalise(tokens, [])
    return _to_html(tokens)


def plain(text: str, budget: float = PLAIN_BUDGET, clock: Callable[[], float] = time.thread_time) -> str:
    """The beginning of a text without Markdown's syntax, for previews and titles. `budget` as for `html`."""
    text = text[:PLAIN]
    try:
        tokens = _parse(text, {}, budget, clock)
    except TooSlow:
        return text
    lines = [_words(token) for token in tokens if token.type in ("inline", "fence", "code_block")]
    return "\n".join(filter(None, lines))


def _words(token: Token) -> str:
    """The text of a block."""
    if token.children is None:
        return token.content.strip()
    return "".join("\n" if child.type in ("softbreak", "hardbreak") else child.content for child in token.children)


class Renderer:
    """Renders finished texts, in a thread when they are long, and caches the results: at most `cache_size` characters of
    texts and their HTML."""

    def __init__(self, cache_size: int = CACHE_SIZE) -> None:
        self._threads = ThreadPoolExecutor(2, "markdown")
        self._cache: LRUCache[str, tuple[str, Markup]] = LRUCache(cache_size, getsizeof=_characters)

    async def render(self, texts: Sequence[str]) -> list[Markup]:
        """The HTML of each text."""
        rendered = {text: self._cache[text][1] for text in texts if text in self._cache}
        new = list(dict.fromkeys(text for text in texts if text not in rendered))
        if sum(map(len, new)) <= INLINE:
            rendered |= {text: html(text) for text in new}
        else:
            rendered |= await self.threaded(lambda: {text: html(text) for text in new})
        for text in new:
            with contextlib.suppress(ValueError):  # larger than the cache
                self._cache[text] = (text, rendered[text])
        return [rendered[text] for text in texts]

    async def threaded(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _characters(entry: tuple[str, Markup]) -> int:
    text, rendered = entry
    return len(text) + len(rendered)


class StreamingRenderer:
    """Renders one text that grows at its end. A block is complete when the next one has started, and is then rendered only
    once, so that each update costs only the last block."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._references: dict[str, Any] = {}  # link reference definitions
        self._headings: list[int] = []
        self._done = Markup()
        self._consumed = 0  # characters of the text that are in `_done`

    async def render(self, text: str) -> Markup:
        """The HTML of the text so far."""
        rest = text[self._consumed :]
        if len(rest) <= INLINE:
            return self._render(rest)
        return await self._renderer.threaded(lambda: self._render(rest))

    def _render(self, rest: str) -> Markup:
        env = {"references": dict(self._references)}
        try:
            tokens = _parse(rest, env, LIVE_BUDGET, time.thread_time)
        except TooSlow:
            return self._done + _plain_text(rest)
        last = max((index for index, token in enumerate(tokens) if _begins_block(token)), default=0)
        if last:
            _normalise(tokens[:last], self._headings)
            self._done += _to_html(tokens[:last])
            line = (tokens[last].map or [0])[0]
            self._references |= {
                name: reference for name, reference in env["references"].items() if reference["map"][1] <= line
            }
            self._consumed += _offset(rest, line)
        tokens = tokens[last:]
        _normalise(tokens, list(self._headings))
        return self._done + _to_html(tokens)


class _Parser(MarkdownIt):
    """CommonMark with tables and strikethrough, without HTML, and with a time limit."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False, "maxNesting": MAX_NESTING})
        self.enable(["table", "strikethrough"])
        self.inline.ruler.before("text", "time_limit", _check_time_inline)
        self.block.ruler.before("table", "time_limit", _check_time_block)

    def validateLink(self, url: str) -> bool:
        return True  # every link is parsed; `_normalise_inline` removes those with an unsafe target


def _check_time_inline(state: StateInline, silent: bool) -> bool:
    if state.env["clock"]() > state.env["until"]:
        raise TooSlow
    return False


def _check_time_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.env["clock"]() > state.env["until"]:
        raise TooSlow
    return False


_parser = _Parser()


def _parse(text: str, env: dict[str, Any], budget: float, clock: Callable[[], float]) -> list[Token]:
    env |= {"clock": clock, "until": clock() + budget}
    return _parser.parse(text, env)


def _to_html(tokens: Sequence[Token]) -> Markup:
    """Render tokens as HTML and sanitise it."""
    html = _parser.renderer.render(tokens, _parser.options, {})
    return Markup(_BIDI_CONTROLS.sub("", _cleaner.clean(html)))  # noqa: S704 (sanitised by nh3)


def _plain_text(text: str) -> Markup:
    """The text without formatting."""
    return Markup("<p>") + Markup("<br>\n").join(escape(_BIDI_CONTROLS.sub("", text)).splitlines()) + Markup("</p>")


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    allowed = VALUES.get(name)
    return value if allowed and allowed.fullmatch(value) else None


_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    attribute_filter=_filter_attribute,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
)


def _normalise(tokens: Sequence[Token], headings: list[int]) -> None:
    """Adapt the tokens to our pages: headings below the page's own, external links, no images, code and tables that can be
    scrolled by keyboard. `headings` holds the levels of the enclosing headings, and is modified."""
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1])
            while headings and headings[-1] >= level:
                headings.pop()
            headings.append(level)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, 2 + len(headings))}"
        elif token.type in ("fence", "code_block"):
            language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
            token.type, token.info, token.attrs = "fence", "", {"tabindex": 0}
            if language:
                token.attrs["data-language"] = language
        elif token.type == "table_open":
            token.attrs["tabindex"] = 0
        elif token.type in ("th_open", "td_open"):
            token.attrs = {"data-align": str(token.attrs.get("style", "")).removeprefix("text-align:")}
        elif token.children:
            token.children = _normalise_inline(token.children)


def _normalise_inline(children: Sequence[Token]) -> list[Token]:
    """The same for inline tokens."""
    found: list[Token] = []
    linked = False
    for token in children:
        if token.type == "link_open":
            address = _address(token.attrs.get("href"))
            linked = address is not None
            if address is not None:
                found.append(_link(address))
        elif token.type == "link_close":
            if linked:
                found.append(token)
            linked = False
        elif token.type == "image":
            found += _image_as_link(token, linked=linked)
        elif not token.nesting or token.level <= MAX_EMPHASIS_NESTING:
            found.append(token)
    return found


def _image_as_link(image: Token, *, linked: bool) -> list[Token]:
    """An image as a link with its alt text; only the alt text inside another link or when the URL is not allowed."""
    address = _address(image.attrs.get("src"))
    name = Token("text", "", 0, content=image.content.strip() or "Image")
    return [name] if linked or address is None else [_link(address), name, Token("link_close", "a", -1)]


def _address(url: object) -> str | None:
    """The URL when it is an absolute http(s) or mailto address, else None."""
    return url if isinstance(url, str) and VALUES["href"].fullmatch(url) else None


def _link(address: str) -> Token:
    return Token("link_open", "a", 1, attrs={"href": address, "target": "_blank"})


def _begins_block(token: Token) -> bool:
    return token.level == 0 and token.nesting >= 0 and token.map is not None


def _offset(text: str, line: int) -> int:
    """The offset at which that line (counted from 0) starts."""
    if not line:
        return 0
    ends = (found.end() for found in _LINE.finditer(text))
    return next(end for count, end in enumerate(ends, 1) if count == line)
