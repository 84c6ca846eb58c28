"""The package's environment, one running Atelier for the folder, and people who only know OpenAI's package."""

import os
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.api.kit import person
from tests.environments import Broken, made
from tests.gateway.sdk.environment import VERSION, Outsider
from tests.studio import Studio


@pytest.fixture(scope="session")
def sdk() -> Path:
    """The interpreter with the package; skipped where it cannot be installed, but never in CI."""
    try:
        return made("openai", VERSION) / "python"
    except Broken as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must be able to install the openai package: {reason}")
        pytest.skip(f"the openai package cannot be installed here: {reason}")


class Person:
    """Somebody new: `http` is their own API, `outside` is OpenAI's package with a key of theirs."""

    def __init__(self, http: httpx.AsyncClient, outside: Outsider) -> None:
        self.http = http
        self.outside = outside
        self.run = outside.run


async def arrived(studio: Studio, sdk: Path, name: str = "ann") -> Person:
    http = await person(studio, name)
    made = await http.post("/api/v1/users/me/keys", json={"name": "laptop"})
    assert made.status_code == 201, made.text
    return Person(http, Outsider(sdk, f"{studio.url}/v1", made.json()["key"]))


@pytest_asyncio.fixture
async def ann(atelier: Studio, sdk: Path) -> Person:
    return await arrived(atelier, sdk)


@pytest_asyncio.fixture
async def bob(atelier: Studio, sdk: Path) -> Person:
    return await arrived(atelier, sdk, "bob")
