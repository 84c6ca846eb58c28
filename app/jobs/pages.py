"""A person's jobs: the list, one job, and its card, which polls itself while the job is unfinished."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import signed_in
from app.jobs import cards
from app.jobs.schemas import Job, Late, Status
from app.jobs.service import Jobs
from app.providers.contract import Kind
from app.web import forms
from app.web.limits import PAID
from app.web.render import form_token, html, page, partial

Person = Request[Any, Any, State]


@get("/jobs", guards=[signed_in], include_in_schema=False)
async def index(
    request: Person,
    jobs: NamedDependency[Jobs],
    status: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    found = await jobs.newest(
        request.user.id,
        kinds=[Kind(kind)] if kind in [*Kind] else (),
        statuses=[Status(status)] if status in [*Status] else (),
        before=cursor,
    )
    return page("jobs/jobs.html", request, jobs=found.items, next=found.next, status=status, kind=kind)


@get("/jobs/{id:str}", guards=[signed_in], include_in_schema=False)
async def job(request: Person, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    found = await jobs.find(request.user.id, id)
    events = await jobs.events(request.user.id, id)
    template = "jobs/_job.html" if partial(request) else "jobs/job.html"
    return page(template, request, job=found, events=events)


@get("/jobs/{id:str}/card", guards=[signed_in], include_in_schema=False)
async def card(request: Person, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[Any]:
    """What a card that asks for itself is told: 304 when it shows all of this already."""
    found = await jobs.find(request.user.id, id)
    tag = {} if found.final else {"ETag": cards.version(found)}
    if tag and request.headers.get("If-None-Match") == tag["ETag"]:
        return Response(None, status_code=304, headers=tag)
    return html(cards.card(found, form_token(request)), headers=tag)


@post("/jobs/{id:str}/cancel", guards=[signed_in], include_in_schema=False, status_code=200)
async def cancel(request: Person, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    form = await forms.read(request)
    late = Late.KEEP if form.get("keep_result", "") in ("on", "true", "1") else Late.DISCARD
    job = await jobs.cancel(request.user.id, id, late)
    return _card(request, job, "The job was cancelled." if job.final else "The provider was asked to stop.")


@post("/jobs/{id:str}/retry", guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def retry(request: Person, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    return _card(request, (await jobs.retry(request.user.id, id, alone=True)).job, "The job was started again.")


@post("/jobs/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: Person, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    deleted = await jobs.delete(request.user.id, id)
    if partial(request):
        return page("jobs/_deleted.html", request, job=deleted)
    return forms.go("/jobs", "The job was deleted.")


@post("/jobs/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: Person, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    return _card(request, await jobs.restore(request.user.id, id), "The job is back.")


def _card(request: Person, job: Job, notice: str) -> Response[str]:
    """After a change: the card for htmx, the job's page with a notice for everybody else."""
    if partial(request):
        return html(cards.card(job, form_token(request)))
    return forms.go(f"/jobs/{job.id}", notice)


routes = [index, job, card, cancel, retry, delete, restore]
