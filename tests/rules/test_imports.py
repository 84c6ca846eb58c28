"""Architecture rules 1 to 3: imports point down the layers, and each package is imported only where it belongs."""

import ast
import re
from collections.abc import Iterator

from tests.rules.source import Module, modules, targets

# From top to bottom; features on one line do not import each other.
LAYERS = (
    ("__main__", "asgi", "main", "services", "background", "simulator_switch"),
    ("responses",),  # it writes chat requests of the gateway
    (
        "admin",
        "downloads",
        "editor",
        "gateway",
        "home",
        "maintenance",
        "model_editor",
    ),  # maintenance checks whether all features agree
    ("exports",),
    ("plan", "script"),
    ("storyboard", "shares"),
    ("batches",),  # requests of generation
    ("characters", "styles", "generation", "chat", "queue"),
    ("jobs",),
    ("servers",),
    ("catalog", "library", "provider_accounts", "prompts"),
    ("quotas",),
    ("ledger",),
    ("accounts",),
    ("idempotency", "audit"),
    ("storage", "providers", "web", "timeline"),
    ("db",),
    ("base",),
)
# The program's start is one line of modules, each of which may import those after it.
START = LAYERS[0]
LEVEL = {feature: -level for level, layer in enumerate(LAYERS) for feature in layer}
# Those with routes, rules and tables; what is below them is infrastructure.
FEATURES = {feature for layer in LAYERS[1:15] for feature in layer}
ROUTE_MODULES = ("pages", "api")


def _wrong_imports(module: Module) -> Iterator[str]:
    for target in targets(module):
        feature, _, file = target.partition(".")
        if not feature or feature == module.feature:
            continue
        if module.feature in START and feature in START[START.index(module.feature) + 1 :]:
            continue
        if LEVEL[feature] >= LEVEL[module.feature]:
            yield f"{module.part} imports {target}, which is not below it"
        if feature in FEATURES and not _may_import(module, feature, file):
            yield f"{module.part} imports {target}, which is not its service, its schemas or accounts.guards"


def _may_import(module: Module, feature: str, file: str) -> bool:
    if file in ("service", "schemas") or (feature, file) == ("accounts", "guards"):
        return True
    if module.feature == "asgi":
        return file in ROUTE_MODULES
    return module.feature == "services" and file in ("worker", "refresher", "cleanup")


def test_every_feature_has_a_layer() -> None:
    assert {module.feature for module in modules()} - {"app"} <= set(LEVEL)


def test_imports_point_down_and_name_services_only() -> None:
    assert not [wrong for module in modules() for wrong in _wrong_imports(module)]


def test_a_route_module_uses_no_service_but_its_own_and_no_repository() -> None:
    wrong = [
        f"{module.part} imports {target}"
        for module in modules()
        if module.part.endswith((".pages", ".api"))
        for target in targets(module)
        if target.endswith((".service", "repository")) and target != f"{module.feature}.service"
    ]
    assert not wrong


# The modules that may import a package.
PLACES = {
    "litestar": re.compile(r".+\.(pages|api)|accounts\.guards|web\..+|asgi|providers\.simulator\b.*"),
    "duckdb": re.compile(r"db\.duckdb\..+"),
    "aiohttp": re.compile(r"providers\.(connections|exchange|responses)"),
    "yarl": re.compile(r"providers\.urls"),
    "httpx": re.compile(r"accounts\.google"),
    "httptools": re.compile(r"web\.http_protocol"),
    "argon2": re.compile(r"accounts\.passwords"),
    "prometheus_client": re.compile(r"base\.metrics"),
    "jinja2": re.compile(r"web\.render"),
    "uvicorn": re.compile(r"web\.http_protocol|web\.server|simulator_switch|__main__|providers\.simulator\.__main__"),
}


def test_a_package_is_imported_in_its_places_only() -> None:
    wrong = [
        f"{module.part} imports {package}"
        for module in modules()
        for package in sorted({base.split(".")[0] for base, _ in module.imports()} & set(PLACES))
        if not PLACES[package].fullmatch(module.part)
    ]
    assert not wrong


def test_no_private_module_of_a_library_is_imported() -> None:
    """What is used beyond a library's documented interface is pinned in `tests/web/test_library_internals.py`."""
    private = re.compile(r"(^|\.)_[a-z]")
    wrong = [
        f"{module.part} imports {name} from {base}"
        for module in modules()
        for base, name in module.imports()
        if not base.startswith("app") and (private.search(base) or private.match(name or ""))
    ]
    assert not wrong


_SQL = re.compile(
    r"^\s*(select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|create\s+table\s)", re.I | re.S
)


def test_sql_is_written_in_repositories_and_db_only() -> None:
    found = [
        f"{module.part}:{node.lineno}"
        for module in modules()
        if module.feature not in ("base", "db") and not module.part.endswith("repository")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value)
    ]
    assert not found


def test_only_the_command_line_reads_the_environment() -> None:
    found = [
        module.part
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and module.part != "__main__"
    ]
    assert not found


def test_every_module_has_a_docstring() -> None:
    assert not [module.part for module in modules() if not ast.get_docstring(module.tree)]


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = re.compile(r"(^|[._])(utils?|helpers?|common|managers?|handlers?|misc)($|[._])")
    assert not [module.part for module in modules() if empty.search(module.part)]
