r"""Expands choices and wildcards in a prompt: `a {red|green} boat, __weather__`.

`{a|b|c}` is one of its options; options may be empty and may hold choices. `__name__` is one line of the list of that name; a
line may hold choices and other wildcards. Everything else is text, also a lone brace and braces without a `|` between them, so
JSON usually stays as it is. A backslash before `{`, `|`, `}` or a wildcard makes it text; `\\` before one of them is a backslash.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

MAX_LENGTH: Final = 32_000  # characters of an expanded prompt
MAX_DEPTH: Final = 16  # choices and wildcards inside each other
MAX_COUNT: Final = 10**9  # where counting ends

_MARK: Final = re.compile(r"((?<!\\)\\*)(?:([{|}])|__((?!_)(?:(?!__)[\w-]){1,64})__)")


class ExpansionError(ValueError):
    """The prompt cannot be expanded. The message is shown to the user."""


class _Choice(msgspec.Struct):
    options: list["_Parts"]


class _Wildcard(msgspec.Struct):
    name: str


_Parts = list[str | _Choice | _Wildcard]


def expand(template: str, wildcards: Mapping[str, Sequence[str]], seed: int) -> str:
    """One variant, the same for the same seed; each option of a choice and each line of a wildcard is equally likely. Raises
    ExpansionError."""
    numbers = random.Random(seed)
    return _Template(template, wildcards).write(lambda options: int(numbers.random() * options))


def count(template: str, wildcards: Mapping[str, Sequence[str]]) -> int:
    """How many variants there are, at most MAX_COUNT. Raises ExpansionError."""
    return _Template(template, wildcards).count


def variants(template: str, wildcards: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """All variants; the last choice changes fastest. Ask for the `count` first. Raises ExpansionError."""
    found = _Template(template, wildcards)
    picks: list[int] = []  # the options of the current variant
    while True:
        sizes: list[int] = []

        def pick(options: int, sizes: list[int] = sizes) -> int:
            sizes.append(options)
            if len(picks) < len(sizes):
                picks.append(0)
            return picks[len(sizes) - 1]

        yield found.write(pick)
        while picks and picks[-1] + 1 == sizes[len(picks) - 1]:
            picks.pop()
        if not picks:
            return
        picks[-1] += 1


class _Template:
    """A parsed template with all wildcards that it can reach. All of them are checked, so that an error does not depend on which
    option is chosen."""

    def __init__(self, template: str, wildcards: Mapping[str, Sequence[str]]) -> None:
        self._wildcards = wildcards
        self._lines: dict[str, list[_Parts]] = {}
        self._checked: dict[str, tuple[int, int]] = {}
        self._parts = _parse(template)
        self.count, _ = self._check(self._parts, ())

    def write(self, pick: Callable[[int], int]) -> str:
        """The text of one variant. `pick` returns the index of the chosen option, given how many there are; it is asked in the
        order of the text."""
        text: list[str] = []
        length = steps = 0
        open_parts = [iter(self._parts)]
        while open_parts:
            part = next(open_parts[-1], None)
            if part is None:
                open_parts.pop()
            elif isinstance(part, str):
                text.append(part)
                length += len(part)
            else:
                options = part.options if isinstance(part, _Choice) else self._lines[part.name]
                open_parts.append(iter(options[pick(len(options))]))
                steps += 1
            if length > MAX_LENGTH or steps > MAX_LENGTH:  # options may be empty, so the length alone is not a limit
                raise ExpansionError(f"The expanded prompt must be at most {MAX_LENGTH:,} characters.")
        return "".join(text)

    def _check(self, parts: _Parts, path: tuple[str, ...]) -> tuple[int, int]:
        """How many variants the parts have, and how many levels of choices and wildcards. `path` is what they are inside of."""
        total, levels = 1, 0
        for part in parts:
            if isinstance(part, str):
                continue
            if isinstance(part, _Choice):
                found = self._check_options(part.options, (*path, ""))
            else:
                found = self._check_wildcard(part.name, path)
            total = min(total * found[0], MAX_COUNT)
            levels = max(levels, found[1])
        return total, levels

    def _check_options(self, options: list[_Parts], path: tuple[str, ...]) -> tuple[int, int]:
        if len(path) > MAX_DEPTH:
            raise _too_deep()
        found = [self._check(option, path) for option in options]
        return min(sum(total for total, _ in found), MAX_COUNT), 1 + max(levels for _, levels in found)

    def _check_wildcard(self, name: str, path: tuple[str, ...]) -> tuple[int, int]:
        if name in path:
            raise ExpansionError(f"The wildcard __{name}__ contains itself.")
        if name not in self._checked:
            lines = self._wildcards.get(name)
            if lines is None:
                raise ExpansionError(f"There is no wildcard __{name}__.")
            if not lines:
                raise ExpansionError(f"The wildcard __{name}__ has no lines.")
            self._lines[name] = [_parse(line) for line in lines]
            self._checked[name] = self._check_options(self._lines[name], (*path, name))
        if len(path) + self._checked[name][1] > MAX_DEPTH:
            raise _too_deep()
        return self._checked[name]


def _parse(template: str) -> _Parts:
    marks = list(_MARK.finditer(template))
    inside = _choices(marks)
    parts: _Parts = []
    outer: list[tuple[_Parts, _Choice]] = []
    end = 0
    for mark in marks:
        backslashes, brace, name = mark.groups()
        parts.append(template[end : mark.start()] + backslashes[: len(backslashes) // 2])
        end = mark.end()
        if len(backslashes) % 2 or (brace and mark.start() not in inside):
            parts.append(mark[0][len(backslashes) :])
        elif name:
            parts.append(_Wildcard(name))
        elif brace == "{":
            choice = _Choice([[]])
            parts.append(choice)
            outer.append((parts, choice))
            parts = choice.options[-1]
        elif brace == "|":
            parts = []
            outer[-1][1].options.append(parts)
        else:
            parts, _ = outer.pop()
    parts.append(template[end:])
    return parts


def _choices(marks: Sequence[re.Match[str]]) -> set[int]:
    """Where the braces and bars of choices are; those of other marks are text."""
    found: set[int] = set()
    groups: list[list[int]] = []  # for each open brace, its position and those of its bars
    for mark in marks:
        position = mark.start()
        if len(mark[1]) % 2 or not mark[2]:
            continue
        if mark[2] == "{":
            groups.append([position])
        elif mark[2] == "|" and groups:
            groups[-1].append(position)
        elif mark[2] == "}" and groups:
            group = groups.pop()
            if len(group) > 1:
                found.update(group, [position])
    return found


def _too_deep() -> ExpansionError:
    return ExpansionError(f"Choices and wildcards can be nested at most {MAX_DEPTH} levels deep.")
