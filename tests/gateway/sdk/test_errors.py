"""Errors as the `openai` package raises them: the right exception class, status, code and parameter."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.sdk.conftest import User, user_with_key
from tests.gateway.sdk.interpreter import Interpreter
from tests.kit import IMAGE_MODEL, TEXT_MODEL, submit_log
from tests.studio import Studio, running

pytestmark = pytest.mark.xdist_group("openai")  # one worker keeps one interpreter

Json = dict[str, Any]


def raised(error: Json, kind: str, status: int) -> Json:
    """The error, after checking its exception class and OpenAI's error format."""
    assert kind in error["kinds"], error
    assert error["status"] == status, error
    assert error["message"], "the package did not understand the error format"
    assert error["type"]
    assert error["request"], "an error names its request"
    assert "Traceback" not in error["message"]
    return error


async def test_a_wrong_key_is_an_authentication_error(ann: User) -> None:
    keys = ["atl_" + "wrong" * 8, "sk-from-somewhere-else", "nonsense.with.dots"]
    errors = await ann.run(
        """
        result = []
        for key in given["keys"]:
            client.api_key = key
            result += [error_of(chat, "hello"), error_of(lambda: list(client.models.list()))]
        """,
        model=TEXT_MODEL,
        keys=keys,
    )
    assert len(errors) == 2 * len(keys)
    for error in errors:
        assert raised(error, "AuthenticationError", 401)["code"] == "invalid_api_key"


async def test_a_deleted_key_is_an_authentication_error(ann: User) -> None:
    (key,) = await ann.items("users/me/keys")
    await ann.http.delete(f"/api/v1/users/me/keys/{key['id']}")
    raised(await ann.run("result = error_of(chat, 'hello')", model=TEXT_MODEL), "AuthenticationError", 401)


async def test_an_unknown_model_is_not_found(ann: User) -> None:
    errors = await ann.run(
        """
        result = [
            error_of(chat, "hello"),
            error_of(chat, "hello", stream=True),
            error_of(client.images.generate, model=given["model"], prompt="a boat"),
            error_of(client.videos.create, model=given["model"], prompt="a boat"),
            error_of(client.models.retrieve, given["model"]),
        ]
        """,
        model="unknown/nothing-1",
    )
    for error in errors:
        assert raised(error, "NotFoundError", 404)["code"] == "model_not_found"
        assert "unknown/nothing-1" in error["message"]


async def test_a_model_of_another_kind_is_a_bad_request(ann: User) -> None:
    error = await ann.run(
        "result = error_of(client.images.generate, model=given['model'], prompt='a boat')", model=TEXT_MODEL
    )
    assert raised(error, "BadRequestError", 400)["param"] == "model"


async def test_a_wrong_parameter_is_a_bad_request_that_names_it(ann: User) -> None:
    wrong = {
        "temperature": {"temperature": 9},
        "max_tokens": {"max_tokens": 0},
        "messages": {"messages": []},
        "tools": {"tools": [{"type": "function"}]},
    }
    errors = await ann.run(
        "result = {param: error_of(chat, 'hello', **more) for param, more in given['wrong'].items()}",
        model=TEXT_MODEL,
        wrong=wrong,
    )
    assert set(errors) == set(wrong)
    for param, error in errors.items():
        assert param in str(raised(error, "BadRequestError", 400)), "what the provider checks is named in its message"
        assert error["type"] == "invalid_request_error"


async def test_tools_for_a_model_without_them_are_a_bad_request_and_not_a_failure_of_the_provider(ann: User) -> None:
    error = await ann.run(
        """
        tools = [{"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}}]
        result = error_of(chat, "hello", tools=tools)
        """,
        model="meta-llama/llama-3.3-70b-instruct:free",
    )
    assert 400 <= error["status"] < 500, error


async def test_an_image_without_a_prompt_is_a_bad_request_that_names_it(ann: User) -> None:
    error = await ann.run(
        "result = error_of(client.images.generate, model=given['model'], prompt=' ')", model=IMAGE_MODEL
    )
    assert raised(error, "BadRequestError", 400)["param"] == "prompt"


async def test_content_that_the_provider_rejects_is_a_bad_request(ann: User) -> None:
    errors = await ann.run(
        """
        prompt = "[refuse] a famous actor"
        result = [
            error_of(chat, prompt),
            error_of(chat, prompt, stream=True),
            error_of(client.images.generate, model=given["image_model"], prompt=prompt),
        ]
        """,
        model=TEXT_MODEL,
        image_model=IMAGE_MODEL,
    )
    for error in errors:
        code = raised(error, "BadRequestError", 400)["code"]
        assert code in ("content_policy_violation", "moderation_blocked", "content_filter")


async def test_a_provider_that_fails_is_a_server_error(ann: User) -> None:
    errors = await ann.run(
        """
        from concurrent.futures import ThreadPoolExecutor
        calls = [(chat, (f"[{fault}] a boat",), {"stream": stream})
            for fault in ("fail", "html", "credits") for stream in (False, True)]
        calls += [(client.images.generate, (), {"model": given["image_model"], "prompt": f"[{fault}] a boat"})
            for fault in ("credits", "badmedia")]
        with ThreadPoolExecutor(len(calls)) as pool:
            result = list(pool.map(lambda call: error_of(call[0], *call[1], **call[2]), calls))
        """,
        model=TEXT_MODEL,
        image_model=IMAGE_MODEL,
    )
    assert len(errors) == 8
    for error in errors:
        assert 500 <= raised(error, "InternalServerError", error["status"])["status"] < 600


@pytest.mark.parametrize("fault", ["error-in-stream", "cut"])
async def test_a_stream_that_breaks_off_is_an_error_and_never_looks_complete(ann: User, fault: str) -> None:
    error, reasons = await ann.run(
        """
        reasons = []
        def read():
            for chunk in chat(f"[{given['fault']}] Tell me about basalt", stream=True):
                reasons.extend(choice.finish_reason for choice in chunk.choices)
        result = [error_of(read), reasons]
        """,
        model=TEXT_MODEL,
        fault=fault,
    )
    assert "APIError" in error["kinds"], error
    assert error["message"] or error["code"]
    assert reasons, "what came before the break was received"
    assert set(reasons) == {None}


async def test_a_call_whose_outcome_is_unknown_is_not_paid_for_again_by_the_packages_own_retries(
    atelier: Studio, ann: User
) -> None:
    prompt = "[ambiguous] a boat that is drawn once"
    error = await ann.run(
        """
        retrying = openai.OpenAI()
        result = error_of(retrying.images.generate, model=given["model"], prompt=given["prompt"])
        """,
        model=IMAGE_MODEL,
        prompt=prompt,
    )
    raised(error, "APIStatusError", error["status"])
    assert len([submit for submit in submit_log(atelier) if submit["prompt"] == prompt]) == 1


async def test_too_many_requests_are_a_rate_limit_error_that_says_when_to_come_back(
    tmp_path: Path, interpreter: Interpreter
) -> None:
    async with running(tmp_path, ATELIER_RATE_LIMITS="on") as limited:
        ann = await user_with_key(limited, interpreter)
        first, last = await ann.run(
            """
            errors = [error_of(chat, "hello", messages=[]) for _ in range(61)]
            result = [errors[0], errors[-1]]
            """,
            model=TEXT_MODEL,
        )
    assert first["status"] == 400
    raised(last, "RateLimitError", 429)
    assert last["code"] == "rate_limit_exceeded"
    assert int(last["headers"]["retry-after"]) > 0


async def test_what_does_not_exist_here_is_answered_in_the_same_envelope(ann: User) -> None:
    embeddings, unknown, method = await ann.run(
        """
        result = [
            error_of(client.embeddings.create, model=given["model"], input="hello"),
            error_of(client.get, "/nonsense", cast_to=object),
            error_of(client.delete, "/chat/completions", cast_to=object),
        ]
        """,
        model=TEXT_MODEL,
    )
    raised(embeddings, "NotFoundError", 404)
    raised(unknown, "NotFoundError", 404)
    raised(method, "APIStatusError", 405)
