"""The source of `app` as syntax trees, on which the architecture rules are checked."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent.parent
APP = ROOT / "app"


class Module(msgspec.Struct, frozen=True):
    """One file of `app`; `part` is what follows `app.`, as in `jobs.service`."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.removeprefix("app.").removesuffix(".__init__")

    @property
    def feature(self) -> str:
        return self.part.split(".")[0]

    def imports(self) -> Iterator[tuple[str, str | None]]:
        """Absolute module names with the name taken from them, if any."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, None
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    yield base, alias.name

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        inside = package if self.path.name == "__init__.py" else package[:-1]
        above = inside[: len(inside) - node.level + 1]
        return ".".join([*above, *(node.module.split(".") if node.module else [])])


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(APP.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, path, ast.parse(path.read_text("utf-8"))))
    return tuple(found)


def targets(module: Module) -> Iterator[str]:
    """The parts of `app` that a module imports, as `jobs.service` or `accounts.guards`."""
    names = {other.part for other in modules()}
    for base, name in module.imports():
        if base != "app" and not base.startswith("app."):
            continue
        part = base.removeprefix("app").removeprefix(".")
        joined = f"{part}.{name}".removeprefix(".") if name else part
        yield joined if joined in names else part
