"""Garbage collection covers what was created after startup, and nothing else."""

import pytest

from tests.base.children import garbage_after_startup, run_in_child


@pytest.mark.xdist_group("base-children")
async def test_only_what_was_created_after_startup_is_collected() -> None:
    code, (enabled, found_before, found_after) = await run_in_child(garbage_after_startup)
    assert code == 0
    assert enabled
    assert not found_before
    assert found_after
