"""The pages on which admins add, test, change and remove providers."""

from typing import Any, Final

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.accounts.guards import SignedIn
from app.accounts.guards import admin as admins
from app.audit.schemas import Actor
from app.base.errors import AtelierError, Conflict, Invalid
from app.provider_accounts.schemas import AccountChanges, NewProviderAccount, ProviderAccount
from app.provider_accounts.service import ProviderAccounts
from app.providers.registry import DEFAULT_URLS, ProviderKind
from app.web import forms
from app.web.errors import to_response
from app.web.render import page

LIST: Final = "/admin/providers"
FIELDS: Final = ("name", "kind", "base_url", "priority")  # never the key


@get("/")
async def providers(request: SignedIn, provider_accounts: NamedDependency[ProviderAccounts]) -> Response[str]:
    return page(
        "admin/providers.html",
        request,
        accounts=await provider_accounts.accounts(),
        simulator_on=provider_accounts.simulated,
    )


@get("/new")
async def new(request: SignedIn) -> Response[str]:
    return _form(request, None, {})


@post("/", status_code=200)
async def add(request: SignedIn, provider_accounts: NamedDependency[ProviderAccounts]) -> Response[str]:
    form = await forms.read(request)
    try:
        if form.get("kind") not in [*ProviderKind]:
            raise Invalid("Choose a kind.", fields={"kind": "Choose a kind."})
        account = await provider_accounts.add(
            _actor(request),
            NewProviderAccount(
                name=form.get("name", ""),
                kind=ProviderKind(form["kind"]),
                base_url=form.get("base_url") or None,
                api_key=form.get("api_key") or None,
            ),
        )
    except (Invalid, Conflict) as exc:
        return _form(request, None, form, exc)
    return forms.go(LIST, _notice(account, "added"))


@get("/{name:str}")
async def edit(
    request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]
) -> Response[str]:
    account = await provider_accounts.find(name)
    return _form(request, account, {"base_url": account.base_url, "priority": str(account.priority)})


@post("/{name:str}", status_code=200)
async def change(
    request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]
) -> Response[str]:
    form, account = await forms.read(request), await provider_accounts.find(name)
    try:
        priority = form.get("priority", "").strip()
        if priority and not priority.isdecimal():
            raise Invalid("The priority must be a number.", fields={"priority": "The priority must be a number."})
        changes = AccountChanges(
            base_url=form.get("base_url") or None,
            api_key=form.get("api_key") or None,
            priority=int(priority[:9]) if priority else None,
        )
        await provider_accounts.change(_actor(request), name, changes)
    except (Invalid, Conflict) as exc:
        return _form(request, account, form, exc)
    tested = await provider_accounts.test(_actor(request), name)
    return forms.go(LIST, _notice(tested, "saved"))


@post("/{name:str}/test", status_code=200)
async def test(
    request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]
) -> Response[str]:
    await provider_accounts.test(_actor(request), name)
    return forms.go(LIST)


@post("/{name:str}/switch", status_code=200)
async def switch(
    request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]
) -> Response[str]:
    enabled = (await forms.read(request)).get("enabled") == "true"
    await provider_accounts.change(_actor(request), name, AccountChanges(enabled=enabled))
    return forms.go(LIST, f"{name} is {'on' if enabled else 'off'}.")


@post("/{name:str}/remove", status_code=200)
async def remove(
    request: SignedIn, name: FromPath[str], provider_accounts: NamedDependency[ProviderAccounts]
) -> Response[str]:
    await provider_accounts.remove(_actor(request), name)
    return forms.go(LIST, f"{name} was removed with its key.")


def _form(
    request: SignedIn, account: ProviderAccount | None, form: dict[str, str], error: AtelierError | None = None
) -> Response[str]:
    """The form of a new account, or of `account`."""
    errors = error.fields if isinstance(error, Invalid) else {}
    return page(
        "admin/provider.html",
        request,
        status_code=to_response(error).status if error else 200,
        account=account,
        values={name: form.get(name, "") for name in FIELDS},
        kinds=[(kind.value, KIND_NAMES[kind], DEFAULT_URLS.get(kind, "")) for kind in ProviderKind],
        errors=errors,
        message=error.message if error and not errors else None,
    )


KIND_NAMES: Final = {
    ProviderKind.OPENROUTER: "OpenRouter",
    ProviderKind.OPENAI: "OpenAI, or a server compatible with it",
    ProviderKind.FAL: "fal",
}


def _notice(account: ProviderAccount, done: str) -> str:
    if account.tested is None or account.tested.ok:
        return f"{account.name} was {done}."
    return f"{account.name} was {done}, but does not answer yet: {account.tested.message}"


def _actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


routes: Final[list[Any]] = [
    Router(
        LIST,
        route_handlers=[providers, new, add, edit, change, test, switch, remove],
        guards=[admins],
        include_in_schema=False,
    )
]
