"""Laws 1 to 3: imports point down, and each tool has its one place."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.rules.source import Module, modules, targets

# From the roof to the ground; parts on one line do not know each other.
FLOORS = (
    ("main", "background", "__main__"),
    ("admin", "gateway", "home", "upkeep"),  # upkeep asks whether all features still agree
    ("exports",),
    ("storyboard",),
    ("characters", "generation", "chat"),
    ("jobs",),
    ("catalog", "library"),
    ("quota", "servers", "presets"),
    ("accounts",),
    ("audit",),
    ("storage", "providers", "web"),
    ("base",),
)
HEIGHT = {feature: -height for height, floor in enumerate(FLOORS) for feature in floor}
FEATURES = {
    feature for floor in FLOORS[1:10] for feature in floor
}  # what has doors, rules and tables; below them are tools
DOORS = ("pages", "api")


def _wrong(module: Module) -> Iterator[str]:
    for target in targets(module):
        feature, _, file = target.partition(".")
        if not feature or feature == module.feature:
            continue
        if module.feature == "main" and feature == "background":
            continue  # one floor, but the roof beam knows its loops
        if module.feature == "__main__":
            continue
        if HEIGHT[feature] >= HEIGHT[module.feature]:
            yield f"{module.part} imports {target}, which is not below it"
        if feature in FEATURES and not _open(module, feature, file):
            yield f"{module.part} imports {target}, which is not its service, its schemas or accounts.guards"


def _open(module: Module, feature: str, file: str) -> bool:
    if file in ("service", "schemas") or (feature, file) == ("accounts", "guards"):
        return True
    if module.feature == "main":
        return file in (*DOORS, "worker", "refresher")
    return module.feature == "background" and file in ("worker", "refresher")


def test_every_part_has_a_floor() -> None:
    assert {module.feature for module in modules()} - {"app"} <= set(HEIGHT)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.part)
def test_imports_point_down_and_through_the_front(module: Module) -> None:
    assert not list(_wrong(module))


@pytest.mark.parametrize(
    "module", [module for module in modules() if module.part.endswith((".pages", ".api"))], ids=lambda m: m.part
)
def test_a_door_asks_only_its_own_service(module: Module) -> None:
    foreign = [
        target
        for target in targets(module)
        if target.endswith((".service", ".repository")) and target.split(".")[0] != module.feature
    ]
    assert not foreign
    assert f"{module.feature}.repository" not in targets(module), "a door does not speak SQL"


# Which packages may be imported where, by the part's name.
PLACES = {
    "litestar": re.compile(r".+\.(pages|api)|accounts\.guards|web\..+|web|main|background|providers\.simulator\b.*"),
    "duckdb": re.compile(r"base\.database"),
    "httpx": re.compile(r"providers\.client|accounts\.google"),
    "httptools": re.compile(r"providers\.connections|web\.http"),
    "argon2": re.compile(r"accounts\.passwords"),
    "prometheus_client": re.compile(r"base\.metrics"),
    "jinja2": re.compile(r"web\.render"),
    "uvicorn": re.compile(r"web\.http|web\.server|main|__main__|providers\.simulator\.__main__"),
}


@pytest.mark.parametrize("package", PLACES)
def test_a_package_is_used_in_its_places_only(package: str) -> None:
    strangers = [
        module.part
        for module in modules()
        if any(base.split(".")[0] == package for base, _ in module.imports())
        and not PLACES[package].fullmatch(module.part)
    ]
    assert not strangers


_SQL = re.compile(
    r"^\s*(select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|create\s+table\s)", re.I | re.S
)


def test_sql_is_written_in_repositories_and_base_only() -> None:
    found = [
        f"{module.part}:{node.lineno}"
        for module in modules()
        if module.feature != "base" and not module.part.endswith(".repository")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value)
    ]
    assert not found


def test_only_config_and_the_command_line_read_the_environment() -> None:
    found = [
        module.part
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and module.part != "__main__"
    ]
    assert not found


def test_every_module_says_why_it_exists() -> None:
    assert not [module.part for module in modules() if not ast.get_docstring(module.tree)]


def test_no_room_is_called_after_nothing() -> None:
    empty = re.compile(r"(^|[._])(utils?|helpers?|common|managers?|handlers?|misc)($|[._])")
    assert not [module.part for module in modules() if empty.search(module.part)]
