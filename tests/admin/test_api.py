"""What an admin may see and do over the API, and that nobody else may."""

import re
from typing import Any

import httpx
import pytest

from tests.studio import PASSWORD, Studio

CALLS = [
    ("GET", "/api/v1/admin/stats", None),
    ("GET", "/api/v1/admin/health", None),
    ("GET", "/api/v1/admin/health/db", None),
    ("POST", "/api/v1/admin/tokens/purge", None),
    ("GET", "/api/v1/admin/videos", None),
    ("GET", "/api/v1/admin/jobs", None),
    ("POST", "/api/v1/admin/videos/x/cancel", None),
    ("POST", "/api/v1/admin/videos/x/retry", None),
    ("DELETE", "/api/v1/admin/videos/x", None),
    ("POST", "/api/v1/admin/videos/purge", {"older_than_days": 1}),
    ("POST", "/api/v1/admin/videos/timed-out", None),
    ("GET", "/api/v1/admin/models", None),
    ("PUT", "/api/v1/admin/models/google/veo-3.1", {"enabled": False}),
    ("POST", "/api/v1/admin/models/refresh", None),
    ("GET", "/api/v1/admin/audit", None),
    ("GET", "/api/v1/users", None),
    ("DELETE", "/api/v1/users/x", None),
    ("PUT", "/api/v1/users/x/role", {"role": "user"}),
    ("PUT", "/api/v1/users/x/active", {"is_active": False}),
]


async def _clip(client: httpx.AsyncClient, prompt: str = "a boat") -> str:
    answer = await client.post("/api/v1/generate/video", json={"model": "alibaba/wan-2.6", "prompt": prompt})
    assert answer.status_code == 202, answer.text
    id: str = answer.json()["id"]
    return id


async def _id(client: httpx.AsyncClient) -> str:
    id: str = (await client.get("/api/v1/users/me")).json()["id"]
    return id


async def _log(admin: httpx.AsyncClient) -> list[tuple[str, str, str]]:
    entries = (await admin.get("/api/v1/admin/audit")).json()["items"]
    return [(entry["actor_email"], entry["action"], entry["subject"]) for entry in entries]


async def test_nobody_but_an_admin_may(studio: Studio) -> None:
    await studio.person("ann@studio.example")
    bob, nobody = await studio.person("bob@studio.example"), studio.client()
    answers = {}
    for method, path, body in CALLS:
        asked = [await who.request(method, path, json=body) for who in (bob, nobody)]
        answers[f"{method} {path}"] = [answer.status_code for answer in asked]
    assert answers == {f"{method} {path}": [403, 401] for method, path, _ in CALLS}


async def test_the_figures_count_everybody(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    await studio.finished(bob, await _clip(bob))
    await studio.finished(bob, await _clip(bob, "[fail] a boat"))
    stats = (await ann.get("/api/v1/admin/stats")).json()
    assert stats["users"] == {"admin": 1, "user": 1}
    assert stats["tokens"]["active"] == 2
    assert (stats["jobs"]["completed"], stats["jobs"]["failed"]) == (1, 1)
    assert float(stats["cost_usd"]) > 0


async def test_health_shows_loops_disk_and_versions(studio: Studio) -> None:
    ann = await studio.person()
    health = (await ann.get("/api/v1/admin/health")).json()
    assert {loop["name"] for loop in health["loops"]} >= {"worker", "catalogue", "sweeper"}
    assert all(loop["alive"] for loop in health["loops"])
    assert health["disk"]["free_bytes"] > 0
    assert health["versions"]["duckdb"]
    database = (await ann.get("/api/v1/admin/health/db")).json()
    assert database["ok"] is True
    assert database["latency_ms"] >= 0


async def test_everybodys_clips_are_listed_with_their_persons_email_and_filtered(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    mine, theirs = await _clip(ann, "a red boat"), await _clip(bob, "[refuse] a blue boat")
    for client, id in ((ann, mine), (bob, theirs)):
        await studio.finished(client, id)

    async def listed(**query: str) -> list[tuple[str, str]]:
        items = (await ann.get("/api/v1/admin/videos", params=query)).json()["items"]
        return [(job["id"], job["user_email"]) for job in items]

    both = [(theirs, "bob@studio.example"), (mine, "ann@studio.example")]
    assert await listed() == both
    assert await listed(status="failed") == both[:1]
    assert await listed(user="ann@") == both[1:]
    assert await listed(q="BLUE boat") == both[:1]
    assert await listed(user="nobody") == []
    assert (await ann.get("/api/v1/admin/videos?status=strange")).status_code == 400


async def test_an_admin_cancels_retries_and_deletes_anybodys_clip(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    id = await _clip(bob, "[stuck] a boat")
    assert (await ann.post(f"/api/v1/admin/videos/{id}/cancel")).json()["status"] == "cancelled"
    assert (await ann.post(f"/api/v1/admin/videos/{id}/cancel")).status_code == 409
    retried = await ann.post(f"/api/v1/admin/videos/{id}/retry")
    assert retried.status_code == 201
    assert (retried.json()["user_email"], retried.json()["retry_of"]) == ("bob@studio.example", id)
    for gone in (id, retried.json()["id"]):
        assert (await ann.delete(f"/api/v1/admin/videos/{gone}")).status_code == 204
        assert (await bob.get(f"/api/v1/jobs/{gone}")).status_code == 404
        assert (await ann.delete(f"/api/v1/admin/videos/{gone}")).status_code == 404
    assert [action for _, action, _ in await _log(ann)] == [
        "job deleted",
        "job deleted",
        "job retried",
        "job cancelled",
    ]


async def test_under_videos_only_clips_are_found(studio: Studio) -> None:
    ann = await studio.person()
    text = await ann.post("/api/v1/generate/text", json={"model": "deepseek/deepseek-v4", "prompt": "hi"})
    id = text.json()["id"]
    assert (await ann.delete(f"/api/v1/admin/videos/{id}")).status_code == 404
    assert (await ann.delete(f"/api/v1/admin/jobs/{id}")).status_code == 204


async def test_a_purge_first_says_how_many_and_then_takes_media_along_but_not_the_cost(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    done = await studio.finished(bob, await _clip(bob))
    failed = await studio.finished(bob, await _clip(bob, "[fail] x"))
    media = done["assets"][0]["url"]
    cost = (await ann.get("/api/v1/admin/stats")).json()["cost_usd"]

    async def purge(**body: Any) -> Any:
        return (await ann.post("/api/v1/admin/videos/purge", json={"older_than_days": 0, **body})).json()

    assert await purge(dry_run=True) == {"deleted": 2}
    assert await purge(dry_run=True, statuses=["failed"]) == {"deleted": 1}
    assert await purge(older_than_days=1) == {"deleted": 0}
    assert (await bob.get(media)).status_code == 200
    assert await purge() == {"deleted": 2}
    assert (await bob.get(media)).status_code == 404
    for job in (done, failed):
        assert (await bob.get(f"/api/v1/jobs/{job['id']}")).status_code == 404
    assert [key async for key in studio.program.files.keys()] == []  # noqa: SIM118
    assert (await ann.get("/api/v1/admin/stats")).json()["cost_usd"] == cost


@pytest.mark.parametrize(
    "body", [{"older_than_days": -1}, {"older_than_days": "many"}, {}, {"older_than_days": 1, "statuses": ["queued"]}]
)
async def test_a_purge_that_makes_no_sense_is_refused(studio: Studio, body: dict[str, Any]) -> None:
    ann = await studio.person()
    answer = await ann.post("/api/v1/admin/videos/purge", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["fields"]


async def test_a_model_that_is_switched_off_is_gone_for_people_at_once(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    for path in ("google/veo-3.1", "google%2Fveo-3.1"):
        off = await ann.put(f"/api/v1/admin/models/{path}", json={"enabled": False})
        assert (off.status_code, off.json()["enabled"]) == (200, False)
        assert (await bob.get("/api/v1/ai/models?q=veo")).json()["items"] == []
        refused = await bob.post("/api/v1/generate/video", json={"model": "google/veo-3.1", "prompt": "x"})
        assert refused.status_code == 400
        assert (await ann.put(f"/api/v1/admin/models/{path}", json={"enabled": True})).json()["enabled"] is True
    assert len((await bob.get("/api/v1/ai/models?q=veo")).json()["items"]) == 1
    assert (await ann.put("/api/v1/admin/models/no/such", json={"enabled": True})).status_code == 404
    assert (await ann.post("/api/v1/admin/models/refresh")).json() == {"added": 0, "removed": 0, "changed": 0}


async def test_a_role_change_and_a_deactivation_hold_on_the_very_next_request(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    id = await _id(bob)
    assert (await ann.put(f"/api/v1/users/{id}/role", json={"role": "admin"})).json()["role"] == "admin"
    assert (await bob.get("/api/v1/admin/stats")).status_code == 200
    assert (await ann.put(f"/api/v1/users/{id}/role", json={"role": "user"})).status_code == 200
    assert (await bob.get("/api/v1/admin/stats")).status_code == 403
    assert (await ann.put(f"/api/v1/users/{id}/active", json={"is_active": False})).status_code == 200
    assert (await bob.get("/api/v1/users/me")).status_code == 401
    assert [(action, subject) for _, action, subject in await _log(ann)] == [
        ("deactivated", "bob@studio.example"),
        ("role changed", "bob@studio.example"),
        ("role changed", "bob@studio.example"),
    ]


async def test_deleting_a_person_reaches_into_every_feature(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    id = await _id(bob)
    done = await studio.finished(bob, await _clip(bob))
    running = await _clip(bob, "[stuck] a boat")
    key = (await bob.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
    by_key = studio.client(key)
    assert (await by_key.get("/api/v1/users/me")).status_code == 200
    cost = (await ann.get("/api/v1/admin/stats")).json()["cost_usd"]

    assert (await ann.delete(f"/api/v1/users/{id}")).status_code == 204
    for client in (bob, by_key):
        assert (await client.get("/api/v1/users/me")).status_code == 401
    login = {"email": "bob@studio.example", "password": PASSWORD}
    assert (await studio.client().post("/api/v1/auth/login", json=login)).status_code == 401
    assert (await ann.get("/api/v1/admin/jobs")).json()["items"] == []
    for job in (done["id"], running):
        assert (await ann.delete(f"/api/v1/admin/jobs/{job}")).status_code == 404
    assert [key async for key in studio.program.files.keys()] == []  # noqa: SIM118
    assert (await ann.get("/api/v1/admin/stats")).json()["cost_usd"] == cost, "what was spent stays spent"
    assert studio.program.jobs.current(running) is None
    assert (await ann.delete(f"/api/v1/users/{id}")).status_code == 404


async def test_the_last_admin_and_oneself_cannot_be_deleted(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    own = await _id(ann)
    assert (await ann.delete(f"/api/v1/users/{own}")).status_code == 409
    assert (await ann.put(f"/api/v1/users/{own}/role", json={"role": "user"})).status_code == 409
    assert (await ann.put(f"/api/v1/users/{own}/active", json={"is_active": False})).status_code == 409
    await ann.put(f"/api/v1/users/{await _id(bob)}/role", json={"role": "admin"})
    assert (await ann.delete(f"/api/v1/users/{own}")).status_code == 409, "nobody deletes themselves"
    assert (await bob.delete(f"/api/v1/users/{own}")).status_code == 204


async def test_every_time_is_told_in_the_same_form(studio: Studio) -> None:
    ann, bob = await studio.person("ann@studio.example"), await studio.person("bob@studio.example")
    await studio.finished(ann, await _clip(ann))
    far = {"name": "laptop", "expires_at": "2099-12-31T23:59:59.123456+01:00"}
    made = (await ann.post("/api/v1/users/me/keys", json=far)).json()
    assert made["expires_at"] == "2099-12-31T22:59:59.123Z"
    await ann.put(f"/api/v1/users/{await _id(bob)}/role", json={"role": "admin"})
    for path in ("users", "users/me", "users/me/keys", "users/me/sessions", "jobs", "admin/health", "admin/audit"):
        times = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', (await ann.get(f"/api/v1/{path}")).text)
        assert times, path
        assert all(re.fullmatch(r"[^.]{19}\.\d{3}Z", time) for time in times), (path, times)


async def test_a_key_that_would_expire_after_all_time_is_refused_by_its_field(studio: Studio) -> None:
    ann = await studio.person()
    never = {"name": "laptop", "expires_at": "9999-12-31T23:59:59-12:00"}
    error = (await ann.post("/api/v1/users/me/keys", json=never)).json()["error"]
    assert error["details"]["fields"] == {"expires_at": "There is no such time."}


async def test_jobs_past_their_deadline_are_marked(studio: Studio) -> None:
    ann = await studio.person()
    assert (await ann.post("/api/v1/admin/videos/timed-out")).json() == {"failed": 0}
