"""Accounts for people: signing in, registering, signing out, the theme, and one's own profile."""

from collections.abc import Awaitable
from datetime import date, datetime, time
from typing import Any, Final

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.accounts.guards import AnyRequest, SignedIn, person, session_cookie, signed_in
from app.accounts.schemas import NewApiKey
from app.accounts.service import Accounts
from app.accounts.user_agent import label
from app.base import clock
from app.base.errors import AtelierError, Invalid
from app.web import forms
from app.web.errors import to_response
from app.web.limits import REGISTRATION, SIGN_IN, address
from app.web.render import page

BODY: Final = 64 * 1024  # bytes; nothing here is longer
LOGIN: Final = "accounts/login.html"
REGISTER: Final = "accounts/register.html"
PROFILE: Final = "/users/profile"
YEAR: Final = 365 * 24 * 3600  # seconds
LISTED: Final = 100  # sign-ins, and keys, on the profile page


@get("/login")
async def login_form(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    return await _open(LOGIN, request, accounts)


@post("/login", opt=SIGN_IN)
async def login(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    try:
        return await _sign_in(request, accounts, form)
    except AtelierError as exc:
        return await _form(LOGIN, request, accounts, form, exc)


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
    except AtelierError as exc:
        return await _form(REGISTER, request, accounts, form, exc)


@post("/logout")
async def logout(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    await _sign_out(request, accounts)
    return forms.go("/login", "You are signed out.", cookies=[session_cookie(None)])


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


@get(PROFILE, guards=[signed_in])
async def profile(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    return await _profile(request, accounts)


@post(f"{PROFILE}/name", guards=[signed_in])
async def rename(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    deed = accounts.update(request.user.id, request.auth, name=form.get("name", ""))
    return await _changed(request, accounts, "name", form, deed, "Your name was saved.")


@post(f"{PROFILE}/email", guards=[signed_in])
async def change_email(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    current = form.get("current_password")
    deed = accounts.update(request.user.id, request.auth, email=form.get("email", ""), current_password=current)
    return await _changed(request, accounts, "email", form, deed, "Your email was changed, and all else signed out.")


@post(f"{PROFILE}/password", guards=[signed_in])
async def change_password(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    password, current = form.get("password", ""), form.get("current_password")
    deed = accounts.update(request.user.id, request.auth, password=password, current_password=current)
    said = "Your password was changed, and all else signed out."
    return await _changed(request, accounts, "password", form, deed, said)


@post(f"{PROFILE}/sessions/end", guards=[signed_in])
async def end_other_sessions(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    deed = accounts.end_other_sessions(request.user.id, request.auth)
    return await _changed(request, accounts, "sessions", {}, deed, "You are signed out everywhere else.")


@post(f"{PROFILE}/sessions/{{session_id:str}}/end", guards=[signed_in])
async def end_session(
    request: SignedIn, session_id: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[str]:
    deed = accounts.end_session(request.user.id, session_id)
    return await _changed(request, accounts, "sessions", {}, deed, "You are signed out there.")


@post(f"{PROFILE}/keys", guards=[signed_in], status_code=200)
async def add_key(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    """The key stands on the page that answers, and on no other ever after."""
    form = await forms.read(request)
    try:
        made = await accounts.add_key(
            request.user.id,
            form.get("name", ""),
            _last_moment(form.get("expires_at", "")),
            monthly_cap=form.get("monthly_cap_usd", "").strip() or None,
            models=form.get("allowed_models", "").replace(",", " ").split() or None,
        )
    except AtelierError as exc:
        return await _profile(request, accounts, "api-keys", form, exc)
    return await _profile(request, accounts, "api-keys", made=made)


@post(f"{PROFILE}/keys/{{key_id:str}}/delete", guards=[signed_in])
async def remove_key(request: SignedIn, key_id: FromPath[str], accounts: NamedDependency[Accounts]) -> Response[str]:
    deed = accounts.remove_key(request.user.id, key_id)
    return await _changed(request, accounts, "api-keys", {}, deed, "The key was deleted. It opens nothing any more.")


async def _changed(
    request: SignedIn, accounts: Accounts, part: str, form: dict[str, str], deed: Awaitable[Any], said: str
) -> Response[str]:
    """Do it; the profile says that it was done, or in that part what is wrong."""
    try:
        await deed
    except AtelierError as exc:
        return await _profile(request, accounts, part, form, exc)
    return forms.go(f"{PROFILE}#{part}", said)


async def _profile(
    request: SignedIn,
    accounts: Accounts,
    part: str = "",
    form: dict[str, str] | None = None,
    problem: AtelierError | None = None,
    made: NewApiKey | None = None,
) -> Response[str]:
    """The page; in one of its parts what was typed, but for passwords, with what is wrong, or the key just made."""
    owner, answer = request.user.id, to_response(problem) if problem else None
    typed = {name: text for name, text in (form or {}).items() if "password" not in name}
    sessions = await accounts.sessions(owner, limit=LISTED)
    return page(
        "accounts/profile.html",
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer and answer.status == 429 else None,
        part=part,
        typed=typed,
        errors=answer.problem.details.get("fields", {}) if answer else {},
        message=answer.problem.message if answer else None,
        sign_ins=[(session, label(session.agent), session.id == request.auth.id) for session in sessions.items],
        keys=(await accounts.keys(owner, limit=LISTED)).items,
        made=made,
        origin=accounts.settings.public_url,
        today=clock.now().date().isoformat(),
    )


def _last_moment(day: str) -> datetime | None:
    """The end of that day in UTC; None for no day."""
    try:
        return datetime.combine(date.fromisoformat(day.strip()), time(23, 59, 59)) if day.strip() else None
    except ValueError:
        raise Invalid("The expiry must be a date.", fields={"expires_at": "must be a date"}) from None


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
    answer = to_response(problem) if problem else None
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
    token = await accounts.sign_in_page(form.get("email", ""), form.get("password", ""), agent, address(request.scope))
    await _sign_out(request, accounts)
    return forms.go(forms.safe_next(form.get("next")), notice, cookies=[session_cookie(token)])


async def _sign_out(request: AnyRequest, accounts: Accounts) -> None:
    """End the session that asks, if one does."""
    user = person(request)
    if user:
        await accounts.sign_out(user.id, request.auth)


routes: Final = [
    Router(
        "/",
        route_handlers=[
            login_form,
            login,
            register_form,
            register,
            logout,
            theme,
            profile,
            rename,
            change_email,
            change_password,
            end_other_sessions,
            end_session,
            add_key,
            remove_key,
        ],
        include_in_schema=False,
        request_max_body_size=BODY,
    )
]
