"""Architecture rule: tests use public names of the product only, so that what a name hides may change without any test."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.rules.source import ROOT, modules

# Underscored names that tests may use, each with its reason. None of them belongs to the product.
ALLOWED: dict[str, str] = {
    "_transport": "asyncio offers no other way to close the pipes of a subprocess that was killed",
    "_exit": "os._exit is documented: how a forked child ends without the parent's cleanup",
}
_PRIVATE = re.compile(r"_[A-Za-z]\w*")
_PRIVATE_PATH = re.compile(r"app(\.\w+)*\._[A-Za-z]\w*(\.\w+)*")
_PRIVATE_IN_CODE = re.compile(r"\b(?!self\b|cls\b)\w+\._(?!_)\w+|^\s*from app[\w.]* import .*\b_(?!_)\w+", re.M)


def _is_private(name: str) -> bool:
    return _PRIVATE.fullmatch(name) is not None and name not in ALLOWED


@cache
def _private_names_of_app() -> dict[str, frozenset[str]]:
    """The underscored names that each module of `app` defines, at its top or in its classes."""
    found = {}
    for module in modules():
        names: set[str] = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
        found[module.name] = frozenset(name for name in names if _is_private(name))
    return found


class _Finder(ast.NodeVisitor):
    """Collects what one file of tests should not name, as line and text."""

    def __init__(self) -> None:
        self.offences: list[tuple[int, str]] = []
        self.allowed: set[str] = set()
        self._homes: dict[str, str] = {}  # a name imported from `app` -> the module it comes from
        self._inherited: list[frozenset[str]] = []  # for each class around the node: private names of its base classes
        self._all = frozenset().union(*_private_names_of_app().values())

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if source.split(".")[0] == "app":
            for alias in node.names:
                self._homes[alias.asname or alias.name] = source
                if _is_private(alias.name):
                    self._note(node, f"imports {alias.name} from {source}")
            if any(map(_is_private, source.split("."))):
                self._note(node, f"imports {source}")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            path = alias.name.split(".")
            if path[0] == "app" and any(map(_is_private, path)):
                self._note(node, f"imports {alias.name}")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        homes = [self._homes.get(base.id, "") for base in node.bases if isinstance(base, ast.Name)]
        self._inherited.append(frozenset().union(*(_private_names_of_app().get(home, frozenset()) for home in homes)))
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name in self._inherited[-1]:
                self._note(statement, f"overrides {statement.name}")
        self.generic_visit(node)
        self._inherited.pop()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in ALLOWED:
            self.allowed.add(node.attr)
        if _is_private(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own or any(node.attr in names for names in self._inherited):
                self._note(node, ast.unparse(node))
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is not None and _is_private(node.arg):
            self._note(node, f"the argument {node.arg}=")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        text = node.value
        if not isinstance(text, str):
            return
        if text in self._all or _PRIVATE_PATH.fullmatch(text):
            self._note(node, f'"{text}"')  # for `setattr`, `getattr` and the like
        elif re.search(r"^\s*(import|from) app\b", text, re.M):  # a program for another process
            for found in _PRIVATE_IN_CODE.finditer(text):
                name = found[0].rpartition(".")[2]
                if name in ALLOWED:
                    self.allowed.add(name)
                else:
                    self._note(node, f"{found[0].strip()} in a program", below=text.count("\n", 0, found.start()))

    def _note(self, node: ast.stmt | ast.expr | ast.keyword, text: str, *, below: int = 0) -> None:
        self.offences.append((node.lineno + below, text))


def _files() -> Iterator[Path]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            yield path


def _found(source: str) -> _Finder:
    finder = _Finder()
    finder.visit(ast.parse(source))
    return finder


def test_tests_use_public_names_only() -> None:
    offences, allowed = [], set()
    for path in _files():
        found = _found(path.read_text("utf-8"))
        if path != Path(__file__):
            offences += [f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in found.offences]
            allowed |= found.allowed
    assert not offences, "\n".join(["", *offences])
    assert allowed == set(ALLOWED), "an exception that no test needs any more"


def test_every_way_to_a_private_name_is_found() -> None:
    """`_apply_added` stands for a private function of `app.db.duckdb.database`, and `_run` for a method of Transaction."""
    offences = {
        "from app.db.duckdb.database import _apply_added": 1,
        "from app.base import database\ndatabase._apply_added()": 1,
        "client.database._applied = 1": 1,
        'monkeypatch.setattr(database, "_apply_added", None)': 1,
        'monkeypatch.setattr("app.db.duckdb.database._apply_added", None)': 1,
        'for name in ("_apply_added", "_connect"):\n    setattr(database, name, None)': 2,
        'code = """\nimport app.main\n\napp.main._built()\nself._x\n"""': 1,
        "from app.db.transaction import Transaction\nclass Own(Transaction):\n    def _run(self): self._batches": 2,
        "class Own:\n    def _run(self): self._batches": 0,
        "thing(_part=1)": 1,
        "os._exit(0)\nx.__class__\nx.open()": 0,
    }
    missed = {source: _found(source).offences for source, count in offences.items()}
    assert {source: len(found) for source, found in missed.items()} == offences, missed
