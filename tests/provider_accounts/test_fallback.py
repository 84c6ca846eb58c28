"""When a provider cannot be reached and nothing was sent, the next one that has the same model is asked, in the admin's order."""

import socket

import httpx
import pytest

from app.jobs import execution
from tests.kit import Json, ended_job
from tests.provider_accounts.test_accounts import MODEL, PATH, admin, router, script, server, studio
from tests.providers.fake_upstream import Upstream, error, js
from tests.studio import Studio

__all__ = ["admin", "server", "studio"]  # fixtures

CHAT = "/api/v1/chat/completions"


@pytest.fixture
async def dead(server: Upstream) -> str:
    """A URL at which no server listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"


async def two_providers(admin: httpx.AsyncClient, server: Upstream, dead: str) -> None:
    """`first` offered the model once and is gone; `second` has the same one."""
    for name in ("first", "second"):
        assert (await admin.post(PATH, json=router(server, name=name))).json()["enabled"] is True
    moved = await admin.put(f"{PATH}/first", json={"base_url": dead, "api_key": "another-key"})
    assert moved.json()["in_use"] is True
    server.requests.clear()


async def test_an_answer_comes_from_the_next_provider(admin: httpx.AsyncClient, server: Upstream, dead: str) -> None:
    await two_providers(admin, server, dead)
    body = {"model": "first:tests/model", "messages": [{"role": "user", "content": "Hello"}]}
    for path in ("/api/v1/ai/chat", "/v1/chat/completions"):
        answer = await admin.post(path, json=body)
        assert answer.status_code == 200, answer.text
    assert [request.json["model"] for request in server.received("POST", CHAT)] == ["tests/model"] * 2
    spent = {each["name"]: each["spent_usd"] for each in (await admin.get(PATH)).json()["items"]}
    assert spent == {"first": "0", "second": "0.5"}


async def test_a_job_moves_to_the_next_provider_and_says_so(
    studio: Studio, admin: httpx.AsyncClient, server: Upstream, dead: str
) -> None:
    await two_providers(admin, server, dead)
    answer = await admin.post("/api/v1/generate/text", json={"model": "first:tests/model", "prompt": "Hello"})
    assert answer.status_code == 200, answer.text
    job: Json = await ended_job(admin, answer.json()["id"])
    assert (job["status"], job["provider"], job["model"]) == ("completed", "second", "second:tests/model")
    assert len(server.received("POST", CHAT)) == 1
    browser = await studio.user_in_browser("admin@studio.example", direct=True)
    page = (await browser.get(f"/jobs/{job['id']}")).text
    assert "Moved to second" in page
    assert "first could not be reached; nothing was sent" in page


async def test_a_key_is_never_moved_to_a_model_that_it_may_not_use(
    admin: httpx.AsyncClient, server: Upstream, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "FIRST_RETRY_DELAY", 0.01)
    await two_providers(admin, server, dead)
    first, second = "first:tests/model", "second:tests/model"
    body = {"model": first, "messages": [{"role": "user", "content": "Hello"}]}
    for allowed, served in (([first], 0), ([first, second], 2)):
        key = await admin.post("/api/v1/users/me/keys", json={"name": "script", "allowed_models": allowed})
        headers = {"Authorization": f"Bearer {key.json()['key']}"}
        answer = await admin.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == (200 if served else 502), answer.text
        text = await admin.post("/api/v1/generate/text", json={"model": first, "prompt": "Hi"}, headers=headers)
        assert text.status_code == (200 if served else 502), text.text
        assert len(server.received("POST", CHAT)) == served


async def test_a_request_that_was_sent_is_not_sent_to_another(
    admin: httpx.AsyncClient, server: Upstream, studio: Studio
) -> None:
    other = Upstream()
    await other.start()
    try:
        script(other)
        assert (await admin.post(PATH, json=router(server, name="first"))).status_code == 201
        assert (await admin.post(PATH, json=router(other, name="second"))).status_code == 201
        for reply in (error(400, "no"), error(401, "no"), error(429, "no"), js({"error": {"message": "no"}})):
            server.on("POST", CHAT, reply)
            body = {"model": "first:tests/model", "messages": [{"role": "user", "content": "Hello"}]}
            assert (await admin.post("/v1/chat/completions", json=body)).status_code >= 400
        assert other.received("POST", CHAT) == []
    finally:
        await other.stop()


async def test_a_model_that_no_one_else_has_fails_as_before(
    admin: httpx.AsyncClient, server: Upstream, dead: str
) -> None:
    await two_providers(admin, server, dead)
    server.on("GET", "/api/v1/models", js({"data": [{**MODEL, "id": "tests/other"}]}))
    await admin.post("/api/v1/admin/models/refresh")
    body = {"model": "first:tests/model", "messages": [{"role": "user", "content": "Hello"}]}
    answer = await admin.post("/v1/chat/completions", json=body)
    assert answer.status_code == 502
    assert "gen-1" not in answer.text
