"""Job pages: the list, one job, and its card, which polls itself while the job is unfinished."""

import asyncio
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.types import HTTPScope

from app.accounts.guards import signed_in
from app.accounts.schemas import User
from app.base.errors import Invalid, Missing
from app.jobs import card_cache, timeline
from app.jobs.schemas import EndedJobs, Job, JobStatus, LateResultPolicy, QueueStep
from app.jobs.service import Jobs
from app.providers.contract import Kind
from app.web import forms
from app.web.csrf import Csrf
from app.web.fast_path import FastResponse
from app.web.limits import PAID, POLLED
from app.web.render import add_global, form_token, html, page, partial
from app.web.timestamps import Timestamp, to_utc

PageRequest = Request[Any, Any, State]


@get("/jobs", guards=[signed_in], include_in_schema=False)
async def index(
    request: PageRequest,
    jobs: NamedDependency[Jobs],
    status: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    owner, kinds = request.user.id, [Kind(kind)] if kind in [*Kind] else ()
    if status == JobStatus.QUEUED:
        found = await jobs.user_queue.page(owner, kinds=kinds, before=cursor)
    else:
        statuses = [JobStatus(status)] if status in [*JobStatus] else ()
        found = await jobs.newest(owner, kinds=kinds, statuses=statuses, before=cursor)
    queued = jobs.user_queue.count(owner)
    return page("jobs/jobs.html", request, jobs=found.items, next=found.next, status=status, kind=kind, queued=queued)


@get("/jobs/ended", guards=[signed_in], include_in_schema=False, opt=POLLED)
async def ended(
    request: PageRequest, jobs: NamedDependency[Jobs], since: FromQuery[Timestamp | None] = None
) -> EndedJobs:
    """The jobs that have ended since the `until` of the last answer, for the browser's notifications."""
    return await jobs.ended(request.user.id, to_utc(since, "since"))


@get("/jobs/{id:str}", guards=[signed_in], include_in_schema=False)
async def job(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    found = await jobs.find(request.user.id, id)
    events = await jobs.events(request.user.id, id)
    template = "jobs/_job.html" if partial(request) else "jobs/job.html"
    return page(template, request, job=found, events=events)


@get("/jobs/{id:str}/card", guards=[signed_in], include_in_schema=False, opt=POLLED)
async def card(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[Any]:
    """The card, for its own polling: 204 if the card shown is up to date."""
    found = await jobs.find(request.user.id, id)
    if not found.final and request.query_params.get("seen") == card_cache.version(found):
        return Response(None, status_code=204)
    return html(card_cache.cards([found], form_token(request)))


@get("/jobs/{id:str}/preview", guards=[signed_in], include_in_schema=False)
async def preview(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[bytes]:
    """The newest preview of an unfinished job's image, for its owner only."""
    found = await jobs.find(request.user.id, id)
    newest = jobs.waiters.previews.newest(found.id)
    if newest is None:
        raise Missing("This job has no preview.")
    return Response(await asyncio.to_thread(newest.decoded), media_type=f"image/{newest.format}")


def card_from_memory(scope: HTTPScope, id: str, jobs: Jobs, csrf: Csrf) -> FastResponse | None:
    """The same answer without the database, for the site's fast path: None when the caller is not signed in, or the job has
    ended or belongs to another user."""
    user: User | None = scope["user"]
    found = jobs.cached(user.id, id) if user else None
    if found is None:
        return None
    if scope["query_string"] == b"seen=" + card_cache.version(found).encode():
        return FastResponse(204, [], b"")
    token, cookie = csrf.for_page(Request(scope))
    body = card_cache.cards([found], token).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if cookie:
        headers.append((b"set-cookie", cookie.encode("latin-1")))
    return FastResponse(200, headers, body)


@post("/jobs/{id:str}/cancel", guards=[signed_in], include_in_schema=False, status_code=200)
async def cancel(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    form = await forms.read(request)
    late = LateResultPolicy.KEEP if form.get("keep_result", "") in ("on", "true", "1") else LateResultPolicy.DISCARD
    job = await jobs.cancel(request.user.id, id, late)
    return _card(
        request, job, "The job was cancelled." if job.final else "Cancellation was requested from the provider."
    )


@post("/jobs/cancel", guards=[signed_in], include_in_schema=False, status_code=200)
async def cancel_queued(request: PageRequest, jobs: NamedDependency[Jobs]) -> Response[str]:
    """Cancel all queued jobs of the user."""
    result = await jobs.user_queue.cancel_all(request.user.id, JobStatus.QUEUED)
    count = result.cancelled + result.requested
    return forms.go("/jobs", f"{count} {'job was' if count == 1 else 'jobs were'} cancelled.")


@post("/jobs/{id:str}/move", guards=[signed_in], include_in_schema=False, status_code=200)
async def move(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    step = (await forms.read(request)).get("to", "")
    if step not in [*QueueStep]:
        raise Invalid("The job can be moved up, down, or to the front.", fields={"to": "must be up, down or front"})
    job = await jobs.user_queue.step(request.user.id, id, QueueStep(step))
    if partial(request):
        return html(card_cache.cards([job], form_token(request)))
    place = job.estimate.position
    where = f"number {place.own} of {place.own_count} in your queue" if place else "no longer in the queue"
    return forms.go("/jobs?status=queued", f"This job is now {where}.")


@post("/jobs/{id:str}/pause", guards=[signed_in], include_in_schema=False, status_code=200)
async def pause(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    return _card(request, await jobs.user_queue.pause(request.user.id, id, True), "The job was paused.")


@post("/jobs/{id:str}/resume", guards=[signed_in], include_in_schema=False, status_code=200)
async def resume(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    return _card(request, await jobs.user_queue.pause(request.user.id, id, False), "The job was resumed.")


@post("/jobs/{id:str}/retry", guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def retry(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    return _card(request, (await jobs.retry(request.user.id, id, single_flight=True)).job, "The job was retried.")


@post("/jobs/{id:str}/delete", guards=[signed_in], include_in_schema=False, status_code=200)
async def delete(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    deleted = await jobs.delete(request.user.id, id)
    if partial(request):
        return page("jobs/_deleted.html", request, job=deleted)
    return forms.go("/jobs", "The job was deleted.")


@post("/jobs/{id:str}/restore", guards=[signed_in], include_in_schema=False, status_code=200)
async def restore(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    return _card(request, await jobs.restore(request.user.id, id), "The job was restored.")


def _card(request: PageRequest, job: Job, notice: str) -> Response[str]:
    """After a change: the card for htmx requests, otherwise a redirect to the job's page with a notice."""
    if partial(request):
        return html(card_cache.cards([job], form_token(request)))
    return forms.go(f"/jobs/{job.id}", notice)


add_global("timeline_entry", timeline.entry)

routes = [index, ended, job, card, preview, cancel, cancel_queued, move, pause, resume, retry, delete, restore]
