"""Pages and fragments from templates, with the few filters that every template may use."""

import functools
import hashlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jinja2
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie, State

from app.base.clock import iso, now
from app.web.headers import request_id

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"

_offered: dict[str, Callable[..., Any]] = {}


def money(nano: int | None) -> str:
    """Nano-dollars as people read them: `$3.20`, `$0.0061`, and an en dash for what is unknown."""
    if nano is None:
        return "–"
    usd = Decimal(nano) / 1_000_000_000
    if usd == 0 or abs(usd) >= Decimal("0.1"):
        return f"${usd:,.2f}"
    digits = f"{usd:.6f}".rstrip("0")
    return f"${digits}" if len(digits.partition(".")[2]) >= 2 else f"${usd:.2f}"


def ago(moment: datetime, clock: Callable[[], datetime] = now) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = elapsed(moment, clock)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds} s ago"


def elapsed(moment: datetime, clock: Callable[[], datetime] = now) -> int:
    """Whole seconds since then; a page counts on from there, so its own clock does not matter."""
    return max(0, int((clock() - moment).total_seconds()))


def minutes(seconds: float | None) -> str:
    """`0:08`, `1:12`, `1:02:03`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def environment(clock: Callable[[], datetime] = now) -> jinja2.Environment:
    """Autoescaping, and strict: a name that a template lacks is an error, never an empty place. What is told relative to
    now is told relative to `clock`."""
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
        "elapsed": functools.partial(elapsed, clock=clock),
        "minutes": minutes,
        "size": size,
        "iso": iso,
    }
    jinja.filters.update(filters)
    jinja.globals.update({"static": static, **_offered})
    return jinja


@functools.cache
def static(path: str) -> str:
    """The address of a static file, changing with its content so that browsers may keep it for a year."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={digest}"


def precompile() -> None:
    """Read and compile everything once, so that no request has to. Blocks for some 100 ms: call it in a thread."""
    for path in STATIC.rglob("*"):
        if path.is_file():
            static(path.relative_to(STATIC).as_posix())
    for name in _environment().list_templates(extensions=["html"]):
        _environment().get_template(name)


def partial(request: Request[Any, Any, State]) -> bool:
    """Whether htmx asks for a fragment. A boosted link sends HX-Request too, but wants a whole page."""
    return request.headers.get("HX-Request-Type") == "partial"


def form_token(request: Request[Any, Any, State]) -> str:
    """The token for the forms of this answer, whose cookie goes out with it."""
    csrf = request.app.state.get("csrf")
    token: str = csrf.token(request) if csrf else ""
    return token


def add_global(name: str, function: Callable[..., Any]) -> None:
    """Let every template call this function. To be said while modules are imported."""
    _offered[name] = function


def render_template(template: str, **context: Any) -> str:
    """HTML of a template that needs nothing of the request."""
    return _environment().get_template(template).render(context)


def render(template: str, request: Request[Any, Any, State], **context: Any) -> str:
    """HTML of a template, with what every page has: who asks, where, in which theme, and the form token."""
    return render_template(
        template,
        person=request.scope.get("user"),
        simulated=request.app.state.get("simulated", False),
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
    """A whole page or a fragment as an answer. A notice that was waiting is said now and forgotten."""
    kept = list(cookies or [])
    if not partial(request) and _notice(request):
        kept.append(Cookie("notice", value="", path="/", max_age=0, httponly=True))
    return Response(
        render(template, request, **context),
        status_code=status_code,
        headers=headers,
        cookies=kept,
        media_type=MediaType.HTML,
    )


def html(text: str, headers: dict[str, str] | None = None) -> Response[str]:
    """A fragment that is there already, as an answer."""
    return Response(text, headers=headers, media_type=MediaType.HTML)


def _theme(request: Request[Any, Any, State]) -> str:
    theme = request.cookies.get("theme", "")
    return theme if theme in ("dark", "light") else ""


def _notice(request: Request[Any, Any, State]) -> str | None:
    return unquote(request.cookies.get("notice", ""))[:300] or None


_environment = functools.cache(environment)
