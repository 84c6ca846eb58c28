"""Every call of the API, one row each: who may, what it answers, and that nobody else and nothing else gets through.

The calls are read out of the OpenAPI document, so a new one without a row fails here. Every answer of this file is held
against the document too.
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey

from app.base import secret
from tests.api.kit import (
    CLIP,
    COUNTED,
    FRAMED,
    INVENTED,
    SHORT,
    SHORT_FRAMED,
    TEXT,
    Json,
    email,
    person,
    pictured,
    png,
    problem,
    uploaded,
)
from tests.security.document import Document, Operation, document
from tests.studio import PASSWORD, Studio


class Scene:
    """A person, the admin and a stranger, with whatever a call needs to be there made when it is asked for."""

    def __init__(self, studio: Studio, ann: httpx.AsyncClient, admin: httpx.AsyncClient, address: str) -> None:
        self.studio, self.ann, self.admin, self.address = studio, ann, admin, address
        self.nobody = studio.client()

    async def picture_job(self) -> str:
        return str((await pictured(self.ann))["id"])

    async def clip(self) -> str:
        return await self._clip("a lighthouse")

    async def running_clip(self) -> str:
        return await self._clip("[stuck] a lighthouse")

    async def failed_clip(self) -> str:
        id = await self._clip("[fail] a lighthouse")
        assert (await self.studio.finished(self.ann, id))["status"] == "failed"
        return id

    async def _clip(self, prompt: str) -> str:
        body = {"model": CLIP, "prompt": prompt, **SHORT}
        answer = await self.ann.post("/api/v1/generate/video", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def asset(self) -> str:
        return str((await uploaded(self.ann))["id"])

    async def key(self) -> str:
        return str((await self.ann.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["id"])

    async def session(self) -> str:
        """Another sign-in of the same person."""
        await self._login()
        items = (await self.ann.get("/api/v1/users/me/sessions")).json()["items"]
        return str(next(item["id"] for item in items if not item["current"]))

    async def refresh_token(self) -> str:
        return str((await self._login())["refresh_token"])

    async def _login(self) -> Json:
        body = {"email": self.address, "password": PASSWORD}
        tokens: Json = (await self.nobody.post("/api/v1/auth/login", json=body)).json()
        return tokens

    async def somebody(self) -> str:
        body = {"email": email("somebody"), "password": PASSWORD}
        return str((await self.nobody.post("/api/v1/auth/register", json=body)).json()["id"])

    async def model(self) -> str:
        return CLIP

    async def polling_url(self) -> str:
        return f"/api/v1/generate/video/{await self.clip()}/status"


Maker = Callable[[Scene], Awaitable[str]]


class Row(msgspec.Struct, frozen=True):
    """`who` may call, what a right call answers, and what it needs: the parameters of its path and query, the body, a file.
    `own` says that the path names something that a stranger must not even know to be there."""

    who: str
    status: int
    path: dict[str, Maker] = {}
    query: dict[str, Maker] = {}
    body: Callable[[Scene], Awaitable[Json]] | None = None
    file: bool = False
    own: bool = False


def says(**values: Any) -> Callable[[Scene], Awaitable[Json]]:
    """A body of values that are known, or made when they are needed."""

    async def made(scene: Scene) -> Json:
        return {name: await value(scene) if callable(value) else value for name, value in values.items()}

    return made


async def _fresh_email(_: Scene) -> str:
    return email("fresh")


async def _own_email(scene: Scene) -> str:
    return scene.address


ROWS: dict[str, Row] = {
    "POST /api/v1/auth/register": Row("anybody", 201, body=says(email=_fresh_email, password=PASSWORD, name="Ann")),
    "POST /api/v1/auth/login": Row("anybody", 200, body=says(email=_own_email, password=PASSWORD)),
    "POST /api/v1/auth/refresh": Row("anybody", 200, body=says(refresh_token=Scene.refresh_token)),
    "POST /api/v1/auth/logout": Row("anybody", 204, body=says(refresh_token=Scene.refresh_token)),
    "GET /api/v1/users/me": Row("person", 200),
    "PUT /api/v1/users/me": Row("person", 200, body=says(name="Ann Kern")),
    "GET /api/v1/users/me/keys": Row("person", 200),
    "POST /api/v1/users/me/keys": Row("person", 201, body=says(name="laptop", expires_at="2099-01-01T00:00:00Z")),
    "DELETE /api/v1/users/me/keys/{key_id}": Row("person", 204, {"key_id": Scene.key}, own=True),
    "GET /api/v1/users/me/sessions": Row("person", 200),
    "DELETE /api/v1/users/me/sessions": Row("person", 204),
    "DELETE /api/v1/users/me/sessions/{session_id}": Row("person", 204, {"session_id": Scene.session}, own=True),
    "GET /api/v1/users/me/spending": Row("person", 200),
    "GET /api/v1/users": Row("admin", 200),
    "PUT /api/v1/users/{user_id}/role": Row("admin", 200, {"user_id": Scene.somebody}, body=says(role="admin")),
    "PUT /api/v1/users/{user_id}/active": Row("admin", 200, {"user_id": Scene.somebody}, body=says(is_active=False)),
    "DELETE /api/v1/users/{user_id}": Row("admin", 204, {"user_id": Scene.somebody}),
    "GET /api/v1/ai/models": Row("person", 200),
    "POST /api/v1/ai/chat": Row("person", 200, body=says(model=TEXT, messages=[{"role": "user", "content": "Hello"}])),
    "POST /api/v1/generate/text": Row("person", 200, body=says(model=TEXT, prompt="a boat", system_prompt="Be brief")),
    "POST /api/v1/generate/image": Row(
        "person", 200, body=says(model=COUNTED, prompt="a boat", n=1, image_asset_id=Scene.asset)
    ),
    "POST /api/v1/generate/video": Row("person", 202, body=says(model=CLIP, prompt="a boat", **SHORT)),
    "POST /api/v1/generate/video/from-image": Row(
        "person", 202, body=says(model=FRAMED, prompt="a boat", image_asset_id=Scene.asset, **SHORT_FRAMED)
    ),
    "GET /api/v1/generate/video/{id}/status": Row("person", 200, {"id": Scene.clip}, own=True),
    "GET /api/v1/generate/video/status": Row("person", 200, query={"polling_url": Scene.polling_url}, own=True),
    "GET /api/v1/generate/images": Row("person", 200),
    "GET /api/v1/generate/images/{id}": Row("person", 200, {"id": Scene.picture_job}, own=True),
    "GET /api/v1/generate/videos": Row("person", 200),
    "GET /api/v1/generate/videos/{id}": Row("person", 200, {"id": Scene.clip}, own=True),
    "POST /api/v1/generate/videos/{id}/cancel": Row("person", 200, {"id": Scene.running_clip}, own=True),
    "POST /api/v1/generate/video/{id}/cancel": Row("person", 200, {"id": Scene.running_clip}, own=True),
    "GET /api/v1/jobs": Row("person", 200),
    "GET /api/v1/jobs/{id}": Row("person", 200, {"id": Scene.picture_job}, own=True),
    "POST /api/v1/jobs/{id}/cancel": Row("person", 200, {"id": Scene.running_clip}, own=True),
    "POST /api/v1/jobs/{id}/retry": Row("person", 201, {"id": Scene.failed_clip}, own=True),
    "POST /api/v1/assets": Row("person", 201, file=True),
    "GET /api/v1/assets": Row("person", 200),
    "GET /api/v1/assets/{id}": Row("person", 200, {"id": Scene.asset}, own=True),
    "DELETE /api/v1/assets/{id}": Row("person", 204, {"id": Scene.asset}, own=True),
    "GET /api/v1/admin/stats": Row("admin", 200),
    "GET /api/v1/admin/health": Row("admin", 200),
    "GET /api/v1/admin/health/db": Row("admin", 200),
    "POST /api/v1/admin/tokens/purge": Row("admin", 200),
    "GET /api/v1/admin/jobs": Row("admin", 200),
    "GET /api/v1/admin/videos": Row("admin", 200),
    "POST /api/v1/admin/jobs/{id}/cancel": Row("admin", 200, {"id": Scene.running_clip}),
    "POST /api/v1/admin/videos/{id}/cancel": Row("admin", 200, {"id": Scene.running_clip}),
    "POST /api/v1/admin/jobs/{id}/retry": Row("admin", 201, {"id": Scene.failed_clip}),
    "POST /api/v1/admin/videos/{id}/retry": Row("admin", 201, {"id": Scene.failed_clip}),
    "DELETE /api/v1/admin/jobs/{id}": Row("admin", 204, {"id": Scene.picture_job}),
    "DELETE /api/v1/admin/videos/{id}": Row("admin", 204, {"id": Scene.failed_clip}),
    "POST /api/v1/admin/jobs/purge": Row("admin", 200, body=says(older_than_days=9, statuses=["failed"], dry_run=True)),
    "POST /api/v1/admin/videos/purge": Row("admin", 200, body=says(older_than_days=9, dry_run=True)),
    "POST /api/v1/admin/jobs/timed-out": Row("admin", 200),
    "POST /api/v1/admin/videos/timed-out": Row("admin", 200),
    "GET /api/v1/admin/models": Row("admin", 200),
    "PUT /api/v1/admin/models/{id}": Row("admin", 200, {"id": Scene.model}, body=says(enabled=True)),
    "POST /api/v1/admin/models/refresh": Row("admin", 200),
    "GET /api/v1/admin/audit": Row("admin", 200),
    "GET /health": Row("anybody", 200),
    "GET /metrics": Row("admin", 200),
}
CLOSED = [name for name, row in ROWS.items() if row.who != "anybody"]
BODIED = [name for name, row in ROWS.items() if row.body is not None]


@pytest_asyncio.fixture(scope="module")
async def described(atelier: Studio) -> Document:
    return await document(atelier)


@pytest_asyncio.fixture(scope="module")
async def scene(atelier: Studio) -> Scene:
    address = email("ann")
    return Scene(atelier, await atelier.person(address), await atelier.person("admin@studio.example"), address)


@pytest_asyncio.fixture(scope="module")
async def stranger(atelier: Studio) -> httpx.AsyncClient:
    return await person(atelier, "stranger")


class Call(NamedTuple):
    """A call ready to be sent by anybody."""

    method: str
    path: str
    options: dict[str, Any]

    async def by(self, client: httpx.AsyncClient, **more: Any) -> httpx.Response:
        return await client.request(self.method, self.path, **{**self.options, **more})


async def right(name: str, scene: Scene, **instead: str) -> Call:
    """The right call of a row; `instead` are ids to be named in place of real ones."""
    method, template = name.split()
    row = ROWS[name]
    path = template
    for parameter, make in row.path.items():
        path = path.replace(f"{{{parameter}}}", instead.get("id") or await make(scene))
    options: dict[str, Any] = {}
    if row.query:
        options["params"] = {key: instead.get(key) or await make(scene) for key, make in row.query.items()}
    if row.body is not None:
        options["json"] = await row.body(scene)
    if row.file:
        options["files"] = {"file": ("a.png", png(), "image/png")}
    return Call(method, path, options)


def check(described: Document, name: str, answer: httpx.Response) -> None:
    assert list(described.problems(described.operations[name], answer)) == []


async def test_every_call_of_the_document_has_a_row_and_every_row_a_call(described: Document) -> None:
    assert set(ROWS) == set(described.operations)


@pytest.mark.parametrize("name", list(ROWS))
async def test_whoever_may_gets_what_the_document_says(scene: Scene, described: Document, name: str) -> None:
    row = ROWS[name]
    asker = {"anybody": scene.nobody, "person": scene.ann, "admin": scene.admin}[row.who]
    answer = await (await right(name, scene)).by(asker)
    assert answer.status_code == row.status, answer.text
    check(described, name, answer)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.who == "admin"])
async def test_whoever_is_no_admin_is_403_and_learns_nothing(scene: Scene, described: Document, name: str) -> None:
    told = []
    for call in (await right(name, scene), await right(name, scene, id=INVENTED)):
        answer = await call.by(scene.ann)
        problem(answer, 403, "FORBIDDEN")
        check(described, name, answer)
        told.append(answer.text)
    assert told[0] == told[1]


def signed(studio: Studio, **changes: Any) -> str:
    """A token with our own signature and these claims."""
    claims = {"sub": INVENTED, "sid": INVENTED, "iat": int(time.time()), "exp": int(time.time()) + 60, "typ": "access"}
    key = OctKey.import_key(secret.derived(studio.program.key, "access tokens"))
    return jwt.encode({"alg": "HS256"}, {**claims, **changes}, key)


@pytest.mark.parametrize("name", CLOSED)
async def test_without_a_proof_that_holds_a_call_is_401(scene: Scene, described: Document, name: str) -> None:
    call = await right(name, scene, id=INVENTED, polling_url="x")
    proofs = {
        "none": None,
        "empty": "",
        "no token": "Bearer",
        "garbled": "Bearer x.y.z",
        "an invented key": "Bearer atl_" + "x" * 43,
        "another way": "Basic YW5uOnBhc3N3b3Jk",
        "expired": f"Bearer {signed(scene.studio, exp=int(time.time()) - 1)}",
        "nobody's": f"Bearer {signed(scene.studio)}",
        "a refresh token": f"Bearer {await scene.refresh_token()}",
        "not ASCII": "Bearer é",
        "endless": "Bearer " + "x" * 16_000,
    }
    for what, proof in proofs.items():
        headers = {} if proof is None else {"Authorization": proof.encode("latin-1")}
        answer = await call.by(scene.nobody, headers=headers)
        problem(answer, 401, "AUTHENTICATION_ERROR")
        assert answer.headers["www-authenticate"].startswith("Bearer"), what
        check(described, name, answer)


async def test_two_authorizations_at_once_are_not_added_up(scene: Scene) -> None:
    """The first one counts, here as everywhere behind; a second one is no second chance."""
    right_one = scene.ann.headers["authorization"]
    for pair, status in (((right_one, "Bearer x"), 200), (("Bearer x", right_one), 401)):
        request = scene.nobody.build_request(
            "GET", "/api/v1/users/me", headers=[("Authorization", value) for value in pair]
        )
        assert (await scene.ann.send(request)).status_code == status


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.own])
async def test_a_strangers_id_is_exactly_as_absent_as_an_invented_one(
    scene: Scene, stranger: httpx.AsyncClient, described: Document, name: str
) -> None:
    invented = f"/api/v1/generate/video/{INVENTED}/status"
    answers = []
    for call in (await right(name, scene), await right(name, scene, id=INVENTED, polling_url=invented)):
        answer = await call.by(stranger)
        problem(answer, 404, "RESOURCE_NOT_FOUND")
        check(described, name, answer)
        answers.append(answer.text)
    assert answers[0] == answers[1]
    owners = await (await right(name, scene)).by(scene.ann)
    assert owners.status_code == ROWS[name].status  # and the owner still gets theirs


ABSURD = [
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


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.path])
async def test_an_absurd_id_is_404_and_no_bug(scene: Scene, described: Document, name: str) -> None:
    asker = scene.ann if ROWS[name].who == "person" else scene.admin
    for id in ABSURD:
        answer = await (await right(name, scene, id=id)).by(asker)
        problem(answer, 404, "RESOURCE_NOT_FOUND")
        check(described, name, answer)


# Bodies


def wrong_values(schema: Json) -> list[Any]:
    """Values of every type but the right ones."""
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
    right = {one["type"] for one in one_of}
    right |= {"integer"} if "number" in right else set()
    return [value for kind, value in samples.items() if right and kind not in right]


async def refused(described: Document, name: str, answer: httpx.Response, *fields: str) -> None:
    error = problem(answer, 400, "VALIDATION_ERROR")
    check(described, name, answer)
    for field in fields:
        assert error["details"]["fields"].get(field, "").strip(), f"{name}: {field} is not named in {error}"


@pytest.mark.parametrize("name", BODIED)
async def test_a_body_with_a_wrong_field_is_400_and_names_it(scene: Scene, described: Document, name: str) -> None:
    asker = scene.admin if ROWS[name].who == "admin" else scene.ann
    schema = described.body_of(described.operations[name])
    assert schema is not None
    call = await right(name, scene)
    good = call.options["json"]
    for field in schema.get("required", []):
        without = {key: value for key, value in good.items() if key != field}
        await refused(described, name, await call.by(asker, json=without), field)
    for field, declared in schema["properties"].items():
        for value in wrong_values(described.resolved(declared)):
            if value is None and field not in schema.get("required", []):
                continue  # null is as good as nothing where nothing is needed
            answer = await call.by(asker, json={**good, field: value})
            assert answer.status_code == 400, f"{name} takes {field}={value!r}: {answer.text[:300]}"
            await refused(described, name, answer)
            named = answer.json()["error"]["details"]["fields"]
            assert field in named or any(field in text for text in named.values()), f"{field} is not named in {named}"
    answer = await call.by(asker, json={**good, "no_such_field": 1})
    await refused(described, name, answer, "no_such_field")


NO_BODIES = [
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


@pytest.mark.parametrize("name", BODIED)
async def test_a_body_that_is_no_object_is_400_and_says_so(scene: Scene, described: Document, name: str) -> None:
    asker = scene.admin if ROWS[name].who == "admin" else scene.ann
    call = await right(name, scene)
    for content in NO_BODIES:
        bare = Call(call.method, call.path, {"content": content, "headers": {"Content-Type": "application/json"}})
        answer = await bare.by(asker)
        await refused(described, name, answer)
        assert answer.json()["error"]["details"]["fields"], content[:20]
        assert len(answer.text) < 2_000  # what was sent is not sent back


@pytest.mark.parametrize("name", BODIED)
async def test_another_kind_of_body_is_refused_in_the_envelope(scene: Scene, described: Document, name: str) -> None:
    asker = scene.admin if ROWS[name].who == "admin" else scene.ann
    call = await right(name, scene)
    for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain", "rubbish", ""):
        bare = Call(call.method, call.path, {"content": b"a=1", "headers": {"Content-Type": kind}})
        answer = await bare.by(asker)
        problem(answer, 400)
        check(described, name, answer)


@pytest.mark.parametrize("name", BODIED)
async def test_a_huge_body_is_413(scene: Scene, described: Document, name: str) -> None:
    asker = scene.admin if ROWS[name].who == "admin" else scene.ann
    call = await right(name, scene)
    # A conversation may carry pictures.
    content = b'{"a": "' + b"x" * (25_500_000 if name.endswith("/chat") else 1_100_000) + b'"}'
    bare = Call(call.method, call.path, {"content": content, "headers": {"Content-Type": "application/json"}})
    answer = await bare.by(asker)
    problem(answer, 413, "FILE_TOO_LARGE")
    check(described, name, answer)


@pytest.mark.parametrize("name", CLOSED)
async def test_a_stranger_is_told_so_before_the_body_is_looked_at(scene: Scene, name: str) -> None:
    call = await right(name, scene, id=INVENTED, polling_url="x")
    bare = Call(call.method, call.path, {"content": b"{", "headers": {"Content-Type": "application/json"}})
    problem(await bare.by(scene.nobody), 401, "AUTHENTICATION_ERROR")


# Queries


def wrong_queries(operation: Operation) -> list[str]:
    """A query that breaks each parameter that has a rule."""
    named = {one["name"] for one in operation.parameters("query")}
    broken = {
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
        "polling_url": [],
    }
    return [query for name, queries in broken.items() if name in named for query in queries]


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("GET")])
async def test_a_query_that_breaks_a_rule_is_400_and_names_it(scene: Scene, described: Document, name: str) -> None:
    asker = scene.admin if ROWS[name].who == "admin" else scene.ann
    call = await right(name, scene)
    for query in wrong_queries(described.operations[name]):
        answer = await asker.get(f"{call.path}?{query}")
        await refused(described, name, answer, query.partition("=")[0])


ODD_QUERIES = [
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


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("GET")])
async def test_an_odd_query_is_no_bug(scene: Scene, described: Document, name: str) -> None:
    asker = scene.admin if ROWS[name].who == "admin" else scene.ann
    call = await right(name, scene)
    parameters = "&".join(f"{key}={value}" for key, value in call.options.get("params", {}).items())
    for query in ODD_QUERIES:
        answer = await asker.get(f"{call.path}?{parameters}&{query}")
        assert answer.status_code in (200, 400), f"{query}: {answer.status_code}"
        check(described, name, answer)


# Methods


@pytest.mark.parametrize("path", sorted({name.split()[1] for name in ROWS}))
async def test_a_method_that_is_not_taken_is_405_and_says_which_are(scene: Scene, path: str) -> None:
    taken = {name.split()[0] for name in ROWS if name.split()[1] == path}
    taken |= {"OPTIONS"} | ({"HEAD"} if "GET" in taken else set())
    at = re.sub(r"\{\w+\}", INVENTED, path)
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "PROPFIND", "FOO"):
        if method in taken:
            continue
        answer = await scene.admin.request(method, at)
        problem(answer, 405, "METHOD_NOT_ALLOWED")
        assert {name.strip() for name in answer.headers["allow"].split(",")} == taken
    options = await scene.admin.options(at)
    assert (options.status_code, options.content) == (204, b"")
    assert {name.strip() for name in options.headers["allow"].split(",")} == taken


@pytest.mark.parametrize("path", sorted({name.split()[1] for name in ROWS if name.startswith("GET")}))
async def test_head_is_get_without_the_body(scene: Scene, path: str) -> None:
    call = await right(f"GET {path}", scene)
    head = await scene.admin.head(call.path, params=call.options.get("params"))
    get = await scene.admin.get(call.path, params=call.options.get("params"))
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
