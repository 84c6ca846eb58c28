"""The output of a response does not depend on how its provider cuts the answer into chunks."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.responses.output import Output
from tests.kit import Cases, Json

ANSWER = "0" * 32
Step = tuple[str, str]  # what is written, and its text
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reasoning", "content", "refusal", "call 0", "call 1"]), st.text(min_size=1, max_size=12)
    ),
    max_size=8,
)


def _delta(kind: str, text: str) -> Json:
    if kind.startswith("call"):
        return {"tool_calls": [{"index": int(kind[-1]), "function": {"arguments": text}}]}
    if kind == "reasoning":
        return {"reasoning": text, "reasoning_details": [{"type": "reasoning.text", "text": text, "index": 0}]}
    return {kind: text}


def _chunks(steps: Sequence[Step], finish: str = "stop") -> list[Json]:
    calls = [{"index": index, "id": f"call_{index}", "function": {"name": "f"}} for index in (0, 1)]
    deltas: list[Json] = [
        {"tool_calls": [calls[int(kind[-1])]]} for kind in dict.fromkeys(kind for kind, _ in steps) if "call" in kind
    ]
    deltas += [_delta(kind, text) for kind, text in steps]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return [*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": {"total_tokens": 1}}]


def _written(steps: Sequence[Step]) -> tuple[Output, list[Json]]:
    output = Output(ANSWER, shows_reasoning=True)
    events = [json.loads(json.dumps(event)) for chunk in _chunks(steps) for event in output.add(chunk)]
    return output, [*events, *output.finish()]


def _cut(steps: Sequence[Step], sizes: Sequence[int]) -> list[Step]:
    """The same texts in pieces of these sizes, over and over."""
    pieces, turn = [], 0
    for kind, text in steps:
        while text:
            size = sizes[turn % len(sizes)]
            pieces.append((kind, text[:size]))
            text, turn = text[size:], turn + 1
    return pieces


@settings(deadline=None)
@given(steps=STEPS, sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_any_split_gives_the_same_output_and_the_deltas_make_its_texts(steps: list[Step], sizes: list[int]) -> None:
    whole, _ = _written(steps)
    output, events = _written(_cut(steps, sizes))
    assert output.items == whole.items
    assert output.encrypted_content == whole.encrypted_content
    for index, item in enumerate(output.items):
        of_item = [event for event in events if event["output_index"] == index]
        assert of_item[0]["type"] == "response.output_item.added"
        assert of_item[-1] == {"type": "response.output_item.done", "output_index": index, "item": item}
        in_order = sorted(of_item, key=lambda event: event.get("content_index", 0))  # of the parts of a message
        deltas = [event["delta"] for event in in_order if event["type"].endswith(".delta")]
        assert "".join(deltas) == "".join(_texts(item))


def _texts(item: Json) -> list[str]:
    parts: list[Json] = item.get("content") or item.get("summary") or []
    return [item.get("arguments", ""), *(part.get("text") or part.get("refusal", "") for part in parts)]


WORDS = """
choices index delta message content reasoning reasoning_details refusal tool_calls images annotations type function custom name
arguments input id image_url url text summary logprobs usage finish_reason self
"""
NAMES = WORDS.split()
ANYTHING = st.recursive(
    st.none() | st.integers(-1, 2) | st.sampled_from(["", "custom", "url_citation", "data:image/png;base64,QQ=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=10,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=5), max_size=3)
DELTAS = st.dictionaries(st.sampled_from(NAMES), ANYTHING | ROWS, max_size=6)


@settings(deadline=None, max_examples=60)
@given(deltas=st.lists(DELTAS, max_size=4))
def test_any_answer_of_a_provider_becomes_an_output(deltas: list[Json]) -> None:
    output = Output(ANSWER, shows_reasoning=True)
    events = [event for delta in deltas for event in output.add({"choices": [{"index": 0, "delta": delta}]})]
    assert msgspec.json.encode([*events, *output.finish(), *output.items])


def test_what_is_no_chunk_adds_nothing() -> None:
    odd: list[Any] = [
        None,
        [],
        {"choices": 1},
        {"choices": [{"index": 0, "delta": {"content": 1, "tool_calls": [None, {"index": "x"}], "images": [{}]}}]},
        {"choices": [{"index": 0, "message": {"reasoning_details": [1], "annotations": {}}}], "usage": 3},
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
    ]
    with Cases() as cases:
        for chunk in odd:
            with cases.case(chunk):
                output = Output(ANSWER, shows_reasoning=False)
                output.add(chunk)
                output.finish()
                assert "another" not in str(output.items)


def test_an_answer_of_nothing_is_an_empty_text_unless_it_was_cut_off() -> None:
    assert _written([])[0].items[0]["content"] == [
        {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    ]
    output = Output(ANSWER, shows_reasoning=False)
    output.add(_chunks([], "length")[-1])
    assert (output.finish(), output.items, output.incomplete_reason) == ([], [], "max_output_tokens")


def test_citations_and_log_probabilities_are_kept() -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "https://x.example", "title": "X", "start_index": 0}}
    delta = {"content": "Hi", "annotations": [citation]}
    logprobs = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}]}
    output = Output(ANSWER, shows_reasoning=False)
    events = output.add({"choices": [{"index": 0, "delta": delta, "logprobs": logprobs}]})
    output.finish()
    [part] = output.items[0]["content"]
    assert part["annotations"] == [{"type": "url_citation", "url": "https://x.example", "title": "X", "start_index": 0}]
    assert part["logprobs"] == logprobs["content"]
    assert [event["type"] for event in events][-2:] == [
        "response.output_text.delta",
        "response.output_text.annotation.added",
    ]
