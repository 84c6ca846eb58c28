"""Loops that break are started again, and nobody has to ask whether they live."""

import asyncio

from app.background import Background, Loop


async def test_a_loop_that_breaks_is_started_again_and_the_others_go_on() -> None:
    turns = {"broken": 0, "steady": 0}
    healed = asyncio.Event()

    async def broken() -> None:
        turns["broken"] += 1
        if turns["broken"] == 1:
            raise RuntimeError("tripped")
        healed.set()

    async def steady() -> None:
        turns["steady"] += 1

    background = Background([Loop("broken", broken, 0.01, 60), Loop("steady", steady, 0.01, 60)])
    async with background.running():
        await asyncio.sleep(0.05)
        assert {beat.name: beat.broken for beat in background.beats()} == {"broken": "RuntimeError", "steady": None}
        async with asyncio.timeout(5):
            await healed.wait()
        await asyncio.sleep(0.05)
        assert [beat.broken for beat in background.beats()] == [None, None]
    assert turns["steady"] > turns["broken"]


async def test_a_loop_that_hangs_counts_as_dead() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    background = Background([Loop("hanging", hang, period=0, patience=0.02)])
    async with background.running():
        assert background.alive
        await asyncio.sleep(0.06)
        assert not background.alive
