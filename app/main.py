"""Builds the program: settings, database, services, doors. The only place that knows all of them."""

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from litestar import Litestar
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import License
from litestar.types import ASGIApp

from app.accounts import api as accounts_api
from app.accounts import pages as accounts_pages
from app.accounts.guards import Identify, identify, identify_lost
from app.accounts.service import Accounts
from app.admin import api as admin_api
from app.admin import pages as admin_pages
from app.admin.service import Admin
from app.audit.service import Audit
from app.background import BackgroundTasks, PeriodicTask
from app.base import clock, control, gc_tuning, secret
from app.base.config import Settings
from app.base.data_dir import DataDir
from app.base.loop_watchdog import LoopWatchdog
from app.base.metrics import Metrics
from app.catalog import api as catalog_api
from app.catalog import pages as catalog_pages
from app.catalog.refresher import refresh
from app.catalog.service import Catalog
from app.chat import api as chat_api
from app.chat import pages as chat_pages
from app.chat.service import Chat
from app.db.database import Database
from app.db.migrate import migrate
from app.gateway import api as gateway_api
from app.gateway.service import Gateway
from app.generation import api as generation_api
from app.generation import pages as generation_pages
from app.generation.service import Generation
from app.home import api as home_api
from app.home import pages as home_pages
from app.home.service import Home
from app.jobs import api as jobs_api
from app.jobs import pages as jobs_pages
from app.jobs.service import Jobs
from app.jobs.worker import Worker
from app.ledger.service import Ledger
from app.library import api as library_api
from app.library import pages as library_pages
from app.library.service import Library
from app.maintenance.service import Maintenance
from app.providers.addresses import Resolver, resolve
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.instrumented import instrumented
from app.providers.registry import base_urls, providers, webhooks
from app.providers.webhooks import WebhookVerifier
from app.storage.files import Files
from app.storage.media import Media
from app.web.csrf import Csrf, CsrfMiddleware
from app.web.errors import HANDLERS, set_allow_header
from app.web.headers import Headers
from app.web.limits import BODY, BodySizeLimit, Throttle
from app.web.markdown import Renderer
from app.web.openapi import COMPONENTS, DocumentRouter, Shapes
from app.web.render import precompile
from app.web.request import StrictJsonRequest
from app.web.server import Server, listening, serving
from app.web.sign_in_limit import SignInConcurrencyLimit
from app.web.static import static_files

ROOT: Final = Path(__file__).resolve().parent.parent
MIGRATIONS: Final = ROOT / "migrations"
FORM_OVERHEAD: Final = 1024 * 1024  # bytes that a form needs around the file it carries
FIRST_CATALOGUE: Final = 2.0  # seconds that the first start waits for the first list of models
STOP_GRACE: Final = 4.0  # seconds that work under way gets to come to rest

VERSION: Final = "0.1.0"


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that lives as long as the process does; `key` signs, `timer` shows the seconds by which requests are
    throttled."""

    settings: Settings
    folder: DataDir
    database: Database
    files: Files
    providers: Mapping[str, Provider]
    accounts: Accounts
    catalog: Catalog
    library: Library
    jobs: Jobs
    generation: Generation
    chat: Chat
    gateway: Gateway
    markdown: Renderer
    home: Home
    admin: Admin
    upkeep: Maintenance
    worker: Worker
    background: BackgroundTasks
    metrics: Metrics
    stalls: LoopWatchdog
    directives: Sequence[tuple[str, Sequence[str], str]]
    key: str
    timer: Callable[[], float]


@asynccontextmanager
async def open_app(
    settings: Settings, *, timer: Callable[[], float] = clock.steady, resolver: Resolver = resolve
) -> AsyncIterator[Application]:
    """The program with its data folder held and its database open and migrated. `timer` and `resolver` (of host names)
    stand in for the system's. Raises FolderError, DatabaseError."""
    folder = DataDir(settings.data_dir)
    folder.make()
    folder.lock()
    temporary = tempfile.tempdir
    try:
        tempfile.tempdir = str(folder.temporary)  # nothing is written outside the data folder, uploads included
        key = settings.secret_key or secret.load_or_create(folder.secret)
        async with contextlib.AsyncExitStack() as stack:
            metrics = Metrics()
            database = Database(folder.database, metrics=metrics)
            stack.push_async_callback(database.close)
            warming = asyncio.create_task(asyncio.to_thread(precompile))
            await migrate(database, MIGRATIONS)
            await warming
            yield await build_services(settings, folder, database, metrics, key, timer, resolver, stack)
    finally:
        tempfile.tempdir = temporary
        folder.release()


async def build_services(
    settings: Settings,
    folder: DataDir,
    database: Database,
    metrics: Metrics,
    key: str,
    timer: Callable[[], float],
    resolver: Resolver,
    stack: contextlib.AsyncExitStack,
) -> Application:
    simulator_url, simulator_key = None, None
    directives: Sequence[tuple[str, Sequence[str], str]] = ()
    if settings.simulated:
        from app.providers.simulator.faults import DIRECTIVES

        directives = [(f"[{name}]", one.kinds, one.sentence) for name, one in DIRECTIVES.items()]
        simulator_key = secrets.token_urlsafe(24)
        simulator_url = await stack.enter_async_context(_simulator(folder, settings.simulator_speed, simulator_key))
    files = Files(folder.media, folder.temporary)
    stack.callback(files.close)
    media = Media()
    stack.callback(media.close)
    await files.clear_temporary()
    client = Client(base_urls(settings, simulator_url), resolver=resolver)
    stack.push_async_callback(client.aclose)
    calls = WebhookVerifier(settings.public_url, secret.derive_key(key, "callbacks"), webhooks(settings))
    callback = calls.address if settings.public else None
    upstream = instrumented(providers(settings, client, simulator_url, simulator_key, callback), metrics)
    quota = Ledger(database)
    accounts = Accounts(
        database, settings, secret.derive_key(key, "access tokens"), timer=timer, spending=quota.spent_by_keys
    )
    stack.callback(accounts.close)
    catalog = Catalog(database, upstream)
    library = Library(
        database,
        files,
        media,
        client,
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )
    jobs = Jobs(
        database,
        quota,
        catalog,
        library,
        upstream,
        timeout=settings.job_timeout_seconds,
        pause=settings.worker_seconds,
        calls=calls,
        metrics=metrics,
    )
    worker = Worker(jobs, catalog, library, files, upstream)
    await catalog.load()
    await jobs.rescue(restored=folder.restored)
    folder.forget_restore()
    chat = Chat(database, quota, catalog, jobs, upstream)
    await chat.rescue()
    generation = Generation(catalog, library, jobs, directives)
    markdown = Renderer()
    stack.callback(markdown.close)
    stalls = LoopWatchdog(metrics)
    background = BackgroundTasks(
        [
            PeriodicTask("worker", worker.tick, period=0.0, patience=60.0),
            PeriodicTask("catalogue", lambda: refresh(catalog), period=settings.catalog_seconds, patience=300.0),
            PeriodicTask("sweeper", library.sweep, period=60.0, patience=300.0),
            PeriodicTask("forgetter", lambda: _forget(accounts, jobs), period=3600.0, patience=300.0),
            PeriodicTask("chat", chat.flush, period=0.5, patience=60.0),
            PeriodicTask("chat sweeper", chat.sweep, period=60.0, patience=300.0),
            PeriodicTask("collector", gc_tuning.collect, period=60.0, patience=300.0, first=60.0),
        ],
        metrics,
        timer=timer,
    )
    return Application(
        settings=settings,
        folder=folder,
        database=database,
        files=files,
        providers=upstream,
        accounts=accounts,
        catalog=catalog,
        library=library,
        jobs=jobs,
        generation=generation,
        chat=chat,
        gateway=Gateway(catalog, chat, generation, jobs, library, settings.public_url),
        markdown=markdown,
        home=Home(database, accounts, catalog, quota, jobs, library),
        admin=Admin(
            database,
            Audit(database),
            accounts,
            quota,
            catalog,
            library,
            jobs,
            files,
            forget=[chat.forget_person],
            metrics=metrics,
            stalls=stalls,
            program_version=VERSION,
        ),
        upkeep=Maintenance(folder, database, files, MIGRATIONS, program=VERSION, library=library),
        worker=worker,
        background=background,
        metrics=metrics,
        stalls=stalls,
        directives=directives,
        key=key,
        timer=timer,
    )


async def _forget(accounts: Accounts, jobs: Jobs) -> None:
    """Once an hour: dead tokens, and the keys of requests that are a day old."""
    await accounts.sweep()
    await jobs.sweep()


def build(program: Application) -> ASGIApp:
    """The ASGI application: the routes, and around them what every response carries."""
    app = litestar_app(program)
    polls = jobs_pages.CardPollFastPath(
        app, program.jobs, app.state.csrf, lambda scope: identify(scope, program.accounts)
    )
    return Headers(SignInConcurrencyLimit(polls), https=program.settings.https, metrics=program.metrics)


def litestar_app(program: Application) -> Litestar:
    """Every route with its guards, and the middleware that identifies the caller."""
    settings = program.settings
    largest = program.library.largest + FORM_OVERHEAD
    csrf = Csrf(secret.derive_key(program.key, "forms"))
    services: dict[str, Any] = {
        "accounts": program.accounts,
        "catalog": program.catalog,
        "library": program.library,
        "jobs": program.jobs,
        "generation": program.generation,
        "chat": program.chat,
        "gateway": program.gateway,
        "markdown": program.markdown,
        "home": program.home,
        "admin": program.admin,
    }
    return Litestar(
        route_handlers=[
            *accounts_api.routes,
            *accounts_pages.routes,
            *catalog_api.routes,
            *catalog_pages.routes,
            *library_api.routes,
            *library_pages.routes,
            *jobs_api.routes,
            *jobs_pages.routes,
            *generation_api.routes,
            *generation_pages.routes,
            *chat_api.routes,
            *chat_pages.routes,
            *gateway_api.routes,
            *home_api.routes,
            *home_pages.routes,
            *admin_api.routes,
            *admin_pages.routes,
            static_files(),
        ],
        dependencies={name: Provide(_giving(service), sync_to_thread=False) for name, service in services.items()},
        middleware=[
            Identify(),
            *([Throttle(program.timer)] if settings.rate_limits else []),
            BodySizeLimit(largest),
            CsrfMiddleware(csrf),
        ],
        request_class=StrictJsonRequest,
        exception_handlers=HANDLERS,
        after_exception=[identify_lost],
        before_send=[csrf.send_cookie, set_allow_header],
        compression_config=CompressionConfig(
            backend="gzip",
            gzip_compress_level=5,
            minimum_size=600,
            exclude=["^/media/", r"\.woff2$"],
            exclude_opt_key="exclude_from_compression",
        ),
        openapi_config=OpenAPIConfig(
            title="Atelier",
            version=VERSION,
            description="Text, pictures and clips with many AI models. All paths of this API begin with `/api/v1`.",
            license=License(name="MIT", identifier="MIT"),
            openapi_router=DocumentRouter("/api/v1", route_handlers=[], include_in_schema=False),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=COMPONENTS,
            use_handler_docstrings=True,
        ),
        plugins=[Shapes()],
        request_max_body_size=BODY,
        lifespan=[lambda _: _living(program)],
        state=State(
            {
                "accounts": program.accounts,
                "background": program.background,
                "csrf": csrf,
                "directives": program.directives,
                "settings": settings,
                "simulated": settings.simulated,
            }
        ),
        logging_config=None,
        debug=False,
    )


def commands(program: Application) -> dict[str, control.Command]:
    """What an admin can do on the machine itself, by the name of the command."""

    async def promote(email: str) -> str:
        user = await program.accounts.promote(email)
        return f"{user.email} is an admin now"

    async def backup(target: str) -> control.ControlReply:
        told = await program.upkeep.backup(target)
        return control.ControlReply(told.ok, told.text)

    async def doctor(_: str) -> control.ControlReply:
        told = await program.upkeep.examine()
        return control.ControlReply(told.ok, told.text)

    return {"promote": promote, "backup": backup, "doctor": doctor}


def _giving(service: Any) -> Any:
    return lambda: service


@asynccontextmanager
async def _living(program: Application) -> AsyncIterator[None]:
    """The loops run while the program serves; what is under way at the end gets a moment to come to rest."""
    async with (
        program.stalls.watching(),
        program.background.running(),
        control.listening(program.folder.socket, commands(program)),
    ):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_CATALOGUE):
                await program.catalog.filled.wait()
        try:
            yield
        finally:
            await drain(program)


async def drain(program: Application) -> None:
    """While the server still answers: nothing new is begun, what is under way gets a moment, and whoever waits or listens
    is told how things stand."""
    await asyncio.gather(program.chat.close(), program.worker.stop(STOP_GRACE))
    program.jobs.release_waiters()


@asynccontextmanager
async def _simulator(folder: DataDir, speed: float, key: str) -> AsyncIterator[str]:
    """The built-in simulator behind a loopback port of its own, spoken to over HTTP like any provider."""
    from app.providers.simulator.app import build as build_simulator

    listener = listening("127.0.0.1", 0)
    simulator = build_simulator(folder.simulator, speed, key)
    config = uvicorn.Config(
        simulator,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve([listener]), name="simulator")
    await serving(server, task)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
    finally:
        simulator.state.stage.hang_up()
        server.should_exit = True
        await task
