"""The editor's page, its parts, and the form that submits an edit."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import signed_in
from app.base.errors import AtelierError, Conflict, Exhausted, Invalid, Missing, Unready, Upstream
from app.base.ids import uuid7
from app.editor.schemas import EditRequest, Results, UploadedMask
from app.editor.service import Editor
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import Job, JobInputRole
from app.library.schemas import Asset
from app.storage.masks import Margins, MaskEdits, Rectangle
from app.web import forms
from app.web.errors import to_response
from app.web.limits import FILES, PAID, POLLED
from app.web.render import page, partial

PageRequest = Request[Any, Any, State]

# The fields beside the model's parameters, which have no dashes in their names.
SIDES: Final = ("top", "right", "bottom", "left")
AREA: Final = ("left", "top", "width", "height")
OWN_FIELDS: Final = (
    *("prompt", "mask_asset_id", "mask-feather", "mask-invert"),
    *(f"margin-{side}" for side in SIDES),
    *(f"area-{name}" for name in AREA),
)
DEFAULT_FEATHER: Final = "8"
_MAX_DIGITS: Final = 6


@get("/edit/{id:str}", guards=[signed_in], include_in_schema=False)
async def edit(request: PageRequest, id: FromPath[str], editor: NamedDependency[Editor]) -> Response[str]:
    """The editor, empty or filled from an earlier edit (`from`) or the query string."""
    image = await editor.image(request.user.id, id)
    form = _texts(request)
    if form.get("from"):
        form = {**_settings(await editor.find_job(request.user.id, form["from"])), **form}
    return await _page(request, editor, image, form)


@get("/edit/{id:str}/fields", guards=[signed_in], include_in_schema=False)
async def fields(request: PageRequest, id: FromPath[str], editor: NamedDependency[Editor]) -> Response[str]:
    """The parameter fields of the selected model."""
    image = await editor.image(request.user.id, id)
    return page("editor/_fields.html", request, **await _form_context(request, editor, image, _texts(request)))


@get("/edit/{id:str}/results", guards=[signed_in], include_in_schema=False, opt=POLLED)
async def results(
    request: PageRequest,
    id: FromPath[str],
    editor: NamedDependency[Editor],
    result: FromQuery[str] = "",
    seen: FromQuery[str] = "",
) -> Response[Any]:
    """The results, for their own polling: 204 if those shown are up to date."""
    image = await editor.image(request.user.id, id)
    found = await editor.results(request.user.id, image, result)
    if seen and seen == _version(found, result):
        return Response(None, status_code=204)
    return page("editor/_results.html", request, **_results_context(image, found, result))


@post(
    "/edit/{id:str}",
    guards=[signed_in],
    include_in_schema=False,
    status_code=200,
    opt=PAID,
    request_max_body_size=FILES,
)
async def submit(request: PageRequest, id: FromPath[str], editor: NamedDependency[Editor]) -> Response[Any]:
    """Submit an edit. Returns the results to htmx, else redirects to the job's page. Errors are shown beside their fields."""
    owner = request.user.id
    image = await editor.image(owner, id)
    form = await forms.read(request)
    mask = await _uploaded_mask(request)
    try:
        wanted = EditRequest(
            model=form.get("model", ""),
            prompt=form.get("prompt", ""),
            params=editor.read_params(form),
            edits=_edits(form),
            mask=mask,
            mask_asset_id=form.get("mask_asset_id") or None,
        )
        content = {**form, "mask": mask.content_hash if mask else ""}
        key = IdempotencyKey.of_form(owner, request.url.path, content)
        accepted = await editor.submit(owner, image, wanted, key)
    except (Invalid, Upstream, Unready, Conflict, Missing, Exhausted) as exc:
        return await _rejected(request, editor, image, form, exc)
    if partial(request):
        found = await editor.results(owner, image)
        return page("editor/_results.html", request, **_results_context(image, found, ""))
    return forms.go(f"/jobs/{accepted.job.id}")


async def _rejected(
    request: PageRequest, editor: Editor, image: Asset, form: dict[str, str], error: AtelierError
) -> Response[str]:
    """htmx replaces the prompt only, and the browser has the mask still. Otherwise the whole page comes again, and an uploaded
    mask that can be used is kept for it."""
    errors = error.fields if isinstance(error, Invalid) else {}
    response = to_response(error)
    context: dict[str, Any] = {"errors": errors, "message": None if errors else error.message}
    if partial(request):
        values = await _form_context(request, editor, image, form, errors)
        return page("editor/_form.html", request, status_code=400, headers=response.headers, **{**values, **context})
    if (mask := await _uploaded_mask(request)) and (kept := await editor.keep_mask(request.user.id, image, mask)):
        form = {**form, "mask_asset_id": kept.id}
    return await _page(request, editor, image, form, status_code=response.status, headers=response.headers, **context)


async def _page(
    request: PageRequest,
    editor: Editor,
    image: Asset,
    form: dict[str, str],
    *,
    status_code: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Response[str]:
    owner, shown = request.user.id, form.get("result", "")
    found = await editor.results(owner, image, shown)
    mask = await editor.kept_mask(owner, form["mask_asset_id"], image) if form.get("mask_asset_id") else None
    values = await _form_context(request, editor, image, form, context.get("errors"))
    return page(
        "editor/editor.html",
        request,
        status_code=status_code,
        headers=headers,
        **{**values, **_results_context(image, found, shown), "mask": mask, **context},
    )


async def _form_context(
    request: PageRequest,
    editor: Editor,
    image: Asset,
    form: dict[str, str],
    errors: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Template variables of the form."""
    found = await editor.form(form.get("model"), form, errors)
    return {
        "image": image,
        "form": found,
        "values": {"mask-feather": DEFAULT_FEATHER, **{name: form[name] for name in OWN_FIELDS if name in form}},
        "errors": errors or {},
        "message": None,
        "key": uuid7(),
    }


def _results_context(image: Asset, found: Results, shown: str) -> dict[str, Any]:
    return {"image": image, "results": found, "shown": shown, "version": _version(found, shown)}


def _version(found: Results, shown: str) -> str:
    """A hash of what the results show, so that a poll is answered without a body while nothing changes."""
    jobs = [(job.id, job.status, job.progress, job.preview, [asset.id for asset in job.assets]) for job in found.jobs]
    return hashlib.sha256(f"{shown} {jobs} {found.versions}".encode()).hexdigest()[:20]


def _settings(job: Job) -> dict[str, str]:
    """The settings of an earlier edit as form fields."""
    params = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in job.params.items()}
    mask = next((used.asset_id for used in job.inputs if used.role is JobInputRole.MASK), "")
    # The mask was made soft already.
    return {**params, "model": job.model, "prompt": job.prompt, "mask_asset_id": mask, "mask-feather": "0"}


async def _uploaded_mask(request: PageRequest) -> UploadedMask | None:
    file = await forms.file(request, "mask")
    if file is None:
        return None
    digest = await forms.content_hash(file)  # and rewinds it
    return UploadedMask(forms.chunks(file), digest)


def _edits(form: Mapping[str, str]) -> MaskEdits:
    """Raises Invalid for what is not a whole number."""
    fields: dict[str, str] = {}

    def number(name: str, field: str) -> int | None:
        """`field` is the one at which the error stands."""
        text = form.get(name, "").strip()
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
            fields[field] = "Enter whole numbers of pixels."
            return None
        return int(text)

    area = [number(f"area-{name}", "area") for name in AREA]
    margins = [number(f"margin-{side}", "margins") or 0 for side in SIDES]
    feather = number("mask-feather", "mask-feather") or 0
    if any(value is not None for value in area) and None in area and "area" not in fields:
        fields["area"] = "Enter all four numbers of the rectangle, or none."
    if fields:
        raise Invalid(" ".join(fields.values()), fields=fields)
    return MaskEdits(
        rectangle=Rectangle(*(value or 0 for value in area)) if None not in area else None,
        invert=form.get("mask-invert") == "true",
        margins=Margins(*margins),
        feather=feather,
    )


def _texts(request: PageRequest) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if isinstance(value, str)}


routes = [edit, fields, results, submit]
