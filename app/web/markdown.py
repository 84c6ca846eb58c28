"""What a model wrote, as HTML that can do nothing: Markdown read by markdown-it, and what comes of it sanitised by nh3.

The first wall reads no HTML at all and makes no picture (one becomes a link to it); the second knows a short list of tags
and of attributes that our own first wall sets, and drops everything else. Reading stops when it takes too long, and the
text is then shown as it is: an answer cannot keep the program busy.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

T = TypeVar("T")

INLINE: Final = 2_000  # characters that are rendered on the event loop, about two milliseconds; more goes to a thread
BUDGET: Final = 1.5  # seconds of processor time for one finished text
LIVE_BUDGET: Final = 0.2  # the same for the last block of one that is being written
KEPT: Final = 16_000_000  # characters, of finished texts and their HTML, that are remembered
DEEPEST: Final = 24  # levels of lists and quotes; what lies deeper is not shown
DEEPEST_EMPHASIS: Final = 12

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

# Marks that turn the direction of the text around them; without them text stands in the order in which it is written.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_LINE = re.compile(r"\r\n?|\n")


class TooSlow(Exception):
    """The text takes longer to read than it is worth."""


def html(text: str, budget: float = BUDGET, clock: Callable[[], float] = time.thread_time) -> Markup:
    """The HTML of a finished text; `budget` is in seconds of `clock`, which shows the processor time of this thread."""
    try:
        tokens = _read(text, {}, budget, clock)
    except TooSlow:
        return _as_it_is(text)
    _normalise(tokens, [])
    return _written(tokens)


class Renderer:
    """Renders finished texts, in a thread when they are long, and remembers what it made of them: at most `kept` characters
    of texts and their HTML."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._threads = ThreadPoolExecutor(2, "markdown")
        self._known: OrderedDict[str, Markup] = OrderedDict()
        self._size = 0

    async def render(self, texts: Sequence[str]) -> list[Markup]:
        """The HTML of each text."""
        made = {text: self._known[text] for text in texts if text in self._known}
        new = list(dict.fromkeys(text for text in texts if text not in made))
        if sum(map(len, new)) <= INLINE:
            made |= {text: html(text) for text in new}
        else:
            made |= await self.threaded(lambda: {text: html(text) for text in new})
        for text in texts:
            self._remember(text, made[text])
        return [made[text] for text in texts]

    async def threaded(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _remember(self, text: str, made: Markup) -> None:
        if text not in self._known:
            self._size += len(text) + len(made)
        self._known[text] = made
        self._known.move_to_end(text)
        while self._size > self._kept:
            old, gone = self._known.popitem(last=False)
            self._size -= len(old) + len(gone)


class StreamingRenderer:
    """Renders one text that grows at its end. A block is finished when the next one has begun, and is rendered once, so
    that a longer answer costs no more than its last block."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._known: dict[str, Any] = {}  # what links may refer to
        self._headings: list[int] = []
        self._done = Markup()
        self._read = 0  # characters of the text that stand in `_done`

    async def render(self, text: str) -> Markup:
        """The HTML of the text so far."""
        rest = text[self._read :]
        if len(rest) <= INLINE:
            return self._render(rest)
        return await self._renderer.threaded(lambda: self._render(rest))

    def _render(self, rest: str) -> Markup:
        known = {"references": dict(self._known)}
        try:
            tokens = _read(rest, known, LIVE_BUDGET, time.thread_time)
        except TooSlow:
            return self._done + _as_it_is(rest)
        last = max((place for place, token in enumerate(tokens) if _begins_block(token)), default=0)
        if last:
            _normalise(tokens[:last], self._headings)
            self._done += _written(tokens[:last])
            line = (tokens[last].map or [0])[0]
            self._known |= {name: it for name, it in known["references"].items() if it["map"][1] <= line}
            self._read += _offset(rest, line)
        tokens = tokens[last:]
        _normalise(tokens, list(self._headings))
        return self._done + _written(tokens)


class _Reader(MarkdownIt):
    """CommonMark with tables and strikethrough, without HTML, and with a watch on the time."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False, "maxNesting": DEEPEST})
        self.enable(["table", "strikethrough"])
        self.inline.ruler.before("text", "watch", _watch)
        self.block.ruler.before("table", "watch", _watch_blocks)

    def validateLink(self, url: str) -> bool:
        return True  # every link is read, and `_tamed` takes away what leads where it must not


def _watch(state: StateInline, silent: bool) -> bool:
    if state.env["clock"]() > state.env["until"]:
        raise TooSlow
    return False


def _watch_blocks(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.env["clock"]() > state.env["until"]:
        raise TooSlow
    return False


_reader = _Reader()


def _read(text: str, known: dict[str, Any], budget: float, clock: Callable[[], float]) -> list[Token]:
    known |= {"clock": clock, "until": clock() + budget}
    return _reader.parse(text, known)


def _written(tokens: Sequence[Token]) -> Markup:
    """Tokens as HTML, through the second wall."""
    made = _reader.renderer.render(tokens, _reader.options, {})
    return Markup(_TURNING.sub("", _cleaner.clean(made)))  # noqa: S704 (this is what the cleaner is for)


def _as_it_is(text: str) -> Markup:
    """The words without any form."""
    return Markup("<p>") + Markup("<br>\n").join(escape(_TURNING.sub("", text)).splitlines()) + Markup("</p>")


def _checked(tag: str, name: str, value: str) -> str | None:
    allowed = VALUES.get(name)
    return value if allowed and allowed.fullmatch(value) else None


_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    attribute_filter=_checked,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
)


def _normalise(tokens: Sequence[Token], headings: list[int]) -> None:
    """What our pages want of the tokens: headings below the page's own, links that lead out of it, no pictures, code and
    tables that a keyboard can scroll. `headings` are the levels of the headings that the text is under, and is changed."""
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
            token.children = _tamed(token.children)


def _tamed(children: Sequence[Token]) -> list[Token]:
    """The same for what stands within one line."""
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
            found += _without_picture(token, linked=linked)
        elif not token.nesting or token.level <= DEEPEST_EMPHASIS:
            found.append(token)
    return found


def _without_picture(image: Token, *, linked: bool) -> list[Token]:
    """A link to the picture by its name; only the name where there is a link already, or nowhere to lead."""
    address = _address(image.attrs.get("src"))
    name = Token("text", "", 0, content=image.content.strip() or "Picture")
    return [name] if linked or address is None else [_link(address), name, Token("link_close", "a", -1)]


def _address(given: object) -> str | None:
    """Where a link may lead: to a whole address on the web or of somebody's mail; None for anything else."""
    return given if isinstance(given, str) and VALUES["href"].fullmatch(given) else None


def _link(address: str) -> Token:
    return Token("link_open", "a", 1, attrs={"href": address, "target": "_blank"})


def _begins_block(token: Token) -> bool:
    return token.level == 0 and token.nesting >= 0 and token.map is not None


def _offset(text: str, line: int) -> int:
    """Where that line begins, counted from 0."""
    if not line:
        return 0
    ends = (found.end() for found in _LINE.finditer(text))
    return next(end for count, end in enumerate(ends, 1) if count == line)
