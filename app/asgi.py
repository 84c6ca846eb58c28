"""The Litestar application: every route, and the middleware around all of them. Nothing else outside `web` and the features'
route modules knows Litestar."""

from collections.abc import Sequence
from typing import Final

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import License
from litestar.types import ASGIApp, ControllerRouterHandler, HTTPScope

from app import VERSION
from app.accounts import api as accounts_api
from app.accounts import pages as accounts_pages
from app.accounts.guards import Identify, identify, identify_on_error
from app.admin import api as admin_api
from app.admin import pages as admin_pages
from app.base.hashing import derive_key
from app.batches import api as batches_api
from app.batches import pages as batches_pages
from app.catalog import api as catalog_api
from app.catalog import pages as catalog_pages
from app.chat import api as chat_api
from app.chat import pages as chat_pages
from app.downloads import api as downloads_api
from app.downloads import pages as downloads_pages
from app.editor import pages as editor_pages
from app.gateway import api as gateway_api
from app.generation import api as generation_api
from app.generation import pages as generation_pages
from app.home import api as home_api
from app.home import pages as home_pages
from app.jobs import api as jobs_api
from app.jobs import pages as jobs_pages
from app.library import api as library_api
from app.library import pages as library_pages
from app.main import lifespan
from app.model_editor import api as model_editor_api
from app.model_editor import pages as model_editor_pages
from app.prompts import api as prompts_api
from app.prompts import pages as prompts_pages
from app.provider_accounts import api as provider_accounts_api
from app.provider_accounts import pages as provider_accounts_pages
from app.responses import api as responses_api
from app.services import Application
from app.web.access_log import AccessLog
from app.web.compression import Compression
from app.web.cookie_names import CookieNames, cookie_prefix
from app.web.csrf import Csrf, CsrfMiddleware, send_cookie
from app.web.errors import HANDLERS, set_allow_header
from app.web.fast_path import FastPath, FastResponse, Responder
from app.web.head_requests import HeadAsGet
from app.web.limits import BODY, BodySizeLimit, RateLimits, Throttle
from app.web.openapi import COMPONENTS, DocumentRouter, StructSchemas
from app.web.request import StrictJsonRequest
from app.web.request_id import RequestId
from app.web.security_headers import SecurityHeaders
from app.web.sign_in_limit import SignInConcurrencyLimit
from app.web.static import static_files

FORM_OVERHEAD: Final = 1024 * 1024  # bytes of a form besides the file in it
ROUTES: Final[Sequence[ControllerRouterHandler]] = (
    *accounts_api.routes,
    *accounts_pages.routes,
    *catalog_api.routes,
    *catalog_pages.routes,
    *library_api.routes,
    *library_pages.routes,
    *prompts_api.routes,
    *prompts_pages.routes,
    *jobs_api.routes,
    *jobs_pages.routes,
    *generation_api.routes,
    *generation_pages.routes,
    *batches_api.routes,
    *batches_pages.routes,
    *downloads_api.routes,
    *downloads_pages.routes,
    *editor_pages.routes,
    *chat_api.routes,
    *chat_pages.routes,
    *gateway_api.routes,
    *responses_api.routes,
    *home_api.routes,
    *home_pages.routes,
    *admin_api.routes,
    *admin_pages.routes,
    *model_editor_api.routes,
    *model_editor_pages.routes,
    *provider_accounts_api.routes,
    *provider_accounts_pages.routes,
)
# What route modules may ask for by parameter name.
DEPENDENCIES: Final = (
    "accounts",
    "catalog",
    "library",
    "prompts",
    "jobs",
    "generation",
    "batches",
    "downloads",
    "editor",
    "chat",
    "gateway",
    "responses",
    "markdown",
    "home",
    "admin",
    "model_editor",
    "provider_accounts",
)


def build(application: Application, routes: Litestar | None = None) -> ASGIApp:
    """The ASGI application: the routes, wrapped in the layers that must see every request. The first one is the innermost.
    `routes` are those of an application that has stopped, if there are any."""
    routes = routes or litestar_app()
    bind(routes, application)
    site: ASGIApp = Compression(routes)
    site = FastPath(site, {"/jobs/{id}/card": _card_poll(application, routes.state.csrf)})
    site = SignInConcurrencyLimit(site)
    site = HeadAsGet(site)
    https = application.settings.https
    site = CookieNames(site, cookie_prefix(application.key, https=https), https=https)
    site = SecurityHeaders(site, https=https)
    site = AccessLog(site, application.metrics)
    return RequestId(site)


def _card_poll(application: Application, csrf: Csrf) -> Responder:
    async def respond(scope: HTTPScope, id: str) -> FastResponse | None:
        await identify(scope, application.accounts)
        return jobs_pages.card_from_memory(scope, id, application.jobs, csrf)

    return respond


def litestar_app() -> Litestar:
    """Every route, dependency and middleware, without an application: `bind` adds it. Building them takes half a second, so a
    process that starts many applications can use them again."""

    def provide(name: str) -> Provide:
        return Provide(lambda: getattr(app.state.application, name), sync_to_thread=False)

    app = Litestar(
        route_handlers=[*ROUTES, static_files()],
        dependencies={name: provide(name) for name in DEPENDENCIES},
        middleware=[Identify(), Throttle(), BodySizeLimit(), CsrfMiddleware()],
        request_class=StrictJsonRequest,
        exception_handlers=HANDLERS,
        after_exception=[identify_on_error],
        before_send=[send_cookie, set_allow_header],
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
        lifespan=[lambda app: lifespan(app.state.application)],
        logging_config=None,
        debug=False,
    )
    return app


def bind(routes: Litestar, application: Application) -> None:
    """Make these routes serve this application, from its start to its stop."""
    settings = application.settings
    routes.state.update(
        {
            "application": application,
            "accounts": application.accounts,
            "background": application.background,
            "csrf": Csrf(derive_key(application.key, "forms")),
            "directives": application.directives,
            "max_body": application.library.max_upload_bytes + FORM_OVERHEAD,
            "rate_limits": RateLimits(application.timer) if settings.rate_limits else None,
            "settings": settings,
            "simulated": lambda: application.provider_accounts.simulated,
        }
    )
