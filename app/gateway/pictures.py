"""`/v1/images/generations` and `/v1/images/edits`."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State, UploadFile
from litestar.di import NamedDependency

from app.accounts.guards import signed_in
from app.base.clock import unix
from app.base.errors import Conflict, Invalid, Missing, Upstream
from app.base.money import usd
from app.base.once import once
from app.catalog.service import Catalog
from app.gateway import wire
from app.generation.schemas import Wish
from app.generation.service import Generation
from app.jobs.schemas import Job, Late, Status
from app.jobs.service import Jobs
from app.library.schemas import Asset
from app.library.service import Library
from app.providers.contract import ErrorCode, Kind
from app.web import forms
from app.web.headers import seconds_since
from app.web.leaving import unless_gone
from app.web.limits import FILES, PAID

Program = Request[Any, Any, State]

PATIENCE: Final = 900.0  # seconds: a picture is answered in the call itself
MOST: Final = 10  # pictures of one call, as OpenAI has it

_OWN: Final = frozenset({"model", "prompt", "n", "size", "response_format", *wire.SILENT})
_KNOWN: Final = frozenset({"quality", "background", "output_format", "output_compression", "seed"})
_EDITS: Final = frozenset({"image", "image[]", "mask", "input_fidelity"})


@post("/images/generations", status_code=200, guards=[signed_in], opt=PAID)
async def generate(
    request: Program,
    data: dict[str, Any],
    catalog: NamedDependency[Catalog],
    generation: NamedDependency[Generation],
    library: NamedDependency[Library],
    jobs: NamedDependency[Jobs],
) -> Response[bytes]:
    """Hanging up cancels the job; a picture that is made all the same is kept."""
    model = wire.choose(catalog, data, Kind.IMAGE)
    wish = _wish(data, model.id, _params(data, catalog))
    return await _made(request, data, wish, generation, library, jobs)


@post("/images/edits", status_code=200, guards=[signed_in], opt=PAID, request_max_body_size=FILES)
async def edit(
    request: Program,
    catalog: NamedDependency[Catalog],
    generation: NamedDependency[Generation],
    library: NamedDependency[Library],
    jobs: NamedDependency[Jobs],
) -> Response[bytes]:
    """A new picture that starts from the one that is sent; that one lands in the library too."""
    try:
        form = await forms.parsed(request)
        data: dict[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        model = wire.choose(catalog, data, Kind.IMAGE)
        file = _only_picture([value for name, value in form.multi_items() if name in ("image", "image[]")])
        if form.get("mask") is not None:
            raise wire.wrong("mask", "No model here takes a mask: say in the prompt what shall change.")
        wish = _wish(data, model.id, _params(data, catalog))
        picture = await generation.upload(request.user.id, forms.chunks(file), file.filename)
    finally:
        await forms.close(request)
    return await _made(request, data, msgspec.structs.replace(wish, upload=picture), generation, library, jobs)


def _only_picture(given: Sequence[object]) -> UploadFile:
    files = [it for it in given if isinstance(it, UploadFile)]
    if not files or len(files) < len(given):
        raise wire.wrong("image", "`image` must be a file.")
    if len(files) > 1:
        raise wire.wrong("image", "One picture to start from is taken at a time.")
    return files[0]


def _params(data: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The parameters of the model. A form's texts are read by the model's own schema."""
    model = catalog.find(str(data["model"]).strip())
    properties = frozenset(model.parameters.get("properties", {}))
    wire.only(data, _OWN | _KNOWN | _EDITS | properties)
    params: dict[str, Any] = {}
    count = wire.whole(data, "n", least=1, most=MOST)
    if count is not None and (count > 1 or "n" in properties):
        params["n"] = count
    typed = catalog.read_form(model, {name: value for name, value in data.items() if isinstance(value, str)})
    for name in (_KNOWN | properties) - {"n", "size"}:
        if data.get(name) not in (None, "", "auto"):
            params[name] = typed.get(name, data[name])
    return params | wire.frame(model, wire.text(data, "size"))


def _wish(data: Mapping[str, Any], model: str, params: dict[str, Any]) -> Wish:
    if data.get("response_format") not in (None, "b64_json", "url"):
        raise wire.wrong("response_format", "`response_format` must be b64_json or url.")
    return Wish(model=model, prompt=wire.text(data, "prompt") or "", params=params)


async def _made(
    request: Program, data: Mapping[str, Any], wish: Wish, generation: Generation, library: Library, jobs: Jobs
) -> Response[bytes]:
    owner = request.user.id
    asked = {**data, "image": wish.upload and wish.upload.key}
    key = once(request.headers.get("Idempotency-Key"), request.url.path, asked)
    accepted = await generation.make(owner, Kind.IMAGE, wish, once=key)
    try:
        job = await unless_gone(request, generation.wait(accepted.job, PATIENCE))
    except Upstream:
        await give_up(jobs, accepted.job)
        raise
    check(job)
    if not job.final:
        raise Upstream("The provider has not answered yet; look at the job later.", details={"job_id": job.id})
    by_link = data.get("response_format") == "url"
    content = await asyncio.to_thread(_answer, job, None if by_link else library, _origin(request))
    return Response(content, media_type="application/json", headers=headers(request, job))


async def give_up(jobs: Jobs, job: Job) -> None:
    """Nobody waits for it any more; what is made all the same is paid for, so it is kept."""
    try:
        await jobs.cancel(job.owner_id, job.id, Late.KEEP)
    except (Conflict, Missing):
        return  # it had ended


def check(job: Job) -> None:
    """A job that has failed is its caller's error."""
    if job.status is Status.CANCELLED:
        raise Upstream("The job was cancelled.", details={"job_id": job.id, "code": "CANCELLED"})
    if job.error is not None:
        details = {"job_id": job.id, "code": job.error.code.value}
        refused = job.error.code is ErrorCode.PROVIDER_REFUSED
        raise (Invalid if refused else Upstream)(job.error.message, details=details)


def headers(request: Program, job: Job) -> dict[str, str]:
    """What it cost, when that is known, and the milliseconds that were ours: all but those of the job."""
    spent = seconds_since(request.scope) - (job.seconds or 0.0)
    cost = usd(job.cost_nano)
    return {
        "X-Atelier-Model": job.model,
        "X-Atelier-Overhead-Ms": f"{max(0.0, spent) * 1000:.1f}",
        **({"X-Atelier-Cost-Usd": cost} if cost is not None else {}),
    }


def _origin(request: Program) -> str:
    return str(request.app.state.settings.public_url).rstrip("/")


def _answer(job: Job, library: Library | None, origin: str) -> bytes:
    """Reads the pictures, when they are to be in it. Blocks."""
    usage = job.usage and {
        "input_tokens": job.usage.prompt_tokens or 0,
        "output_tokens": job.usage.completion_tokens or 0,
        "total_tokens": job.usage.total_tokens or 0,
        "input_tokens_details": {"text_tokens": job.usage.prompt_tokens or 0, "image_tokens": 0},
    }
    data = [_picture(asset, library.path(asset) if library else None, origin) for asset in job.assets]
    answer: dict[str, Any] = {"created": int(unix(job.ended_at or job.created_at)), "data": data}
    if job.assets:
        first = job.assets[0]
        answer |= {"output_format": first.mime.partition("/")[2], "size": f"{first.width}x{first.height}"}
    return msgspec.json.encode(answer | ({"usage": usage} if usage else {}))


def _picture(asset: Asset, path: Path | None, origin: str) -> dict[str, str]:
    if path is None:
        return {"url": f"{origin}{asset.url}"}
    try:
        return {"b64_json": base64.b64encode(path.read_bytes()).decode("ascii")}
    except FileNotFoundError:
        raise Missing("The picture has been deleted meanwhile.") from None
