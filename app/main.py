"""Builds the application from settings, database, services and routes. The only module that knows all of them."""

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
from app.accounts.guards import Identify, identify, identify_on_error
from app.accounts.service import Accounts
from app.admin import api as admin_api
from app.admin import pages as admin_pages
from app.admin.service import Admin
from app.audit.service import Audit
from app.background import BackgroundTasks, PeriodicTask
from app.base import clock, control, gc_tuning
from app.base.config import Settings
from app.base.data_dir import DataDir
from app.base.hashing import derive_key
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
from app.web.openapi import COMPONENTS, DocumentRouter, StructSchemas
from app.web.render import precompile
from app.web.request import StrictJsonRequest
from app.web.server import HttpServer, listening, serving
from app.web.sign_in_limit import SignInConcurrencyLimit
from app.web.static import static_files

ROOT: Final = Path(__file__).resolve().parent.parent
MIGRATIONS: Final = ROOT / "migrations"
FORM_OVERHEAD: Final = 1024 * 1024  # bytes of a form besides the file in it
FIRST_REFRESH: Final = 2.0  # seconds that a start waits for the first model refresh
DRAIN_TIMEOUT: Final = 4.0  # seconds that running work gets to finish at shutdown

VERSION: Final = "0.1.0"


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that lives as long as the process. `key` is the secret from which signing keys are derived; `timer` returns
    monotonic seconds, used for rate limits."""

    settings: Settings
    data_dir: DataDir
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
    maintenance: Maintenance
    worker: Worker
    background: BackgroundTasks
    metrics: Metrics
    loop_watchdog: LoopWatchdog
    directives: Sequence[tuple[str, Sequence[str], str]]
    key: str
    timer: Callable[[], float]


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
            database = Database(data_dir.database, metrics=metrics)
            stack.push_async_callback(database.close)
            precompiling = asyncio.create_task(asyncio.to_thread(precompile))
            await migrate(database, MIGRATIONS)
            await precompiling
            yield await build_services(settings, data_dir, database, metrics, key, timer, resolver, stack)
    finally:
        tempfile.tempdir = temporary
        data_dir.release()


async def build_services(
    settings: Settings,
    data_dir: DataDir,
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

        directives = [(f"[{name}]", directive.kinds, directive.sentence) for name, directive in DIRECTIVES.items()]
        simulator_key = secrets.token_urlsafe(24)
        simulator_url = await stack.enter_async_context(_simulator(data_dir, settings.simulator_speed, simulator_key))
    files = Files(data_dir.media, data_dir.temporary)
    stack.callback(files.close)
    media = Media()
    stack.callback(media.close)
    await files.clear_temporary()
    client = Client(base_urls(settings, simulator_url), resolver=resolver)
    stack.push_async_callback(client.aclose)
    webhook_verifier = WebhookVerifier(settings.public_url, derive_key(key, "callbacks"), webhooks(settings))
    callback = webhook_verifier.address if settings.public else None
    upstream = instrumented(providers(settings, client, simulator_url, simulator_key, callback), metrics)
    ledger = Ledger(database)
    accounts = Accounts(
        database, settings, derive_key(key, "access tokens"), timer=timer, spending=ledger.spent_by_keys
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
        ledger,
        catalog,
        library,
        upstream,
        timeout=settings.job_timeout_seconds,
        poll_interval=settings.worker_seconds,
        webhooks=webhook_verifier,
        metrics=metrics,
    )
    worker = Worker(jobs, catalog, library, files, upstream)
    await catalog.load()
    await jobs.rescue(restored=data_dir.restored)
    data_dir.forget_restore()
    chat = Chat(database, ledger, catalog, jobs, upstream)
    await chat.rescue()
    generation = Generation(catalog, library, jobs, directives)
    markdown = Renderer()
    stack.callback(markdown.close)
    loop_watchdog = LoopWatchdog(metrics)
    background = BackgroundTasks(
        [
            PeriodicTask("worker", worker.tick, period=0.0, timeout=60.0),
            PeriodicTask("model refresh", lambda: refresh(catalog), period=settings.catalog_seconds, timeout=300.0),
            PeriodicTask("asset cleanup", library.sweep, period=60.0, timeout=300.0),
            PeriodicTask("token cleanup", lambda: _delete_expired(accounts, jobs), period=3600.0, timeout=300.0),
            PeriodicTask("chat flush", chat.flush, period=0.5, timeout=60.0),
            PeriodicTask("chat cleanup", chat.sweep, period=60.0, timeout=300.0),
            PeriodicTask("garbage collection", gc_tuning.collect, period=60.0, timeout=300.0, initial_delay=60.0),
        ],
        metrics,
        timer=timer,
    )
    return Application(
        settings=settings,
        data_dir=data_dir,
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
        home=Home(database, accounts, catalog, ledger, jobs, library),
        admin=Admin(
            database,
            Audit(database),
            accounts,
            ledger,
            catalog,
            library,
            jobs,
            files,
            forget=[chat.forget_user],
            metrics=metrics,
            loop_watchdog=loop_watchdog,
            program_version=VERSION,
        ),
        maintenance=Maintenance(data_dir, database, files, MIGRATIONS, program=VERSION, library=library),
        worker=worker,
        background=background,
        metrics=metrics,
        loop_watchdog=loop_watchdog,
        directives=directives,
        key=key,
        timer=timer,
    )


async def _delete_expired(accounts: Accounts, jobs: Jobs) -> None:
    """Delete tokens that can no longer be used, and idempotency keys that are a day old."""
    await accounts.sweep()
    await jobs.sweep()


def build(application: Application) -> ASGIApp:
    """The ASGI application: the routes, wrapped in the middleware that must see every request."""
    app = litestar_app(application)
    polls = jobs_pages.CardPollFastPath(
        app, application.jobs, app.state.csrf, lambda scope: identify(scope, application.accounts)
    )
    return Headers(SignInConcurrencyLimit(polls), https=application.settings.https, metrics=application.metrics)


def litestar_app(application: Application) -> Litestar:
    """The Litestar application with every route, dependency and middleware."""
    settings = application.settings
    max_body = application.library.max_upload_bytes + FORM_OVERHEAD
    csrf = Csrf(derive_key(application.key, "forms"))
    services: dict[str, Any] = {
        "accounts": application.accounts,
        "catalog": application.catalog,
        "library": application.library,
        "jobs": application.jobs,
        "generation": application.generation,
        "chat": application.chat,
        "gateway": application.gateway,
        "markdown": application.markdown,
        "home": application.home,
        "admin": application.admin,
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
        dependencies={name: Provide(_provider_of(service), sync_to_thread=False) for name, service in services.items()},
        middleware=[
            Identify(),
            *([Throttle(application.timer)] if settings.rate_limits else []),
            BodySizeLimit(max_body),
            CsrfMiddleware(csrf),
        ],
        request_class=StrictJsonRequest,
        exception_handlers=HANDLERS,
        after_exception=[identify_on_error],
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
            description="Generate text, images and videos with many AI models. All paths of this API begin with `/api/v1`.",
            license=License(name="MIT", identifier="MIT"),
            openapi_router=DocumentRouter("/api/v1", route_handlers=[], include_in_schema=False),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=COMPONENTS,
            use_handler_docstrings=True,
        ),
        plugins=[StructSchemas()],
        request_max_body_size=BODY,
        lifespan=[lambda _: _lifespan(application)],
        state=State(
            {
                "accounts": application.accounts,
                "background": application.background,
                "csrf": csrf,
                "directives": application.directives,
                "settings": settings,
                "simulated": settings.simulated,
            }
        ),
        logging_config=None,
        debug=False,
    )


def commands(application: Application) -> dict[str, control.Command]:
    """The commands that an administrator can run on the machine itself, by name."""

    async def promote(email: str) -> str:
        user = await application.accounts.promote(email)
        return f"{user.email} is now an admin"

    async def backup(target: str) -> control.ControlReply:
        result = await application.maintenance.backup(target)
        return control.ControlReply(result.ok, result.text)

    async def doctor(_: str) -> control.ControlReply:
        result = await application.maintenance.examine()
        return control.ControlReply(result.ok, result.text)

    return {"promote": promote, "backup": backup, "doctor": doctor}


def _provider_of(service: Any) -> Any:
    return lambda: service


@asynccontextmanager
async def _lifespan(application: Application) -> AsyncIterator[None]:
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
    application.jobs.release_waiters()


@asynccontextmanager
async def _simulator(data_dir: DataDir, speed: float, key: str) -> AsyncIterator[str]:
    """The built-in simulator on its own loopback port; the application calls it over HTTP like any provider."""
    from app.providers.simulator.app import build as build_simulator

    listener = listening("127.0.0.1", 0)
    simulator = build_simulator(data_dir.simulator, speed, key)
    config = uvicorn.Config(
        simulator,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = HttpServer(config)
    task = asyncio.create_task(server.serve([listener]), name="simulator")
    await serving(server, task)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
    finally:
        simulator.state.runtime.abort_requests()
        server.should_exit = True
        await task
