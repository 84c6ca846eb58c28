"""The product speaks plain technical English: banned words appear nowhere, and a class name means one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.rules.source import ROOT, modules

# Old names and odd words, each with what is written instead. Words that also have an ordinary or a storyboard meaning
# ("clip", "due", "take") are not here.
BANNED = {
    "anew": "again",
    "clashes": "conflicts",
    "forgetter": "token cleanup",
    "in the making": "in progress",
    "mended": "repaired",
    "nobody": "no one",
    "overhear": "stream_raw",
    "outlook": "estimate",
    "picture": "image",
    "pictures": "images",
    "rescues": "recovery_count",
    "said": "reported",
    "somebody": "a user",
    "sweeper": "asset cleanup",
    "told": "reported",
    "twig": "message node",
    "under way": "in progress",
    "upkeep": "maintenance",
    "whoever": "the caller",
}
PATTERN = re.compile(
    r"(?<![a-z0-9])(" + "|".join(sorted(map(re.escape, BANNED), key=len, reverse=True)) + r")(?![a-z0-9])", re.I
)
# Identifiers are split at underscores and capitals, so `told_by` and `ToldBy` count; camel case becomes two words first.
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# Stop words that the simulator looks for in prompts.
EXCEPTIONS = {("app/providers/simulator/replies.py", "picture")}
# What others named, or what the contract fixes.
ALLOWED = re.compile(r"<picture\b|</picture>|Picture-in-Picture|AttachedPicture|picture-in-picture")
SUFFIXES = {".py", ".html", ".js", ".css", ".sql", ".md", ".toml"}
VENDORED = (
    "static/htmx.min.js",
    "static/hx-sse.min.js",
    "static/licenses/",
    "static/fonts/",
    "tests/journeys/vendor/",
    "tests/.environments/",
)
THIS = "tests/rules/test_language.py"


def _files() -> Iterator[tuple[str, str]]:
    for top in ("app", "templates", "static", "migrations", "tests", ".docs"):
        for path in sorted((ROOT / top).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in SUFFIXES and name != THIS and not name.startswith(VENDORED):
                yield name, path.read_text("utf-8")
    for name in ("README.md", "pyproject.toml", "Dockerfile"):
        yield name, (ROOT / name).read_text("utf-8")


def _uses(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for found in PATTERN.finditer(CAMEL.sub(" ", ALLOWED.sub("", line)).replace("_", " ")):
            yield number, found[1].lower()


def test_no_banned_word_is_left() -> None:
    found = [
        f"{name}:{number}: {word} (write: {BANNED[word]})"
        for name, text in _files()
        for number, word in _uses(text)
        if (name, word) not in EXCEPTIONS
    ]
    assert not found, f"{len(found)} banned words:\n" + "\n".join(found[:200])


def test_file_names_use_the_same_words() -> None:
    assert not [name for name, _ in _files() if list(_uses(Path(name).as_posix().replace("/", " ").replace("-", " ")))]


def test_a_class_name_is_used_once() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(module.part)
    assert not {name: parts for name, parts in where.items() if len(parts) > 1}


def test_the_test_sees_banned_words() -> None:
    assert [word for _, word in _uses("def was_told(): ...\nclass ToldBy: ...\n# Nobody's, under way")] == [
        "told",
        "told",
        "nobody",
        "under way",
    ]
