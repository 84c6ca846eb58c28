"""The admin section: the same site, seen by an admin. Every bulk action first says how many it would touch."""

from typing import Any, Final

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import SignedIn
from app.accounts.guards import admin as admins
from app.accounts.schemas import Role
from app.admin import audit_log
from app.admin.service import Admin
from app.audit.schemas import Actor
from app.base.errors import Invalid
from app.jobs.schemas import Status
from app.providers.contract import Kind
from app.web import forms
from app.web.limits import PAID
from app.web.render import add_global, page

FINAL: Final = [status for status in Status if status.final]

add_global("audit_line", audit_log.line)


@get("/")
async def dashboard(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    return page(
        "admin/dashboard.html",
        request,
        stats=await admin.stats(),
        beats=request.app.state.background.beats(),
        disk=await admin.disk(),
        database=await admin.database_health(),
        versions=admin.versions(),
    )


@get("/people")
async def people(
    request: SignedIn, admin: NamedDependency[Admin], q: FromQuery[str] = "", cursor: FromQuery[str | None] = None
) -> Response[str]:
    part = await admin.people(q=q, after=cursor)
    return page("admin/people.html", request, people=part.items, total=part.total, next=part.next, q=q)


@post("/people/{id:str}/role", status_code=200)
async def set_role(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    role = (await forms.read(request)).get("role", "")
    if role not in [*Role]:
        raise Invalid("There is no such role.", fields={"role": "must be user or admin"})
    user = await admin.set_role(_actor(request), id, Role(role))
    return forms.go("/admin/people", f"{user.email} is now {'an admin' if user.is_admin else 'a user'}.")


@post("/people/{id:str}/active", status_code=200)
async def set_active(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    active = (await forms.read(request)).get("is_active") == "true"
    user = await admin.set_active(_actor(request), id, active)
    return forms.go("/admin/people", f"{user.email} was {'activated' if active else 'deactivated and signed out'}.")


@get("/people/{id:str}/delete")
async def confirm_delete(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    """What would go with the person, before it does."""
    return page("admin/delete_person.html", request, leaving=await admin.leaving(id))


@post("/people/{id:str}/delete", status_code=200)
async def delete_person(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    user = await admin.delete_person(_actor(request), id)
    return forms.go("/admin/people", f"{user.email} was deleted.")


@get("/jobs")
async def jobs(
    request: SignedIn,
    admin: NamedDependency[Admin],
    kind: FromQuery[str] = "",
    status: FromQuery[str] = "",
    user: FromQuery[str] = "",
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    part = await admin.jobs(
        kinds=[Kind(kind)] if kind in [*Kind] else (),
        statuses=[Status(status)] if status in [*Status] else (),
        user=user,
        q=q,
        before=cursor,
    )
    return page(
        "admin/jobs.html",
        request,
        jobs=part.items,
        total=part.total,
        next=part.next,
        kind=kind,
        status=status,
        user=user,
        q=q,
        overdue=len(admin.overdue()),
    )


@get("/jobs/{id:str}")
async def job(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    """One job with its timeline, as an admin sees it: not what was made, but what happened."""
    found = await admin.job(id)
    return page("admin/job.html", request, found=found, events=await admin.events(found.job))


@post("/jobs/{id:str}/cancel", status_code=200)
async def cancel(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    await admin.cancel(_actor(request), id)
    return forms.go(f"/admin/jobs/{id}", "The job was cancelled.")


@post("/jobs/{id:str}/retry", status_code=200, opt=PAID)
async def retry(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    retried = await admin.retry(_actor(request), id, alone=True)
    return forms.go(f"/admin/jobs/{retried.job.job.id}", "The job was started again as this one.")


@post("/jobs/{id:str}/delete", status_code=200)
async def delete(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    await admin.delete(_actor(request), id)
    return forms.go("/admin/jobs", "The job was deleted for good.")


@post("/jobs/purge", status_code=200)
async def purge(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    """Without `confirmed` a count to agree to; with it the deed."""
    form = await forms.read(request)
    days = form.get("older_than_days", "")
    if not days.isdigit():
        raise Invalid("Give a whole number of days.", fields={"older_than_days": "must be a whole number"})
    statuses = [status for status in FINAL if form.get(f"status_{status.value}")]
    confirmed = form.get("confirmed") == "yes"
    count = await admin.purge(_actor(request), int(days), statuses=statuses, dry_run=not confirmed)
    if confirmed:
        return forms.go("/admin/jobs", f"{_jobs(count)} deleted for good.")
    return page("admin/purge.html", request, days=int(days), statuses=statuses, count=count)


@post("/jobs/timed-out", status_code=200)
async def time_out(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    count = await admin.time_out(_actor(request))
    return forms.go("/admin/jobs", f"{_jobs(count)} marked as timed out.")


@get("/models")
async def models(request: SignedIn, admin: NamedDependency[Admin], q: FromQuery[str] = "") -> Response[str]:
    return page("admin/models.html", request, models=admin.models(q), q=q, last=admin.last_changes())


@post("/models/refresh", status_code=200)
async def refresh_models(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    changes = await admin.refresh_models(_actor(request))
    said = f"{len(changes.added)} added, {len(changes.removed)} removed, {len(changes.changed)} changed."
    return forms.go("/admin/models", f"The list was refreshed: {said}")


@post("/models/switch", status_code=200)
async def switch_model(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    form = await forms.read(request)
    model = await admin.switch_model(_actor(request), form.get("id", ""), form.get("enabled") == "true")
    return forms.go("/admin/models", f"{model.name} is {'on add_global again' if model.enabled else 'switched off'}.")


@post("/tokens/purge", status_code=200)
async def purge_tokens(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    return forms.go("/admin", f"{await admin.purge_tokens(_actor(request))} dead tokens were deleted.")


@get("/audit")
async def log(request: SignedIn, admin: NamedDependency[Admin], cursor: FromQuery[str | None] = None) -> Response[str]:
    part = await admin.log(before=cursor)
    return page("admin/audit.html", request, entries=part.items, total=part.total, next=part.next)


def _actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


def _jobs(count: int) -> str:
    return "One job was" if count == 1 else f"{count:,} jobs were"


routes: Final[list[Any]] = [
    Router(
        "/admin",
        route_handlers=[
            dashboard,
            people,
            set_role,
            set_active,
            confirm_delete,
            delete_person,
            jobs,
            job,
            cancel,
            retry,
            delete,
            purge,
            time_out,
            models,
            refresh_models,
            switch_model,
            purge_tokens,
            log,
        ],
        guards=[admins],
        include_in_schema=False,
    )
]
