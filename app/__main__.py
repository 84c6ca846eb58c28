"""The command line: serve (the default), migrate, and administration on the machine itself."""

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

from app import VERSION
from app.base import config, control, gc_tuning, logging, malloc
from app.base.config import SettingError, Settings
from app.base.data_dir import DataDir, DataDirError
from app.base.errors import AtelierError
from app.db.database import DatabaseError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS, migrate

if TYPE_CHECKING:
    from app.maintenance.schemas import CommandResult


STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
SHUTDOWN_TIMEOUT: Final = 9  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="atelier", description="Atelier, a self-hosted AI studio.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="run the server (default)")
    commands.add_parser("migrate", help="apply database migrations without starting the server")
    promote = commands.add_parser("promote", help="make the user with this email an admin")
    promote.add_argument("argument", metavar="EMAIL")
    doctor = commands.add_parser(
        "doctor", help="check the database, the ledger and the stored files, or a backup; exit 1 if a check fails"
    )
    doctor.add_argument(
        "argument", metavar="DIR", nargs="?", default="", help="a backup to check instead of the data folder"
    )
    backup = commands.add_parser("backup", help="write a backup to a new or empty folder, also while the server runs")
    backup.add_argument("argument", metavar="DIR")
    restore = commands.add_parser("restore", help="restore a backup into an empty data folder")
    restore.add_argument("argument", metavar="DIR")
    options = parser.parse_args(arguments)
    logging.start(human=sys.stderr.isatty())
    try:
        settings = config.load(os.environ)
        if options.command == "migrate":
            return asyncio.run(_migrate(settings))
        if options.command in (None, "serve"):
            return asyncio.run(_serve(settings))
        if options.command != "promote":
            return _maintenance(
                settings, options.command, str(Path(options.argument).absolute()) if options.argument else ""
            )
        return asyncio.run(_command(settings, options.command, options.argument))
    except (SettingError, DataDirError, DatabaseError, AtelierError, ValueError) as exc:
        print(f"atelier: {exc}", file=sys.stderr)
        return 2


async def _serve(settings: Settings) -> int:
    gc_tuning.disable()
    malloc.limit_arenas()
    from app.asgi import build
    from app.main import drain, open_app
    from app.web.server import HttpServer, configured, listening, serving

    try:
        listener = listening(settings.host, settings.port)
    except OSError as exc:
        raise SettingError(
            f"cannot listen on {settings.host}:{settings.port} ({exc.strerror}): change ATELIER_HOST or ATELIER_PORT"
        ) from None
    with listener:
        settings = _with_port(settings, listener.getsockname()[1])
        async with open_app(settings) as application:
            server = HttpServer(configured(build(application), settings), lambda: drain(application))
            _stop_on_signals(server)
            gc_tuning.freeze()
            task = asyncio.create_task(server.serve([listener]))
            started = await serving(server, task)
            if started:
                print(f"Atelier is running at {settings.public_url} (press Ctrl+C to stop)", flush=True)
            await task
            gc_tuning.restore()
            return 0 if started else 1


def _with_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that the system chose for port 0, also in the public URL."""
    if settings.port == port:
        return settings
    url = settings.public_url.replace(f":{settings.port}", f":{port}")
    return msgspec.structs.replace(settings, port=port, public_url=url)


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Shut down gracefully on the first signal. A second signal, or the timeout, ends the process at once; nothing is lost
    then, because everything acknowledged is on disk."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(SHUTDOWN_TIMEOUT)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)


async def _command(settings: Settings, command: str, argument: str) -> int:
    """Run the command in the running server, because only one process may open the database; without one, in this process."""
    from app.main import commands, open_app

    try:
        reply = await control.ask(DataDir(settings.data_dir).socket, command, argument)
    except ConnectionError:
        async with open_app(settings) as application:
            reply = control.reply(await commands(application)[command](argument))
    print(reply.text if reply.ok else f"atelier: {reply.text}", file=sys.stdout if reply.ok else sys.stderr)
    return 0 if reply.ok else 1


def _maintenance(settings: Settings, command: str, argument: str) -> int:
    """Backup, restore, doctor. The findings of `doctor` are its result, so they go to stdout too."""
    from app.maintenance.schemas import CommandResult
    from app.maintenance.service import examine_backup, restore_backup

    try:
        if command == "restore":
            result = restore_backup(argument, DataDir(settings.data_dir), MIGRATIONS)
        elif command == "doctor" and argument:
            result = examine_backup(argument, MIGRATIONS)
        else:
            result = asyncio.run(_with_database(settings, command, argument))
    except (AtelierError, DatabaseError) as exc:
        result = CommandResult(False, str(exc))
    if result.ok or command == "doctor":
        print(result.text)
    else:
        print(f"atelier: {result.text}", file=sys.stderr)
    return 0 if result.ok else 1


async def _with_database(settings: Settings, command: str, argument: str) -> "CommandResult":
    """Run the command in the running server; without one, open only the database, without starting services or recovery."""
    from app.maintenance.schemas import CommandResult
    from app.maintenance.service import offline_maintenance

    data_dir = DataDir(settings.data_dir)
    try:
        reply = await control.ask(data_dir.socket, command, argument)
        return CommandResult(reply.ok, reply.text)
    except TimeoutError:
        return CommandResult(False, "the server has not answered for an hour; the command may still be running")
    except ConnectionError:
        pass
    async with offline_maintenance(data_dir, MIGRATIONS, program=VERSION) as maintenance:
        return await (maintenance.backup(argument) if command == "backup" else maintenance.examine())


async def _migrate(settings: Settings) -> int:

    data_dir = DataDir(settings.data_dir)
    data_dir.create()
    data_dir.lock()
    try:
        database = EmbeddedDatabase(data_dir.database)
        try:
            applied = await migrate(database, MIGRATIONS)
        finally:
            await database.close()
    finally:
        data_dir.release()
    print("\n".join(f"applied {name}" for name in applied) or "the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
