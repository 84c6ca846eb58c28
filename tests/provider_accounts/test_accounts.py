"""Admins add, test, change and remove providers over the API; keys are encrypted and take effect at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.kit import Json, error_of, eventually, new_user
from tests.providers.fake_upstream import Silence, Upstream, error, js
from tests.studio import Studio, running

KEY = "sk-or-v1-a-very-secret-key-f3a9"
PATH = "/api/v1/admin/providers"
MODEL = {
    "id": "tests/model",
    "name": "The model",
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "pricing": {"prompt": "0.000001"},
    "supported_parameters": [],
}
ANSWER = {
    "id": "gen-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.25},
}


def script(server: Upstream) -> None:
    """A working server that is compatible with OpenRouter."""
    server.reset()
    server.on("GET", "/api/v1/models", js({"data": [MODEL]}))
    server.on("POST", "/api/v1/chat/completions", js(ANSWER))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.start()
    script(server)
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with running(tmp_path) as studio:
        yield studio


@pytest_asyncio.fixture
async def admin(studio: Studio) -> httpx.AsyncClient:
    return await studio.user("admin@studio.example", direct=True)


def router(server: Upstream, **more: str) -> Json:
    return {"name": "router", "kind": "openrouter", "base_url": server.base_url, "api_key": KEY, **more}


async def ask(client: httpx.AsyncClient, model: str = "router:tests/model") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return await client.post("/api/v1/ai/chat", json=body)


async def test_a_key_that_is_added_works_at_once_and_the_simulator_leaves(
    admin: httpx.AsyncClient, server: Upstream
) -> None:
    before = (await admin.get(PATH)).json()
    assert (before["items"], before["simulated"]) == ([], True)
    added = await admin.post(PATH, json=router(server))
    assert added.status_code == 201, added.text
    found = added.json()
    assert (found["enabled"], found["in_use"], found["source"], found["key_hint"]) == (True, True, "stored", "…f3a9")
    assert found["last_test"]["ok"] is True
    assert (found["models"], found["models_enabled"]) == (1, 1)
    assert KEY not in added.text
    answered = await ask(admin)
    assert answered.status_code == 200, answered.text
    assert server.only("POST", "/api/v1/chat/completions").key == f"Bearer {KEY}"
    after = (await admin.get(PATH)).json()
    assert after["simulated"] is False
    assert after["items"][0]["spent_usd"] == "0.25"
    models = [model["id"] for model in (await admin.get("/api/v1/ai/models")).json()["items"]]
    assert models == ["router:tests/model"]


async def test_a_key_survives_a_restart_and_stands_nowhere_in_clear(server: Upstream, tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        client = await studio.user("admin@studio.example", direct=True)
        assert (await client.post(PATH, json=router(server))).status_code == 201
    for file in await asyncio.to_thread(lambda: [path for path in tmp_path.rglob("*") if path.is_file()]):
        assert KEY.encode() not in await asyncio.to_thread(file.read_bytes), file
    async with running(tmp_path) as studio:
        client = await studio.user("admin@studio.example", direct=True)
        assert (await ask(client)).status_code == 200
        assert server.received("POST", "/api/v1/chat/completions")[-1].key == f"Bearer {KEY}"


async def test_a_key_that_was_saved_with_another_secret_is_reported_and_not_used(
    server: Upstream, tmp_path: Path
) -> None:
    async with running(tmp_path, ATELIER_SECRET_KEY="a" * 40) as studio:
        client = await studio.user("admin@studio.example", direct=True)
        assert (await client.post(PATH, json=router(server))).status_code == 201
    async with running(tmp_path, ATELIER_SECRET_KEY="b" * 40) as studio:
        client = await studio.user("admin@studio.example", direct=True)
        (found,) = (await client.get(PATH)).json()["items"]
        assert found["in_use"] is False
        assert "cannot be read" in found["problem"]
        repaired = await client.put(f"{PATH}/router", json={"api_key": KEY})
        assert (repaired.json()["in_use"], repaired.json()["problem"]) == (True, "")


async def test_a_provider_that_does_not_answer_is_saved_and_off_until_a_test_succeeds(
    admin: httpx.AsyncClient, server: Upstream
) -> None:
    server.on("GET", "/api/v1/models", error(401, f"Key {KEY} is not known"))
    added = (await admin.post(PATH, json=router(server))).json()
    assert (added["enabled"], added["in_use"], added["last_test"]["ok"]) == (False, False, False)
    assert "401" in added["last_test"]["message"]
    assert KEY not in str(added)
    assert (await admin.get(PATH)).json()["simulated"] is True
    script(server)
    tested = (await admin.post(f"{PATH}/router/test")).json()
    assert (tested["enabled"], tested["in_use"], tested["last_test"]["ok"]) == (True, True, True)


async def test_a_successful_test_leaves_a_provider_off_that_an_admin_switched_off(
    admin: httpx.AsyncClient, server: Upstream
) -> None:
    server.on("GET", "/api/v1/models", error(500, "not now"))
    assert (await admin.post(PATH, json=router(server))).json()["enabled"] is False
    await admin.put(f"{PATH}/router", json={"enabled": True})
    await admin.put(f"{PATH}/router", json={"enabled": False})
    script(server)
    tested = (await admin.post(f"{PATH}/router/test")).json()
    assert (tested["last_test"]["ok"], tested["enabled"], tested["in_use"]) == (True, False, False)


async def test_two_admins_who_change_a_provider_at_once_lose_nothing(
    admin: httpx.AsyncClient, server: Upstream
) -> None:
    await admin.post(PATH, json=router(server))
    for turn in range(5):
        changes: list[Json] = [
            {"priority": 20 + turn},
            {"api_key": f"another-key-{turn:04}"},
            {"enabled": turn % 2 == 0},
        ]
        answers = await asyncio.gather(*(admin.put(f"{PATH}/router", json=change) for change in changes))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        (found,) = (await admin.get(PATH)).json()["items"]
        assert (found["priority"], found["key_hint"]) == (20 + turn, f"…{turn:04}")
        assert found["enabled"] is (turn % 2 == 0)


async def test_a_provider_that_is_switched_off_or_removed_is_not_asked(
    admin: httpx.AsyncClient, server: Upstream
) -> None:
    await admin.post(PATH, json=router(server))
    off = (await admin.put(f"{PATH}/router", json={"enabled": False})).json()
    assert (off["enabled"], off["in_use"]) == (False, False)
    assert (await ask(admin)).status_code == 400
    await admin.put(f"{PATH}/router", json={"enabled": True})
    assert (await ask(admin)).status_code == 200
    assert (await admin.delete(f"{PATH}/router")).status_code == 204
    assert (await ask(admin)).status_code == 400
    listed = (await admin.get(PATH)).json()
    assert (listed["items"], listed["simulated"]) == ([], True)
    assert len(server.received("POST", "/api/v1/chat/completions")) == 1


async def test_a_saved_key_is_not_sent_to_another_address_by_itself(admin: httpx.AsyncClient, server: Upstream) -> None:
    await admin.post(PATH, json=router(server))
    moved = await admin.put(f"{PATH}/router", json={"base_url": "http://127.0.0.1:9/api/v1"})
    assert set(error_of(moved, 400, "VALIDATION_ERROR")["details"]["fields"]) == {"api_key"}
    again = await admin.put(f"{PATH}/router", json={"base_url": "http://127.0.0.1:9/api/v1", "api_key": "another-key"})
    assert again.json()["base_url"] == "http://127.0.0.1:9/api/v1"


async def test_what_cannot_be_saved_names_its_field(admin: httpx.AsyncClient, server: Upstream) -> None:
    wrong: list[tuple[Json, str]] = [
        ({"name": "Ro uter"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 32}, "name"),
        ({"base_url": "ftp://a"}, "base_url"),
        ({"base_url": "http://user:pass@a/v1"}, "base_url"),
        ({"base_url": "http://a b/v1"}, "base_url"),
        ({"base_url": "http://" + "a" * 600}, "base_url"),
        ({"api_key": "line\nbreak"}, "api_key"),
        ({"api_key": "with space"}, "api_key"),
        ({"api_key": "ключ"}, "api_key"),
        ({"api_key": "k" * 5000}, "api_key"),
    ]
    for changed, field in wrong:
        refused = await admin.post(PATH, json={**router(server), **changed})
        assert field in error_of(refused, 400, "VALIDATION_ERROR")["details"]["fields"], changed
    assert not server.requests
    assert (await admin.get(PATH)).json()["items"] == []
    await admin.post(PATH, json=router(server))
    error_of(await admin.post(PATH, json=router(server)), 409, "CONFLICT")
    error_of(await admin.put(f"{PATH}/router", json={"priority": -1}), 400)
    error_of(await admin.put(f"{PATH}/no-one", json={}), 404)
    error_of(await admin.delete(f"{PATH}/no-one"), 404)
    error_of(await admin.post(f"{PATH}/no-one/test"), 404)


async def test_two_admins_who_add_the_same_name_get_one_provider(admin: httpx.AsyncClient, server: Upstream) -> None:
    answers = await asyncio.gather(*(admin.post(PATH, json=router(server)) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert len((await admin.get(PATH)).json()["items"]) == 1


async def test_the_environment_wins_and_is_fixed(server: Upstream, tmp_path: Path) -> None:
    async with running(tmp_path, OPENROUTER_BASE_URL=server.base_url, OPENROUTER_API_KEY=KEY) as studio:
        client = await studio.user("admin@studio.example", direct=True)
        (found,) = (await client.get(PATH)).json()["items"]
        assert (found["name"], found["source"], found["in_use"]) == ("openrouter", "environment", True)
        error_of(await client.put(f"{PATH}/openrouter", json={"enabled": False}), 409, "CONFLICT")
        error_of(await client.delete(f"{PATH}/openrouter"), 409, "CONFLICT")
        error_of(await client.post(PATH, json={**router(server), "name": "openrouter"}), 409, "CONFLICT")
        assert (await client.post(f"{PATH}/openrouter/test")).json()["last_test"]["ok"] is True


async def test_only_admins_see_and_change_providers(studio: Studio, admin: httpx.AsyncClient, server: Upstream) -> None:
    user = await new_user(studio)
    await admin.post(PATH, json=router(server))
    for answer in (
        await user.get(PATH),
        await user.post(PATH, json=router(server)),
        await user.put(f"{PATH}/router", json={"enabled": False}),
        await user.delete(f"{PATH}/router"),
        await user.post(f"{PATH}/router/test"),
    ):
        error_of(answer, 403, "FORBIDDEN")


async def test_every_change_is_in_the_audit_log_without_the_key(admin: httpx.AsyncClient, server: Upstream) -> None:
    await admin.post(PATH, json=router(server))
    await admin.put(f"{PATH}/router", json={"api_key": KEY + "2", "priority": 3})
    await admin.delete(f"{PATH}/router")
    log = await admin.get("/api/v1/admin/audit")
    entries = [(entry["action"], entry["subject"]) for entry in log.json()["items"]]
    assert entries == [
        ("provider.removed", "router"),
        ("provider.changed", "router"),
        ("provider.added", "router"),
    ]
    assert log.json()["items"][1]["detail"] == {"fields": ["priority", "api_key"]}
    assert KEY not in log.text


async def test_the_simulator_comes_back_when_the_last_provider_leaves(
    admin: httpx.AsyncClient, server: Upstream
) -> None:
    await admin.post(PATH, json=router(server))
    await admin.delete(f"{PATH}/router")
    listed = await eventually(lambda: admin.get("/api/v1/ai/models?limit=1"), lambda answer: answer.json()["total"] > 5)
    assert listed.json()["items"]


async def test_a_test_of_a_silent_server_ends(admin: httpx.AsyncClient, server: Upstream) -> None:
    for ending in ("close", "reset"):
        server.on("GET", "/api/v1/models", Silence(ending))
        name = f"silent-{ending}"
        added = await admin.post(PATH, json={**router(server), "name": name})
        assert added.json()["last_test"]["ok"] is False
        assert added.json()["last_test"]["message"].startswith("No answer")


async def test_an_admin_adds_tests_changes_and_removes_a_provider_on_the_pages(
    studio: Studio, server: Upstream
) -> None:
    browser = await studio.user_in_browser("admin@studio.example", direct=True)
    refused = await browser.send_form("/admin/providers", {**router(server), "name": "no name"})
    assert refused.status_code == 400
    assert 'id="name-error"' in refused.text
    assert server.base_url in refused.text  # what was typed is kept, except for the key
    assert KEY not in refused.text
    added = await browser.send_form("/admin/providers", router(server))
    assert (added.status_code, added.headers["location"]) == (303, "/admin/providers")
    page = (await browser.get("/admin/providers")).text
    assert "Connected" in page
    assert "…f3a9" in page
    server.on("GET", "/api/v1/models", error(401, "This key is revoked"))
    await browser.send_form("/admin/providers/router/test", {})
    assert "This key is revoked" in (await browser.get("/admin/providers")).text
    script(server)
    form = await browser.get("/admin/providers/router")
    assert KEY not in form.text
    changed = await browser.send_form("/admin/providers/router", {"priority": "7", "api_key": ""})
    assert changed.status_code == 303
    assert "Priority 7" in (await browser.get("/admin/providers")).text
    assert server.requests[-1].key == f"Bearer {KEY}"
    wrong = await browser.send_form("/admin/providers/router", {"priority": "first"})
    assert (wrong.status_code, 'id="priority-error"' in wrong.text) == (400, True)
    await browser.send_form("/admin/providers/router/switch", {"enabled": "false"})
    assert "results are simulated" in (await browser.get("/admin/providers")).text
    await browser.send_form("/admin/providers/router/remove", {})
    assert "provider-router" not in (await browser.get("/admin/providers")).text


@pytest.mark.parametrize("path", ["/admin/providers", "/admin/providers/new"])
async def test_the_pages_are_for_admins(studio: Studio, path: str) -> None:
    await studio.user("admin@studio.example", direct=True)
    browser = await studio.user_in_browser(direct=True)
    assert (await browser.get(path)).status_code == 403
