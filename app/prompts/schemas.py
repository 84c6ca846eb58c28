"""The data structures of prompt templates and wildcard lists."""

import enum
from datetime import datetime

import msgspec

from app.base.text import folded
from app.providers.contract import Kind


class PromptKind(enum.StrEnum):
    TEMPLATE = "template"  # a prompt to start from
    WILDCARDS = "wildcards"  # a list of texts, one of which replaces `__name__` in a prompt


class Visibility(enum.StrEnum):
    """Whose prompts are listed."""

    OWN = "own"
    SHARED = "shared"  # of everyone, also one's own


class PromptContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a user enters. `text`, `negative_prompt` and `output` (the kind of output that it is for, None for any) are those of a
    template, `lines` those of a wildcard list."""

    name: str
    text: str = ""
    negative_prompt: str = ""
    output: Kind | None = None
    lines: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    shared: bool = False


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A template or a wildcard list. `lines` is None where only the beginning of a list was read: then `sample` has its first
    characters. `version` increases with each change. For the user who asked: whether it
    is their `own`, else the name of its owner, and whether they `may_change` it."""

    id: str
    owner_id: str
    kind: PromptKind
    name: str
    text: str
    negative_prompt: str
    output: Kind | None
    tags: tuple[str, ...]
    lines: tuple[str, ...] | None = None
    sample: str = ""
    line_count: int
    shared: bool
    version: int
    created_at: datetime
    changed_at: datetime
    own: bool = False
    owner_name: str = ""
    may_change: bool = False

    @property
    def content(self) -> PromptContent:
        return PromptContent(
            name=self.name,
            text=self.text,
            negative_prompt=self.negative_prompt,
            output=self.output,
            lines=self.lines or (),
            tags=self.tags,
            shared=self.shared,
        )


class ImportedPrompts(msgspec.Struct, frozen=True):
    """The names of what an import added, and of what it left out because the user has a prompt of that kind and name."""

    added: tuple[str, ...]
    skipped: tuple[str, ...]


def name_key(name: str) -> str:
    """A name as it is compared and sorted."""
    return "".join(character for character in folded(name) if character.isprintable())
