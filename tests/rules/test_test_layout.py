"""The tests mirror `app`: what a folder or a top-level module of it does is tested below the same path."""

from pathlib import Path

from tests.rules.source import APP, ROOT

TESTS = ROOT / "tests"
OTHER_FOLDERS = {
    "api": "every call of the API, whichever feature serves it",
    "benchmarks": "measurements, run by hand",
    "crash": "kill -9 at every crash point of the whole program",
    "gateway/clients": "other clients of the gateway, run by hand",
    "gateway/sdk": "the OpenAI package as a client of the gateway",
    "journeys": "a real browser across features",
    "providers/conformance": "what every provider promises, each against its persona",
    "rules": "architecture rules, checked on the source",
    "samples": "files that tests read",
    "security": "attacks across features",
    "templates": "templates/, rendered in each state",
}
ROOT_TESTS = {
    "test_command_line.py": "app/__main__.py, which is run as a command",
    "test_stopping.py": "app/main.py while it stops: a topic of its own",
}


def folders_with(root: Path, pattern: str) -> set[str]:
    """Paths below `root` of the folders that contain a file like `pattern`; the root itself and hidden ones aside."""
    files = (file.relative_to(root) for file in root.rglob(pattern))
    found = {file.parent.as_posix() for file in files if not any(part.startswith(".") for part in file.parts)}
    return found - {"."}


def code_folders() -> set[str]:
    return {folder for folder in folders_with(APP, "*.py") if len(list((APP / folder).glob("*.py"))) > 1}


def test_every_package_of_the_product_has_tests_below_the_same_path() -> None:
    assert code_folders() - folders_with(TESTS, "test_*.py") == set()


def test_every_test_folder_mirrors_a_package_or_is_listed_with_its_reason() -> None:
    unknown = folders_with(TESTS, "*.py") - code_folders()
    assert {
        folder for folder in unknown if not any((folder + "/").startswith(one + "/") for one in OTHER_FOLDERS)
    } == set()
    assert {folder for folder in OTHER_FOLDERS if not (TESTS / folder).is_dir()} == set()


def test_every_top_level_module_has_its_test_file_and_every_test_file_its_module() -> None:
    modules = {f"test_{file.stem}.py" for file in APP.glob("*.py") if not file.stem.startswith("__")}
    tests = {file.name for file in TESTS.glob("test_*.py")}
    assert modules - tests == set()
    assert tests - modules == set(ROOT_TESTS)
