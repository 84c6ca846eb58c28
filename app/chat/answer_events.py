"""Server-sent events of an answer that is being written: each contains the whole element, the last one its final state."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from markupsafe import Markup

from app.chat.schemas import ShownMessage
from app.web.markdown import Renderer, StreamingRenderer

PAUSE: Final = 0.1  # seconds between two updates
RENDER_SHARE: Final = 0.1  # of the time that may be spent on rendering one answer
RATE: Final = 400_000  # characters of HTML per second to one reader
KEEP_ALIVE: Final = b": keep-alive\n\n"
_LINE: Final = re.compile(r"\r\n|\r|\n")  # what ends a line of an event

# Renders the element of a message; the second argument is the HTML of its text.
Element = Callable[[ShownMessage, Markup], str]


async def events(
    first: ShownMessage | None,
    states: AsyncGenerator[ShownMessage | None, None],
    markdown: Renderer,
    element: Element,
) -> AsyncGenerator[bytes, None]:
    """An event for `first` and for as many of the following states as rendering and the reader can keep up with."""
    renderer, shown = StreamingRenderer(markdown), first
    async with aclosing(states):
        while True:
            if shown is None:
                yield KEEP_ALIVE
            elif shown.message.status.final:
                (html,) = await markdown.render([shown.message.text])
                yield _event(element(shown, html))
                return
            else:
                started = time.perf_counter()
                html = await renderer.render(shown.message.text)
                elapsed = time.perf_counter() - started
                yield _event(element(shown, html))
                await asyncio.sleep(max(PAUSE, elapsed / RENDER_SHARE, len(html) / RATE))
            shown = await anext(states)


def _event(element: str) -> bytes:
    return b"".join(b"data: %s\n" % line.encode() for line in _LINE.split(element.strip())) + b"\n"
