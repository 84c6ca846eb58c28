"""The environment of the `openai` package, its interpreter, and users of the package."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.environments import EnvironmentFailed, environment
from tests.gateway.sdk.interpreter import VERSION, Interpreter
from tests.kit import new_user
from tests.studio import Studio


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter with the package; skipped where it cannot be installed, but never in CI."""
    try:
        return environment("openai", VERSION) / "python"
    except EnvironmentFailed as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must be able to install the openai package: {exc}")
        pytest.skip(f"the openai package cannot be installed here: {exc}")


@pytest_asyncio.fixture(scope="session")
async def interpreter(python: Path) -> AsyncIterator[Interpreter]:
    """The shared interpreter of this worker."""
    interpreter = Interpreter(python)
    yield interpreter
    await interpreter.close()


class User:
    """A new user: `http` is a client of Atelier's own API, `run` runs programs with the `openai` package and the user's API key."""

    def __init__(self, http: httpx.AsyncClient, interpreter: Interpreter, base_url: str, api_key: str) -> None:
        self.http = http
        self._interpreter = interpreter
        self._base_url = base_url
        self._api_key = api_key

    async def run(self, program: str, **given: Any) -> Any:
        return await self._interpreter.run(program, self._base_url, self._api_key, given)

    async def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list in Atelier's own API."""
        found: list[dict[str, Any]] = (await self.http.get(f"/api/v1/{path}")).json()["items"]
        return found


async def user_with_key(studio: Studio, interpreter: Interpreter, name: str = "ann") -> User:
    http = await new_user(studio, name)
    answer = await http.post("/api/v1/users/me/keys", json={"name": "laptop"})
    assert answer.status_code == 201, answer.text
    return User(http, interpreter, f"{studio.url}/v1", answer.json()["key"])


@pytest_asyncio.fixture
async def ann(atelier: Studio, interpreter: Interpreter) -> User:
    return await user_with_key(atelier, interpreter)


@pytest_asyncio.fixture
async def bob(atelier: Studio, interpreter: Interpreter) -> User:
    return await user_with_key(atelier, interpreter, "bob")
