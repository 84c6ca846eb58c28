"""Chat completions as OpenAI answers them."""

from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient, events
from tests.providers.simulator.openai.kit import chat, error_of

INVALID = "invalid_request_error"


def test_an_answer_has_tokens_and_nothing_of_openrouters(sim: SimulatorClient) -> None:
    answer = chat(sim, "Say only the word: lighthouse")
    body = answer.json()
    assert body["id"].startswith("chatcmpl-")
    choice = body["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "lighthouse", "refusal": None}
    assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
    assert body["usage"]["total_tokens"] > 0
    assert not {"cost", "is_byok", "cost_details"} & set(body["usage"])
    assert answer.headers["x-request-id"]
    assert "x-generation-id" not in answer.headers


def test_a_stream_has_its_usage_on_request_in_a_chunk_without_choices(sim: SimulatorClient) -> None:
    text = chat(sim, "Count to three", stream=True, stream_options={"include_usage": True}).text
    chunks = events(text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]][-1] == "stop"
    assert text.rstrip().endswith("[DONE]")
    assert "PROCESSING" not in text


def test_a_stream_has_no_usage_unless_it_is_requested(sim: SimulatorClient) -> None:
    chunks = events(chat(sim, "Count to three", stream=True).text)
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def test_a_failure_in_a_stream_is_an_error_object(sim: SimulatorClient) -> None:
    with Cases() as cases:
        for fault in ("error-first", "error-in-stream"):
            with cases.case(fault):
                last = events(chat(sim, f"[{fault}] Count to nine", stream=True).text)[-1]
                assert last["error"]["type"] == "server_error"


def test_parameters_of_openrouter_and_of_older_models_are_refused(sim: SimulatorClient) -> None:
    table = {
        "provider": (chat(sim, "Hi", provider={"order": []}), None),
        "max_tokens": (chat(sim, "Hi", max_tokens=5), "unsupported_parameter"),
        "modalities": (chat(sim, "Hi", modalities=["image", "text"]), None),
    }
    with Cases() as cases:
        for name, (answer, code) in table.items():
            with cases.case(name):
                error_of(answer, 400, INVALID, code)
    assert chat(sim, "Hi", max_completion_tokens=5).status_code == 200


def test_tools_are_called(sim: SimulatorClient) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    choice = chat(sim, "Use the weather tool", tools=[tool], tool_choice="required").json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
