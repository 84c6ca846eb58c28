"""Commands reach the running server through a socket that only its owner can open."""

import asyncio
import stat
from pathlib import Path

import pytest

from app.base import control
from app.base.errors import Conflict


async def _upper(argument: str) -> str:
    return argument.upper()


async def _refuse(argument: str) -> str:
    raise Conflict(f"{argument} is the last admin")


async def _fail(argument: str) -> str:
    raise RuntimeError("tripped over /secret/path")


async def test_a_command_runs_however_deep_the_folder_is(tmp_path: Path) -> None:
    for depth in (1, 30):  # the path of a socket may have 107 bytes
        folder = tmp_path.joinpath(*["folder"] * depth)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "control.sock"
        async with control.listening(path, {"upper": _upper}):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert await control.ask(path, "upper", "hello") == control.ControlReply(True, "HELLO")
            replies = await asyncio.gather(*(control.ask(path, "upper", str(n)) for n in range(20)))
            assert [reply.text for reply in replies] == [str(n) for n in range(20)]
        assert not path.exists()


async def test_an_expected_error_is_explained_and_a_bug_is_reported_without_details(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with control.listening(path, {"refuse": _refuse, "fail": _fail}):
        assert await control.ask(path, "refuse", "ann") == control.ControlReply(False, "ann is the last admin")
        failed = await control.ask(path, "fail")
        assert not failed.ok
        assert "secret" not in failed.text
        assert not (await control.ask(path, "nonsense")).ok


async def test_without_a_server_the_connection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        await control.ask(tmp_path / "control.sock", "upper")


async def test_a_socket_left_by_a_killed_server_does_not_stop_the_next(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.touch()
    async with control.listening(path, {"upper": _upper}):
        assert (await control.ask(path, "upper", "x")).ok
