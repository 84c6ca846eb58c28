"""Checks what users enter as templates and wildcard lists, and tidies it."""

import re
from typing import Final

import msgspec

from app.base.errors import Invalid
from app.base.text import one_line
from app.prompts.schemas import PromptContent, PromptKind
from app.providers.contract import Kind

MAX_NAME: Final = 100  # characters
MAX_TEXT: Final = 32_000  # characters, as of any prompt
MAX_LINES: Final = 5_000  # of a wildcard list
MAX_LINE: Final = 1_000  # characters
MAX_LIST: Final = 200_000  # characters of all lines
MAX_TAGS: Final = 10
MAX_TAG: Final = 40  # characters
OUTPUTS: Final = (Kind.TEXT, Kind.IMAGE, Kind.VIDEO)

# A name between two underscores on each side must have one meaning: it neither begins nor ends with one, and has no two in a row.
WILDCARD_NAME: Final = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
MAX_WILDCARD_NAME: Final = 64  # characters
# A wildcard in a prompt, as `app.generation.prompt_expansion` reads it.
WILDCARD: Final = re.compile(rf"__((?!_)(?:(?!__)[\w-]){{1,{MAX_WILDCARD_NAME}}})__")


def checked(kind: PromptKind, content: PromptContent) -> PromptContent:
    """The content as it is stored. Raises Invalid with the wrong fields."""
    check = _Check()
    name = one_line(content.name)
    if kind is PromptKind.WILDCARDS:
        name = name.strip("_").lower() if name.startswith("__") and name.endswith("__") else name.lower()
    check.that("name", bool(name), "Enter a name.")
    check.length("name", name, MAX_NAME if kind is PromptKind.TEMPLATE else MAX_WILDCARD_NAME)
    tags = tuple(dict.fromkeys(filter(None, map(one_line, content.tags))))
    check.that("tags", len(tags) <= MAX_TAGS, f"There can be at most {MAX_TAGS} tags.")
    for tag in tags:
        check.length("tags", tag, MAX_TAG, "Each tag must")
    if kind is PromptKind.TEMPLATE:
        tidy = _template(check, content)
    else:
        check.that(
            "name",
            WILDCARD_NAME.fullmatch(name) is not None,
            "Use lower-case letters, digits, hyphens and single underscores, as in `warm-colors`.",
        )
        tidy = _wildcards(check, content)
    check.done()
    return msgspec.structs.replace(tidy, name=name, tags=tags)


class _Check:
    """Collects the first error of each field."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def that(self, field: str, right: bool, message: str) -> None:
        if not right:
            self.fields.setdefault(field, message)

    def length(self, field: str, text: str, most: int, subject: str = "Must") -> None:
        self.that(field, len(text) <= most, f"{subject} be at most {most:,} characters; this has {len(text):,}.")
        self.that(field, "\x00" not in text, "Must not contain null characters.")

    def done(self) -> None:
        if self.fields:
            raise Invalid(next(iter(self.fields.values())), fields=self.fields)


def _template(check: _Check, content: PromptContent) -> PromptContent:
    text, negative = _block(content.text), _block(content.negative_prompt)
    check.that("text", bool(text), "Enter the text of the prompt.")
    check.length("text", text, MAX_TEXT)
    check.length("negative_prompt", negative, MAX_TEXT)
    check.that("output", content.output in (None, *OUTPUTS), f"Must be one of {', '.join(OUTPUTS)}.")
    check.that("lines", not content.lines, "Only a wildcard list has lines.")
    return msgspec.structs.replace(content, text=text, negative_prompt=negative)


def _wildcards(check: _Check, content: PromptContent) -> PromptContent:
    lines = tuple(filter(None, (line.strip() for entry in content.lines for line in entry.splitlines())))
    check.that("lines", bool(lines), "Enter at least one line.")
    check.that("lines", len(lines) <= MAX_LINES, f"There can be at most {MAX_LINES:,} lines; this has {len(lines):,}.")
    for number, line in enumerate(lines, 1):
        check.length("lines", line, MAX_LINE, f"Line {number:,} must")
    check.length("lines", "\n".join(lines), MAX_LIST, "All lines together must")
    for field in ("text", "negative_prompt", "output"):
        check.that(field, not getattr(content, field), "Only a template has this.")
    return msgspec.structs.replace(content, lines=lines)


def _block(text: str) -> str:
    """Text of several lines."""
    return text.replace("\r\n", "\n").strip()
