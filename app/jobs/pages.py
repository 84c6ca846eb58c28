"""Job pages: the list, one job, and its card, which polls itself while the job is unfinished."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from app.accounts.guards import signed_in
from app.accounts.schemas import User
from app.jobs import card_cache, timeline
from app.jobs.schemas import Job, JobStatus, LateResultPolicy
from app.jobs.service import Jobs
from app.providers.contract import Kind
from app.web import forms
from app.web.csrf import Csrf
from app.web.headers import skip_access_log
from app.web.limits import PAID, POLLED
from app.web.render import add_global, form_token, html, page, partial

PageRequest = Request[Any, Any, State]


@get("/jobs", guards=[signed_in], include_in_schema=False)
async def index(
    request: PageRequest,
    jobs: NamedDependency[Jobs],
    status: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    found = await jobs.newest(
        request.user.id,
        kinds=[Kind(kind)] if kind in [*Kind] else (),
        statuses=[JobStatus(status)] if status in [*JobStatus] else (),
        before=cursor,
    )
    return page("jobs/jobs.html", request, jobs=found.items, next=found.next, status=status, kind=kind)


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


class CardPollFastPath:
    """ASGI middleware that answers polls of unfinished jobs' cards from memory, without routing and without an access
    log entry, because every open page sends them every few seconds. All other requests (not signed in, the job has
    ended or belongs to another user) take the normal route, which gives the same answer."""

    def __init__(self, app: ASGIApp, jobs: Jobs, csrf: Csrf, identify: Callable[[Scope], Awaitable[None]]) -> None:
        self._app = app
        self._jobs = jobs
        self._csrf = csrf
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET" and (match := _POLL.fullmatch(scope["path"])):
            await self._identify(scope)
            user: User | None = scope["user"]
            job = self._jobs.cached(user.id, match[1]) if user else None
            if job is not None:
                await self._answer(scope, receive, send, job)
                return
        await self._app(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send, job: Job) -> None:
        scope["path_template"] = "/jobs/{id}/card"  # as the router would set it
        skip_access_log(scope)
        headers: list[tuple[bytes, bytes]] = []
        status, body = 204, b""
        if scope["query_string"] != b"seen=" + card_cache.version(job).encode():
            token, cookie = self._csrf.for_page(Request(scope, receive, send))
            status, body = 200, card_cache.cards([job], token).encode()
            headers += [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body))]
            if cookie:
                headers.append((b"set-cookie", cookie.encode("latin-1")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


_POLL: Final = re.compile(r"/jobs/([0-9a-f]{32})/card")


@post("/jobs/{id:str}/cancel", guards=[signed_in], include_in_schema=False, status_code=200)
async def cancel(request: PageRequest, id: FromPath[str], jobs: NamedDependency[Jobs]) -> Response[str]:
    form = await forms.read(request)
    late = LateResultPolicy.KEEP if form.get("keep_result", "") in ("on", "true", "1") else LateResultPolicy.DISCARD
    job = await jobs.cancel(request.user.id, id, late)
    return _card(
        request, job, "The job was cancelled." if job.final else "Cancellation was requested from the provider."
    )


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

routes = [index, job, card, cancel, retry, delete, restore]
