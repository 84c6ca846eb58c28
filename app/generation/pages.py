"""The create page, with one URL per kind of output, and the form that submits a generation request."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from app.accounts.guards import signed_in
from app.base.errors import AtelierError, Conflict, Exhausted, Invalid, Missing, Unready, Upstream
from app.base.ids import uuid7
from app.catalog.schemas import CostBasis, Model
from app.generation import prompt_expansion
from app.generation.schemas import Estimate, FormSettings, GenerationRequest, RequestedInput
from app.generation.service import Generation
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import MAX_PREVIEWS, JobInputRole
from app.library.schemas import Asset
from app.prompts.schemas import Prompt
from app.providers.contract import Kind
from app.web import forms
from app.web.errors import to_response
from app.web.limits import FILES, PAID
from app.web.render import minutes, money, page, partial

PageRequest = Request[Any, Any, State]

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
REFUSALS: Final = (Invalid, Upstream, Unready, Conflict, Missing, Exhausted)
# What the names of fields with further inputs begin with, before their role.
_ASSET, _FILE = "asset-", "file-"
NEGATIVE: Final = "negative_prompt"  # the parameter that the form shows below the prompt
# Form fields that an earlier job or the query string may fill. `previous_prompt` and `previous_negative` are what Undo brings back;
# with `enhanced_by`, the former is what the user wrote before a text model rewrote it.
OWN_FIELDS: Final = (
    "prompt",
    "system_prompt",
    "image_url",
    "image_asset_id",
    "previous_prompt",
    "previous_negative",
    "enhanced_by",
)


@get("/generate", guards=[signed_in], include_in_schema=False)
async def generate() -> Redirect:
    return Redirect("/generate/text", status_code=303)


@get("/generate/{kind:str}", guards=[signed_in], include_in_schema=False)
async def create(request: PageRequest, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[str]:
    """The form, empty or filled from an earlier job (`from`), a library image (`asset`), a prompt template (`template`) or the query
    string."""
    form = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    if form.get("template"):
        form = _with_template(form, await generation.template(request.user, form["template"]))
    if form.get("from"):
        job = await generation.find_job(request.user.id, form["from"])
        form = {**_form_of(generation, FormSettings.of(job)), **form}
    if form.get("asset"):
        form = {**form, "image_asset_id": form["asset"], "mode": "image"}
    return await _page(request, generation, _kind(kind), form)


@post(
    "/generate/restore",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    request_max_body_size=FILES,
)
async def restore(request: PageRequest, generation: NamedDependency[Generation]) -> Response[str]:
    """The form with the settings that are written in a file that was downloaded here. The file is not kept."""
    kind, files = _kind((await forms.read(request)).get("kind", "")), await forms.files(request, "file")
    try:
        if not files:
            raise Invalid("Choose a file.")
        settings, missing = await generation.restore(request.user.id, forms.chunks(files[0]))
    except Invalid as exc:
        return await _page(
            request, generation, kind, {}, status_code=to_response(exc).status, restore_error=exc.message
        )
    message = f"{missing} of the input files are not in your library." if missing else None
    return await _page(request, generation, settings.kind, _form_of(generation, settings), message=message)


@get("/generate/{kind:str}/fields", guards=[signed_in], include_in_schema=False)
async def fields(request: PageRequest, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[str]:
    """The parameter fields of the selected model."""
    form = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    context = await _form_context(generation, request.user.id, _kind(kind), form)
    images = await generation.images(request.user.id) if context["slots"] else []
    return page("generation/_fields.html", request, **{**context, "images": images})


@post("/generate/{kind:str}/estimate", guards=[signed_in], include_in_schema=False, status_code=200)
async def estimate(request: PageRequest, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[str]:
    """The price beside the button, for the settings as they are now."""
    context = await _form_context(generation, request.user.id, _kind(kind), await forms.read(request))
    return page("generation/_price.html", request, kind=context["kind"], price=context["price"])


@post(
    "/generate/{kind:str}/draft",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
    request_max_body_size=FILES,
)
async def draft(request: PageRequest, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[str]:
    """Nothing is generated yet: the form again, after the `action` of the button: a template, `enhance`, `undo`, or nothing but the
    fields of the chosen model. htmx gets the prompt's part of the form."""
    output, form = _kind(kind), _with_unix_lines(await forms.read(request))
    action, error = form.pop("action", ""), None
    try:
        if not partial(request):  # htmx does not send the files, because it keeps the rest of the form
            form, _, _ = await _with_uploads(request, generation, output, form)
        if action == "undo":
            form = {**form, "prompt": form.get("previous_prompt", ""), NEGATIVE: form.get("previous_negative", "")}
            form = {**form, "previous_prompt": "", "previous_negative": "", "enhanced_by": ""}
        elif action == "enhance":
            form = await _enhanced(request, generation, output, form)
        elif action:
            form = _with_template(form, await generation.template(request.user, action))
    except REFUSALS as exc:
        error = exc
    return await _draft(request, generation, output, form, error)


@post(
    "/generate/{kind:str}",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
    request_max_body_size=FILES,
)
async def submit(request: PageRequest, kind: FromPath[str], generation: NamedDependency[Generation]) -> Response[Any]:
    """Submit the form. Returns a job card to htmx, else redirects to the job page. Errors are shown beside their fields."""
    output, owner = _kind(kind), request.user.id
    form = _with_unix_lines(await forms.read(request))

    async def prepare() -> GenerationRequest:
        nonlocal form
        form, uploaded, further = await _with_uploads(request, generation, output, form)
        found = _generation_request(generation, output, form, uploaded)
        return msgspec.structs.replace(found, inputs=tuple(further))

    try:
        key = IdempotencyKey.of_form(owner, request.url.path, {**form, **await _multiple_content(request)})
        wanted = _from_image(output, form)
        accepted = await generation.submit(owner, output, prepare, from_image=wanted, key=key, interactive=True)
    except REFUSALS as exc:
        return await _rejected(request, generation, output, form, exc)
    notice = " ".join(warning.message for warning in accepted.job.warnings) or None
    if partial(request):
        return page("jobs/_card.html", request, headers=forms.notice_header(notice), job=accepted.job)
    return forms.go(f"/jobs/{accepted.job.id}", notice)


def _with_unix_lines(form: dict[str, str]) -> dict[str, str]:
    """A browser ends the lines of a text with CR and LF, whatever they ended with."""
    return {name: value.replace("\r\n", "\n") for name, value in form.items()}


async def _with_uploads(
    request: PageRequest, generation: Generation, kind: Kind, form: dict[str, str]
) -> tuple[dict[str, str], Asset | None, list[RequestedInput]]:
    """The form with its files in the library, so that they are kept when it is shown again; the single input image, and the further
    inputs."""
    owner = request.user.id
    uploaded = await _upload(request, generation, owner, "image")
    if uploaded:
        form = {**form, "image_asset_id": uploaded[0].id, "image_url": "", "source": "library"}
    further = await _further_inputs(request, generation, owner) if _from_image(kind, form) is not False else []
    for role in {each.role for each in further}:
        ids = [each.upload.id if each.upload else each.asset_id or "" for each in further if each.role is role]
        form = {**form, _ASSET + role.value: ",".join(ids)}
    return form, uploaded[0] if uploaded else None, further


def _with_template(form: dict[str, str], template: Prompt) -> dict[str, str]:
    """The form with the text of a template; what it replaces is kept for Undo."""
    negative = form.get(NEGATIVE, "")
    return {
        **form,
        "prompt": template.text,
        NEGATIVE: template.negative_prompt or negative,
        "previous_prompt": form.get("prompt", ""),
        "previous_negative": negative,
        "enhanced_by": "",
    }


async def _enhanced(request: PageRequest, generation: Generation, kind: Kind, form: dict[str, str]) -> dict[str, str]:
    """The form with a prompt that a text model has rewritten. The same form sent twice is paid for once."""
    prompt = form.get("prompt", "")
    sent = {"prompt": prompt, "idempotency_key": form.get("draft_key", "")}
    key = IdempotencyKey.of_form(request.user.id, request.url.path, sent)
    job = await generation.enhancer.enhance(request.user.id, kind, prompt, key)
    return {
        **form,
        "prompt": job.text or "",
        "previous_prompt": prompt,
        "previous_negative": form.get(NEGATIVE, ""),
        "enhanced_by": job.id,
    }


async def _draft(
    request: PageRequest,
    generation: Generation,
    kind: Kind,
    form: dict[str, str],
    error: AtelierError | None,
) -> Response[str]:
    """The form as it is now, or what htmx replaces of it."""
    if error is not None and not (isinstance(error, Invalid) and error.fields):
        error = Invalid(error.message, fields={"prompt": error.message})
    if not partial(request):
        return await (
            _rejected(request, generation, kind, form, error) if error else _page(request, generation, kind, form)
        )
    errors = error.fields if isinstance(error, Invalid) else {}
    return page(
        "generation/_prompt.html",
        request,
        status_code=400 if error else 200,
        **await _form_context(generation, request.user.id, kind, form, errors),
        **await _prompt_context(request, generation, kind),
    )


async def _upload(request: PageRequest, generation: Generation, owner: str, field: str) -> list[Asset]:
    """Store the uploaded images of a field in the library."""
    files = await forms.files(request, field)
    try:
        return [await generation.upload(owner, forms.chunks(file), file.filename) for file in files]
    except Invalid as exc:
        raise Invalid(exc.message, fields={field: exc.message}) from None


async def _further_inputs(request: PageRequest, generation: Generation, owner: str) -> list[RequestedInput]:
    """The files beside the single input image: chosen in the library, and uploaded."""
    found = []
    for role in JobInputRole:
        chosen, field = await forms.values(request, _ASSET + role.value), _FILE + role.value
        found += [RequestedInput(role=role, asset_id=id, field=field) for id in chosen]
        uploads = await _upload(request, generation, owner, field)
        found += [RequestedInput(role=role, upload=asset, field=field) for asset in uploads]
    return found


async def _multiple_content(request: PageRequest) -> dict[str, str]:
    """What a form sends in fields with several values or files, for comparing it with a repeated one."""
    content = {}
    for role in JobInputRole:
        content[_ASSET + role.value] = ",".join(await forms.values(request, _ASSET + role.value))
    for field in ("image", *(_FILE + role.value for role in JobInputRole)):
        files = await forms.files(request, field)
        content[field] = ",".join([await forms.content_hash(file) for file in files])
    return {name: value for name, value in content.items() if value}


def _generation_request(
    generation: Generation, kind: Kind, form: dict[str, str], uploaded: Asset | None
) -> GenerationRequest:
    with_image = _from_image(kind, form) is not False
    source = form.get("source", "")  # the selected image source; an upload has become a library image already
    asset_id = (form.get("image_asset_id") or None) if with_image and source != "url" else None
    return GenerationRequest(
        model=form.get("model", ""),
        prompt=form.get("prompt", ""),
        original_prompt=form.get("previous_prompt") if form.get("enhanced_by") else None,
        enhanced_by=form.get("enhanced_by") or None,
        system_prompt=form.get("system_prompt") if kind is Kind.TEXT else None,
        params=generation.read_form(kind, form),
        image_url=(form.get("image_url", "").strip() or None) if with_image and source != "library" else None,
        image_asset_id=asset_id if uploaded is None else None,
        upload=uploaded if asset_id else None,
        previews=MAX_PREVIEWS,
    )


def _from_image(kind: Kind, form: dict[str, str]) -> bool | None:
    """Whether an input image is required: as selected for videos, optional (None) for images, never for text."""
    if kind is Kind.VIDEO:
        return form.get("mode") == "image"
    return None if kind is Kind.IMAGE and form.get("mode") == "image" else False


async def _rejected(
    request: PageRequest, generation: Generation, kind: Kind, form: dict[str, str], error: AtelierError
) -> Response[str]:
    errors = error.fields if isinstance(error, Invalid) else {}
    response = to_response(error)
    context: dict[str, Any] = {"errors": errors, "message": None if errors else error.message}
    if partial(request):
        # htmx replaces the form only for status 400.
        images = await generation.images(request.user.id)
        return page(
            "generation/_form.html",
            request,
            status_code=400,
            headers=response.headers,
            **{
                **await _form_context(generation, request.user.id, kind, form, errors),
                **await _prompt_context(request, generation, kind),
                **context,
                "images": images,
            },
        )
    return await _page(
        request, generation, kind, form, status_code=response.status, headers=response.headers, **context
    )


async def _page(
    request: PageRequest,
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
            **await _form_context(generation, request.user.id, kind, form, context.get("errors") or {}),
            **await _prompt_context(request, generation, kind),
            "jobs": await generation.feed(owner),
            "images": await generation.images(owner),
            "restore_error": None,
            **context,
        },
    )


async def _form_context(
    generation: Generation, owner: str, kind: Kind, form: dict[str, str], errors: dict[str, str] | None = None
) -> dict[str, Any]:
    """Template variables of the form."""
    mode = "image" if form.get("mode") == "image" and kind is not Kind.TEXT else "text"
    models = generation.models(kind, with_image=mode == "image")
    usual = None if form.get("model") else await generation.usual_model(owner, kind, with_image=mode == "image")
    model = _select(models, form.get("model") or usual)
    favorites = await generation.favorite_models(owner)
    params = generation.read_form(kind, {**form, "model": model.id}) if model else {}
    fields = generation.fields(model, form, errors) if model else []
    negative = next((field for field in fields if field.name == NEGATIVE), None)
    enhancer = generation.enhancer.model(kind)
    return {
        "kind": kind.value,
        "mode": mode,
        "models": models,
        "favorites": [each for each in models if each.id in favorites],
        "model": model,
        "fields": [field for field in fields if field is not negative],
        "negative": negative,
        "negative_text": form.get(NEGATIVE, negative.value if negative else ""),
        "enhancer": enhancer.name if enhancer else None,
        "slots": generation.further_inputs(model, kind) if model and mode == "image" else [],
        "chosen_inputs": {
            role.value: [id for id in form.get(_ASSET + role.value, "").split(",") if id] for role in JobInputRole
        },
        "values": {name: form.get(name, "") for name in OWN_FIELDS},
        "errors": errors or {},
        "message": None,
        "examples": EXAMPLES[kind],
        "directives": generation.directives(kind),
        "key": uuid7(),
        "draft_key": uuid7(),
        "price": _price(generation, model, await generation.estimate(model, params)) if model else None,
        "instead": None if "model" in (errors or {}) else _instead(form.get("model"), model),
    }


async def _prompt_context(request: PageRequest, generation: Generation, kind: Kind) -> dict[str, Any]:
    """Template variables of what can be inserted into the prompt."""
    return {
        "templates": await generation.templates(request.user, kind),
        "wildcard_names": await generation.wildcard_names(request.user.id) if kind is not Kind.TEXT else [],
    }


def _price(generation: Generation, model: Model, estimate: Estimate) -> str | None:
    """What the request will cost and how long it will take, else the model's main prices, as text."""
    time = f" · about {minutes(estimate.median)}" if estimate.median is not None else ""
    if (cost := estimate.cost) is not None:
        about = "" if cost.basis is CostBasis.FORMULA else "about "
        most = f" to {money(cost.most)}" if cost.most > cost.least else ""
        return f"{about}{money(cost.least)}{most}{time}"
    prices = [
        f"{money(price.least)}{f' to {money(price.most)}' if price.most > price.least else ''} {price.per}"
        for price in generation.prices(model)
    ]
    return (", ".join(prices[:2]) or "price unknown") + time


def _select(models: Any, id: str | None) -> Model | None:
    return next((model for model in models if model.id == id), models[0] if models else None)


def _instead(requested: str | None, model: Model | None) -> str | None:
    """The note for a form whose requested model is unavailable, so that another one is selected."""
    if not requested or model is None or model.id == requested:
        return None
    return f"{requested[:100]} is not available here. {model.name} is selected instead."


def _form_of(generation: Generation, settings: FormSettings) -> dict[str, str]:
    """Settings as form fields: sent again, they make an equal job."""
    params = {name: value for name, value in generation.to_form(settings.params).items() if not _is_own_field(name)}
    image, further = generation.split_inputs(settings)
    prompt = settings.enhanced_prompt or settings.prompt
    return {
        **params,
        **{
            _ASSET + role.value: ",".join(each.asset_id for each in further if each.role is role)
            for role in {each.role for each in further}
        },
        "model": settings.model,
        "prompt": prompt if settings.kind is Kind.TEXT else prompt_expansion.escape(prompt),
        "previous_prompt": settings.prompt if settings.enhanced_prompt else "",
        "previous_negative": params.get(NEGATIVE, "") if settings.enhanced_prompt else "",
        "enhanced_by": (settings.enhanced_by or "") if settings.enhanced_prompt else "",
        "system_prompt": settings.system_prompt or "",
        "image_asset_id": image.asset_id if image else "",
        "mode": "image" if settings.inputs else "text",
    }


def _is_own_field(name: str) -> bool:
    """Whether a parameter of that name would be taken for a field that is not one of the model."""
    return name in OWN_FIELDS or name.startswith((_ASSET, _FILE))


def _kind(text: str) -> Kind:
    if text not in EXAMPLES:  # keys are strings, too
        raise Missing("This page does not exist.")
    return Kind(text)


routes = [generate, create, restore, fields, estimate, draft, submit]
