"""Large pieces of memory are returned to the operating system."""

import pytest

from tests.base.children import memory_kept_after_hashing, run_in_child


@pytest.mark.xdist_group("base-children")
async def test_the_memory_of_a_password_hash_is_returned_to_the_system() -> None:
    kept = dict[bool, int]()
    for keep_less in (False, True):
        code, kept[keep_less] = await run_in_child(memory_kept_after_hashing, keep_less)
        assert code == 0
    if kept[False] < 8 * 1024 * 1024:
        pytest.skip("this C library returns everything by itself")
    assert kept[True] < 4 * 1024 * 1024
