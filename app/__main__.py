"""The command line: serve (when nothing is said), migrate, and what an admin does on the machine itself."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvicorn

from app.base import config, control, gc_tuning, logging, malloc
from app.base.config import SettingError, Settings
from app.base.data_dir import DataDir, DataDirError
from app.base.errors import AtelierError
from app.db.database import Database, DatabaseError
from app.db.migrate import migrate

if TYPE_CHECKING:
    from app.maintenance.schemas import CommandResult


STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
MAX_STOP: Final = 9  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="atelier", description="Atelier, a self-hosted AI studio.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="run the studio (the default)")
    commands.add_parser("migrate", help="bring the database up to this program, without serving")
    promote = commands.add_parser("promote", help="make the person with this email an admin")
    promote.add_argument("word", metavar="EMAIL")
    doctor = commands.add_parser(
        "doctor", help="check database, ledger and stored files, or a backup; exit 1 on a finding"
    )
    doctor.add_argument("word", metavar="DIR", nargs="?", default="", help="a backup, instead of the data folder")
    backup = commands.add_parser("backup", help="make a backup in a new or empty folder, also while the studio serves")
    backup.add_argument("word", metavar="DIR")
    restore = commands.add_parser("restore", help="put a backup into an empty data folder")
    restore.add_argument("word", metavar="DIR")
    asked = parser.parse_args(arguments)
    logging.start(human=sys.stderr.isatty())
    try:
        settings = config.load(os.environ)
        if asked.command == "migrate":
            return asyncio.run(_migrate(settings))
        if asked.command in (None, "serve"):
            return asyncio.run(_serve(settings))
        if asked.command != "promote":
            return _upkeep(settings, asked.command, str(Path(asked.word).absolute()) if asked.word else "")
        return asyncio.run(_command(settings, asked.command, asked.word))
    except (SettingError, DataDirError, DatabaseError, AtelierError, ValueError) as exc:
        print(f"atelier: {exc}", file=sys.stderr)
        return 2


async def _serve(settings: Settings) -> int:
    gc_tuning.disable()
    malloc.limit_arenas()
    from app.main import build, drain, open_app
    from app.web.server import Server, configured, listening, serving

    try:
        listener = listening(settings.host, settings.port)
    except OSError as exc:
        raise SettingError(
            f"ATELIER_HOST and ATELIER_PORT name {settings.host}:{settings.port}, where this program cannot listen"
            f" ({exc.strerror})"
        ) from None
    with listener:
        settings = _with_port(settings, listener.getsockname()[1])
        async with open_app(settings) as program:
            server = Server(configured(build(program), settings), lambda: drain(program))
            _stop_on_signals(server)
            gc_tuning.freeze()
            task = asyncio.create_task(server.serve([listener]))
            started = await serving(server, task)
            if started:
                print(f"Atelier is running at {settings.public_url} (Ctrl+C stops it)", flush=True)
            await task
            gc_tuning.restore()
            return 0 if started else 1


def _with_port(settings: Settings, port: int) -> Settings:
    """Port 0 takes a free one; the address that people use then names it."""
    if settings.port == port:
        return settings
    url = settings.public_url.replace(f":{settings.port}", f":{port}")
    return msgspec.structs.replace(settings, port=port, public_url=url)


def _stop_on_signals(server: uvicorn.Server) -> None:
    """The first signal stops the program in good order. A second one ends it at once, and so does the clock when that takes
    too long: even if nothing else works any more, and without loss, because what is acknowledged is on disk."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        for number in STOPPING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(MAX_STOP)

    for number in STOPPING:
        loop.add_signal_handler(number, stop)


async def _command(settings: Settings, command: str, word: str) -> int:
    """Through the running server when there is one, because only it may open the database; else by itself."""
    from app.main import commands, open_app

    try:
        reply = await control.ask(DataDir(settings.data_dir).socket, command, word)
    except ConnectionError:
        async with open_app(settings) as program:
            reply = control.reply(await commands(program)[command](word))
    print(reply.text if reply.ok else f"atelier: {reply.text}", file=sys.stdout if reply.ok else sys.stderr)
    return 0 if reply.ok else 1


def _upkeep(settings: Settings, command: str, word: str) -> int:
    """Backup, restore, doctor. What the doctor finds is what was asked for, so it is told on stdout like good news."""
    from app.main import MIGRATIONS
    from app.maintenance.schemas import CommandResult
    from app.maintenance.service import examine_backup, restored

    try:
        if command == "restore":
            told = restored(word, DataDir(settings.data_dir), MIGRATIONS)
        elif command == "doctor" and word:
            told = examine_backup(word, MIGRATIONS)
        else:
            told = asyncio.run(_with_database(settings, command, word))
    except (AtelierError, DatabaseError) as exc:
        told = CommandResult(False, str(exc))
    if told.ok or command == "doctor":
        print(told.text)
    else:
        print(f"atelier: {told.text}", file=sys.stderr)
    return 0 if told.ok else 1


async def _with_database(settings: Settings, command: str, word: str) -> "CommandResult":
    """Through the running server when there is one, else with the database opened for this alone: nothing is started,
    and nothing that a start would do is done."""
    from app.main import MIGRATIONS, VERSION
    from app.maintenance.schemas import CommandResult
    from app.maintenance.service import alone

    folder = DataDir(settings.data_dir)
    try:
        reply = await control.ask(folder.socket, command, word)
        return CommandResult(reply.ok, reply.text)
    except TimeoutError:
        return CommandResult(False, "the server has not answered for an hour; it may still be at work")
    except ConnectionError:
        pass
    async with alone(folder, MIGRATIONS, program=VERSION) as upkeep:
        return await (upkeep.backup(word) if command == "backup" else upkeep.examine())


async def _migrate(settings: Settings) -> int:
    from app.main import MIGRATIONS

    folder = DataDir(settings.data_dir)
    folder.make()
    folder.lock()
    try:
        database = Database(folder.database)
        try:
            applied = await migrate(database, MIGRATIONS)
        finally:
            await database.close()
    finally:
        folder.release()
    print("\n".join(f"applied {name}" for name in applied) or "nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
