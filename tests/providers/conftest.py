"""Scripted servers for the provider tests."""

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
    """A second server at another origin, which must never receive the key."""
    async with running() as started:
        yield started
