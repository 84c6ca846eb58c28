"""Scripted servers for the tests of the providers."""

from collections.abc import AsyncIterator

import pytest

from tests.providers.fake_upstream import Upstream, running


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """The configured provider."""
    async with running() as started:
        yield started


@pytest.fixture
async def stranger() -> AsyncIterator[Upstream]:
    """A second server: another origin, to which no key may go."""
    async with running() as started:
        yield started
