"""Renders pages and fragments from Jinja templates, and defines the filters and globals they share."""

import functools
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import jinja2
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie, State
from markupsafe import Markup, escape

from app.base.clock import iso, now
from app.base.sizes import format_size
from app.web.markdown import plain
from app.web.request_id import request_id

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"

# Stands for the viewer's form token in cached HTML. Random, so that no user's text can contain it.
TOKEN_PLACEHOLDER: Final = secrets.token_hex(32)

_globals: dict[str, Callable[..., Any]] = {}


def money(nano: int | None) -> str:
    """Nano-dollars as text: `$3.20`, `$0.0061`, or an en dash for None."""
    if nano is None:
        return "–"
    usd = Decimal(nano) / 1_000_000_000
    if usd == 0 or abs(usd) >= Decimal("0.1"):
        return f"${usd:,.2f}"
    digits = f"{usd:.6f}".rstrip("0")
    return f"${digits}" if len(digits.partition(".")[2]) >= 2 else f"${usd:.2f}"


def ago(moment: datetime, clock: Callable[[], datetime] = now) -> str:
    """Time since `moment` in the largest unit that fits: `5 min ago`."""
    seconds = elapsed(moment, clock)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds} s ago"


def elapsed(moment: datetime, clock: Callable[[], datetime] = now) -> int:
    """Whole seconds since `moment`. The page keeps counting from this value, so the browser's clock does not matter."""
    return max(0, int((clock() - moment).total_seconds()))


def wait(moment: datetime, clock: Callable[[], datetime] = now) -> str:
    """Roughly how long it is until `moment`, to be put after "in": `about 5 min`. Empty when it is over."""
    seconds = (moment - clock()).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"about {round(seconds / size)} {unit}"
    return "less than a minute" if seconds > 0 else ""


def minutes(seconds: float | None) -> str:
    """A duration: `0:08`, `1:12`, `1:02:03`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def environment(clock: Callable[[], datetime] = now) -> jinja2.Environment:
    """A Jinja environment with autoescaping and strict undefined names. Relative times are relative to `clock`."""
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Any] = {
        "money": money,
        "ago": functools.partial(ago, clock=clock),
        "wait": functools.partial(wait, clock=clock),
        "elapsed": functools.partial(elapsed, clock=clock),
        "minutes": minutes,
        "size": format_size,
        "iso": iso,
        "plain": plain,
    }
    jinja.filters.update(filters)
    shared: dict[str, Any] = {"static": static, "icon": icon, "fixed": fixed, "navigation": navigation}
    jinja.globals.update({**shared, **_globals})
    return jinja


@functools.cache
def static(path: str) -> str:
    """The URL of a static file with a content hash, so that browsers can cache it for a year."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={digest}"


@functools.lru_cache(maxsize=1024)
def icon(name: str, label: str | None = None) -> Markup:
    """An icon of the sprite; without a label it is decorative. Cached: as macros, the icons took a third of the time that a page's
    frame needs."""
    shown = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" width="16" height="16" {}><use href="{}#{}"></use></svg>').format(
        shown, static("icons.svg"), name
    )


@functools.cache
def fixed(template: str) -> Markup:
    """A fragment that is the same on every page."""
    return Markup(render_template(template))  # noqa: S704 (escaped by the template)


class _Identity(NamedTuple):
    """What the navigation shows of a user."""

    name: str
    email: str
    initials: str
    is_admin: bool


def navigation(user: Any, path: str, theme: str, csrf_token: str) -> Markup:
    """The navigation of a page, which changes only with its user, path and theme."""
    identity = user and _Identity(user.name, user.email, user.initials, user.is_admin)
    return Markup(_navigation(identity, path, theme).replace(TOKEN_PLACEHOLDER, escape(csrf_token)))  # noqa: S704


@functools.lru_cache(maxsize=512)
def _navigation(user: _Identity | None, path: str, theme: str) -> str:
    return render_template(
        "shared/navigation.html", current_user=user, path=path, theme=theme, csrf_token=TOKEN_PLACEHOLDER
    )


def precompile() -> None:
    """Compile all templates and hash all static files, so that no request has to. Blocks for about 100 ms: call it in a
    thread."""
    for path in STATIC.rglob("*"):
        if path.is_file():
            static(path.relative_to(STATIC).as_posix())
    for name in _environment().list_templates(extensions=["html"]):
        _environment().get_template(name)


def partial(request: Request[Any, Any, State]) -> bool:
    """Whether htmx requests a fragment. A boosted link also sends HX-Request, but needs the whole page."""
    return request.headers.get("HX-Request-Type") == "partial"


def form_token(request: Request[Any, Any, State]) -> str:
    """The CSRF token for the forms of this response; its cookie is set with the response."""
    csrf = request.app.state.get("csrf")
    token: str = csrf.token(request) if csrf else ""
    return token


def add_global(name: str, function: Callable[..., Any]) -> None:
    """Make a function callable from every template. Call it at import time."""
    _globals[name] = function


def render_template(template: str, **context: Any) -> str:
    """Render a template that needs nothing from the request."""
    return _environment().get_template(template).render(context)


def render(template: str, request: Request[Any, Any, State], **context: Any) -> str:
    """Render a template with the variables every page has: user, path, theme, notice and CSRF token."""
    return render_template(
        template,
        current_user=request.scope.get("user"),
        simulated=request.app.state.get("simulated", bool)(),
        path=request.url.path,
        theme=_theme(request),
        notice=_notice(request),
        csrf_token=form_token(request),
        request_id=request_id(request.scope),
        **context,
    )


def page(
    template: str,
    request: Request[Any, Any, State],
    *,
    status_code: int = 200,
    headers: dict[str, str] | None = None,
    cookies: list[Cookie] | None = None,
    **context: Any,
) -> Response[str]:
    """Respond with a rendered page or fragment. A pending notice is shown and its cookie removed."""
    all_cookies = list(cookies or [])
    if not partial(request) and _notice(request):
        all_cookies.append(Cookie("notice", value="", path="/", max_age=0, httponly=True))
    return Response(
        render(template, request, **context),
        status_code=status_code,
        headers=headers,
        cookies=all_cookies,
        media_type=MediaType.HTML,
    )


def html(text: str, headers: dict[str, str] | None = None) -> Response[str]:
    """Respond with an already rendered fragment."""
    return Response(text, headers=headers, media_type=MediaType.HTML)


def _theme(request: Request[Any, Any, State]) -> str:
    theme = request.cookies.get("theme", "")
    return theme if theme in ("dark", "light") else ""


def _notice(request: Request[Any, Any, State]) -> str | None:
    return unquote(request.cookies.get("notice", ""))[:300] or None


_environment = functools.cache(environment)
