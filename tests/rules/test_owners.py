"""Law 4: every query on a person's data takes the owner."""

import ast

import pytest

from tests.rules.source import Module, modules

# Functions that take no owner although they do not end in `_any`, each with its reason.
EXEMPT: dict[str, str] = {
    "accounts.repository.add_person": "the row is the person",
    "accounts.repository.person_signing_in": "who it is, is what the email shall tell",
    "accounts.repository.add_session": "the row carries its person",
    "accounts.repository.known_by_session": "who it is, is what the cookie shall tell",
    "accounts.repository.known_by_family": "who it is, is what the access token shall tell",
    "accounts.repository.add_refresh_token": "the row carries its person",
    "accounts.repository.refresh_token": "who it is, is what the refresh token shall tell",
    "accounts.repository.add_key": "the row carries its person",
    "accounts.repository.known_by_key": "who it is, is what the key shall tell",
}

REPOSITORIES = [module for module in modules() if module.part.endswith(".repository")]


def _public(module: Module) -> list[ast.FunctionDef]:
    return [node for node in module.tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


@pytest.mark.parametrize("module", REPOSITORIES, ids=lambda module: module.part)
def test_a_repository_function_takes_the_transaction_and_the_owner_or_says_any(module: Module) -> None:
    wrong = []
    for function in _public(module):
        names = [argument.arg for argument in function.args.args]
        owned = names[:2] == ["tx", "owner"]
        excused = f"{module.part}.{function.name}" in EXEMPT
        if names[:1] != ["tx"] or not (owned or function.name.endswith("_any") or excused):
            wrong.append(function.name)
    assert not wrong


@pytest.mark.parametrize("module", REPOSITORIES, ids=lambda module: module.part)
def test_what_takes_an_owner_asks_the_database_for_that_owner(module: Module) -> None:
    unused = [
        function.name
        for function in _public(module)
        if "owner" in [argument.arg for argument in function.args.args]
        and not any(isinstance(node, ast.Name) and node.id == "owner" for node in ast.walk(function))
    ]
    assert not unused


def test_no_exemption_has_outlived_its_function() -> None:
    there = {f"{module.part}.{function.name}" for module in REPOSITORIES for function in _public(module)}
    assert set(EXEMPT) <= there
