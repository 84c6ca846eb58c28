"""The items of a conversation become messages of a chat completion, and the output of a response becomes the message it came from."""

from typing import Any

import pytest

from app.base.errors import Invalid
from app.responses.input_items import completed, read
from app.responses.messages import messages_of
from app.responses.output import Output
from tests.kit import Cases, Json

ANSWER = "0" * 32
USER: Json = {"role": "user", "content": "Hello"}
CALL: Json = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
OTHER: Json = {"type": "function_call", "call_id": "b", "name": "g", "arguments": "[1]"}
CHAT_CALL: Json = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OTHER_CHAT_CALL: Json = {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[1]"}}
OUTPUT: Json = {"type": "function_call_output", "call_id": "a", "output": "4"}
THOUGHT: Json = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
DETAILS: list[Json] = [{"type": "reasoning.summary", "summary": "Hm"}]


def wrote(text: str, **more: Any) -> Json:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}], **more}


def assistant(**fields: Any) -> Json:
    return {"role": "assistant", "content": None, **fields}


def asked(*parts: Json) -> Json:
    return {"role": "user", "content": list(parts)}


TRANSLATIONS: dict[str, tuple[Any, list[Json]]] = {
    "a text": ("Hello", [USER]),
    "the easy form": ([USER], [USER]),
    "one part of text": ([{"type": "message", **asked({"type": "input_text", "text": "Hello"})}], [USER]),
    "a text with a mark": (
        [asked({"type": "input_text", "text": "Hello", "cache_control": {"type": "ephemeral"}})],
        [asked({"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}})],
    ),
    "a developer's message": ([{**USER, "role": "developer"}], [{**USER, "role": "developer"}]),
    "an image": (
        [asked({"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"})],
        [asked({"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}})],
    ),
    "a file": (
        [asked({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JV"})],
        [asked({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JV"}})],
    ),
    "a file by its address": (
        [asked({"type": "input_file", "file_url": "https://x.example/a.pdf"})],
        [asked({"type": "file", "file": {"file_data": "https://x.example/a.pdf"}})],
    ),
    "sound": (
        [asked({"type": "input_audio", "input_audio": {"data": "Uk", "format": "wav"}})],
        [asked({"type": "input_audio", "input_audio": {"data": "Uk", "format": "wav"}})],
    ),
    "a part of a type from the future": (
        [asked({"type": "smell", "of": "rain"})],
        [asked({"type": "smell", "of": "rain"})],
    ),
    "an answer": ([USER, wrote("Hi"), USER], [USER, assistant(content="Hi"), USER]),
    "an answer in the easy form": ([{"role": "assistant", "content": "Hi"}], [assistant(content="Hi")]),
    "a refusal": (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}],
        [assistant(refusal="No")],
    ),
    "calls and their results": (
        [USER, CALL, OTHER, OUTPUT, {**OUTPUT, "call_id": "b", "output": ""}],
        [
            USER,
            assistant(tool_calls=[CHAT_CALL, OTHER_CHAT_CALL]),
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ],
    ),
    "a result in parts": (
        [{**OUTPUT, "output": [{"type": "input_text", "text": "4"}, {"type": "input_image", "image_url": "data:x"}]}],
        [
            {
                "role": "tool",
                "tool_call_id": "a",
                "content": [{"type": "text", "text": "4"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
            }
        ],
    ),
    "thought, text and calls of one answer": (
        [THOUGHT, wrote("Wait"), CALL, OTHER, OUTPUT],
        [
            assistant(content="Wait", reasoning_details=DETAILS, tool_calls=[CHAT_CALL, OTHER_CHAT_CALL]),
            {"role": "tool", "tool_call_id": "a", "content": "4"},
        ],
    ),
    "text after calls that wait for their results": (
        [CALL, wrote("Wait"), OTHER, wrote("!"), OUTPUT],
        [
            assistant(content="Wait\n\n!", tool_calls=[CHAT_CALL, OTHER_CHAT_CALL]),
            {"role": "tool", "tool_call_id": "a", "content": "4"},
        ],
    ),
    "two answers": (
        [wrote("One"), THOUGHT, wrote("Two")],
        [assistant(content="One"), assistant(content="Two", reasoning_details=DETAILS)],
    ),
    "reasoning after the text of the same answer": (
        [wrote("One", id=f"msg_{ANSWER}_0"), {**THOUGHT, "id": f"rs_{ANSWER}_1"}, CALL],
        [assistant(content="One", reasoning_details=DETAILS, tool_calls=[CHAT_CALL])],
    ),
    "only a thought": ([THOUGHT], [assistant(content="", reasoning_details=DETAILS)]),
    "what another service encrypted": (
        [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}, CALL],
        [
            assistant(
                reasoning_details=[{"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1"}],
                tool_calls=[CHAT_CALL],
            )
        ],
    ),
    "a custom call": (
        [
            {"type": "custom_tool_call", "call_id": "a", "name": "sql", "input": "select"},
            {"type": "custom_tool_call_output", "call_id": "a", "output": "4"},
        ],
        [
            assistant(tool_calls=[{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select"}}]),
            {"role": "tool", "tool_call_id": "a", "content": "4"},
        ],
    ),
    "a call with a signature, and fields of OpenAI's package": (
        [
            {
                **CALL,
                "extra_content": {"google": "sig"},
                "parsed_arguments": {},
                "namespace": None,
                "status": "completed",
            }
        ],
        [assistant(tool_calls=[{**CHAT_CALL, "extra_content": {"google": "sig"}}])],
    ),
}


def test_items_become_messages() -> None:
    with Cases() as cases:
        for name, (given, expected) in TRANSLATIONS.items():
            with cases.case(name):
                items = read(given)
                assert messages_of(items) == expected
                assert messages_of(completed(items, ANSWER)) == expected, "as it is stored"


def test_what_no_message_can_express_is_refused_with_a_sentence() -> None:
    wrong: dict[str, list[Json]] = {
        "which cannot be sent": [{"type": "computer_call", "call_id": "a"}],
        "must be given by `image_url`": [asked({"type": "input_image", "file_id": "file_1"})],
    }
    with Cases() as cases:
        for sentence, items in wrong.items():
            with cases.case(sentence), pytest.raises(Invalid, match=sentence):
                messages_of(items)


MESSAGES: dict[str, Json] = {
    "text": assistant(content="Hi"),
    "reasoning and calls": assistant(
        content="Wait",
        reasoning_details=[
            {"type": "reasoning.text", "text": "Hm", "signature": "c2ln", "index": 0, "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "c2VjcmV0", "id": "r1", "index": 1},
        ],
        tool_calls=[CHAT_CALL, {**OTHER_CHAT_CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}],
    ),
    "reasoning without details": assistant(content="Hi", reasoning="Hm"),
    "reasoning by another name": assistant(content="Hi", reasoning_content="Hm"),
    "a refusal": assistant(refusal="No"),
    "a custom call": assistant(tool_calls=[{"id": "a", "type": "custom", "custom": {"name": "s", "input": "x"}}]),
    "images": assistant(
        content="Here",
        images=[
            {"type": "image_url", "image_url": {"url": "data:image/webp;base64,aGk="}},
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        ],
    ),
}


def test_the_message_of_a_model_comes_back_to_it_as_it_was() -> None:
    with Cases() as cases:
        for name, message in MESSAGES.items():
            with cases.case(name):
                output = Output(ANSWER, shows_reasoning=True)
                output.add({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
                output.finish()
                assert messages_of(output.items) == [message]
