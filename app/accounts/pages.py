"""Account pages: sign-in, registration, sign-out, theme and profile."""

from collections.abc import Awaitable
from datetime import date, datetime, time
from typing import Any, Final

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.accounts.guards import AnyRequest, SignedIn, current_user, session_cookie, signed_in
from app.accounts.schemas import NewApiKey
from app.accounts.service import Accounts
from app.accounts.user_agent import label
from app.base import clock
from app.base.errors import AtelierError, Invalid
from app.web import forms
from app.web.errors import to_response
from app.web.limits import REGISTRATION, SIGN_IN, address
from app.web.render import page

MAX_BODY: Final = 64 * 1024  # bytes
LOGIN: Final = "accounts/login.html"
REGISTER: Final = "accounts/register.html"
PROFILE: Final = "/users/profile"
YEAR: Final = 365 * 24 * 3600  # seconds
PROFILE_LIMIT: Final = 100  # sessions, and keys, shown on the profile page


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
        user = await accounts.registration.register(
            form.get("email", ""), form.get("password", ""), form.get("name", "")
        )
        notice = "Account created. You are the admin." if user.is_admin else "Account created."
        return await _sign_in(request, accounts, form, notice)
    except AtelierError as exc:
        return await _form(REGISTER, request, accounts, form, exc)


@post("/logout")
async def logout(request: AnyRequest, accounts: NamedDependency[Accounts]) -> Response[str]:
    await _sign_out(request, accounts)
    return forms.go("/login", "Signed out.", cookies=[session_cookie(None)])


@post("/theme")
async def theme(request: AnyRequest) -> Response[str]:
    """Set the theme cookie to `dark` or `light`; `system` deletes it."""
    form = await forms.read(request)
    choice = form.get("theme", "")
    if choice not in ("dark", "light", "system"):
        raise Invalid("The theme must be dark, light or system.", fields={"theme": "must be dark, light or system"})
    cookie = Cookie(
        key="theme",
        value="" if choice == "system" else choice,
        max_age=0 if choice == "system" else YEAR,
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
    """Change the display name."""
    form = await forms.read(request)
    change = accounts.profile.update(request.user.id, request.auth, name=form.get("name", ""))
    return await _changed(request, accounts, "name", form, change, "Display name saved.")


@post(f"{PROFILE}/email", guards=[signed_in])
async def change_email(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    current = form.get("current_password")
    change = accounts.profile.update(
        request.user.id, request.auth, email=form.get("email", ""), current_password=current
    )
    return await _changed(
        request, accounts, "email", form, change, "Email changed. All other sessions were signed out."
    )


@post(f"{PROFILE}/password", guards=[signed_in])
async def change_password(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    form = await forms.read(request)
    password, current = form.get("password", ""), form.get("current_password")
    change = accounts.profile.update(request.user.id, request.auth, password=password, current_password=current)
    notice = "Password changed. All other sessions were signed out."
    return await _changed(request, accounts, "password", form, change, notice)


@post(f"{PROFILE}/sessions/end", guards=[signed_in])
async def end_other_sessions(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    change = accounts.sessions.end_others(request.user.id, request.auth)
    return await _changed(request, accounts, "sessions", {}, change, "All other sessions were signed out.")


@post(f"{PROFILE}/sessions/{{session_id:str}}/end", guards=[signed_in])
async def end_session(
    request: SignedIn, session_id: FromPath[str], accounts: NamedDependency[Accounts]
) -> Response[str]:
    change = accounts.sessions.end(request.user.id, session_id)
    return await _changed(request, accounts, "sessions", {}, change, "Session signed out.")


@post(f"{PROFILE}/keys", guards=[signed_in], status_code=200)
async def add_key(request: SignedIn, accounts: NamedDependency[Accounts]) -> Response[str]:
    """Create a key. Only the response shows its secret."""
    form = await forms.read(request)
    try:
        created = await accounts.api_keys.add(
            request.user.id,
            form.get("name", ""),
            _end_of_day(form.get("expires_at", "")),
            monthly_cap=form.get("monthly_cap_usd", "").strip() or None,
            models=form.get("allowed_models", "").replace(",", " ").split() or None,
        )
    except AtelierError as exc:
        return await _profile(request, accounts, "api-keys", form, exc)
    return await _profile(request, accounts, "api-keys", created=created)


@post(f"{PROFILE}/keys/{{key_id:str}}/delete", guards=[signed_in])
async def remove_key(request: SignedIn, key_id: FromPath[str], accounts: NamedDependency[Accounts]) -> Response[str]:
    change = accounts.api_keys.remove(request.user.id, key_id)
    return await _changed(request, accounts, "api-keys", {}, change, "API key deleted.")


async def _changed(
    request: SignedIn, accounts: Accounts, section: str, form: dict[str, str], change: Awaitable[Any], notice: str
) -> Response[str]:
    """Apply the change, then redirect with a notice; on failure, render the profile with the errors in that section."""
    try:
        await change
    except AtelierError as exc:
        return await _profile(request, accounts, section, form, exc)
    return forms.go(f"{PROFILE}#{section}", notice)


async def _profile(
    request: SignedIn,
    accounts: Accounts,
    section: str = "",
    form: dict[str, str] | None = None,
    exc: AtelierError | None = None,
    created: NewApiKey | None = None,
) -> Response[str]:
    """The page. One section may show the submitted values, except passwords, with errors, or the newly created key."""
    owner, answer = request.user.id, to_response(exc) if exc else None
    submitted = {name: text for name, text in (form or {}).items() if "password" not in name}
    sessions = await accounts.sessions.newest(owner, limit=PROFILE_LIMIT)
    return page(
        "accounts/profile.html",
        request,
        status_code=answer.status if answer else 200,
        headers=answer.headers if answer and answer.status == 429 else None,
        section=section,
        submitted=submitted,
        errors=answer.problem.details.get("fields", {}) if answer else {},
        message=answer.problem.message if answer else None,
        active_sessions=[(session, label(session.agent), session.id == request.auth.id) for session in sessions.items],
        keys=(await accounts.api_keys.newest(owner, limit=PROFILE_LIMIT)).items,
        created=created,
        origin=accounts.settings.public_url,
        today=clock.now().date().isoformat(),
    )


def _end_of_day(day: str) -> datetime | None:
    """The end of an ISO date in UTC; None for an empty text."""
    try:
        return datetime.combine(date.fromisoformat(day.strip()), time(23, 59, 59)) if day.strip() else None
    except ValueError:
        raise Invalid(
            "The expiry must be a date such as 2030-12-31.", fields={"expires_at": "must be a date such as 2030-12-31"}
        ) from None


async def _open(template: str, request: AnyRequest, accounts: Accounts) -> Response[str]:
    """The empty form, or a redirect for a signed-in user."""
    query = dict(request.query_params)
    if current_user(request):
        return forms.go(forms.safe_next(query.get("next")))
    return await _form(template, request, accounts, {"next": query.get("next", "")})


async def _form(
    template: str, request: AnyRequest, accounts: Accounts, form: dict[str, str], exc: AtelierError | None = None
) -> Response[str]:
    """The form with the submitted values, except the password, and the errors."""
    answer = to_response(exc) if exc else None
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
        open=await accounts.registration.is_open(),
    )


async def _sign_in(
    request: AnyRequest, accounts: Accounts, form: dict[str, str], notice: str | None = None
) -> Response[str]:
    agent = request.headers.get("user-agent", "")
    token = await accounts.sign_in.start_page_session(
        form.get("email", ""), form.get("password", ""), agent, address(request.scope)
    )
    await _sign_out(request, accounts)
    return forms.go(forms.safe_next(form.get("next")), notice, cookies=[session_cookie(token)])


async def _sign_out(request: AnyRequest, accounts: Accounts) -> None:
    """End the current session, if any."""
    user = current_user(request)
    if user:
        await accounts.sessions.end_current(user.id, request.auth)


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
        request_max_body_size=MAX_BODY,
    )
]
