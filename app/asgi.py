"""The Litestar application: every route, and the middleware around all of them. Nothing else outside `web` and the features'
route modules knows Litestar."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar
from litestar.datastructures import State
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
from app.catalog import api as catalog_api
from app.catalog import pages as catalog_pages
from app.chat import api as chat_api
from app.chat import pages as chat_pages
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
from app.provider_accounts import api as provider_accounts_api
from app.provider_accounts import pages as provider_accounts_pages
from app.responses import api as responses_api
from app.services import Application
from app.web.access_log import AccessLog
from app.web.compression import Compression
from app.web.cookie_names import CookieNames, cookie_prefix
from app.web.csrf import Csrf, CsrfMiddleware
from app.web.errors import HANDLERS, set_allow_header
from app.web.fast_path import FastPath, FastResponse, Responder
from app.web.head_requests import HeadAsGet
from app.web.limits import BODY, BodySizeLimit, Throttle
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
    *jobs_api.routes,
    *jobs_pages.routes,
    *generation_api.routes,
    *generation_pages.routes,
    *editor_pages.routes,
    *chat_api.routes,
    *chat_pages.routes,
    *gateway_api.routes,
    *responses_api.routes,
    *home_api.routes,
    *home_pages.routes,
    *admin_api.routes,
    *admin_pages.routes,
    *provider_accounts_api.routes,
    *provider_accounts_pages.routes,
)
# What route modules may ask for by parameter name.
DEPENDENCIES: Final = (
    "accounts",
    "catalog",
    "library",
    "jobs",
    "generation",
    "editor",
    "chat",
    "gateway",
    "responses",
    "markdown",
    "home",
    "admin",
    "provider_accounts",
)


def build(application: Application) -> ASGIApp:
    """The ASGI application: the routes, wrapped in the layers that must see every request. The first one is the innermost."""
    routes = litestar_app(application)
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


def litestar_app(application: Application) -> Litestar:
    """The Litestar application with every route, dependency and middleware."""
    settings = application.settings
    max_body = application.library.max_upload_bytes + FORM_OVERHEAD
    csrf = Csrf(derive_key(application.key, "forms"))
    return Litestar(
        route_handlers=[*ROUTES, static_files()],
        dependencies={
            name: Provide(_provider_of(getattr(application, name)), sync_to_thread=False) for name in DEPENDENCIES
        },
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
        lifespan=[lambda _: lifespan(application)],
        state=State(
            {
                "accounts": application.accounts,
                "background": application.background,
                "csrf": csrf,
                "directives": application.directives,
                "settings": settings,
                "simulated": lambda: application.provider_accounts.simulated,
            }
        ),
        logging_config=None,
        debug=False,
    )


def _provider_of(service: Any) -> Any:
    return lambda: service
