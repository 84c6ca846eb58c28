"""Request bodies as they are sent: JSON, or a multipart form with files."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

JSON = "application/json"
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as browsers do


class EncodedBody(NamedTuple):
    """A body and its content type."""

    content: bytes
    content_type: str = JSON


class FilePart(NamedTuple):
    """A file in a form. Some servers refuse one without a file name or with a type that says nothing."""

    field: str
    filename: str
    media_type: str
    content: bytes


def json_body(value: Any) -> EncodedBody:
    return EncodedBody(msgspec.json.encode(value))


def form_body(values: Mapping[str, Any], files: Iterable[FilePart]) -> EncodedBody:
    """A multipart form. A list becomes a field `name[]` for each item, an object JSON; None is left out."""
    boundary = f"atelier-{secrets.token_hex(16)}"
    pieces = [*map(_field, _fields(values)), *map(_file, files)]
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), piece) for piece in pieces)
    return EncodedBody(body + b"--%b--\r\n" % boundary.encode(), f"multipart/form-data; boundary={boundary}")


def _fields(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, list):
            yield from ((f"{name}[]", _text(item)) for item in value)
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _field(field: tuple[str, str]) -> bytes:
    name, value = field
    return f'Content-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n{value}'.encode()


def _file(part: FilePart) -> bytes:
    names = f'name="{_escaped(part.field)}"; filename="{_escaped(part.filename)}"'
    head = f"Content-Disposition: form-data; {names}\r\nContent-Type: {part.media_type}\r\n\r\n"
    return head.encode() + part.content


def _escaped(name: str) -> str:
    return name.translate(_ESCAPES)
