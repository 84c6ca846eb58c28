"""Writes a text that matches a regular expression, because JSON Schema describes many texts by a pattern.

It reads the common part of the ECMAScript syntax. Lookarounds and backreferences are skipped: a caller that needs certainty
validates the result and tries again.
"""

import random
import re
import string
from collections.abc import Callable
from typing import Final

Sampler = Callable[[random.Random], str]

MAX_RANGE: Final = 200  # characters taken from a range such as \u0000-\uffff
_WORD: Final = string.ascii_lowercase + string.ascii_uppercase + string.digits
_PRINTABLE: Final = _WORD + " -_.,:;!?/+*=()[]{}<>@#$%&'\"|~^`\\"
_CLASSES: Final = {"d": string.digits, "w": _WORD + "_", "s": " "}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_GROUP_HEAD: Final = re.compile(r"\?(?:[=!]|<[=!]|:|P?<\w+>|[a-z]+(?:-[a-z]+)?[:)])")
_QUANTIFIER: Final = re.compile(r"(?:([*+?])|\{(\d+)(,?)(\d*)\})[?+]?")


def sample(pattern: str, dice: random.Random) -> str:
    """A text that matches the pattern."""
    return _Parser(pattern).alternatives()(dice)


class _Parser:
    """Turns each part of a pattern into a function that writes a text for it."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0

    def alternatives(self) -> Sampler:
        branches = [self._sequence()]
        while self._skip("|"):
            branches.append(self._sequence())
        return lambda dice: dice.choice(branches)(dice)

    def _sequence(self) -> Sampler:
        parts: list[Sampler] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return lambda dice: "".join(part(dice) for part in parts)

    def _repeated(self, part: Sampler) -> Sampler:
        match = self._match(_QUANTIFIER)
        if match is None:
            return part
        sign, least, comma, most = match.groups()
        low = {"*": 0, "+": 1, "?": 0}[sign] if sign else int(least)
        high = 1 if sign == "?" else int(most) if most else low if least and not comma else low + 3
        return lambda dice: "".join(part(dice) for _ in range(dice.randint(low, max(low, min(high, low + 3)))))

    def _atom(self) -> Sampler:
        char = self._take()
        if char == "(":
            return self._group()
        if char in "^$":
            return _nothing
        characters = (
            self._class() if char == "[" else self._escape() if char == "\\" else _WORD if char == "." else char
        )
        return (lambda dice: dice.choice(characters)) if characters else _nothing

    def _group(self) -> Sampler:
        head = self._match(_GROUP_HEAD)
        if head is not None and head[0].endswith(")"):  # flags for the rest of the pattern
            return _nothing
        inner = self.alternatives()
        self._skip(")")
        return _nothing if head is not None and head[0][-1] in "=!" else inner

    def _class(self) -> str:
        negated = self._skip("^")
        found = ""
        while self._next() not in ("", "]"):
            first = self._class_member()
            if self._next() == "-" and self._pattern[self._position + 1 : self._position + 2] not in ("", "]"):
                self._take()
                last = self._class_member()
                found += "".join(map(chr, range(ord(first[0]), min(ord(last[0]), ord(first[0]) + MAX_RANGE) + 1)))
            else:
                found += first
        self._skip("]")
        return "".join(char for char in _PRINTABLE if char not in found) if negated else found

    def _class_member(self) -> str:
        char = self._take()
        return ("\b" if self._skip("b") else self._escape() or "\0") if char == "\\" else char

    def _escape(self) -> str:
        """The characters that an escape stands for; none for one that stands for a position."""
        char = self._take()
        if char.lower() in _CLASSES:
            known = _CLASSES[char.lower()]
            return known if char.islower() else "".join(other for other in _PRINTABLE if other not in known)
        if char in "xu" and (
            digits := self._match(re.compile(r"[0-9A-Fa-f]{2}" if char == "x" else r"[0-9A-Fa-f]{4}"))
        ):
            return chr(int(digits[0], 16))
        if char in "pP":
            self._match(re.compile(r"\{[^}]*\}"))
            return string.ascii_lowercase if char == "p" else "-"
        if char in "bBAZz" or char in "123456789":
            return ""
        return _CONTROLS.get(char, char)

    def _next(self) -> str:
        return self._pattern[self._position : self._position + 1]

    def _take(self) -> str:
        char = self._next()
        self._position += 1
        return char

    def _skip(self, char: str) -> bool:
        found = self._next() == char
        self._position += found
        return found

    def _match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        match = expression.match(self._pattern, self._position)
        if match is not None:
            self._position = match.end()
        return match


def _nothing(_: random.Random) -> str:
    return ""
