"""Accounts for people: signing in, registering, signing out, and the theme."""

from typing import Final

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency

from app.accounts.guards import AnyRequest, person, session_cookie
from app.accounts.service import Accounts
from app.base.errors import AtelierError, Invalid
from app.web import forms
from app.web.errors import told
from app.web.limits import REGISTRATION, SIGN_IN
from app.web.render import page

BODY: Final = 64 * 1024  # bytes; nothing here is longer
LOGIN: Final = "accounts/login.html"
REGISTER: Final = "accounts/register.html"
YEAR: Final = 365 * 24 * 3600  # seconds


@get("/login")
async def login_form(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    return await _open(LOGIN, request, accounts)


@post("/login", opt=SIGN_IN)
async def login(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    try:
        return await _sign_in(request, accounts, form)
    except AtelierError as problem:
        return await _form(LOGIN, request, accounts, form, problem)


@get("/register")
async def register_form(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    return await _open(REGISTER, request, accounts)


@post("/register", opt=REGISTRATION)
async def register(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    try:
        user = await accounts.register(form.get("email", ""), form.get("password", ""), form.get("name", ""))
        notice = "Your account is ready: you are the admin here." if user.is_admin else "Your account is ready."
        return await _sign_in(request, accounts, form, notice)
    except AtelierError as problem:
        return await _form(REGISTER, request, accounts, form, problem)


@post("/logout")
async def logout(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    await _sign_out(request, accounts)
    return forms.go("/login", "You are signed out.", cookies=[session_cookie(accounts, None)])


@post("/theme")
async def theme(request: AnyRequest) -> Response[str]:
    """`dark`, `light`, or `system`, which is to have no cookie."""
    form = await forms.read(request)
    chosen = form.get("theme", "")
    if chosen not in ("dark", "light", "system"):
        raise Invalid("There is no such theme.", fields={"theme": "must be dark, light or system"})
    cookie = Cookie(
        key="theme",
        value="" if chosen == "system" else chosen,
        max_age=0 if chosen == "system" else YEAR,
        path="/",
        httponly=True,
        samesite="lax",
    )
    return forms.go(forms.safe_next(form.get("next")), cookies=[cookie])


async def _open(template: str, request: AnyRequest, accounts: Accounts) -> Response[str]:
    """The empty form; whoever is signed in already is sent on."""
    wanted = dict(request.query_params)
    if person(request):
        return forms.go(forms.safe_next(wanted.get("next")))
    return await _form(template, request, accounts, {"next": wanted.get("next", "")})


async def _form(
    template: str, request: AnyRequest, accounts: Accounts, form: dict[str, str], problem: AtelierError | None = None
) -> Response[str]:
    """The form with what was typed, but for the password, and what is wrong with it."""
    answer = told(problem) if problem else None
    errors = answer.problem.details.get("fields", {}) if answer else {}
    values = {"email": form.get("email", ""), "name": form.get("name", ""), "next": forms.safe_next(form.get("next"))}
    return page(
        template,
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer and answer.status == 429 else None,
        values=values,
        errors=errors,
        message=answer.problem.message if answer and not errors else None,
        open=await accounts.registration_open(),
    )


async def _sign_in(
    request: AnyRequest, accounts: Accounts, form: dict[str, str], notice: str | None = None
) -> Response[str]:
    agent = request.headers.get("user-agent", "")
    token = await accounts.sign_in_page(form.get("email", ""), form.get("password", ""), agent)
    await _sign_out(request, accounts)
    return forms.go(forms.safe_next(form.get("next")), notice, cookies=[session_cookie(accounts, token)])


async def _sign_out(request: AnyRequest, accounts: Accounts) -> None:
    """End the session that asks, if one does."""
    user = person(request)
    if user:
        await accounts.sign_out(user.id, request.auth)


routes: Final = [
    Router(
        "/",
        route_handlers=[login_form, login, register_form, register, logout, theme],
        include_in_schema=False,
        request_max_body_size=BODY,
    )
]
