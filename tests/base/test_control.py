"""Commands reach the running server through a socket that only its owner can open."""

import asyncio
import stat
from pathlib import Path

import pytest

from app.base import control
from app.base.errors import Conflict


async def _shout(word: str) -> str:
    return word.upper()


async def _refuse(word: str) -> str:
    raise Conflict(f"{word} is the last admin")


async def _break(word: str) -> str:
    raise RuntimeError("tripped over /secret/path")


@pytest.mark.parametrize("depth", [1, 30])
async def test_a_command_is_carried_out_however_deep_the_folder_lies(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["folder"] * depth)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    async with control.listening(path, {"shout": _shout}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await control.ask(path, "shout", "hello") == control.Reply(True, "HELLO")
        replies = await asyncio.gather(*(control.ask(path, "shout", str(n)) for n in range(20)))
        assert [reply.text for reply in replies] == [str(n) for n in range(20)]
    assert not path.exists()


async def test_a_refusal_and_a_bug_are_told_without_details(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with control.listening(path, {"refuse": _refuse, "break": _break}):
        assert await control.ask(path, "refuse", "ann") == control.Reply(False, "ann is the last admin")
        broken = await control.ask(path, "break")
        assert not broken.ok
        assert "secret" not in broken.text
        assert not (await control.ask(path, "nonsense")).ok


async def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        await control.ask(tmp_path / "control.sock", "shout")


async def test_a_socket_left_by_a_killed_server_does_not_stop_the_next(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.touch()
    async with control.listening(path, {"shout": _shout}):
        assert (await control.ask(path, "shout", "x")).ok
