"""What OpenAI's own Python package raises when something is wrong: its own kinds of error, each with what it needs."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.kit import PICTURE, TEXT, submits
from tests.gateway.sdk.conftest import Person, arrived
from tests.studio import Studio, running

Json = dict[str, Any]


def raised(found: Json, kind: str, status: int) -> Json:
    """The error, after checking that it is one of this kind in OpenAI's envelope."""
    assert kind in found["kinds"], found
    assert found["status"] == status, found
    assert found["message"], "the envelope was not understood"
    assert found["type"]
    assert found["request"], "an error names its request"
    assert "Traceback" not in found["message"]
    return found


@pytest.mark.parametrize("key", ["atl_" + "wrong" * 8, "sk-from-somewhere-else", "nonsense.with.dots"])
async def test_a_wrong_key_is_an_authentication_error(ann: Person, key: str) -> None:
    found = await ann.run(
        """
        client.api_key = given["key"]
        said = [refused(ask, "hello"), refused(lambda: list(client.models.list()))]
        """,
        model=TEXT,
        key=key,
    )
    for each in found:
        assert raised(each, "AuthenticationError", 401)["code"] == "invalid_api_key"


async def test_a_key_that_was_removed_opens_nothing(ann: Person) -> None:
    (key,) = (await ann.http.get("/api/v1/users/me/keys")).json()["items"]
    await ann.http.delete(f"/api/v1/users/me/keys/{key['id']}")
    raised(await ann.run("said = refused(ask, 'hello')", model=TEXT), "AuthenticationError", 401)


UNKNOWN = {
    "chat": "refused(ask, 'hello')",
    "a streamed chat": "refused(ask, 'hello', stream=True)",
    "pictures": "refused(client.images.generate, model=given['model'], prompt='a boat')",
    "clips": "refused(client.videos.create, model=given['model'], prompt='a boat')",
    "one model": "refused(client.models.retrieve, given['model'])",
}


@pytest.mark.parametrize("what", UNKNOWN)
async def test_an_unknown_model_is_not_found(ann: Person, what: str) -> None:
    found = await ann.run(f"said = {UNKNOWN[what]}", model="nobody/nothing-1")
    assert raised(found, "NotFoundError", 404)["code"] == "model_not_found"
    assert "nobody/nothing-1" in found["message"]


async def test_a_model_that_does_something_else_is_a_bad_request(ann: Person) -> None:
    found = await ann.run("said = refused(client.images.generate, model=given['model'], prompt='a boat')", model=TEXT)
    assert raised(found, "BadRequestError", 400)["param"] == "model"


WRONG = {
    "temperature": "ask('hello', temperature=9)",
    "max_tokens": "ask('hello', max_tokens=0)",
    "messages": "ask('hello', messages=[])",
    "tools": "ask('hello', tools=[{'type': 'function'}])",
    "n": "ask('hello', n=3)",
    "wizardry": "ask('hello', extra_body={'wizardry': True})",
}


@pytest.mark.parametrize("param", WRONG)
async def test_a_wrong_parameter_is_a_bad_request_that_names_it(ann: Person, param: str) -> None:
    found = await ann.run(f"said = refused(lambda: {WRONG[param]})", model=TEXT)
    assert raised(found, "BadRequestError", 400)["param"].partition(".")[0].partition("[")[0] == param
    assert found["type"] == "invalid_request_error"


async def test_functions_for_a_model_that_knows_none_are_a_bad_request_and_no_failure_of_the_provider(
    ann: Person,
) -> None:
    found = await ann.run(
        """
        tools = [{"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}}]
        said = refused(ask, "hello", tools=tools)
        """,
        model="meta-llama/llama-3.3-70b-instruct:free",
    )
    assert 400 <= found["status"] < 500, found


async def test_a_picture_without_a_prompt_is_a_bad_request_that_names_it(ann: Person) -> None:
    found = await ann.run("said = refused(client.images.generate, model=given['model'], prompt=' ')", model=PICTURE)
    assert raised(found, "BadRequestError", 400)["param"] == "prompt"


REFUSED = {
    "chat": (TEXT, "refused(ask, '[refuse] a famous actor')"),
    "a streamed chat": (TEXT, "refused(ask, '[refuse] a famous actor', stream=True)"),
    "pictures": (PICTURE, "refused(client.images.generate, model=given['model'], prompt='[refuse] a famous actor')"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_refused_content_is_a_bad_request(ann: Person, what: str) -> None:
    model, call = REFUSED[what]
    found = raised(await ann.run(f"said = {call}", model=model), "BadRequestError", 400)
    assert found["code"] in ("content_policy_violation", "moderation_blocked", "content_filter")


async def test_a_provider_that_fails_is_a_server_error(ann: Person) -> None:
    found = await ann.run(
        """
        from concurrent.futures import ThreadPoolExecutor
        calls = [(ask, (f"[{fault}] a boat",), {"stream": stream})
            for fault in ("fail", "html", "credits") for stream in (False, True)]
        calls += [(client.images.generate, (), {"model": given["picture"], "prompt": f"[{fault}] a boat"})
            for fault in ("credits", "badmedia")]
        with ThreadPoolExecutor(len(calls)) as pool:
            said = list(pool.map(lambda call: refused(call[0], *call[1], **call[2]), calls))
        """,
        model=TEXT,
        picture=PICTURE,
    )
    for each in found:
        assert 500 <= raised(each, "InternalServerError", each["status"])["status"] < 600


@pytest.mark.parametrize("fault", ["error-in-stream", "cut"])
async def test_a_stream_that_breaks_off_is_an_error_and_never_looks_whole(ann: Person, fault: str) -> None:
    found, heard = await ann.run(
        """
        heard = []
        def listen():
            for chunk in ask(f"[{given['fault']}] Tell me about basalt", stream=True):
                heard.extend(choice.finish_reason for choice in chunk.choices)
        said = [refused(listen), heard]
        """,
        model=TEXT,
        fault=fault,
    )
    assert "APIError" in found["kinds"], found
    assert found["message"] or found["code"]
    assert heard, "what came before the break was heard"
    assert set(heard) == {None}


async def test_a_call_whose_outcome_is_unknown_is_not_paid_for_again_by_the_packages_own_retries(
    atelier: Studio, ann: Person
) -> None:
    prompt = "[ambiguous] a boat that is drawn once"
    found = await ann.run(
        """
        patient = openai.OpenAI(timeout=45)
        said = refused(patient.images.generate, model=given["model"], prompt=given["prompt"])
        """,
        model=PICTURE,
        prompt=prompt,
    )
    raised(found, "APIStatusError", found["status"])
    assert len([submit for submit in submits(atelier) if submit["prompt"] == prompt]) == 1


async def test_too_many_requests_are_a_rate_limit_error_that_says_when_to_come_back(tmp_path: Path, sdk: Path) -> None:
    async with running(tmp_path, ATELIER_RATE_LIMITS="on") as limited:
        ann = await arrived(limited, sdk)
        found = await ann.run(
            """
            found = [refused(ask, "hello", messages=[]) for _ in range(61)]
            said = [found[0], found[-1]]
            """,
            model=TEXT,
        )
    assert found[0]["status"] == 400
    raised(found[1], "RateLimitError", 429)
    assert found[1]["code"] == "rate_limit_exceeded"
    assert int(found[1]["headers"]["retry-after"]) > 0


async def test_what_does_not_exist_here_says_so_in_the_same_envelope(ann: Person) -> None:
    found = await ann.run(
        """
        said = [
            refused(client.embeddings.create, model=given["model"], input="hello"),
            refused(client.get, "/nonsense", cast_to=object),
            refused(client.delete, "/chat/completions", cast_to=object),
        ]
        """,
        model=TEXT,
    )
    raised(found[0], "NotFoundError", 404)
    raised(found[1], "NotFoundError", 404)
    raised(found[2], "APIStatusError", 405)
