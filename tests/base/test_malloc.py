"""Freed memory is returned to the operating system."""

import pytest

from tests.base.children import memory_growth_after_hashing, run_in_child


@pytest.mark.xdist_group("base-children")
async def test_the_memory_of_a_password_hash_is_returned_to_the_system() -> None:
    growth = dict[bool, int]()
    for limited in (False, True):
        code, growth[limited] = await run_in_child(memory_growth_after_hashing, limited)
        assert code == 0
    if growth[False] < 8 * 1024 * 1024:
        pytest.skip("this C library returns all memory by default")
    assert growth[True] < 4 * 1024 * 1024
