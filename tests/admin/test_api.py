"""The administration API, and that only admins can use it."""

import re
from decimal import Decimal
from typing import Any

import httpx

from tests.admin.conftest import OrdinaryUser, new_user_of
from tests.kit import Cases, ended_job, new_email
from tests.studio import PASSWORD, Studio

ROUTES = [
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


async def stats(admin: httpx.AsyncClient) -> Any:
    return (await admin.get("/api/v1/admin/stats")).json()


async def cost(admin: httpx.AsyncClient) -> Decimal:
    """The total cost so far, in dollars."""
    return Decimal((await stats(admin))["cost_usd"] or "0")


async def stored_keys(studio: Studio) -> set[str]:
    return {key async for key in studio.program.files.keys()}  # noqa: SIM118


async def audit_entries(admin: httpx.AsyncClient, *subjects: str) -> list[tuple[str, str | None, Any]]:
    """Action, subject and detail of the entries about these subjects, newest first."""
    entries = (await admin.get("/api/v1/admin/audit")).json()["items"]
    found = [(entry["action"], entry["subject"], entry["detail"]) for entry in entries]
    return [entry for entry in found if entry[1] in subjects]


async def test_no_one_but_an_admin_may_use_these_routes(admin_studio: Studio, bob: OrdinaryUser) -> None:
    signed_out = admin_studio.direct()
    with Cases() as cases:
        for method, path, body in ROUTES:
            with cases.case(method, path):
                assert (await bob.client.request(method, path, json=body)).status_code == 403
                assert (await signed_out.request(method, path, json=body)).status_code == 401


async def test_the_statistics_count_all_users(admin: httpx.AsyncClient, admin_studio: Studio) -> None:
    before = await stats(admin)
    bob = await new_user_of(admin_studio, new_email("bob"))
    await bob.ended_video()
    await bob.ended_video("[fail] a boat")
    after = await stats(admin)
    assert after["users"] == {**before["users"], "user": before["users"]["user"] + 1}
    assert after["tokens"]["active"] == before["tokens"]["active"] + 1
    for status in ("completed", "failed"):
        assert after["jobs"][status] == before["jobs"][status] + 1
    assert Decimal(after["cost_usd"]) > Decimal(before["cost_usd"] or "0")


async def test_health_shows_background_tasks_disk_and_versions(admin: httpx.AsyncClient) -> None:
    health = (await admin.get("/api/v1/admin/health")).json()
    assert {task["name"] for task in health["background_tasks"]} >= {"worker", "model refresh", "asset cleanup"}
    assert all(task["alive"] for task in health["background_tasks"])
    assert health["disk"]["free_bytes"] > 0
    assert health["versions"]["duckdb"]
    database = (await admin.get("/api/v1/admin/health/db")).json()
    assert database["ok"] is True
    assert database["latency_ms"] >= 0


async def test_the_videos_of_all_users_are_listed_with_emails_and_filtered(
    admin: httpx.AsyncClient, admin_studio: Studio, bob: OrdinaryUser
) -> None:
    ann, tag = await new_user_of(admin_studio, new_email("ann")), new_email("tag").partition("@")[0]
    red, blue = await ann.video(f"[stamp] a red boat {tag}"), await bob.video(f"[refuse] a blue boat {tag}")
    for user, id in ((ann, red), (bob, blue)):
        await ended_job(user.client, id)

    async def listed(**query: str) -> list[tuple[str, str]]:
        items = (await admin.get("/api/v1/admin/videos", params=query)).json()["items"]
        return [(job["id"], job["user_email"]) for job in items]

    both = [(blue, bob.email), (red, ann.email)]
    assert (await listed())[:2] == both
    assert await listed(q=tag) == both
    assert await listed(q=tag, status="failed") == both[:1]
    assert await listed(user=ann.email) == both[1:]
    assert await listed(q=f"BLUE boat {tag}") == both[:1]
    assert await listed(user="unknown") == []
    assert (await admin.get("/api/v1/admin/videos?status=strange")).status_code == 400


async def test_an_admin_cancels_retries_and_deletes_the_video_of_another_user(
    admin: httpx.AsyncClient, bob: OrdinaryUser
) -> None:
    id = await bob.video("[stuck] a boat")
    assert (await admin.post(f"/api/v1/admin/videos/{id}/cancel")).json()["status"] == "cancelled"
    assert (await admin.post(f"/api/v1/admin/videos/{id}/cancel")).status_code == 409
    retried = await admin.post(f"/api/v1/admin/videos/{id}/retry")
    assert retried.status_code == 201
    assert (retried.json()["user_email"], retried.json()["retry_of"]) == (bob.email, id)
    retry = retried.json()["id"]
    for deleted in (id, retry):
        assert (await admin.delete(f"/api/v1/admin/videos/{deleted}")).status_code == 204
        assert (await bob.client.get(f"/api/v1/jobs/{deleted}")).status_code == 404
        assert (await admin.delete(f"/api/v1/admin/videos/{deleted}")).status_code == 404
    assert await audit_entries(admin, id, retry) == [
        ("job.deleted", retry, {}),
        ("job.deleted", id, {}),
        ("job.retried", id, {"new_job_id": retry}),
        ("job.cancelled", id, {}),
    ]


async def test_the_routes_of_videos_find_only_videos(admin: httpx.AsyncClient, bob: OrdinaryUser) -> None:
    body = {"model": "deepseek/deepseek-v4", "prompt": "hi"}
    id = (await bob.client.post("/api/v1/generate/text", json=body)).json()["id"]
    assert (await admin.delete(f"/api/v1/admin/videos/{id}")).status_code == 404
    assert (await admin.delete(f"/api/v1/admin/jobs/{id}")).status_code == 204


async def test_a_purge_counts_first_and_then_deletes_jobs_and_media_but_not_costs(
    admin: httpx.AsyncClient, admin_studio: Studio, bob: OrdinaryUser
) -> None:
    async def purge(**body: Any) -> Any:
        return (await admin.post("/api/v1/admin/videos/purge", json={"older_than_days": 0, **body})).json()

    await admin.post("/api/v1/admin/videos/purge", json={"older_than_days": 0})
    keys = await stored_keys(admin_studio)
    done, failed = await bob.ended_video(), await bob.ended_video("[fail] a boat")
    media, before = done["assets"][0]["url"], await cost(admin)
    assert await purge(dry_run=True) == {"deleted": 2}
    assert await purge(dry_run=True, statuses=["failed"]) == {"deleted": 1}
    assert await purge(older_than_days=1) == {"deleted": 0}
    assert (await bob.client.get(media)).status_code == 200
    assert await purge(statuses=["failed", "completed"]) == {"deleted": 2}
    assert (await bob.client.get(media)).status_code == 404
    for job in (done, failed):
        assert (await bob.client.get(f"/api/v1/jobs/{job['id']}")).status_code == 404
    assert await stored_keys(admin_studio) == keys
    assert await cost(admin) == before
    newest = (await admin.get("/api/v1/admin/audit")).json()["items"][0]
    assert (newest["action"], newest["subject"]) == ("jobs.purged", None)
    assert newest["detail"] == {"count": 2, "older_than_days": 0, "statuses": ["failed", "completed"]}


async def test_a_purge_with_invalid_conditions_is_rejected(admin: httpx.AsyncClient) -> None:
    bodies: list[dict[str, Any]] = [
        {"older_than_days": -1},
        {"older_than_days": "many"},
        {},
        {"older_than_days": 1, "statuses": ["queued"]},
    ]
    with Cases() as cases:
        for body in bodies:
            with cases.case(body):
                answer = await admin.post("/api/v1/admin/videos/purge", json=body)
                assert answer.status_code == 400
                assert answer.json()["error"]["details"]["fields"]


async def test_a_disabled_model_is_unavailable_to_users_at_once(admin: httpx.AsyncClient, bob: OrdinaryUser) -> None:
    for path in ("google/veo-3.1", "google%2Fveo-3.1"):
        disabled = await admin.put(f"/api/v1/admin/models/{path}", json={"enabled": False})
        assert (disabled.status_code, disabled.json()["enabled"]) == (200, False)
        assert (await bob.client.get("/api/v1/ai/models?q=veo")).json()["items"] == []
        body = {"model": "google/veo-3.1", "prompt": "x"}
        assert (await bob.client.post("/api/v1/generate/video", json=body)).status_code == 400
        assert (await admin.put(f"/api/v1/admin/models/{path}", json={"enabled": True})).json()["enabled"] is True
    assert len((await bob.client.get("/api/v1/ai/models?q=veo")).json()["items"]) == 1
    assert (await admin.put("/api/v1/admin/models/no/such", json={"enabled": True})).status_code == 404
    assert (
        await audit_entries(admin, "google/veo-3.1")
        == [
            ("model.enabled", "google/veo-3.1", {}),
            ("model.disabled", "google/veo-3.1", {}),
        ]
        * 2
    )


async def test_a_refresh_of_the_models_says_what_changed(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/api/v1/admin/models/refresh")).json() == {"added": 0, "removed": 0, "changed": 0}
    newest = (await admin.get("/api/v1/admin/audit")).json()["items"][0]
    assert (newest["action"], newest["subject"]) == ("models.refreshed", None)
    assert newest["detail"] == {"added": 0, "removed": 0, "changed": 0}


async def test_a_role_change_and_a_deactivation_take_effect_on_the_next_request(
    admin: httpx.AsyncClient, bob: OrdinaryUser
) -> None:
    path = f"/api/v1/users/{bob.id}"
    assert (await admin.put(f"{path}/role", json={"role": "admin"})).json()["role"] == "admin"
    assert (await bob.client.get("/api/v1/admin/stats")).status_code == 200
    assert (await admin.put(f"{path}/role", json={"role": "user"})).status_code == 200
    assert (await bob.client.get("/api/v1/admin/stats")).status_code == 403
    assert (await admin.put(f"{path}/active", json={"is_active": False})).status_code == 200
    assert (await bob.client.get("/api/v1/users/me")).status_code == 401
    assert (await admin.put(f"{path}/active", json={"is_active": True})).status_code == 200
    assert await audit_entries(admin, bob.email) == [
        ("user.activated", bob.email, {}),
        ("user.deactivated", bob.email, {}),
        ("user.role_changed", bob.email, {"role": "user"}),
        ("user.role_changed", bob.email, {"role": "admin"}),
    ]
    newest = (await admin.get("/api/v1/admin/audit")).json()["items"][0]
    assert newest["actor_email"] == "ann@studio.example"


async def test_deleting_a_user_deletes_their_data_in_every_feature(
    admin: httpx.AsyncClient, admin_studio: Studio
) -> None:
    keys = await stored_keys(admin_studio)
    bob = await new_user_of(admin_studio, new_email("bob"))
    done, unfinished = await bob.ended_video(), await bob.video("[stuck] a boat")
    key = (await bob.client.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
    by_key = admin_studio.direct(key)
    assert (await by_key.get("/api/v1/users/me")).status_code == 200
    before = await cost(admin)

    assert (await admin.delete(f"/api/v1/users/{bob.id}")).status_code == 204
    for client in (bob.client, by_key):
        assert (await client.get("/api/v1/users/me")).status_code == 401
    login = {"email": bob.email, "password": PASSWORD}
    assert (await admin_studio.direct().post("/api/v1/auth/login", json=login)).status_code == 401
    jobs = (await admin.get("/api/v1/admin/jobs")).json()["items"]
    assert not {done["id"], unfinished} & {job["id"] for job in jobs}
    for job in (done["id"], unfinished):
        assert (await admin.delete(f"/api/v1/admin/jobs/{job}")).status_code == 404
    assert await stored_keys(admin_studio) == keys
    assert await cost(admin) == before
    assert admin_studio.program.jobs.live.find(unfinished) is None
    assert (await admin.delete(f"/api/v1/users/{bob.id}")).status_code == 404
    assert await audit_entries(admin, bob.email) == [("user.deleted", bob.email, {})]


async def test_the_last_admin_cannot_be_deleted_and_no_admin_can_delete_themselves(studio: Studio) -> None:
    ann = await new_user_of(studio, "ann@studio.example")
    bob = await new_user_of(studio, "bob@studio.example")
    assert (await ann.client.delete(f"/api/v1/users/{ann.id}")).status_code == 409
    assert (await ann.client.put(f"/api/v1/users/{ann.id}/role", json={"role": "user"})).status_code == 409
    assert (await ann.client.put(f"/api/v1/users/{ann.id}/active", json={"is_active": False})).status_code == 409
    await ann.client.put(f"/api/v1/users/{bob.id}/role", json={"role": "admin"})
    assert (await ann.client.delete(f"/api/v1/users/{ann.id}")).status_code == 409, "no admin can delete themselves"
    assert (await bob.client.delete(f"/api/v1/users/{ann.id}")).status_code == 204


async def test_every_timestamp_has_the_same_form(admin: httpx.AsyncClient, bob: OrdinaryUser) -> None:
    body = {"model": "deepseek/deepseek-v4", "prompt": "hi"}
    assert (await admin.post("/api/v1/generate/text", json=body)).status_code == 200
    far = {"name": "laptop", "expires_at": "2099-12-31T23:59:59.123456+01:00"}
    created = (await admin.post("/api/v1/users/me/keys", json=far)).json()
    assert created["expires_at"] == "2099-12-31T22:59:59.123Z"
    await admin.put(f"/api/v1/users/{bob.id}/active", json={"is_active": False})
    with Cases() as cases:
        for path in ("users", "users/me", "users/me/keys", "users/me/sessions", "jobs", "admin/health", "admin/audit"):
            with cases.case(path):
                text = (await admin.get(f"/api/v1/{path}")).text
                timestamps = re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', text)
                assert timestamps
                assert all(re.fullmatch(r"[^.]{19}\.\d{3}Z", timestamp) for timestamp in timestamps), timestamps


async def test_a_key_with_an_expiry_beyond_the_calendar_is_rejected(admin: httpx.AsyncClient) -> None:
    body = {"name": "laptop", "expires_at": "9999-12-31T23:59:59-12:00"}
    error = (await admin.post("/api/v1/users/me/keys", json=body)).json()["error"]
    assert error["details"]["fields"] == {"expires_at": "must be a time between the years 1 and 9999"}


async def test_without_overdue_jobs_none_is_marked_as_timed_out(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/api/v1/admin/videos/timed-out")).json() == {"failed": 0}


async def test_a_purge_of_tokens_says_how_many_were_deleted(admin: httpx.AsyncClient, admin_studio: Studio) -> None:
    await admin.post("/api/v1/admin/tokens/purge")
    login = {"email": "ann@studio.example", "password": PASSWORD}
    tokens = (await admin_studio.direct().post("/api/v1/auth/login", json=login)).json()
    await admin_studio.direct().post("/api/v1/auth/logout", json={"refresh_token": tokens["refresh_token"]})
    assert (await admin.post("/api/v1/admin/tokens/purge")).json() == {"deleted": 1}
    newest = (await admin.get("/api/v1/admin/audit")).json()["items"][0]
    assert (newest["action"], newest["subject"], newest["detail"]) == ("tokens.purged", None, {"count": 1})
