"""Every call of the API, one row each: who may make it, what it answers, and what a valid call needs."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from tests.kit import (
    IMAGE_TO_VIDEO_MODEL,
    MULTI_IMAGE_MODEL,
    SHORT_IMAGE_TO_VIDEO,
    SHORT_VIDEO,
    TEXT_MODEL,
    UNKNOWN_ID,
    VIDEO_MODEL,
    Json,
    ended_job,
    eventually,
    generated_image,
    new_email,
    png,
    requested_video,
    uploaded_asset,
)
from tests.storage import samples
from tests.studio import PASSWORD, Studio

DEAD_SERVER: Final = "http://127.0.0.1:9/api/v1"


class Actors:
    """A user (the owner), an admin and an anonymous client; whatever a call needs is created for the owner on demand. What
    no call changes is created once."""

    def __init__(self, studio: Studio, owner: httpx.AsyncClient, admin: httpx.AsyncClient, address: str) -> None:
        self.studio, self.owner, self.admin, self.address = studio, owner, admin, address
        self.anonymous = studio.direct()
        self._created: dict[str, str] = {}
        self._running: list[str] = []
        self._wire: dict[str, httpx.AsyncClient] = {}

    def caller(self, access: str) -> httpx.AsyncClient:
        """Who makes a call that is for `access`: anyone, user or admin."""
        return {"anyone": self.anonymous, "user": self.owner, "admin": self.admin}[access]

    def wire(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        """The same actor as a client over a real connection, where raw paths, methods or headers are the point."""
        token = client.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._wire:
            self._wire[token] = self.studio.client(token or None)
        return self._wire[token]

    async def _once(self, name: str, create: Callable[[], Awaitable[str]]) -> str:
        if name not in self._created:
            self._created[name] = await create()
        return self._created[name]

    async def text_job(self) -> str:
        body = {"model": TEXT_MODEL, "prompt": "a boat"}
        answer = await self.owner.post("/api/v1/generate/text", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def image_job(self) -> str:
        async def create() -> str:
            return str((await generated_image(self.owner))["id"])

        return await self._once("image job", create)

    async def video_job(self) -> str:
        async def create() -> str:
            job = await ended_job(self.owner, (await requested_video(self.owner))["id"])
            assert job["status"] == "completed"
            return str(job["id"])

        return await self._once("video job", create)

    async def waiting_job(self) -> str:
        """A job that was tried once and then waits for half an hour."""
        batch = await self.waiting_batch()

        async def first() -> Json:
            jobs: list[Json] = (await self.owner.get(f"/api/v1/generate/batches/{batch}")).json()["jobs"]
            return jobs[0]

        return str((await eventually(first, lambda job: (job["status"], job["attempts"]) == ("queued", 1)))["id"])

    async def running_video_job(self) -> str:
        job = await requested_video(self.owner, "[stuck] a lighthouse")
        self._running.append(job["id"])
        return str(job["id"])

    async def failed_video_job(self) -> str:
        job = await ended_job(self.owner, (await requested_video(self.owner, "[refuse] a lighthouse"))["id"])
        assert job["status"] == "failed"
        return str(job["id"])

    async def batch(self) -> str:
        async def create() -> str:
            return await self._batch("[stamp] a boat")

        return await self._once("batch", create)

    async def waiting_batch(self) -> str:
        """Its jobs are tried once and then wait for half an hour."""
        return await self._batch("[ratelimit-long] a boat")

    async def failed_batch(self) -> str:
        id = await self._batch("[refuse] a boat")
        batch = f"/api/v1/generate/batches/{id}"
        await eventually(lambda: self.owner.get(batch), lambda answer: answer.json()["status"] == "failed")
        return id

    async def _batch(self, prompt: str) -> str:
        body = {"kind": "image", "model": MULTI_IMAGE_MODEL, "prompt": prompt}
        answer = await self.owner.post("/api/v1/generate/batch", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def asset(self) -> str:
        return str((await uploaded_asset(self.owner))["id"])

    async def video_asset(self) -> str:
        async def create() -> str:
            return str((await uploaded_asset(self.owner, samples.video("h264-silent.mp4"), "a.mp4"))["id"])

        return await self._once("video asset", create)

    async def key(self) -> str:
        return str((await self.owner.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["id"])

    async def session(self) -> str:
        """Another session of the owner."""
        await self._sign_in()
        items = (await self.owner.get("/api/v1/users/me/sessions")).json()["items"]
        return str(next(item["id"] for item in items if not item["current"]))

    async def refresh_token(self) -> str:
        return str((await self._sign_in())["refresh_token"])

    async def _sign_in(self) -> Json:
        body = {"email": self.address, "password": PASSWORD}
        tokens: Json = (await self.anonymous.post("/api/v1/auth/login", json=body)).json()
        return tokens

    async def other_user(self) -> str:
        body = {"email": new_email("other"), "password": PASSWORD}
        return str((await self.anonymous.post("/api/v1/auth/register", json=body)).json()["id"])

    async def model(self) -> str:
        return VIDEO_MODEL

    async def added_model(self) -> str:
        new = {"provider": "openrouter", "endpoint": await _unused_name(self), "name": "Ours", "type": "text_to_image"}
        answer = await self.admin.post("/api/v1/admin/models", json=new)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def provider(self) -> str:
        """A provider that does not answer, so that it stays off."""
        name = await _unused_name(self)
        new = {"name": name, "kind": "openrouter", "base_url": DEAD_SERVER}
        answer = await self.admin.post("/api/v1/admin/providers", json=new)
        assert (answer.status_code, answer.json()["enabled"]) == (201, False), answer.text
        return name

    async def prompt(self) -> str:
        body = {"kind": "wildcards", "name": await _unused_name(self), "lines": ["light rain"]}
        return str((await self.owner.post("/api/v1/prompts", json=body)).json()["id"])

    async def polling_url(self) -> str:
        return f"/api/v1/generate/video/{await self.video_job()}/status"

    async def close(self) -> None:
        """Cancel what would run for ever."""
        for job_id in self._running:
            await self.admin.post(f"/api/v1/admin/jobs/{job_id}/cancel")


async def new_actors(studio: Studio) -> Actors:
    address = new_email("owner")
    owner = await studio.user(address, direct=True)
    return Actors(studio, owner, await studio.user("admin@studio.example", direct=True), address)


Create = Callable[[Actors], Awaitable[str]]


class Row(msgspec.Struct, frozen=True):
    """`access` is anyone, user or admin; `status` is that of a valid call; then what it needs: the parameters of its path
    and query, the body, a file. `private` says that the path names something whose existence other users must not learn."""

    access: str
    status: int
    path: dict[str, Create] = {}
    query: dict[str, Create] = {}
    body: Callable[[Actors], Awaitable[Json]] | None = None
    file: bool = False
    private: bool = False


def body(**values: Any) -> Callable[[Actors], Awaitable[Json]]:
    """A body of constants and of things that are created when the call is made."""

    async def build(actors: Actors) -> Json:
        return {name: await value(actors) if callable(value) else value for name, value in values.items()}

    return build


async def _unused_email(_: Actors) -> str:
    return new_email("unused")


async def _unused_name(_: Actors) -> str:
    return f"p{uuid.uuid4().hex[:20]}"


async def _owner_email(actors: Actors) -> str:
    return actors.address


ROWS: dict[str, Row] = {
    "POST /api/v1/auth/register": Row("anyone", 201, body=body(email=_unused_email, password=PASSWORD, name="Ann")),
    "POST /api/v1/auth/login": Row("anyone", 200, body=body(email=_owner_email, password=PASSWORD)),
    "POST /api/v1/auth/refresh": Row("anyone", 200, body=body(refresh_token=Actors.refresh_token)),
    "POST /api/v1/auth/logout": Row("anyone", 204, body=body(refresh_token=Actors.refresh_token)),
    "GET /api/v1/users/me": Row("user", 200),
    "PUT /api/v1/users/me": Row("user", 200, body=body(name="Ann Kern")),
    "GET /api/v1/users/me/keys": Row("user", 200),
    "POST /api/v1/users/me/keys": Row("user", 201, body=body(name="laptop", expires_at="2099-01-01T00:00:00Z")),
    "DELETE /api/v1/users/me/keys/{key_id}": Row("user", 204, {"key_id": Actors.key}, private=True),
    "GET /api/v1/users/me/sessions": Row("user", 200),
    "DELETE /api/v1/users/me/sessions": Row("user", 204),
    "DELETE /api/v1/users/me/sessions/{session_id}": Row("user", 204, {"session_id": Actors.session}, private=True),
    "GET /api/v1/users/me/spending": Row("user", 200),
    "GET /api/v1/users": Row("admin", 200),
    "PUT /api/v1/users/{user_id}/role": Row("admin", 200, {"user_id": Actors.other_user}, body=body(role="admin")),
    "PUT /api/v1/users/{user_id}/active": Row("admin", 200, {"user_id": Actors.other_user}, body=body(is_active=False)),
    "DELETE /api/v1/users/{user_id}": Row("admin", 204, {"user_id": Actors.other_user}),
    "GET /api/v1/ai/favorites": Row("user", 200),
    "PUT /api/v1/ai/favorites/{id}": Row("user", 204, {"id": Actors.model}),
    "DELETE /api/v1/ai/favorites/{id}": Row("user", 204, {"id": Actors.model}),
    "GET /api/v1/ai/models": Row("user", 200),
    "POST /api/v1/ai/chat": Row(
        "user", 200, body=body(model=TEXT_MODEL, messages=[{"role": "user", "content": "Hello"}])
    ),
    "POST /api/v1/generate/estimate": Row("user", 200, body=body(model=Actors.model, **SHORT_VIDEO)),
    "POST /api/v1/generate/text": Row(
        "user", 200, body=body(model=TEXT_MODEL, prompt="a boat", system_prompt="Be brief")
    ),
    "POST /api/v1/generate/image": Row(
        "user", 200, body=body(model=MULTI_IMAGE_MODEL, prompt="a boat", n=1, image_asset_id=Actors.asset)
    ),
    "POST /api/v1/generate/video": Row("user", 202, body=body(model=VIDEO_MODEL, prompt="a boat", **SHORT_VIDEO)),
    "POST /api/v1/generate/video/from-image": Row(
        "user",
        202,
        body=body(model=IMAGE_TO_VIDEO_MODEL, prompt="a boat", image_asset_id=Actors.asset, **SHORT_IMAGE_TO_VIDEO),
    ),
    "POST /api/v1/generate/batch": Row(
        "user",
        202,
        body=body(kind="image", model=MULTI_IMAGE_MODEL, prompt="[stamp] a {red|green} boat", matrix={"seed": [1, 2]}),
    ),
    "GET /api/v1/generate/batches": Row("user", 200),
    "GET /api/v1/generate/batches/{id}": Row("user", 200, {"id": Actors.batch}, private=True),
    "POST /api/v1/generate/batches/{id}/pause": Row("user", 200, {"id": Actors.waiting_batch}, private=True),
    "POST /api/v1/generate/batches/{id}/resume": Row("user", 200, {"id": Actors.waiting_batch}, private=True),
    "POST /api/v1/generate/batches/{id}/cancel": Row("user", 200, {"id": Actors.waiting_batch}, private=True),
    "POST /api/v1/generate/batches/{id}/retry": Row("user", 200, {"id": Actors.failed_batch}, private=True),
    "GET /api/v1/generate/video/{id}/status": Row("user", 200, {"id": Actors.video_job}, private=True),
    "GET /api/v1/generate/video/status": Row("user", 200, query={"polling_url": Actors.polling_url}, private=True),
    "GET /api/v1/generate/images": Row("user", 200),
    "GET /api/v1/generate/images/{id}": Row("user", 200, {"id": Actors.image_job}, private=True),
    "GET /api/v1/generate/videos": Row("user", 200),
    "GET /api/v1/generate/videos/{id}": Row("user", 200, {"id": Actors.video_job}, private=True),
    "POST /api/v1/generate/videos/{id}/cancel": Row("user", 200, {"id": Actors.running_video_job}, private=True),
    "POST /api/v1/generate/video/{id}/cancel": Row("user", 200, {"id": Actors.running_video_job}, private=True),
    "GET /api/v1/jobs": Row("user", 200),
    "GET /api/v1/jobs/{id}": Row("user", 200, {"id": Actors.image_job}, private=True),
    "POST /api/v1/jobs/{id}/cancel": Row("user", 200, {"id": Actors.running_video_job}, private=True),
    "POST /api/v1/jobs/cancel": Row("user", 200, body=body(ids=[UNKNOWN_ID])),
    "GET /api/v1/jobs/{id}/events": Row("user", 200, {"id": Actors.image_job}, private=True),
    "POST /api/v1/jobs/{id}/pause": Row("user", 200, {"id": Actors.waiting_job}, private=True),
    "POST /api/v1/jobs/{id}/resume": Row("user", 200, {"id": Actors.waiting_job}, private=True),
    "POST /api/v1/jobs/{id}/move": Row("user", 200, {"id": Actors.waiting_job}, body=body(before=None), private=True),
    "POST /api/v1/jobs/{id}/retry": Row("user", 201, {"id": Actors.failed_video_job}, private=True),
    "POST /api/v1/assets": Row("user", 201, file=True),
    "GET /api/v1/assets": Row("user", 200),
    "GET /api/v1/assets/{id}": Row("user", 200, {"id": Actors.asset}, private=True),
    "GET /api/v1/assets/{id}/download": Row("user", 200, {"id": Actors.asset}, private=True),
    "POST /api/v1/assets/{id}/last-frame": Row("user", 201, {"id": Actors.video_asset}, private=True),
    "DELETE /api/v1/assets/{id}": Row("user", 204, {"id": Actors.asset}, private=True),
    "GET /api/v1/prompts": Row("user", 200),
    "POST /api/v1/prompts": Row("user", 201, body=body(kind="template", name=_unused_name, text="A boat")),
    "GET /api/v1/prompts/{id}": Row("user", 200, {"id": Actors.prompt}, private=True),
    "PUT /api/v1/prompts/{id}": Row(
        "user", 200, {"id": Actors.prompt}, body=body(name=_unused_name, lines=["fog"], version=1), private=True
    ),
    "DELETE /api/v1/prompts/{id}": Row("user", 204, {"id": Actors.prompt}, private=True),
    "GET /api/v1/admin/stats": Row("admin", 200),
    "GET /api/v1/admin/health": Row("admin", 200),
    "GET /api/v1/admin/health/db": Row("admin", 200),
    "POST /api/v1/admin/tokens/purge": Row("admin", 200),
    "GET /api/v1/admin/jobs": Row("admin", 200),
    "GET /api/v1/admin/videos": Row("admin", 200),
    "POST /api/v1/admin/jobs/{id}/cancel": Row("admin", 200, {"id": Actors.running_video_job}),
    "POST /api/v1/admin/videos/{id}/cancel": Row("admin", 200, {"id": Actors.running_video_job}),
    "POST /api/v1/admin/jobs/{id}/retry": Row("admin", 201, {"id": Actors.failed_video_job}),
    "POST /api/v1/admin/videos/{id}/retry": Row("admin", 201, {"id": Actors.failed_video_job}),
    "DELETE /api/v1/admin/jobs/{id}": Row("admin", 204, {"id": Actors.text_job}),
    "DELETE /api/v1/admin/videos/{id}": Row("admin", 204, {"id": Actors.failed_video_job}),
    "POST /api/v1/admin/jobs/purge": Row("admin", 200, body=body(older_than_days=9, statuses=["failed"], dry_run=True)),
    "POST /api/v1/admin/videos/purge": Row("admin", 200, body=body(older_than_days=9, dry_run=True)),
    "POST /api/v1/admin/jobs/timed-out": Row("admin", 200),
    "POST /api/v1/admin/videos/timed-out": Row("admin", 200),
    "GET /api/v1/admin/models": Row("admin", 200),
    "GET /api/v1/admin/providers": Row("admin", 200),
    "POST /api/v1/admin/providers": Row(
        "admin", 201, body=body(name=_unused_name, kind="openrouter", base_url=DEAD_SERVER)
    ),
    "PUT /api/v1/admin/providers/{name}": Row("admin", 200, {"name": Actors.provider}, body=body(priority=3)),
    "DELETE /api/v1/admin/providers/{name}": Row("admin", 204, {"name": Actors.provider}),
    "POST /api/v1/admin/providers/{name}/test": Row("admin", 200, {"name": Actors.provider}),
    "POST /api/v1/admin/models": Row(
        "admin", 201, body=body(provider="openrouter", endpoint=_unused_name, name="Ours", type="text_to_image")
    ),
    "GET /api/v1/admin/models/{id}": Row("admin", 200, {"id": Actors.model}),
    "PUT /api/v1/admin/models/{id}": Row("admin", 200, {"id": Actors.model}, body=body(enabled=True)),
    "PATCH /api/v1/admin/models/{id}": Row("admin", 200, {"id": Actors.model}, body=body(default_for=[])),
    "DELETE /api/v1/admin/models/{id}": Row("admin", 204, {"id": Actors.added_model}),
    "POST /api/v1/admin/models/preview": Row("admin", 200, body=body(name="Ours", type="text_to_image")),
    "POST /api/v1/admin/models/refresh": Row("admin", 200),
    "GET /api/v1/admin/audit": Row("admin", 200),
    "GET /health": Row("anyone", 200),
    "GET /metrics": Row("admin", 200),
}
GUARDED = [name for name, row in ROWS.items() if row.access != "anyone"]
WITH_BODY = [name for name, row in ROWS.items() if row.body is not None]


class Call(NamedTuple):
    """A call that any client may send."""

    method: str
    path: str
    options: dict[str, Any]

    async def by(self, client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
        return await client.request(self.method, self.path, **{**self.options, **changes})

    def with_content(self, content: bytes, content_type: str = "application/json") -> "Call":
        """The same call with another body, byte for byte."""
        return Call(self.method, self.path, {"content": content, "headers": {"Content-Type": content_type}})


async def valid_call(name: str, actors: Actors, **instead: str) -> Call:
    """The valid call of a row; `instead` are ids that replace those of real things."""
    method, path = name.split()
    row = ROWS[name]
    for parameter, create in row.path.items():
        path = path.replace(f"{{{parameter}}}", instead.get("id") or await create(actors))
    options: dict[str, Any] = {}
    if row.query:
        options["params"] = {key: instead.get(key) or await create(actors) for key, create in row.query.items()}
    if row.body is not None:
        options["json"] = await row.body(actors)
    if row.file:
        options["files"] = {"file": ("a.png", png(), "image/png")}
    return Call(method, path, options)
