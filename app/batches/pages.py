"""Pages of batches: the forms of a series and of a comparison, the grid of results, and models side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import signed_in
from app.base.errors import AtelierError, Conflict, Exhausted, Invalid, Missing, Unready, Upstream
from app.base.ids import uuid7
from app.batches.batch_form import settings_of
from app.batches.comparison import Column
from app.batches.grid import grid_of
from app.batches.schemas import COMPARED, Batch, BatchEstimate
from app.batches.service import Batches
from app.idempotency.schemas import IdempotencyKey
from app.providers.contract import Kind
from app.web import forms
from app.web.errors import to_response
from app.web.limits import PAID, POLLED
from app.web.render import money, page, partial

PageRequest = Request[Any, Any, State]

KINDS: Final = (Kind.TEXT, Kind.IMAGE, Kind.VIDEO)
_PREFIXES: Final = ("matrix.", "params.")  # of settings in errors


@get("/batches", guards=[signed_in], include_in_schema=False)
async def index(
    request: PageRequest, batches: NamedDependency[Batches], cursor: FromQuery[str | None] = None
) -> Response[str]:
    found = await batches.newest(request.user.id, before=cursor)
    return page("batches/batches.html", request, batches=found.items, next=found.next)


@get(["/batches/new", "/compare/new"], guards=[signed_in], include_in_schema=False)
async def new(request: PageRequest, batches: NamedDependency[Batches]) -> Response[str]:
    """The form, empty or filled from an earlier batch (`from`) or the query string."""
    form, models = _query(request)
    if form.get("from"):
        batch = await batches.find(request.user.id, form["from"])
        settings, models = settings_of(batch)
        form = {**settings, "kind": batch.kind.value, **form}
    return await _form_page(request, batches, _view(request), form, models)


@get(["/batches/fields", "/compare/fields"], guards=[signed_in], include_in_schema=False)
async def fields(request: PageRequest, batches: NamedDependency[Batches]) -> Response[str]:
    """The chosen models, the settings that all of them have, and the total."""
    form, models = _query(request)
    context = await _form_context(request, batches, _view(request), form, models)
    return page("batches/_fields.html", request, **context)


@post(["/batches/estimate", "/compare/estimate"], guards=[signed_in], include_in_schema=False, status_code=200)
async def estimate(request: PageRequest, batches: NamedDependency[Batches]) -> Response[str]:
    """How many jobs there will be and what they will cost, for the form as it is now."""
    form, models = await forms.read(request), await forms.values(request, "models")
    view = _view(request)
    total = await _total(request.user.id, batches, view, form, models)
    return page("batches/_total.html", request, view=view, total=total)


@post(["/batches", "/compare"], guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def submit(request: PageRequest, batches: NamedDependency[Batches]) -> Response[str]:
    """Start the batch and redirect to its page. Errors are shown beside their fields."""
    owner, view = request.user.id, _view(request)
    form, models = await forms.read(request), await forms.values(request, "models")
    try:
        wanted = batches.form.read(_kind(form), form, models, compare=view == "compare")
        key = IdempotencyKey.of_form(owner, request.url.path, {**form, "models": ",".join(models)})
        batch = (await batches.submit(owner, wanted, key=key)).batch
    except (Invalid, Upstream, Unready, Conflict, Missing, Exhausted) as exc:
        return await _form_page(request, batches, view, form, models, error=exc)
    return forms.go(f"/compare/{batch.id}" if batch.compared else f"/batches/{batch.id}")


@get("/batches/{id:str}", guards=[signed_in], include_in_schema=False, opt=POLLED)
async def one(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[str]:
    batch, places = await batches.find_with_jobs(request.user.id, id)
    template = "batches/_batch.html" if partial(request) else "batches/batch.html"
    return page(template, request, batch=batch, grid=grid_of(batch, places))


@get("/compare/{id:str}", guards=[signed_in], include_in_schema=False, opt=POLLED)
async def compare(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[str]:
    """One prompt for several models; any other batch is shown on its own page."""
    batch, columns = await batches.compare(request.user.id, id)
    if not batch.compared:
        return forms.go(f"/batches/{batch.id}")
    if partial(request):
        return page("batches/_comparison.html", request, batch=batch, columns=columns)
    settings, models = settings_of(batch)
    form = {**settings, "kind": batch.kind.value}
    return await _form_page(request, batches, "compare", form, models, batch=batch, columns=columns)


@post("/batches/{id:str}/pause", guards=[signed_in], include_in_schema=False, status_code=200)
async def pause(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[str]:
    return await _changed(request, batches, await batches.pause(request.user.id, id), "The batch was paused.")


@post("/batches/{id:str}/resume", guards=[signed_in], include_in_schema=False, status_code=200)
async def resume(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[str]:
    return await _changed(request, batches, await batches.resume(request.user.id, id), "The batch was resumed.")


@post("/batches/{id:str}/cancel", guards=[signed_in], include_in_schema=False, status_code=200)
async def cancel(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[str]:
    batch = await batches.cancel(request.user.id, id)
    return await _changed(request, batches, batch, "The unfinished jobs were cancelled.")


@post("/batches/{id:str}/retry", guards=[signed_in], include_in_schema=False, status_code=200, opt=PAID)
async def retry(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[str]:
    """Retry the jobs that failed."""
    batch = await batches.retry_failed(request.user.id, id)
    return await _changed(request, batches, batch, "The failed jobs were retried.")


async def _changed(request: PageRequest, batches: Batches, batch: Batch, notice: str) -> Response[str]:
    """The batch for htmx requests, otherwise a redirect to its page with a notice."""
    id = batch.id
    view = "compare" if batch.compared and (await forms.read(request)).get("view") == "compare" else "batches"
    if not partial(request):
        return forms.go(f"/{view}/{id}", notice)
    headers = forms.notice_header(notice)
    if view == "compare":
        batch, columns = await batches.compare(request.user.id, id)
        return page("batches/_comparison.html", request, headers=headers, batch=batch, columns=columns)
    batch, places = await batches.find_with_jobs(request.user.id, id)
    return page("batches/_batch.html", request, headers=headers, batch=batch, grid=grid_of(batch, places))


@get("/batches/{id:str}/grid", guards=[signed_in], include_in_schema=False)
async def grid(request: PageRequest, id: FromPath[str], batches: NamedDependency[Batches]) -> Response[bytes]:
    """The grid of results as one image."""
    image = await batches.grid_image(request.user.id, id)
    headers = {"Content-Disposition": f'attachment; filename="batch-{id[-12:]}.jpg"'}
    return Response(image, media_type="image/jpeg", headers=headers)


async def _form_page(
    request: PageRequest,
    batches: Batches,
    view: str,
    form: dict[str, str],
    models: Sequence[str],
    *,
    error: AtelierError | None = None,
    batch: Batch | None = None,
    columns: Sequence[Column] = (),
) -> Response[str]:
    response = to_response(error) if error else None
    errors = error.fields if isinstance(error, Invalid) else {}
    context = await _form_context(request, batches, view, form, models, errors)
    known = {"prompts", "models", "system_prompt", "image_asset_id", *(field.name for field in context["fields"])}
    shown = known & context["errors"].keys()
    return page(
        "batches/compare.html" if view == "compare" else "batches/new.html",
        request,
        status_code=response.status if response else 200,
        headers=response.headers if response else None,
        **context,
        message=error.message if error and not shown else None,
        images=[] if view == "compare" else await batches.form.images(request.user.id),
        key=uuid7(),
        batch=batch,
        columns=columns,
    )


async def _form_context(
    request: PageRequest,
    batches: Batches,
    view: str,
    form: Mapping[str, str],
    models: Sequence[str],
    errors: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Template variables of the form."""
    kind = _kind(form)
    errors = {_unprefixed(name): message for name, message in (errors or {}).items()}
    available = batches.form.models(kind, with_image=bool(form.get("image_asset_id")))
    chosen = batches.form.chosen(available, models, least=COMPARED.start if view == "compare" else 1)
    ids = [model.id for model in chosen]
    return {
        "kind": kind.value,
        "view": view,
        "models": available,
        "chosen": chosen,
        "fields": batches.form.fields(chosen, form, errors),
        "values": {name: form.get(name, "") for name in ("prompts", "system_prompt", "image_asset_id", "choices")},
        "errors": errors,
        "total": "" if errors else await _total(request.user.id, batches, view, form, ids),
    }


async def _total(owner: str, batches: Batches, view: str, form: Mapping[str, str], models: Sequence[str]) -> str:
    """The number of jobs and their cost, or what is wrong; nothing as long as there is no prompt."""
    if not form.get("prompts", "").strip():
        return ""
    try:
        wanted = batches.form.read(_kind(form), form, models, compare=view == "compare")
        return total_text(await batches.estimate(owner, wanted))
    except AtelierError as exc:
        return exc.message


def total_text(estimate: BatchEstimate) -> str:
    """`12 jobs · about $0.48`; `from $0.12` when the cost of some jobs is unknown."""
    jobs = f"{estimate.jobs} {'job' if estimate.jobs == 1 else 'jobs'}"
    if estimate.unknown:
        return (
            f"{jobs} · from {money(estimate.least)}" if estimate.unknown < estimate.jobs else f"{jobs} · price unknown"
        )
    most = f" to {money(estimate.most)}" if estimate.most > estimate.least else ""
    return f"{jobs} · about {money(estimate.least)}{most}"


def _query(request: PageRequest) -> tuple[dict[str, str], list[str]]:
    """The fields in the query string, and the chosen models."""
    form = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    return form, [value for value in request.query_params.getall("models", []) if value]


def _view(request: PageRequest) -> str:
    return "compare" if request.url.path.startswith("/compare") else "series"


def _kind(form: Mapping[str, str]) -> Kind:
    return next((kind for kind in KINDS if kind.value == form.get("kind")), Kind.IMAGE)


def _unprefixed(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


routes = [index, new, fields, estimate, submit, one, compare, pause, resume, cancel, retry, grid]
