"""Architecture rule 4: every query on a user's data is limited to the owner."""

import ast
from collections.abc import Iterator

from tests.rules.source import modules

# Functions that take no owner although their names do not end in `_any`, each with its reason.
EXEMPT: dict[str, str] = {
    "accounts.repository.add_user": "the row is the user",
    "accounts.repository.credentials_by_email": "the email identifies the user",
    "accounts.repository.add_session": "the row names its user",
    "accounts.repository.known_by_session": "the cookie identifies the user",
    "accounts.repository.known_by_family": "the access token identifies the user",
    "accounts.repository.add_refresh_token": "the row names its user",
    "accounts.repository.refresh_token": "the refresh token identifies the user",
    "accounts.repository.add_key": "the row names its user",
    "accounts.repository.known_by_key": "the key identifies the user",
}


def _repository_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """The public functions of every repository, by a name as in `jobs.repository.job`."""
    for module in modules():
        if module.part.endswith("repository"):
            for node in module.tree.body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{module.part}.{node.name}", node


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args]


def test_a_repository_function_takes_the_transaction_and_the_owner_or_is_called_any() -> None:
    functions = dict(_repository_functions())
    assert len(functions) > 50
    wrong = [
        name
        for name, function in functions.items()
        if _parameters(function)[:1] != ["tx"]
        or not (_parameters(function)[:2] == ["tx", "owner"] or name.endswith("_any") or name in EXEMPT)
    ]
    assert not wrong


def test_a_repository_function_that_takes_an_owner_uses_it() -> None:
    unused = [
        name
        for name, function in _repository_functions()
        if "owner" in _parameters(function)
        and not any(isinstance(node, ast.Name) and node.id == "owner" for node in ast.walk(function))
    ]
    assert not unused


def test_every_exemption_belongs_to_a_function_that_exists() -> None:
    assert set(EXEMPT) <= set(dict(_repository_functions()))
