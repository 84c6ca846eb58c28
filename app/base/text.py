"""Text that users type as a name: one line, without characters that are not seen but change what is."""

import unicodedata
from typing import Final

import regex

# Control characters, marks that change the direction of what follows, and half characters. The joiners U+200C and U+200D stay:
# Persian and emoji need them.
_INVISIBLE: Final = regex.compile(r"[\p{Cc}\p{Cs}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_GRAPHEME: Final = regex.compile(r"\X")


def one_line(text: str) -> str:
    """Without control and direction characters, and with runs of white space as one space."""
    return " ".join(_INVISIBLE.sub("", " ".join(text.split())).split())


def folded(text: str) -> str:
    """The form in which texts are searched: the same for all letter cases and ways to write a letter, also the Turkish dotless i
    and the Greek final sigma."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFKC", decomposed.replace("\u0307", "").replace("ı", "i"))


def shortened(text: str, length: int) -> str:
    """At most `length` characters, cut between two words, or else between two of what readers take for characters, with an
    ellipsis."""
    if len(text) <= length:
        return text
    words = text[: length + 1].rpartition(" ")[0]
    if words:
        return f"{words}…"
    end = 0
    for grapheme in _GRAPHEME.finditer(text):
        if grapheme.end() > length:
            break
        end = grapheme.end()
    return f"{text[:end]}…"
