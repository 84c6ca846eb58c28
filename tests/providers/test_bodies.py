"""Forms as other servers read them."""

import email
import email.policy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.providers.bodies import EncodedBody, FilePart, form_body, json_body


def parts(body: EncodedBody) -> list[tuple[Any, Any, Any]]:
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body.content, policy=email.policy.HTTP)
    return [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]


def test_json_has_its_type() -> None:
    assert json_body({"a": [1]}) == (b'{"a":[1]}', "application/json")


def test_every_value_has_a_form() -> None:
    values = {"text": "a b", "flag": True, "number": 0.5, "none": None, "list": ["x", 2], "object": {"a": 1}}
    file = FilePart("file", "a.png", "image/png", b"\x00\r\n--")
    assert parts(form_body(values, [file])) == [
        ("text", None, b"a b"),
        ("flag", None, b"true"),
        ("number", None, b"0.5"),
        ("list[]", None, b"x"),
        ("list[]", None, b"2"),
        ("object", None, b'{"a":1}'),
        ("file", "a.png", b"\x00\r\n--"),
    ]


@given(name=st.text(min_size=1), value=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_name_and_no_value_adds_a_part(name: str, value: str) -> None:
    name = name.encode("utf-8", "ignore").decode() or "x"
    body = form_body({name: value, "last": "1"}, [])
    boundary = body.content_type.partition("boundary=")[2].encode()
    pieces = body.content.split(b"--" + boundary)
    assert len(pieces) == 4, "nothing before, two fields, the end"
    head, _, content = pieces[1].removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
    assert content == value.encode()
    assert head.count(b"\r\n") == 0
