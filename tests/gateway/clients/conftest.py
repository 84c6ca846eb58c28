"""The environments of the clients and users of them. A test module names its client in `CLIENT`."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.environments import EnvironmentFailed, environment
from tests.gateway.clients.versions import PYTHON
from tests.gateway.sdk.conftest import User, user_with_key
from tests.gateway.sdk.interpreter import Interpreter
from tests.studio import Studio

collect_ignore_glob = [] if os.environ.get("CLIENTS") else ["test_*.py"]  # installing the clients takes minutes


@pytest.fixture(scope="module")
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder with the programs of the module's client."""
    client = PYTHON[request.module.CLIENT]
    try:
        return environment(client.package, client.version, client.extra)
    except EnvironmentFailed as exc:
        pytest.fail(f"{client.package} cannot be installed: {exc}")


@pytest_asyncio.fixture(scope="module")
async def interpreter(programs: Path) -> AsyncIterator[Interpreter]:
    """An interpreter with the module's client. Each client here has the `openai` package below it, so the programs of
    all can use what `tests/gateway/sdk/server.py` offers."""
    interpreter = Interpreter(programs / "python")
    yield interpreter
    await interpreter.close()


@pytest_asyncio.fixture
async def ann(atelier: Studio, interpreter: Interpreter) -> User:
    return await user_with_key(atelier, interpreter)
