"""Builds the service graph: every service once, each with what its constructor names."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec
import uvicorn

from app import VERSION
from app.accounts.service import Accounts
from app.admin.service import Admin
from app.audit.service import Audit
from app.background import BackgroundTasks, PeriodicTask
from app.base.config import Settings
from app.base.data_dir import DataDir
from app.base.hashing import derive_key
from app.base.loop_watchdog import LoopWatchdog
from app.base.metrics import Metrics
from app.catalog.refresher import refresh
from app.catalog.service import Catalog
from app.chat.service import Chat
from app.db.database import Database
from app.db.migrate import MIGRATIONS
from app.gateway.service import Gateway
from app.generation.service import Generation
from app.home.service import Home
from app.idempotency.service import Idempotency
from app.jobs.service import Jobs
from app.jobs.worker import Worker
from app.ledger.service import Ledger
from app.library.service import Library
from app.maintenance.service import Maintenance
from app.providers.addresses import Resolver
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.instrumented import instrumented
from app.providers.registry import base_urls, providers, webhooks
from app.providers.webhooks import WebhookVerifier
from app.responses.service import Responses
from app.storage.files import Files
from app.storage.media import Media
from app.web.markdown import Renderer
from app.web.server import HttpServer, listening, serving


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
    responses: Responses
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


class ProviderAccess(NamedTuple):
    """The providers, and what calls them and is called by them."""

    client: Client
    providers: Mapping[str, Provider]
    webhooks: WebhookVerifier


class RunningSimulator(NamedTuple):
    """How to reach the built-in simulator. `directives` are the commands for it that a prompt may contain: name, kinds of
    output, explanation."""

    url: str
    key: str
    directives: Sequence[tuple[str, Sequence[str], str]]


async def build_services(
    settings: Settings,
    data_dir: DataDir,
    database: Database,
    metrics: Metrics,
    stack: contextlib.AsyncExitStack,
    *,
    key: str,
    timer: Callable[[], float],
    resolver: Resolver,
) -> Application:
    """All services over an open database; `stack` closes what they hold open. None of them has read or sent anything yet."""
    simulator = await stack.enter_async_context(_simulator(data_dir, settings)) if settings.simulated else None
    directives = simulator.directives if simulator else ()
    files = Files(data_dir.media, data_dir.temporary)
    stack.callback(files.close)
    media = Media()
    stack.callback(media.close)
    upstream = _upstream(settings, metrics, simulator, key, resolver)
    stack.push_async_callback(upstream.client.aclose)
    ledger = Ledger(database)
    accounts = Accounts(
        database, settings, derive_key(key, "access tokens"), timer=timer, spending=ledger.spent_by_keys
    )
    stack.callback(accounts.close)
    catalog = Catalog(database, upstream.providers)
    library = Library(
        database,
        files,
        media,
        upstream.client,
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )
    idempotency = Idempotency(database)
    jobs = Jobs(
        database,
        ledger,
        idempotency,
        catalog,
        library,
        upstream.providers,
        timeout=settings.job_timeout_seconds,
        poll_interval=settings.worker_seconds,
        webhooks=upstream.webhooks,
        metrics=metrics,
    )
    worker = Worker(jobs, catalog, library, files, upstream.providers)
    generation = Generation(catalog, library, jobs, idempotency, directives)
    chat = Chat(database, ledger, idempotency, catalog, upstream.providers)
    gateway = Gateway(catalog, chat, generation, jobs, library, settings.public_url)
    responses = Responses(database, chat, gateway)
    markdown = Renderer()
    stack.callback(markdown.close)
    loop_watchdog = LoopWatchdog(metrics)
    admin = Admin(
        database,
        Audit(database),
        accounts,
        ledger,
        catalog,
        library,
        jobs,
        files,
        forget=[chat.forget_user, responses.forget_user],
        metrics=metrics,
        loop_watchdog=loop_watchdog,
        program_version=VERSION,
    )
    tasks = _periodic_tasks(settings, accounts, idempotency, catalog, library, worker, chat, responses)
    return Application(
        settings=settings,
        data_dir=data_dir,
        database=database,
        files=files,
        providers=upstream.providers,
        accounts=accounts,
        catalog=catalog,
        library=library,
        jobs=jobs,
        generation=generation,
        chat=chat,
        gateway=gateway,
        responses=responses,
        markdown=markdown,
        home=Home(database, accounts, catalog, ledger, jobs, library),
        admin=admin,
        maintenance=Maintenance(data_dir, database, files, MIGRATIONS, program=VERSION, library=library),
        worker=worker,
        background=BackgroundTasks(tasks, metrics, timer=timer),
        metrics=metrics,
        loop_watchdog=loop_watchdog,
        directives=directives,
        key=key,
        timer=timer,
    )


def _upstream(
    settings: Settings, metrics: Metrics, simulator: RunningSimulator | None, key: str, resolver: Resolver
) -> ProviderAccess:
    simulator_url = simulator.url if simulator else None
    client = Client(base_urls(settings, simulator_url), resolver=resolver)
    verifier = WebhookVerifier(settings.public_url, derive_key(key, "callbacks"), webhooks(settings, client))
    callback = verifier.address if settings.public else None
    built = providers(settings, client, simulator_url, simulator.key if simulator else None, callback)
    return ProviderAccess(client, instrumented(built, metrics), verifier)


def _periodic_tasks(
    settings: Settings,
    accounts: Accounts,
    idempotency: Idempotency,
    catalog: Catalog,
    library: Library,
    worker: Worker,
    chat: Chat,
    responses: Responses,
) -> list[PeriodicTask]:
    async def delete_expired() -> None:
        """Delete tokens that can no longer be used, and idempotency keys that are a day old."""
        await accounts.sessions.sweep()
        await idempotency.sweep()

    return [
        PeriodicTask("worker", worker.tick, period=0.0, timeout=60.0),
        PeriodicTask("model refresh", lambda: refresh(catalog), period=settings.catalog_seconds, timeout=300.0),
        PeriodicTask("asset cleanup", library.sweep, period=60.0, timeout=300.0),
        PeriodicTask("token cleanup", delete_expired, period=3600.0, timeout=300.0),
        PeriodicTask("chat flush", chat.flush, period=0.5, timeout=60.0),
        PeriodicTask("chat cleanup", chat.conversations.sweep, period=60.0, timeout=300.0),
        PeriodicTask("response cleanup", responses.sweep, period=3600.0, timeout=300.0),
    ]


@asynccontextmanager
async def _simulator(data_dir: DataDir, settings: Settings) -> AsyncIterator[RunningSimulator]:
    """The built-in simulator on its own loopback port; the application calls it over HTTP like any provider."""
    from app.providers.simulator.app import build
    from app.providers.simulator.faults import DIRECTIVES

    key = secrets.token_urlsafe(24)
    listener = listening("127.0.0.1", 0)
    simulator = build(data_dir.simulator, settings.simulator_speed, key)
    config = uvicorn.Config(
        simulator,
        log_config=None,
        access_log=False,
        date_header=False,  # so that it never wakes up unless it is asked
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = HttpServer(config)
    task = asyncio.create_task(server.serve([listener]), name="simulator")
    await serving(server, task)
    try:
        yield RunningSimulator(
            f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1",
            key,
            [(f"[{name}]", directive.kinds, directive.sentence) for name, directive in DIRECTIVES.items()],
        )
    finally:
        simulator.state.runtime.abort_requests()
        server.should_exit = True
        await task
