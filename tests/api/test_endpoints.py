"""Every call of the API, from the rows of `calls.py`: who may make it, what it answers, and that no one and nothing else
gets through.

The calls are read from the OpenAPI document, so a new one without a row fails here. Every answer of this file is compared
with the document too. A test loops over the rows and reports all that fail.
"""

import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey

from app.base.hashing import derive_key
from tests.api.calls import GUARDED, ROWS, WITH_BODY, Actors, new_actors, valid_call
from tests.kit import UNKNOWN_ID, Cases, Json, error_of, new_user
from tests.security.document import Document, Operation, document
from tests.studio import Studio


@pytest_asyncio.fixture(scope="module")
async def described(atelier: Studio) -> Document:
    return await document(atelier)


@pytest_asyncio.fixture(scope="module")
async def actors(atelier: Studio) -> AsyncIterator[Actors]:
    actors = await new_actors(atelier)
    yield actors
    await actors.close()


def check(described: Document, name: str, answer: httpx.Response) -> None:
    assert list(described.problems(described.operations[name], answer)) == []


def signed_in_caller(actors: Actors, name: str) -> httpx.AsyncClient:
    """Who is let in to every call of this access, also to those for anyone."""
    return actors.admin if ROWS[name].access == "admin" else actors.owner


async def test_every_call_of_the_document_has_a_row_and_every_row_a_call(described: Document) -> None:
    assert set(ROWS) == set(described.operations)


async def test_a_valid_call_gets_what_the_document_describes(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name, row in ROWS.items():
            with cases.case(name):
                answer = await (await valid_call(name, actors)).by(actors.caller(row.access))
                assert answer.status_code == row.status, answer.text
                check(described, name, answer)


async def test_a_user_who_is_no_admin_gets_403_for_real_and_unknown_ids_alike(
    actors: Actors, described: Document
) -> None:
    with Cases() as cases:
        for name in (name for name, row in ROWS.items() if row.access == "admin"):
            with cases.case(name):
                answers = []
                for call in (await valid_call(name, actors), await valid_call(name, actors, id=UNKNOWN_ID)):
                    answer = await call.by(actors.owner)
                    error_of(answer, 403, "FORBIDDEN")
                    check(described, name, answer)
                    answers.append(answer.text)
                assert answers[0] == answers[1]


def signed_token(studio: Studio, **changes: Any) -> str:
    """An access token with the product's own signature and these claims."""
    claims = {
        "sub": UNKNOWN_ID,
        "sid": UNKNOWN_ID,
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
        "typ": "access",
    }
    key = OctKey.import_key(derive_key(studio.program.key, "access tokens"))
    return jwt.encode({"alg": "HS256"}, {**claims, **changes}, key)


async def test_a_call_without_valid_credentials_is_401(actors: Actors, described: Document) -> None:
    credentials = {
        "none": None,
        "empty": "",
        "no token": "Bearer",
        "garbled": "Bearer x.y.z",
        "an unknown key": "Bearer atl_" + "x" * 43,
        "another scheme": "Basic YW5uOnBhc3N3b3Jk",
        "expired": f"Bearer {signed_token(actors.studio, exp=int(time.time()) - 1)}",
        "of no user": f"Bearer {signed_token(actors.studio)}",
        "a refresh token": f"Bearer {await actors.refresh_token()}",
        "not ASCII": "Bearer é",
        "very long": "Bearer " + "x" * 16_000,
    }
    with Cases() as cases:
        for name in GUARDED:
            call = await valid_call(name, actors, id=UNKNOWN_ID, polling_url="x")
            for what, value in credentials.items():
                with cases.case(name, what):
                    headers = {} if value is None else {"Authorization": value.encode("latin-1")}
                    answer = await call.by(actors.anonymous, headers=headers)
                    error_of(answer, 401, "AUTHENTICATION_ERROR")
                    assert answer.headers["www-authenticate"].startswith("Bearer")
                    check(described, name, answer)


async def test_of_two_authorization_headers_the_first_one_counts(actors: Actors) -> None:
    valid = actors.owner.headers["authorization"]
    client = actors.wire(actors.anonymous)
    for pair, status in (((valid, "Bearer x"), 200), (("Bearer x", valid), 401)):
        request = client.build_request("GET", "/api/v1/users/me", headers=[("Authorization", value) for value in pair])
        assert (await client.send(request)).status_code == status


async def test_the_id_of_another_user_and_an_unknown_id_get_the_same_404(
    actors: Actors, atelier: Studio, described: Document
) -> None:
    stranger = await new_user(atelier, "stranger")
    unknown = f"/api/v1/generate/video/{UNKNOWN_ID}/status"
    with Cases() as cases:
        for name in (name for name, row in ROWS.items() if row.private):
            with cases.case(name):
                call = await valid_call(name, actors)
                answers = []
                for attempt in (call, await valid_call(name, actors, id=UNKNOWN_ID, polling_url=unknown)):
                    answer = await attempt.by(stranger)
                    error_of(answer, 404, "RESOURCE_NOT_FOUND")
                    check(described, name, answer)
                    answers.append(answer.text)
                assert answers[0] == answers[1]
                owners = await call.by(actors.owner)
                assert owners.status_code == ROWS[name].status  # the owner is still served


MALFORMED_IDS = [
    "%00",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%ff%fe",
    "%F0%9F%8E%A8",
    "%e2%80%ae",
    "'%20or%20'1'='1",
    "%27%3B%20drop%20table%20jobs%3B--",
    "x" * 4000,
    "-1",
    "null",
    "%20",
    "*",
    "%25",
    "<script>",
]


async def test_a_malformed_id_is_404(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in (name for name, row in ROWS.items() if row.path):
            caller = actors.wire(actors.caller(ROWS[name].access))
            for id in MALFORMED_IDS:
                with cases.case(name, id):
                    answer = await (await valid_call(name, actors, id=id)).by(caller)
                    error_of(answer, 404, "RESOURCE_NOT_FOUND")
                    check(described, name, answer)


# Bodies


def values_of_other_types(schema: Json) -> list[Any]:
    """A value of every type that `schema` does not accept."""
    samples = {
        "string": "x",
        "integer": 7,
        "number": 7.5,
        "boolean": True,
        "array": ["x"],
        "object": {"x": 1},
        "null": None,
    }
    one_of: list[Json] = schema.get("oneOf") or schema.get("anyOf") or [schema]
    if any(not isinstance(one.get("type"), str) for one in one_of):
        return []
    accepted = {one["type"] for one in one_of}
    accepted |= {"integer"} if "number" in accepted else set()
    return [value for kind, value in samples.items() if accepted and kind not in accepted]


def check_refused(described: Document, name: str, answer: httpx.Response, *fields: str) -> Json:
    """A 400 as described that names each of `fields`; returns the fields that are named."""
    error = error_of(answer, 400, "VALIDATION_ERROR")
    check(described, name, answer)
    named: Json = error["details"].get("fields", {})
    for field in fields:
        assert named.get(field, "").strip(), f"{field} is not named in {error}"
    return named


async def test_a_body_with_an_invalid_field_is_400_and_names_it(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in WITH_BODY:
            caller = signed_in_caller(actors, name)
            schema = described.body_of(described.operations[name])
            assert schema is not None
            call = await valid_call(name, actors)
            valid, required = call.options["json"], schema.get("required", [])
            for field in required:
                with cases.case(name, field, "missing"):
                    without = {key: value for key, value in valid.items() if key != field}
                    check_refused(described, name, await call.by(caller, json=without), field)
            for field, declared in schema["properties"].items():
                for value in values_of_other_types(described.resolved(declared)):
                    if value is None and field not in required:
                        continue  # null means that an optional field is not given
                    with cases.case(name, field, repr(value)):
                        answer = await call.by(caller, json={**valid, field: value})
                        named = check_refused(described, name, answer)
                        assert field in named or any(field in text for text in named.values()), named
            with cases.case(name, "unknown field"):
                answer = await call.by(caller, json={**valid, "no_such_field": 1})
                check_refused(described, name, answer, "no_such_field")


NO_OBJECTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b"true",
    b"[{}]",
    b"{'a': 1}",
    b"<xml/>",
    b"a=1&b=2",
    b"\xff\xfe{}",
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": NaN}',
    b'{"a": 1} {"a": 2}',
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b'{"a": 1e999}',
    b'{"a": "\\ud800\\u0000"}',
]


async def test_a_body_that_is_no_json_object_is_400_and_is_not_repeated(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in WITH_BODY:
            call = await valid_call(name, actors)
            for content in NO_OBJECTS:
                with cases.case(name, content[:20]):
                    answer = await call.with_content(content).by(signed_in_caller(actors, name))
                    assert check_refused(described, name, answer)
                    assert len(answer.text) < 2_000


async def test_another_content_type_is_400(actors: Actors, described: Document) -> None:
    kinds = ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain", "rubbish", "")
    with Cases() as cases:
        for name in WITH_BODY:
            call = await valid_call(name, actors)
            for kind in kinds:
                with cases.case(name, kind):
                    answer = await call.with_content(b"a=1", kind).by(signed_in_caller(actors, name))
                    error_of(answer, 400)
                    check(described, name, answer)


async def test_a_huge_body_is_413(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in WITH_BODY:
            with cases.case(name):
                call = await valid_call(name, actors)
                # A conversation may carry images.
                content = b'{"a": "' + b"x" * (25_500_000 if name.endswith("/chat") else 1_100_000) + b'"}'
                answer = await call.with_content(content).by(actors.wire(signed_in_caller(actors, name)))
                error_of(answer, 413, "FILE_TOO_LARGE")
                check(described, name, answer)


async def test_credentials_are_checked_before_the_body(actors: Actors) -> None:
    with Cases() as cases:
        for name in GUARDED:
            with cases.case(name):
                call = await valid_call(name, actors, id=UNKNOWN_ID, polling_url="x")
                error_of(await call.with_content(b"{").by(actors.anonymous), 401, "AUTHENTICATION_ERROR")


# Queries

INVALID_QUERIES = {
    "limit": [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "limit=%00",
        "limit=" + "9" * 400,
        "limit=%D9%A3",
    ],
    "cursor": ["cursor=x", "cursor=%00", "cursor=%ff", "cursor=" + "A" * 5000],
    "status": ["status=x", "status=%00", "status=COMPLETED"],
    "kind": ["kind=x", "kind=%00"],
}


def invalid_queries(operation: Operation) -> list[str]:
    """A query that breaks each rule of each parameter."""
    declared = {one["name"] for one in operation.parameters("query")}
    return [query for name, queries in INVALID_QUERIES.items() if name in declared for query in queries]


async def test_an_invalid_query_is_400_and_names_the_parameter(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in (name for name in ROWS if name.startswith("GET")):
            path = (await valid_call(name, actors)).path
            for query in invalid_queries(described.operations[name]):
                with cases.case(name, query):
                    answer = await signed_in_caller(actors, name).get(f"{path}?{query}")
                    check_refused(described, name, answer, query.partition("=")[0])


UNUSUAL_QUERIES = [
    "x=1",
    "%00",
    "%ff=%ff",
    "&&&",
    "=",
    "a" * 8000,
    "q=%00",
    "q=%ff",
    "q=" + "x" * 90,
    "q=%25%5F%5C",
    "q='",
    "limit=1&limit=2",
]


async def test_an_unusual_query_is_answered_or_refused(actors: Actors, described: Document) -> None:
    with Cases() as cases:
        for name in (name for name in ROWS if name.startswith("GET")):
            call = await valid_call(name, actors)
            parameters = "&".join(f"{key}={value}" for key, value in call.options.get("params", {}).items())
            for query in UNUSUAL_QUERIES:
                with cases.case(name, query):
                    answer = await signed_in_caller(actors, name).get(f"{call.path}?{parameters}&{query}")
                    assert answer.status_code in (200, 400)
                    check(described, name, answer)


# Methods


async def test_a_method_without_a_route_is_405_and_allow_lists_the_others(actors: Actors) -> None:
    admin = actors.wire(actors.admin)
    with Cases() as cases:
        for path in sorted({name.split()[1] for name in ROWS}):
            allowed = {name.split()[0] for name in ROWS if name.split()[1] == path}
            allowed |= {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())
            at = re.sub(r"\{\w+\}", UNKNOWN_ID, path)
            for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "PROPFIND", "FOO"):
                if method in allowed:
                    continue
                with cases.case(method, path):
                    answer = await admin.request(method, at)
                    error_of(answer, 405, "METHOD_NOT_ALLOWED")
                    assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed
            with cases.case("OPTIONS", path):
                options = await admin.options(at)
                assert (options.status_code, options.content) == (204, b"")
                assert {name.strip() for name in options.headers["allow"].split(",")} == allowed


async def test_head_is_get_without_the_body(actors: Actors) -> None:
    with Cases() as cases:
        for name in (name for name in ROWS if name.startswith("GET")):
            for client in (actors.wire(actors.caller(ROWS[name].access)), actors.wire(actors.admin)):
                with cases.case(name):
                    call = await valid_call(name, actors)
                    head = await client.head(call.path, params=call.options.get("params"))
                    get = await client.get(call.path, params=call.options.get("params"))
                    assert (head.status_code, head.content) == (get.status_code, b"")
                    assert head.headers["content-type"] == get.headers["content-type"]
