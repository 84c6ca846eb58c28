"""Which providers are configured by which settings, and where their keys go."""

from pathlib import Path

import pytest

from app.base.config import SettingError, Settings, load
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.openai import OpenAI
from app.providers.openrouter import OpenRouter
from app.providers.registry import base_urls, providers, webhooks
from tests.kit import Cases
from tests.providers.fake_upstream import Upstream, js
from tests.providers.openrouter.kit import text_request

SIMULATOR = "http://127.0.0.1:9/api/v1"
REAL_KEY = "sk-or-v1-real"


def configured(**environment: str) -> Settings:
    return load(environment)


async def test_the_settings_decide_which_providers_there_are() -> None:
    openrouter, openai = "https://openrouter.ai/api/v1", "https://api.openai.com/v1"
    local, both = "http://10.0.0.5/v1", ["openrouter", "openai"]
    fal = ("https://queue.fal.run", "https://rest.fal.ai", "https://fal.ai")
    table: list[tuple[dict[str, str], tuple[str, ...], list[str]]] = [
        ({}, (SIMULATOR,), ["openrouter"]),
        ({"OPENROUTER_API_KEY": REAL_KEY}, (openrouter,), ["openrouter"]),
        ({"OPENROUTER_API_KEY": REAL_KEY, "OPENROUTER_BASE_URL": f"{local}/"}, (local,), ["openrouter"]),
        ({"OPENROUTER_API_KEY": REAL_KEY, "ATELIER_SIMULATOR": "on"}, (SIMULATOR,), ["openrouter"]),
        ({"ATELIER_SIMULATOR": "off"}, (), []),
        ({"OPENAI_API_KEY": REAL_KEY}, (openai,), ["openai"]),
        ({"OPENAI_BASE_URL": local}, (local,), ["openai"]),
        ({"OPENAI_BASE_URL": openai}, (SIMULATOR,), ["openrouter"]),
        ({"OPENROUTER_API_KEY": REAL_KEY, "OPENAI_API_KEY": REAL_KEY}, (openrouter, openai), both),
        ({"FAL_KEY": REAL_KEY}, fal, ["fal"]),
        ({"FAL_KEY": REAL_KEY, "FAL_QUEUE_URL": f"{local}/", "FAL_REST_URL": local}, (local, local), ["fal"]),
        ({"OPENROUTER_API_KEY": REAL_KEY, "FAL_KEY": REAL_KEY}, (openrouter, *fal), ["openrouter", "fal"]),
        ({"FAL_KEY": REAL_KEY, "ATELIER_SIMULATOR": "on"}, (SIMULATOR,), ["openrouter"]),
        ({"OPENAI_API_KEY": REAL_KEY, "ATELIER_SIMULATOR": "on"}, (SIMULATOR,), ["openrouter"]),
    ]
    with Cases() as cases:
        for environment, expected, names in table:
            with cases.case(environment):
                settings = configured(**environment)
                assert base_urls(settings, SIMULATOR) == expected
                client = Client(base_urls(settings, SIMULATOR))
                found = providers(settings, client, SIMULATOR, "simulated")
                assert list(found) == names
                assert set(webhooks(settings, client)) - {"openrouter"} == {"fal"} & set(names)
                await client.aclose()


async def test_a_simulator_that_does_not_run_is_not_a_provider() -> None:
    client = Client()
    assert providers(configured(), client) == {}
    await client.aclose()


@pytest.mark.parametrize("simulated", [True, False])
async def test_the_real_key_never_goes_to_the_simulator(simulated: bool, upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("POST", "/api/v1/chat/completions", js({}))
    mode = {"ATELIER_SIMULATOR": "on"} if simulated else {}
    settings = configured(OPENROUTER_API_KEY=REAL_KEY, OPENROUTER_BASE_URL=upstream.base_url, **mode)
    client = Client(base_urls(settings, upstream.base_url))
    provider = providers(settings, client, upstream.base_url, "simulated")["openrouter"]
    await provider.submit(text_request(), tmp_path)
    request = upstream.only("POST", "/api/v1/chat/completions")
    assert request.key == ("Bearer simulated" if simulated else f"Bearer {REAL_KEY}")
    assert request.headers["x-openrouter-title"] == "Atelier"
    assert "http-referer" not in request.headers
    await client.aclose()


async def test_a_key_that_cannot_be_sent_stops_the_start_and_is_not_shown() -> None:
    for name in ("OPENROUTER_API_KEY", "OPENAI_API_KEY", "FAL_KEY"):
        settings = configured(**{name: "sk-or-v1-pasted…"})
        client = Client(base_urls(settings, None))
        with pytest.raises(SettingError, match=name) as caught:
            providers(settings, client)
        assert "pasted" not in str(caught.value)
        await client.aclose()


async def test_each_provider_gets_its_own_key_only(upstream: Upstream, stranger: Upstream, tmp_path: Path) -> None:
    for server in (upstream, stranger):
        server.on("POST", "/api/v1/chat/completions", js({}))
    settings = configured(
        OPENROUTER_API_KEY="one",
        OPENROUTER_BASE_URL=upstream.base_url,
        OPENAI_API_KEY="two",
        OPENAI_BASE_URL=stranger.base_url,
    )
    client = Client(base_urls(settings, None))
    for provider in providers(settings, client).values():
        await provider.submit(text_request(), tmp_path)
    keys = [server.only("POST", "/api/v1/chat/completions").key for server in (upstream, stranger)]
    assert keys == ["Bearer one", "Bearer two"]
    await client.aclose()


async def test_the_providers_implement_the_interface(upstream: Upstream) -> None:
    client = Client([upstream.base_url])
    provider: Provider = OpenRouter(client, upstream.base_url, "k", max_image_bytes=1, max_video_bytes=1)
    assert (provider.name, provider.can_cancel) == ("openrouter", False)
    provider = OpenAI(client, upstream.base_url, None, name="local", max_image_bytes=1, max_video_bytes=1)
    assert (provider.name, provider.can_cancel) == ("local", False)
    await client.aclose()
