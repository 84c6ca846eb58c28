"""JSON bodies are strict: a value of another type is refused and never converted."""

from typing import Any

from tests.kit import IMAGE_MODEL, TEXT_MODEL, VIDEO_MODEL, Cases, error_of, new_user, requested_video, validation_error
from tests.studio import Studio

CONVERTIBLE: list[tuple[str, str, dict[str, Any], str]] = [
    ("PUT", "users/{bob}/active", {"is_active": "false"}, "is_active"),
    ("PUT", "users/{bob}/active", {"is_active": 0}, "is_active"),
    ("POST", "admin/videos/purge", {"older_than_days": "0", "dry_run": False}, "older_than_days"),
    ("POST", "admin/jobs/purge", {"older_than_days": 0, "dry_run": "0"}, "dry_run"),
    ("PUT", "admin/models/{model}", {"enabled": "off"}, "enabled"),
    ("PUT", "admin/models/{model}", {"enabled": 0}, "enabled"),
    ("POST", "jobs/{job}/cancel", {"keep_result": 1}, "keep_result"),
    ("POST", "users/me/keys", {"name": "k", "expires_at": 4_000_000_000}, "expires_at"),
    ("POST", "users/me/keys", {"name": "k", "expires_at": "null"}, "expires_at"),
]


async def test_a_value_of_another_type_is_refused_and_not_converted(atelier: Studio) -> None:
    admin, bob = await atelier.user("admin@studio.example", direct=True), await new_user(atelier, "bob")
    bob_id = (await bob.get("/api/v1/users/me")).json()["id"]
    job_id = (await requested_video(admin, "[stuck] x"))["id"]
    answer = await admin.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": "[refuse] x"})
    failed_id = error_of(answer, 400)["details"]["job_id"]
    keys = (await admin.get("/api/v1/users/me/keys")).json()["total"]
    with Cases() as cases:
        for method, template, body, field in CONVERTIBLE:
            with cases.case(method, template, body):
                path = template.format(bob=bob_id, job=job_id, model=VIDEO_MODEL)
                error = validation_error(await admin.request(method, f"/api/v1/{path}", json=body), field)
                assert set(error["details"]["fields"]) == {field}
                assert (await bob.get("/api/v1/users/me")).status_code == 200
                assert (await admin.get(f"/api/v1/jobs/{job_id}")).json()["status"] != "cancelled"
                assert (await admin.get(f"/api/v1/jobs/{failed_id}")).status_code == 200
                assert (await admin.get("/api/v1/users/me/keys")).json()["total"] == keys
                assert VIDEO_MODEL in (await bob.get("/api/v1/ai/models?limit=100")).text
    await admin.post(f"/api/v1/jobs/{job_id}/cancel")


async def test_a_number_in_the_query_is_converted(atelier: Studio) -> None:
    ann = await new_user(atelier)
    assert (await ann.get("/api/v1/jobs?limit=1")).status_code == 200


async def test_a_body_may_be_nested_as_deep_as_real_ones_and_its_texts_may_contain_any_brackets(
    atelier: Studio,
) -> None:
    """The nesting of the large one is looked at in a thread."""
    user = await new_user(atelier)
    with Cases() as cases:
        for depth, text, status in ((100, "[{" * 5_000, 200), (100, "[" * 2_000_000, 200), (300, "x", 400)):
            body = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "x": nested(depth), "y": text}
            with cases.case(depth, len(text)):
                assert (await user.post("/v1/chat/completions", json=body)).status_code == status


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value
