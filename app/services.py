"""Builds the service graph: every service once, each with what its constructor names."""

import contextlib
from collections.abc import Callable, Mapping

import msgspec

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
from app.batches.service import Batches
from app.catalog.refresher import refresh
from app.catalog.service import Catalog
from app.chat.service import Chat
from app.db.database import Database
from app.db.migrate import MIGRATIONS
from app.downloads.service import Downloads
from app.editor.service import Editor
from app.gateway.service import Gateway
from app.generation.service import Generation
from app.home.service import Home
from app.idempotency.service import Idempotency
from app.jobs.service import Jobs
from app.jobs.worker import Worker
from app.ledger.service import Ledger
from app.library.service import Library
from app.maintenance.service import Maintenance
from app.model_editor.service import ModelEditor
from app.prompts.service import Prompts
from app.provider_accounts.service import ProviderAccounts
from app.providers.addresses import Resolver
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.instrumented import instrumentation
from app.providers.registry import ProviderRegistry, configs_of
from app.providers.webhooks import WebhookVerifier
from app.responses.service import Responses
from app.simulator_switch import Directives, SimulatorSwitch
from app.storage.files import Files
from app.storage.media import Media
from app.web.markdown import Renderer


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that lives as long as the process. `key` is the secret from which signing keys are derived; `timer` returns
    monotonic seconds, used for rate limits."""

    settings: Settings
    data_dir: DataDir
    database: Database
    files: Files
    providers: Mapping[str, Provider]
    provider_accounts: ProviderAccounts
    accounts: Accounts
    catalog: Catalog
    library: Library
    prompts: Prompts
    jobs: Jobs
    generation: Generation
    batches: Batches
    downloads: Downloads
    editor: Editor
    chat: Chat
    gateway: Gateway
    responses: Responses
    markdown: Renderer
    home: Home
    admin: Admin
    model_editor: ModelEditor
    maintenance: Maintenance
    worker: Worker
    background: BackgroundTasks
    metrics: Metrics
    loop_watchdog: LoopWatchdog
    directives: Callable[[], Directives]
    key: str
    timer: Callable[[], float]


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
    files = Files(data_dir.media, data_dir.temporary)
    stack.callback(files.close)
    media = Media()
    stack.callback(media.close)
    client = Client(resolver=resolver)
    stack.push_async_callback(client.aclose)
    providers = ProviderRegistry(
        client,
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
        webhook_secret=settings.openrouter_webhook_secret,
        callback=(lambda provider, job: verifier.address(provider, job)) if settings.public else None,
        instrument=instrumentation(metrics),
    )
    verifier = WebhookVerifier(settings.public_url, derive_key(key, "callbacks"), providers.webhook_keys)
    simulator = SimulatorSwitch(data_dir, settings.simulator_speed)
    stack.push_async_callback(simulator.stop)
    ledger = Ledger(database)
    accounts = Accounts(
        database, settings, derive_key(key, "access tokens"), timer=timer, spending=ledger.spent_by_keys
    )
    stack.callback(accounts.close)
    audit = Audit(database)
    provider_accounts = ProviderAccounts(
        database,
        audit,
        providers,
        configs_of(settings),
        key,
        simulator=settings.simulator,
        switch_simulator=simulator.switch,
    )
    catalog = Catalog(database, providers)
    library = Library(
        database,
        files,
        media,
        client,
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )
    prompts = Prompts(database, accounts, audit)
    idempotency = Idempotency(database)
    jobs = Jobs(
        database,
        ledger,
        idempotency,
        catalog,
        library,
        providers,
        timeout=settings.job_timeout_seconds,
        poll_interval=settings.worker_seconds,
        webhooks=verifier,
        metrics=metrics,
        key_limits=accounts.api_keys.limits,
    )
    worker = Worker(jobs, catalog, library, files, media, providers)
    generation = Generation(
        catalog,
        library,
        jobs,
        idempotency,
        lambda: simulator.directives,
        prompts.wildcards,
        prompts=prompts,
        enhancer_model=settings.enhancer_model,
    )
    batches = Batches(database, generation, jobs, library, idempotency)
    chat = Chat(database, ledger, idempotency, catalog, providers, library, files, media)
    gateway = Gateway(catalog, chat, generation, jobs, library, settings.public_url)
    responses = Responses(database, chat, gateway)
    provider_accounts.show(
        models=catalog.counts_by_provider,
        spending=[jobs.all.spent_by_provider, chat.spent_by_provider],
        refresh=lambda: refresh(catalog),
    )
    markdown = Renderer()
    stack.callback(markdown.close)
    loop_watchdog = LoopWatchdog(metrics)
    admin = Admin(
        database,
        audit,
        accounts,
        ledger,
        catalog,
        library,
        jobs,
        files,
        forget=[batches.forget_user, chat.forget_user, responses.forget_user, prompts.forget_user],
        metrics=metrics,
        loop_watchdog=loop_watchdog,
        program_version=VERSION,
    )
    tasks = _periodic_tasks(
        settings, accounts, idempotency, catalog, library, worker, batches, chat, responses, prompts
    )
    return Application(
        settings=settings,
        data_dir=data_dir,
        database=database,
        files=files,
        providers=providers,
        provider_accounts=provider_accounts,
        accounts=accounts,
        catalog=catalog,
        library=library,
        prompts=prompts,
        jobs=jobs,
        generation=generation,
        batches=batches,
        downloads=Downloads(library, jobs, media),
        editor=Editor(generation, library, jobs, files, media),
        chat=chat,
        gateway=gateway,
        responses=responses,
        markdown=markdown,
        home=Home(database, accounts, catalog, ledger, jobs, library),
        admin=admin,
        model_editor=ModelEditor(database, audit, catalog),
        maintenance=Maintenance(data_dir, database, files, MIGRATIONS, program=VERSION, library=library),
        worker=worker,
        background=BackgroundTasks(tasks, metrics, timer=timer),
        metrics=metrics,
        loop_watchdog=loop_watchdog,
        directives=lambda: simulator.directives,
        key=key,
        timer=timer,
    )


def _periodic_tasks(
    settings: Settings,
    accounts: Accounts,
    idempotency: Idempotency,
    catalog: Catalog,
    library: Library,
    worker: Worker,
    batches: Batches,
    chat: Chat,
    responses: Responses,
    prompts: Prompts,
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
        PeriodicTask("batch cleanup", batches.sweep, period=3600.0, timeout=300.0),
        PeriodicTask("response cleanup", responses.sweep, period=3600.0, timeout=300.0),
        PeriodicTask("prompt cleanup", prompts.sweep, period=3600.0, timeout=300.0),
    ]
