"""JSON from providers that is not quite JSON, and characters that are cut in two."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers import lenient_json
from app.providers.lenient_json import EventDecoder
from tests.kit import Cases


def test_what_is_not_quite_json_is_read_as_what_can_be_written() -> None:
    table = {
        "[NaN, Infinity, -Infinity, 1e999]": [None, None, None, None],
        '{"a": NaN, "b": "\\ud83d\\ude00 \\ud83d x"}': {"a": None, "b": "😀 \ufffd x"},
        '{"\\udc00": NaN}': {"\ufffd": None},
        "1" * 30: int("1" * 30),
        "[NaN, " + "1" * 30 + "]": [None, float("1" * 30)],
        "[NaN, " + "1" * 5000 + "]": [None, None],
        "\ufeff[NaN]": [None],
        "\ufeff{}": {},
    }
    with Cases() as cases:
        for content, value in table.items():
            for given_as in (content, content.encode()):
                with cases.case(content[:40], type(given_as).__name__):
                    read = lenient_json.decode(given_as)
                    assert read == value
                    msgspec.json.encode(read)


def test_what_is_not_json_is_refused() -> None:
    with Cases() as cases:
        for content in (
            "",
            "{",
            "nan",
            "[1,]",
            "'x'",
            b"\xff",
            "[" * 100_000,
            "[NaN, " + "[" * 10_000 + "]" * 10_001,
            '"\\ud83d',
        ):
            with cases.case(str(content[:10])), pytest.raises(ValueError, match=r"."):
                lenient_json.decode(content)


def delta(text: str, **more: object) -> str:
    """An event as a server writes it that escapes everything but ASCII."""
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text, **more}}]})


def content_of(decoder: EventDecoder, event: str) -> str:
    content: str = decoder.decode(event)[0]["choices"][0]["delta"]["content"]
    return content


def test_a_character_cut_in_two_is_put_together() -> None:
    decoder = EventDecoder()
    events = (delta("Hi \ud83d"), '{"choices": []}', delta(""), delta("\ude00 there"), delta("plain"))
    assert decoder.decode(events[0])[0]["choices"][0]["delta"] == {"content": "Hi "}
    assert decoder.decode(events[1]) == ({"choices": []}, False)
    assert [content_of(decoder, event) for event in events[2:]] == ["", "😀 there", "plain"]


def test_halves_are_kept_apart_by_their_place() -> None:
    decoder = EventDecoder()
    first = {"content": "a\ud83d", "reasoning": "b\ud83d", "tool_calls": [{"index": 1, "id": "\ud83d"}]}
    second = {
        "content": "x",
        "reasoning": "\ude00",
        "tool_calls": [{"index": 0, "id": "c"}, {"index": 1, "id": "\ude01"}],
    }
    event, _ = decoder.decode(json.dumps({"choices": [{"delta": first}]}))
    assert event["choices"][0]["delta"] == {"content": "a", "reasoning": "b", "tool_calls": [{"index": 1, "id": ""}]}
    event, _ = decoder.decode(json.dumps({"choices": [{"delta": second}]}))
    assert event["choices"][0]["delta"] == {
        "content": "\ufffdx",
        "reasoning": "😀",
        "tool_calls": [{"index": 0, "id": "c"}, {"index": 1, "id": "😁"}],
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sets(st.integers(1, 60)))
def test_any_text_survives_being_cut_between_any_two_escapes(text: str, cuts: set[int]) -> None:
    units = text.encode("utf-16-le")
    edges = [0, *sorted(2 * cut for cut in cuts if 2 * cut < len(units)), len(units)]
    pieces = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in itertools.pairwise(edges)]
    decoder = EventDecoder()
    assert "".join(content_of(decoder, delta(piece)) for piece in pieces) == text
