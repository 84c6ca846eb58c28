"""Reads multipart forms."""

import msgspec
from litestar.datastructures import UploadFile

from app.providers.simulator.openai_format.admission import JsonObject, PlainRequest


class SentFile(msgspec.Struct, frozen=True):
    """A file of a form, with what the client says of it."""

    field: str
    filename: str
    media_type: str
    data: bytes


async def read_form(request: PlainRequest) -> tuple[JsonObject, list[SentFile]]:
    """The text fields, in which a field `name[]` is a list, and the files."""
    form = await request.form()
    try:
        items = list(form.multi_items())
        files = [
            SentFile(name, value.filename, value.content_type, await value.read())
            for name, value in items
            if isinstance(value, UploadFile)
        ]
        fields: JsonObject = {}
        for name, value in items:
            if isinstance(value, str) and name.endswith("[]"):
                fields.setdefault(name.removesuffix("[]"), []).append(value)
            elif isinstance(value, str):
                fields[name] = value
        return fields, files
    finally:
        await form.close()
