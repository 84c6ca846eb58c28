"""The create page: one screen with three addresses, and the form that asks for work."""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from app.accounts.guards import signed_in
from app.base.errors import AtelierError, Conflict, Exhausted, Invalid, Missing, Unready, Upstream
from app.base.secret import uuid7
from app.catalog.schemas import Model
from app.generation.schemas import GenerationRequest
from app.generation.service import Generation
from app.jobs.schemas import Job
from app.providers.contract import Kind
from app.web import forms
from app.web.errors import to_response
from app.web.limits import FILES, PAID
from app.web.render import money, page, partial

Person = Request[Any, Any, State]

EXAMPLES: Final = {
    Kind.TEXT: [
        "Five names for a paper boat, each with one sentence why",
        "A shot list for a harbour at dawn, as a table",
        "Explain the dolly zoom to a twelve-year-old",
    ],
    Kind.IMAGE: [
        "A lighthouse keeper at a window, soft morning light, 85 mm",
        "Foggy harbour with fishing boats, cold blue morning",
        "Moss on stones in a mountain stream, macro",
    ],
    Kind.VIDEO: [
        "A paper boat drifts down a rain gutter at night, neon reflections, slow dolly in",
        "Desert highway at golden hour, dust in the air, wide lens",
        "A dancer in coloured smoke, slow motion",
    ],
}
# What the form may be opened with: the settings of an earlier job, or what the address says.
OWN_FIELDS: Final = ("prompt", "system_prompt", "image_url", "image_asset_id")


@get("/generate", guards=[signed_in], include_in_schema=False)
async def generate() -> Redirect:
    return Redirect("/generate/text", status_code=303)


@get("/generate/{kind:str}", guards=[signed_in], include_in_schema=False)
async def create(request: Person, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[str]:
    """The form, empty, or filled from an earlier job (`from`), an own picture (`asset`) or the address itself."""
    form = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    if form.get("from"):
        form = {**_settings(await generation.again(request.user.id, form["from"])), **form}
    if form.get("asset"):
        form = {**form, "image_asset_id": form["asset"], "mode": "picture"}
    return await _page(request, generation, _kind(kind), form)


@get("/generate/{kind:str}/fields", guards=[signed_in], include_in_schema=False)
async def fields(request: Person, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[str]:
    """The parameters of the model that was just chosen."""
    form = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    context = _form_context(generation, _kind(kind), form)
    return page("generation/_fields.html", request, **context)


@post(
    "/generate/{kind:str}",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
    request_max_body_size=FILES,
)
async def make(request: Person, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[Any]:
    """Accept the form: a card for htmx, the job's page for everybody else. What is wrong stands beside its field."""
    made, owner = _kind(kind), request.user.id
    form = await forms.read(request)
    try:
        key = forms.once(request, form)
        form = await _with_upload(request, generation, owner, form)
        wish = _wish(generation, made, form)
        job = (
            await generation.make(owner, made, wish, from_picture=_from_picture(made, form), once=key, in_person=True)
        ).job
    except (Invalid, Upstream, Unready, Conflict, Missing, Exhausted) as exc:
        return await _refused(request, generation, made, form, exc)
    if partial(request):
        return page("jobs/_card.html", request, job=job)
    return forms.go(f"/jobs/{job.id}")


async def _with_upload(request: Person, generation: Generation, owner: str, form: dict[str, str]) -> dict[str, str]:
    """The form with an uploaded picture turned into one of the library, so that it survives a refused form."""
    file = await forms.file(request, "picture")
    if file is None:
        return form
    try:
        asset = await generation.upload(owner, forms.chunks(file), file.filename)
    except Invalid as exc:
        raise Invalid(exc.message, fields={"picture": exc.message}) from None
    return {**form, "image_asset_id": asset.id, "image_url": "", "source": "library"}


def _wish(generation: Generation, kind: Kind, form: dict[str, str]) -> GenerationRequest:
    pictured = _from_picture(kind, form) is not False
    source = form.get(
        "source", ""
    )  # which of the three the person has open; an uploaded file was put before the others
    return GenerationRequest(
        model=form.get("model", ""),
        prompt=form.get("prompt", ""),
        system_prompt=form.get("system_prompt") if kind is Kind.TEXT else None,
        params=generation.read_form(kind, form),
        image_url=(form.get("image_url", "").strip() or None) if pictured and source != "library" else None,
        image_asset_id=(form.get("image_asset_id") or None) if pictured and source != "url" else None,
    )


def _from_picture(kind: Kind, form: dict[str, str]) -> bool | None:
    """Clips have a tab for each; a picture may take another one as a reference; text takes none."""
    if kind is Kind.VIDEO:
        return form.get("mode") == "picture"
    return None if kind is Kind.IMAGE and form.get("mode") == "picture" else False


async def _refused(
    request: Person, generation: Generation, kind: Kind, form: dict[str, str], problem: AtelierError
) -> Response[str]:
    errors = problem.fields if isinstance(problem, Invalid) else {}
    told_as = to_response(problem)
    context: dict[str, Any] = {"errors": errors, "message": None if errors else problem.message}
    if partial(request):
        # htmx swaps the form for a 400 and leaves the page alone for anything else.
        pictures = await generation.pictures(request.user.id)
        return page(
            "generation/_form.html",
            request,
            status_code=400,
            headers=told_as.headers,
            **{**_form_context(generation, kind, form, errors), **context, "pictures": pictures},
        )
    return await _page(request, generation, kind, form, status_code=told_as.status, headers=told_as.headers, **context)


async def _page(
    request: Person,
    generation: Generation,
    kind: Kind,
    form: dict[str, str],
    *,
    status_code: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Response[str]:
    owner = request.user.id
    return page(
        "generation/create.html",
        request,
        status_code=status_code,
        headers=headers,
        **{
            **_form_context(generation, kind, form, context.get("errors") or {}),
            "jobs": await generation.feed(owner),
            "pictures": await generation.pictures(owner),
            **context,
        },
    )


def _form_context(
    generation: Generation, kind: Kind, form: dict[str, str], errors: dict[str, str] | None = None
) -> dict[str, Any]:
    """What the form's templates need."""
    mode = "picture" if form.get("mode") == "picture" and kind is not Kind.TEXT else "words"
    models = generation.models(kind, with_picture=mode == "picture")
    model = _chosen(models, form.get("model"))
    return {
        "kind": kind.value,
        "mode": mode,
        "models": models,
        "model": model,
        "fields": generation.fields(model, form, errors) if model else [],
        "values": {name: form.get(name, "") for name in OWN_FIELDS},
        "errors": errors or {},
        "message": None,
        "examples": EXAMPLES[kind],
        "directives": generation.directives(kind),
        "key": uuid7(),
        "price": _price(generation, model) if model else None,
        "instead": None if "model" in (errors or {}) else _instead(form.get("model"), model),
    }


def _price(generation: Generation, model: Model) -> str | None:
    """What the last one cost, else what the provider says, in a few words."""
    cost = generation.usual_cost(model)
    if cost is not None:
        return f"about {money(cost)}"
    said = [
        f"{money(price.least)}{f' to {money(price.most)}' if price.most > price.least else ''} {price.per}"
        for price in generation.prices(model)
    ]
    return ", ".join(said[:2]) or None


def _chosen(models: Any, id: str | None) -> Model | None:
    return next((model for model in models if model.id == id), models[0] if models else None)


def _instead(asked: str | None, model: Model | None) -> str | None:
    """What to say when the form is another model's than the one that was asked for, which may be switched off by now."""
    if not asked or model is None or model.id == asked:
        return None
    return f"{asked[:100]} is not on offer here, so {model.name} is chosen instead."


def _settings(job: Job) -> dict[str, str]:
    """An earlier job's settings as form fields."""
    params = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in job.params.items()}
    return {
        **params,
        "model": job.model,
        "prompt": job.prompt,
        "system_prompt": job.system_prompt or "",
        "image_asset_id": job.input_asset_id or "",
        "mode": "picture" if job.input_asset_id else "words",
    }


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise Missing("There is nothing at this address.") from None


routes = [generate, create, fields, make]
