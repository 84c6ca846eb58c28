"""Which providers the environment configures, where their keys go, and that the providers in use can change."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.base.config import SettingError, load
from app.base.errors import Invalid
from app.base.errors import Upstream as UpstreamError
from app.providers.client import Client
from app.providers.contract import Failed, Provider, Retryable
from app.providers.registry import ProviderConfig, ProviderKind, ProviderRegistry, configs_of
from tests.kit import Cases
from tests.providers.fake_upstream import Upstream, error, js
from tests.providers.openrouter.kit import text_request

REAL_KEY = "sk-or-v1-real"
CHAT = "/api/v1/chat/completions"


def config(base_url: str, key: str | None = REAL_KEY, name: str = "openrouter") -> ProviderConfig:
    return ProviderConfig(name=name, kind=ProviderKind.OPENROUTER, base_url=base_url, key=key)


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[ProviderRegistry]:
    client = Client()
    yield ProviderRegistry(client, max_image_bytes=1000, max_video_bytes=1000)
    await client.aclose()


def test_the_environment_decides_which_providers_there_are_at_the_start() -> None:
    openrouter, openai, local = "https://openrouter.ai/api/v1", "https://api.openai.com/v1", "http://10.0.0.5/v1"
    fal = ("https://queue.fal.run", "https://rest.fal.ai", "https://api.fal.ai", "https://fal.ai")
    table: list[tuple[dict[str, str], list[str], tuple[str, ...]]] = [
        ({}, [], ()),
        ({"OPENROUTER_API_KEY": REAL_KEY}, ["openrouter"], (openrouter,)),
        ({"OPENROUTER_API_KEY": REAL_KEY, "OPENROUTER_BASE_URL": f"{local}/"}, ["openrouter"], (local,)),
        ({"OPENAI_API_KEY": REAL_KEY}, ["openai"], (openai,)),
        ({"OPENAI_BASE_URL": local}, ["openai"], (local,)),
        ({"OPENAI_BASE_URL": openai}, [], ()),
        ({"FAL_KEY": REAL_KEY}, ["fal"], fal),
        ({"FAL_KEY": REAL_KEY, "FAL_QUEUE_URL": f"{local}/", "FAL_REST_URL": local}, ["fal"], (local, local)),
        (
            {"OPENROUTER_API_KEY": REAL_KEY, "OPENAI_API_KEY": REAL_KEY, "FAL_KEY": REAL_KEY},
            ["openrouter", "openai", "fal"],
            (openrouter, openai, *fal),
        ),
    ]
    with Cases() as cases:
        for environment, names, urls in table:
            with cases.case(environment):
                found = configs_of(load(environment))
                assert [each.name for each in found] == names
                assert {url for each in found for url in each.base_urls} == set(urls)


def test_a_key_that_cannot_be_sent_stops_the_start_and_is_not_shown() -> None:
    for name in ("OPENROUTER_API_KEY", "OPENAI_API_KEY", "FAL_KEY"):
        with pytest.raises(SettingError, match=name) as caught:
            configs_of(load({name: "sk-or-v1-pasted…"}))
        assert "pasted" not in str(caught.value)
    assert REAL_KEY not in repr(config("http://127.0.0.1:9"))


async def test_every_kind_is_built_under_its_name_with_its_webhooks(registry: ProviderRegistry) -> None:
    configs = [
        ProviderConfig(name=f"my-{kind.value}", kind=kind, base_url="http://127.0.0.1:9/v1", key="k")
        for kind in ProviderKind
    ]
    registry.replace(configs)
    assert [(name, provider.name) for name, provider in registry.items()] == [(each.name,) * 2 for each in configs]
    assert set(registry.webhook_keys) == {"my-openrouter", "my-fal"}
    kept = registry.webhook_keys["my-fal"]
    registry.replace(configs[1:])
    assert set(registry.webhook_keys) == {"my-fal"}
    assert registry.webhook_keys["my-fal"] == kept


async def test_each_provider_gets_its_own_key_only(
    registry: ProviderRegistry, upstream: Upstream, stranger: Upstream, tmp_path: Path
) -> None:
    for server in (upstream, stranger):
        server.on("POST", CHAT, js({}))
    openai = ProviderConfig(name="openai", kind=ProviderKind.OPENAI, base_url=stranger.base_url, key="two")
    registry.replace([config(upstream.base_url, "one"), openai])
    for provider in registry.values():
        await provider.submit(text_request(), tmp_path)
    assert [server.only("POST", CHAT).key for server in (upstream, stranger)] == ["Bearer one", "Bearer two"]


async def test_a_provider_gets_its_own_key(registry: ProviderRegistry, upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", CHAT, js({}))
    registry.replace([config(upstream.base_url)])
    await registry["openrouter"].submit(text_request(), tmp_path)
    request = upstream.only("POST", CHAT)
    assert request.key == f"Bearer {REAL_KEY}"
    assert request.headers["x-openrouter-title"] == "Atelier"
    assert "http-referer" not in request.headers


async def test_a_removed_provider_is_not_reached_any_more(
    registry: ProviderRegistry, upstream: Upstream, tmp_path: Path
) -> None:
    registry.replace([config(upstream.base_url), config("http://127.0.0.1:9", name="other")])
    assert list(registry) == ["openrouter", "other"]
    kept: Provider = registry["other"]
    removed = registry["openrouter"]
    registry.replace([config("http://127.0.0.1:9", name="other")])
    assert list(registry) == ["other"]
    assert registry["other"] is kept
    outcome = await removed.submit(text_request(), tmp_path)
    assert isinstance(outcome, Retryable | Failed)
    assert not upstream.requests


async def test_a_connection_is_tested_before_it_is_used(registry: ProviderRegistry, upstream: Upstream) -> None:
    upstream.on("GET", "/api/v1/models", js({"data": []}), error(401, f"No user for {REAL_KEY}"), error(500, "down"))
    tested = config(upstream.base_url)
    provider = registry.build(tested)
    with registry.reachable(tested):
        await provider.test()
        for reason in ("401: No user for …", "500: down"):
            with pytest.raises(UpstreamError, match=reason):
                await provider.test()
    with pytest.raises(UpstreamError, match="not a configured provider"):
        await provider.test()
    assert list(registry) == []


async def test_the_end_of_one_test_leaves_another_connected(
    registry: ProviderRegistry, upstream: Upstream, stranger: Upstream
) -> None:
    for server in (upstream, stranger):
        server.on("GET", "/api/v1/models", js({"data": []}))
    first, second = config(upstream.base_url, name="first"), config(stranger.base_url, name="second")
    with registry.reachable(first):
        with registry.reachable(second):
            await registry.build(second).test()
        await registry.build(first).test()
        with pytest.raises(UpstreamError, match="not a configured provider"):
            await registry.build(second).test()


async def test_what_no_provider_can_be_built_from_is_invalid(registry: ProviderRegistry) -> None:
    with pytest.raises(Invalid) as caught:
        registry.build(config("https://user:secret@openrouter.ai"))
    assert "secret" not in caught.value.message
    with pytest.raises(Invalid, match="one line"):
        registry.build(config("https://openrouter.ai", "a\nb"))
