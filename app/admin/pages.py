"""The admin pages. Bulk actions first show how many items they would affect."""

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
from app.jobs.schemas import JobStatus
from app.providers.contract import Kind
from app.web import forms
from app.web.limits import PAID
from app.web.render import add_global, page

FINAL_STATUSES: Final = [status for status in JobStatus if status.final]

add_global("audit_line", audit_log.line)


@get("/")
async def dashboard(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    """Statistics, background tasks, disk usage and versions."""
    return page(
        "admin/dashboard.html",
        request,
        stats=await admin.stats(),
        tasks=request.app.state.background.health(),
        disk=await admin.disk(),
        database=await admin.database_health(),
        versions=admin.versions(),
    )


@get("/users")
async def users(
    request: SignedIn, admin: NamedDependency[Admin], q: FromQuery[str] = "", cursor: FromQuery[str | None] = None
) -> Response[str]:
    found = await admin.users(q=q, after=cursor)
    return page("admin/users.html", request, users=found.items, total=found.total, next=found.next, q=q)


@post("/users/{id:str}/role", status_code=200)
async def set_role(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    role = (await forms.read(request)).get("role", "")
    if role not in [*Role]:
        raise Invalid("The role must be user or admin.", fields={"role": "must be user or admin"})
    user = await admin.set_role(_actor(request), id, Role(role))
    return forms.go("/admin/users", f"{user.email} is now {'an admin' if user.is_admin else 'a user'}.")


@post("/users/{id:str}/active", status_code=200)
async def set_active(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    active = (await forms.read(request)).get("is_active") == "true"
    user = await admin.set_active(_actor(request), id, active)
    return forms.go("/admin/users", f"{user.email} was {'activated' if active else 'deactivated and signed out'}.")


@get("/users/{id:str}/delete")
async def confirm_delete(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    """Ask for confirmation and list what would be deleted with the user."""
    return page("admin/delete_user.html", request, preview=await admin.deletion_preview(id))


@post("/users/{id:str}/delete", status_code=200)
async def delete_user(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    user = await admin.delete_user(_actor(request), id)
    return forms.go("/admin/users", f"{user.email} was deleted.")


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
    found = await admin.jobs(
        kinds=[Kind(kind)] if kind in [*Kind] else (),
        statuses=[JobStatus(status)] if status in [*JobStatus] else (),
        user=user,
        q=q,
        before=cursor,
    )
    return page(
        "admin/jobs.html",
        request,
        jobs=found.items,
        total=found.total,
        next=found.next,
        kind=kind,
        status=status,
        user=user,
        q=q,
        overdue=len(admin.overdue()),
    )


@get("/jobs/{id:str}")
async def job(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    """One job with its timeline, without its results."""
    found = await admin.job(id)
    return page("admin/job.html", request, found=found, events=await admin.events(found.job))


@post("/jobs/{id:str}/cancel", status_code=200)
async def cancel(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    await admin.cancel(_actor(request), id)
    return forms.go(f"/admin/jobs/{id}", "Job cancelled.")


@post("/jobs/{id:str}/retry", status_code=200, opt=PAID)
async def retry(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    retried = await admin.retry(_actor(request), id, single_flight=True)
    return forms.go(f"/admin/jobs/{retried.job.job.id}", "Retried as this new job.")


@post("/jobs/{id:str}/delete", status_code=200)
async def delete(request: SignedIn, id: FromPath[str], admin: NamedDependency[Admin]) -> Response[str]:
    await admin.delete(_actor(request), id)
    return forms.go("/admin/jobs", "Job deleted permanently.")


@post("/jobs/purge", status_code=200)
async def purge(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    """Delete old jobs; without `confirmed`, show the count and ask for confirmation."""
    form = await forms.read(request)
    days = form.get("older_than_days", "")
    if not days.isdigit():
        raise Invalid(
            "The number of days must be a whole number.", fields={"older_than_days": "must be a whole number"}
        )
    statuses = [status for status in FINAL_STATUSES if form.get(f"status_{status.value}")]
    confirmed = form.get("confirmed") == "yes"
    count = await admin.purge(_actor(request), int(days), statuses=statuses, dry_run=not confirmed)
    if confirmed:
        return forms.go("/admin/jobs", f"{_jobs(count)} deleted permanently.")
    return page("admin/purge.html", request, days=int(days), statuses=statuses, count=count)


@post("/jobs/timed-out", status_code=200)
async def time_out(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    count = await admin.time_out(_actor(request))
    return forms.go("/admin/jobs", f"{_jobs(count)} marked as timed out.")


@post("/tokens/purge", status_code=200)
async def purge_tokens(request: SignedIn, admin: NamedDependency[Admin]) -> Response[str]:
    count = await admin.purge_tokens(_actor(request))
    return forms.go("/admin", f"{count:,} expired or revoked token{' was' if count == 1 else 's were'} deleted.")


@get("/audit")
async def log(request: SignedIn, admin: NamedDependency[Admin], cursor: FromQuery[str | None] = None) -> Response[str]:
    """The audit log."""
    found = await admin.log(before=cursor)
    return page("admin/audit.html", request, entries=found.items, total=found.total, next=found.next)


def _actor(request: SignedIn) -> Actor:
    return Actor(request.user.id, request.user.email)


def _jobs(count: int) -> str:
    return "One job was" if count == 1 else f"{count:,} jobs were"


routes: Final[list[Any]] = [
    Router(
        "/admin",
        route_handlers=[
            dashboard,
            users,
            set_role,
            set_active,
            confirm_delete,
            delete_user,
            jobs,
            job,
            cancel,
            retry,
            delete,
            purge,
            time_out,
            purge_tokens,
            log,
        ],
        guards=[admins],
        include_in_schema=False,
    )
]
