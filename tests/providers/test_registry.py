"""Which providers are configured by which settings, and where their keys go."""

from pathlib import Path

import pytest

from app.base.config import SettingError, Settings, load
from app.providers.client import Client
from app.providers.contract import Provider
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
    openrouter, fal = {"OPENROUTER_API_KEY": REAL_KEY}, {"FAL_KEY": "id:secret"}
    fal_urls = ("https://queue.fal.run", "https://rest.fal.ai")
    local = {"FAL_QUEUE_URL": "http://127.0.0.1:9/q/", "FAL_REST_URL": "http://127.0.0.1:9/r"}
    table: list[tuple[dict[str, str], tuple[str, ...], list[str]]] = [
        ({}, (SIMULATOR,), ["openrouter"]),
        (openrouter, ("https://openrouter.ai/api/v1",), ["openrouter"]),
        (openrouter | {"OPENROUTER_BASE_URL": "http://10.0.0.5/v1/"}, ("http://10.0.0.5/v1",), ["openrouter"]),
        (openrouter | {"ATELIER_SIMULATOR": "on"}, (SIMULATOR,), ["openrouter"]),
        (fal, fal_urls, ["fal"]),
        (fal | local, ("http://127.0.0.1:9/q", "http://127.0.0.1:9/r"), ["fal"]),
        (openrouter | fal, ("https://openrouter.ai/api/v1", *fal_urls), ["openrouter", "fal"]),
        (fal | {"ATELIER_SIMULATOR": "on"}, (SIMULATOR,), ["openrouter"]),
        ({"ATELIER_SIMULATOR": "off"}, (), []),
    ]
    with Cases() as cases:
        for environment, expected, names in table:
            with cases.case(environment):
                settings = configured(**environment)
                assert base_urls(settings, SIMULATOR) == expected
                client = Client(base_urls(settings, SIMULATOR))
                found = providers(settings, client, SIMULATOR, "simulated")
                assert list(found) == names
                assert set(webhooks(settings, client)) == {"openrouter", *names}
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
    with Cases() as cases:
        for name in ("OPENROUTER_API_KEY", "FAL_KEY"):
            settings = configured(**{name: "sk-pasted…"})
            client = Client(base_urls(settings, None))
            with cases.case(name):
                with pytest.raises(SettingError, match=name) as caught:
                    providers(settings, client)
                assert "pasted" not in str(caught.value)
            await client.aclose()


async def test_openrouter_implements_the_interface_of_a_provider(upstream: Upstream) -> None:
    client = Client([upstream.base_url])
    provider: Provider = OpenRouter(client, upstream.base_url, "k", max_image_bytes=1, max_video_bytes=1)
    assert (provider.name, provider.can_cancel) == ("openrouter", False)
    await client.aclose()
