"""Each provider, connected to its persona or to a scripted server."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.providers.client import Client
from app.providers.contract import Provider
from tests.providers.conformance.under_test import ALL, KEY, ProviderUnderTest
from tests.providers.fake_upstream import Upstream
from tests.providers.simulator.kit import SimulatorClient, serving


@pytest.fixture(params=ALL, ids=[one.name for one in ALL])
def under_test(request: pytest.FixtureRequest) -> ProviderUnderTest:
    found: ProviderUnderTest = request.param
    return found


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorClient]:
    with serving(tmp_path_factory.mktemp("simulator")) as client:
        yield client


@pytest.fixture
async def persona(under_test: ProviderUnderTest, simulator: SimulatorClient) -> AsyncIterator[Provider]:
    """The provider, connected to its persona."""
    async with connected(under_test, [simulator.origin + path for path in under_test.base_paths]) as provider:
        yield provider


@pytest.fixture
async def scripted(under_test: ProviderUnderTest, upstream: Upstream) -> AsyncIterator[Provider]:
    """The provider, connected to the scripted server `upstream`."""
    async with connected(under_test, [upstream.origin + path for path in under_test.base_paths]) as provider:
        yield provider


@asynccontextmanager
async def connected(under_test: ProviderUnderTest, base_urls: Sequence[str]) -> AsyncIterator[Provider]:
    client = Client(base_urls)
    try:
        yield under_test.build(client, base_urls, KEY)
    finally:
        await client.aclose()
