"""The application's lifecycle: opening it, recovering after a restart, running it, and draining it before it stops."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from app.base import clock, control
from app.base.config import Settings
from app.base.data_dir import DataDir
from app.base.metrics import Metrics
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS, migrate
from app.providers.addresses import Resolver, resolve
from app.services import Application, build_services
from app.web.render import precompile

FIRST_REFRESH: Final = 2.0  # seconds that a start waits for the first model refresh
DRAIN_TIMEOUT: Final = 4.0  # seconds that running work gets to finish at shutdown


@asynccontextmanager
async def open_app(
    settings: Settings, *, timer: Callable[[], float] = clock.steady, resolver: Resolver = resolve
) -> AsyncIterator[Application]:
    """The application, with its data folder locked and its database open and migrated. `timer` and `resolver` (of host names)
    replace the system's in tests. Raises DataDirError, DatabaseError."""
    data_dir = DataDir(settings.data_dir)
    data_dir.create()
    data_dir.lock()
    temporary = tempfile.tempdir
    try:
        tempfile.tempdir = str(data_dir.temporary)  # nothing is written outside the data folder, including uploads
        key = settings.secret_key or data_dir.secret_key()
        async with contextlib.AsyncExitStack() as stack:
            metrics = Metrics()
            database = EmbeddedDatabase(data_dir.database, metrics=metrics)
            stack.push_async_callback(database.close)
            precompiling = asyncio.create_task(asyncio.to_thread(precompile))
            await migrate(database, MIGRATIONS)
            await precompiling
            application = await build_services(
                settings, data_dir, database, metrics, stack, key=key, timer=timer, resolver=resolver
            )
            await _recover(application)
            yield application
    finally:
        tempfile.tempdir = temporary
        data_dir.release()


async def _recover(application: Application) -> None:
    """Load what services keep in memory, and take up what the last process left unfinished."""
    await application.files.clear_temporary()
    await application.provider_accounts.load()
    await application.catalog.load()
    await application.jobs.execution.rescue(restored=application.data_dir.restored)
    application.data_dir.forget_restore()
    await application.chat.rescue()


@asynccontextmanager
async def lifespan(application: Application) -> AsyncIterator[None]:
    """Run the background tasks while the server runs; drain running work before it stops."""
    async with (
        application.loop_watchdog.watching(),
        application.background.running(),
        control.listening(application.data_dir.socket, commands(application)),
    ):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REFRESH):
                await application.catalog.filled.wait()
        try:
            yield
        finally:
            await drain(application)


async def drain(application: Application) -> None:
    """While the server still answers: start no new work, give running work a few seconds to finish, and answer every waiting
    request with the current state."""
    await asyncio.gather(application.chat.close(), application.worker.stop(DRAIN_TIMEOUT))
    application.jobs.waiters.release()


def commands(application: Application) -> dict[str, control.Command]:
    """The commands that an administrator can run on the machine itself, by name."""

    async def promote(email: str) -> str:
        user = await application.accounts.users.promote(email)
        return f"{user.email} is now an admin"

    async def backup(target: str) -> control.ControlReply:
        result = await application.maintenance.backup(target)
        return control.ControlReply(result.ok, result.text)

    async def doctor(_: str) -> control.ControlReply:
        result = await application.maintenance.examine()
        return control.ControlReply(result.ok, result.text)

    return {"promote": promote, "backup": backup, "doctor": doctor}
