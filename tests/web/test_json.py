"""JSON bodies are taken at their word: nothing is done that was not asked for in so many words."""

import pytest

from tests.api.kit import CLIP, PICTURE, Json, invalid, problem
from tests.studio import Studio


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "users/{bob}/active", {"is_active": "false"}, "is_active"),
        ("PUT", "users/{bob}/active", {"is_active": 0}, "is_active"),
        ("POST", "admin/videos/purge", {"older_than_days": "0", "dry_run": False}, "older_than_days"),
        ("POST", "admin/jobs/purge", {"older_than_days": 0, "dry_run": "0"}, "dry_run"),
        ("PUT", "admin/models/{model}", {"enabled": "off"}, "enabled"),
        ("PUT", "admin/models/{model}", {"enabled": 0}, "enabled"),
        ("POST", "jobs/{job}/cancel", {"keep_result": 1}, "keep_result"),
        ("POST", "users/me/keys", {"name": "k", "expires_at": 4_000_000_000}, "expires_at"),
        ("POST", "users/me/keys", {"name": "k", "expires_at": "null"}, "expires_at"),
    ],
)
async def test_json_is_taken_at_its_word(studio: Studio, method: str, path: str, body: Json, field: str) -> None:
    admin, bob = await studio.person(), await studio.person("bob@studio.example")
    id = (await bob.get("/api/v1/users/me")).json()["id"]
    job = (await admin.post("/api/v1/generate/video", json={"model": CLIP, "prompt": "[stuck] x"})).json()["id"]
    answer = await admin.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": "[refuse] x"})
    failed = problem(answer, 400)["details"]["job_id"]
    named = path.format(bob=id, job=job, model=CLIP)
    error = invalid(await admin.request(method, f"/api/v1/{named}", json=body), field)
    assert set(error["details"]["fields"]) == {field}
    assert (await bob.get("/api/v1/users/me")).status_code == 200
    assert (await admin.get(f"/api/v1/jobs/{job}")).json()["status"] != "cancelled"
    assert (await admin.get(f"/api/v1/jobs/{failed}")).status_code == 200
    assert (await admin.get("/api/v1/users/me/keys")).json()["total"] == 0
    assert CLIP in (await bob.get("/api/v1/ai/models?limit=100")).text
    await admin.post(f"/api/v1/jobs/{job}/cancel")


async def test_in_an_address_all_is_text(studio: Studio) -> None:
    ann = await studio.person()
    assert (await ann.get("/api/v1/jobs?limit=1")).status_code == 200
