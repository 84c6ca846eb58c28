"""Uploads of input files: the REST service signs a URL, to which the file is sent without the key."""

import hashlib
import hmac
import uuid

from litestar import post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.simulator import responses
from app.providers.simulator.fal.admission import require_fal_key
from app.providers.simulator.fal.errors import FalErrorAnswer, problem
from app.providers.simulator.fal.outputs import UPLOADS
from app.providers.simulator.openai_format.admission import PlainRequest, read_body
from app.providers.simulator.openai_format.origins import log_visit, other_origin
from app.providers.simulator.runtime import Runtime


@post("/storage/upload/initiate", guards=[require_fal_key], status_code=200)
async def initiate(request: PlainRequest, runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The signed URL for an upload, and the URL of the file after it."""
    body, _ = await read_body(request, runtime)
    for name in ("file_name", "content_type"):
        if not isinstance(body.get(name), str):
            raise FalErrorAnswer(422, [problem("missing", "Field required", name)])
    id = uuid.uuid4().hex
    url = f"{other_origin(request)}{UPLOADS}{id}"
    upload_url = f"{url}?signature={_signature(runtime, id, body['content_type'])}"
    return responses.json_response({"upload_url": upload_url, "file_url": url})


@put("/uploads/{id:str}", status_code=200)
async def upload(request: PlainRequest, id: FromPath[str], runtime: NamedDependency[Runtime]) -> ASGIApp:
    """Receive a file at its signed URL."""
    await log_visit(request, runtime, id)
    expected = _signature(runtime, id, request.headers.get("content-type", ""))
    if not hmac.compare_digest(expected.encode(), request.query_params.get("signature", "").encode()):
        raise FalErrorAnswer(403, "SignatureDoesNotMatch")
    await runtime.run_io(runtime.store.save_input, await request.body(), id)
    return responses.PlainResponse(b"", "text/plain")


def _signature(runtime: Runtime, id: str, mime: str) -> str:
    return hmac.new(runtime.store.secret, f"{id} {mime}".encode(), hashlib.sha256).hexdigest()


HANDLERS = [initiate]
OTHER_ORIGIN_HANDLERS = [upload]
