"""Threads that convert to the same struct for the first time at once do not crash."""

import pytest

from tests.base.children import convert_structs_in_threads, run_in_child


@pytest.mark.xdist_group("base-children")
async def test_threads_that_use_a_struct_for_the_first_time_at_once_do_not_crash_the_process() -> None:
    code, result = await run_in_child(convert_structs_in_threads)
    assert code == 0
    structs, crashed = result
    assert structs > 100
    assert crashed == 0
