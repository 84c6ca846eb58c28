"""Prompts as files: all of them as JSON, or one wildcard list as a text file with an entry on each line."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from app.base.errors import Invalid, Missing
from app.prompts.schemas import Prompt, PromptContent, PromptKind
from app.prompts.validation import checked
from app.providers.contract import Kind

MAX_FILE: Final = 1024 * 1024 * 10  # bytes


class PromptEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One prompt in a JSON file."""

    kind: PromptKind
    name: str
    text: str = ""
    negative_prompt: str = ""
    output: Kind | None = None
    lines: list[str] = []
    tags: list[str] = []


class PromptFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON file."""

    prompts: list[PromptEntry]


def as_json(prompts: Sequence[Prompt]) -> bytes:
    entries = [
        PromptEntry(
            kind=it.kind,
            name=it.name,
            text=it.text,
            negative_prompt=it.negative_prompt,
            output=it.output,
            lines=list(it.lines or ()),
            tags=list(it.tags),
        )
        for it in prompts
    ]
    return msgspec.json.format(msgspec.json.encode(PromptFile(prompts=entries)), indent=2)


def as_text(prompt: Prompt) -> bytes:
    """The lines of a wildcard list. Raises Missing for a template."""
    if prompt.kind is not PromptKind.WILDCARDS:
        raise Missing("Only a wildcard list can be saved as a text file.")
    return "".join(f"{line}\n" for line in prompt.lines or ()).encode()


def read_file(name: str, content: bytes) -> list[tuple[PromptKind, PromptContent]]:
    """What a file contains, checked: JSON, or else text of which each line is an entry; empty lines and comments, which begin with
    `#`, are left out. Raises Invalid."""
    if len(content) > MAX_FILE:
        raise _invalid(f"The file must be at most {MAX_FILE // 1024 // 1024} MB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _invalid("The file is not text in UTF-8.") from None
    path = PurePosixPath(name.replace("\\", "/"))
    if path.suffix.lower() == ".json":
        return _read_json(text)
    lines = tuple(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    name = "-".join(path.stem.lower().replace("_", "-").split())
    return [_checked(f"“{path.name}”", PromptKind.WILDCARDS, PromptContent(name=name, lines=lines))]


def _read_json(text: str) -> list[tuple[PromptKind, PromptContent]]:
    try:
        file = msgspec.json.decode(text, type=PromptFile)
    except msgspec.MsgspecError as exc:
        raise _invalid(f"The file is not one that was exported here: {exc}") from None
    found = []
    for number, entry in enumerate(file.prompts, 1):
        values: dict[str, Any] = msgspec.structs.asdict(entry)
        kind = values.pop("kind")
        content = PromptContent(**{**values, "lines": tuple(entry.lines), "tags": tuple(entry.tags)})
        found.append(_checked(f"Prompt {number}, “{entry.name[:60]}”", kind, content))
    return found


def _checked(what: str, kind: PromptKind, content: PromptContent) -> tuple[PromptKind, PromptContent]:
    try:
        return kind, checked(kind, content)
    except Invalid as exc:
        raise _invalid(f"{what}: {next(iter(exc.fields))}: {exc.message}") from None


def _invalid(message: str) -> Invalid:
    return Invalid(message, fields={"file": message})
